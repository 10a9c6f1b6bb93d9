/* magicsock/explain.h - one peer's paths as they are, and why the one in use is not a direct one.
 *
 * A plain value that magicsock fills (ms_explain()) and that may cross threads; what is made of it is pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"
#include "magicsock/hardnat_status.h"
#include "magicsock/history.h"
#include "magicsock/path.h"
#include "magicsock/peer.h"
#include "netcheck/nat.h"

struct ms_explain {
        mono_t now;                  /* when it was filled */
        bool has_disco, expired;
        bool plain;                  /* of plain WireGuard: magicsock/plain.h */
        bool awake;                  /* something was sent to it or heard of it; else the times are unset */
        bool active;                 /* sent to within 45 s */
        bool knows_us;               /* something of its own came */
        struct ms_route route;
        int64_t latency_ns;          /* of the direct path in use */
        mono_t trust_until;          /* that path is in doubt after it */
        int home, learned, likely;   /* relays: of the map, last heard from, our own */
        mono_t last_send, heard;     /* heard: authenticated by WireGuard */
        mono_t round_started, call_sent;
        mono_t heard_ping;           /* its last ping by UDP */
        uint64_t tx_direct, tx_relay;
        struct history history;
        struct hn_status hard_nat;   /* the search through our own */

        /* What is ours. */
        bool udp4, udp6;             /* there is a socket */
        bool home_down;              /* we are up, and our home relay, by which the peer may come, has not let us in */
        bool absent;                 /* the peer's home relay has said that it is not there */
        size_t own_endpoints;
        enum nc_nat_kind nat;
        bool ipv6;                   /* relays answer by it */

        size_t path_count;
        struct path paths[PATH_CANDIDATES_MAX];
};

/* Most telling first. */
enum ms_why {
        MS_WHY_EXPIRED = 1,
        MS_WHY_NO_DISCO,
        MS_WHY_IDLE,             /* nothing is sent, so nothing is looked for */
        MS_WHY_HOME_DOWN,        /* nor by relay, most likely */
        MS_WHY_NO_SOCKET,
        MS_WHY_BLOCKED,          /* UDP does not get out here */
        MS_WHY_UNHEARD,          /* it answered nothing at all, not even by relay */
        MS_WHY_ABSENT,           /* its home relay says so */
        MS_WHY_NO_ADDRESS,       /* none of its own is known */
        MS_WHY_FAMILY,           /* none that we could send to */
        MS_WHY_NO_OWN_ADDRESS,   /* nothing to tell it */
        MS_WHY_SEARCHING,        /* just begun */
        MS_WHY_SILENT,           /* one was in use, or answered, and does not any more */
        MS_WHY_ONE_WAY,          /* its pings come, ours are not answered */
        MS_WHY_NO_PONG,          /* nothing comes by UDP in either direction */
        MS_WHY_BOTH_HARD,
        MS_WHY_HARD_HERE,
        MS_WHY_HARD_THERE,       /* it names several ports of one public address */
};
enum { MS_WHY_MAX = 9, MS_WHY_TEXT_MAX = 240 };

/* How many of ret are filled; 0: the path is direct. */
size_t ms_why(const struct ms_explain *x, enum ms_why ret[MS_WHY_MAX]);
const char *ms_why_word(enum ms_why w);   /* "udp-blocked"; as JSON names it */
const char *ms_why_text(enum ms_why w, const struct ms_explain *x, char out[MS_WHY_TEXT_MAX]);
