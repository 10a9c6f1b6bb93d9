/* netcheck/hairpin.h - does our NAT lead back inside what one of its hosts sends to the outside address of another?
 *
 * Pure.  A second socket of ours stands for the other host.  It asks a relay for its own outside address; then the first
 * sends to that one, and if nothing comes, the second to the first's.  So each has sent before it is sent to for the last
 * time, as two peers have, and what comes in only then tells of a filter on the way.  Terms of RFC 4787 5 and 6.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"
#include "netcheck/report.h"
#include "netcheck/stun.h"

enum nc_hairpin_step { NC_HAIRPIN_OFF, NC_HAIRPIN_ASK, NC_HAIRPIN_OUT, NC_HAIRPIN_BACK };

struct nc_hairpin {
        enum nc_hairpin_step step;     /* NC_HAIRPIN_OFF: not begun, or over */
        unsigned sent;                 /* datagrams of this step */
        mono_t since;                  /* of this step */
        int64_t rtt_ns;                /* to the relay, which is no nearer than the NAT */
        struct addr relay;
        struct addr outside, second;   /* where a relay sees the first socket, and the second */
        struct stun_txid txid[3];      /* of each step */
        enum nc_tri works;             /* NC_UNKNOWN: not looked at, or no relay answered the second socket */
        bool filtered;                 /* it works, but only for those that were sent to */
        bool same_mapping;             /* others see the first socket at `outside` as the relay did */
};

struct nc_hairpin_send {
        bool second;                   /* leaves from the second socket */
        struct addr to;
        uint8_t data[STUN_REQUEST_LEN];
};

/* fill: with unpredictable bytes.  relay: where the first socket asked; rtt_ns: how long that took; outside: what it was told. */
void nc_hairpin_start(struct nc_hairpin *h, void (*fill)(void *out, size_t n), struct addr relay, int64_t rtt_ns,
        struct addr outside, mono_t now);
void nc_hairpin_stop(struct nc_hairpin *h);   /* what is not known by now stays so */
/* True: *ret is to be sent; call again. */
bool nc_hairpin_next(struct nc_hairpin *h, mono_t now, struct nc_hairpin_send *ret);
mono_t nc_hairpin_deadline(const struct nc_hairpin *h);   /* MONO_NEVER: off */
/* A STUN message that came in to the second socket, or to the first.  False: none of this. */
bool nc_hairpin_on_second(struct nc_hairpin *h, struct addr src, const void *data, size_t len, mono_t now);
bool nc_hairpin_on_first(struct nc_hairpin *h, const void *data, size_t len);
