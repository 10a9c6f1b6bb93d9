/* tun/filter.h - the packet filter: what may come in from the mesh, decided at the TUN's door.
 *
 * A filter is immutable once compiled (control thread) and crosses to the data thread by pointer.  The flows
 * it remembers live in struct filter_state, which the data thread owns and which survives a new filter.
 * Default deny: no filter, no rules, no inbound packet.  Outbound is not restricted beyond sanity checks;
 * it opens the way back for UDP and SCTP replies.  Verdicts follow the reference: TCP that is no initial
 * SYN passes (the host's own stack judges it), ICMP errors and echo replies pass.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct filter;
struct filter_state;

enum { FILTER_FLOWS = 512 };   /* UDP and SCTP flows remembered, least recently used goes */

struct filter_range {
        struct ip first, last;   /* inclusive, one family */
};

struct filter_ports {
        struct filter_range dst;
        uint16_t first, last;    /* inclusive; protocols without ports need 0..65535 */
};

/* One permission: from any of the sources, to any of the destinations, by any of the protocols. */
struct filter_allow {
        const struct filter_range *srcs;
        size_t src_count;
        const struct filter_ports *dsts;
        size_t dst_count;
        const uint8_t *protos;   /* never empty; the default set is TCP, UDP, ICMP, ICMPv6 */
        size_t proto_count;
};

/* Compiles; copies everything.  local: destinations that are ours (addresses, advertised routes); anything
 * else is refused.  shields_up: as if there were no rules.  NULL: out of memory. */
struct filter *filter_new(const struct filter_allow *allow, size_t allow_count, const struct prefix *local,
        size_t local_count, bool shields_up);
void filter_free(struct filter *f);   /* NULL is fine */

struct filter_state *filter_state_new(void);   /* NULL: out of memory */
void filter_state_free(struct filter_state *s);

enum filter_verdict {
        FILTER_ACCEPT,
        FILTER_DROP_MALFORMED,     /* short, bad length, unknown version or header chain */
        FILTER_DROP_FRAGMENT,      /* tiny or overlapping first fragments */
        FILTER_DROP_MULTICAST,
        FILTER_DROP_LINK_LOCAL,
        FILTER_DROP_NOT_LOCAL,     /* destination is not ours */
        FILTER_DROP_RULE,          /* no rule allows it */
        FILTER_DROP_TSMP,          /* the mesh's own message (protocol 99), never for the host */
        FILTER_VERDICTS
};
const char *filter_verdict_str(enum filter_verdict v);

/* f may be NULL (deny).  The packet is a whole IP packet. */
enum filter_verdict filter_in(const struct filter *f, struct filter_state *s, const uint8_t *pkt, size_t len);
enum filter_verdict filter_out(const struct filter *f, struct filter_state *s, const uint8_t *pkt, size_t len);
