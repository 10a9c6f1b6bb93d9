/* tun/filter.h - the packet filter: what may come in from the mesh, decided at the TUN's door.
 *
 * A filter is immutable once compiled (control thread) and crosses to the data thread by pointer.  The flows
 * it remembers live in struct filter_state, which the data thread owns and which survives a new filter.
 * Default deny: no filter, no rules, no inbound packet.  Outbound is not restricted beyond sanity checks;
 * it opens the way back for UDP and SCTP replies.  Verdicts follow the reference: TCP that is no initial
 * SYN passes (the host's own stack judges it), ICMP errors and echo replies pass.
 *
 * A new filter judges open flows thus: TCP goes on; UDP and SCTP go on while we opened or answered the flow and it is
 * still remembered, else the new rules decide at the next packet.  Raising the shields, and having no filter, forgets
 * the flows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct packet; /* tun/packet.h */
struct filter;
struct filter_state;

enum {
        FILTER_FLOWS = 512,         /* UDP and SCTP flows remembered, least recently used goes */
        FILTER_VERDICTS_KEPT = 512, /* flows that a rule allowed, so that the next packet needs no look-up */
        FILTER_OPENS = 64,          /* TCP connections of ours being opened; a newer one may take the place */
};

struct filter_range {
        struct ip first, last; /* inclusive, one family */
};

struct filter_ports {
        struct filter_range dst;
        uint16_t first, last; /* inclusive; protocols without ports need 0..65535 */
};

/* One permission: from any of the sources, to any of the destinations, by any of the protocols. */
struct filter_allow {
        const struct filter_range *srcs;
        size_t src_count;
        const struct filter_ports *dsts;
        size_t dst_count;
        const uint8_t *protos; /* ICMP to the destinations is allowed whatever this says */
        size_t proto_count;
};

struct filter_config {
        const struct filter_allow *allow;
        size_t allow_count;
        const struct prefix *local; /* destinations that are ours: addresses, advertised routes */
        size_t local_count;
        const struct prefix *jailed; /* sources for which there are no rules */
        size_t jailed_count;
        struct addr services[2]; /* ours, TCP, open whatever the rules say; unset: none */
        bool shields_up;         /* as if there were no rules */
};

/* Compiles; copies everything.  NULL: out of memory. */
struct filter *filter_compile(const struct filter_config *c);
/* The same without jailed sources and services. */
struct filter *filter_new(const struct filter_allow *allow, size_t allow_count, const struct prefix *local,
                          size_t local_count, bool shields_up);
void filter_free(struct filter *f); /* NULL is fine */
size_t filter_bytes(const struct filter *f);
bool filter_shields_up(const struct filter *f); /* NULL: false */
/* The port of the service at our address of that family (4 or 16 bytes); 0 = none there.  NULL: 0. */
uint16_t filter_service_port(const struct filter *f, const uint8_t *ip, size_t len);

struct filter_state *filter_state_new(void); /* NULL: out of memory */
void filter_state_free(struct filter_state *s);

enum filter_verdict {
        FILTER_ACCEPT,
        FILTER_DROP_MALFORMED, /* short, bad length, unknown version or header chain */
        FILTER_DROP_FRAGMENT,  /* tiny or overlapping first fragments */
        FILTER_DROP_MULTICAST,
        FILTER_DROP_LINK_LOCAL,
        FILTER_DROP_NOT_LOCAL, /* destination is not ours */
        FILTER_DROP_RULE,      /* no rule allows it */
        FILTER_DROP_TSMP,      /* the mesh's own message (protocol 99), never for the host */
        FILTER_VERDICTS
};
const char *filter_verdict_str(enum filter_verdict v);

/* f may be NULL (deny).  The packet is a whole IP packet. */
enum filter_verdict filter_in(const struct filter *f, struct filter_state *s, const uint8_t *pkt, size_t len);
enum filter_verdict filter_out(const struct filter *f, struct filter_state *s, const uint8_t *pkt,
                               size_t len);

/* Would a TCP connection to dst be let in?  Nothing is remembered of it, so any thread may ask.  NULL: false. */
bool filter_would_open(const struct filter *f, struct ip src, struct addr dst);

/* Is the host opening this TCP connection (ports and addresses as it sent them)?  If so it is not known any more:
 * a peer's refusal is told once. */
bool filter_take_open(struct filter_state *s, const struct packet *syn);
