/* daemon/dpmsg.h - the messages between the control thread and the data thread.
 *
 * Fixed size, by value through base/ring.h.  `ptr` is a heap block that changes owner with the message and
 * is freed by the receiver.  A peer is its slot; the generation tells a late answer about a slot from one
 * about its next tenant.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/key.h"
#include "daemon/engine.h"

enum dp_msg_kind {
        /* control -> data */
        DP_SET_KEY,       /* ptr: struct key_private, wiped by the receiver */
        DP_SET_UP,        /* num: 0 or 1 */
        DP_SET_DERPMAP,   /* ptr: struct derpmap */
        DP_SET_FILTER,    /* ptr: struct filter, may be NULL */
        DP_PEER_SET,      /* slot, gen, ptr: struct dp_peer */
        DP_PEER_REMOVE,   /* slot */
        DP_LINK_CHANGED,  /* num: for how many ms the host slept; 0: it did not */
        DP_RESTUN,
        DP_STATUS,        /* id */
        DP_COUNTERS,      /* id */
        DP_PING,          /* id, slot, num: size */
        DP_PATHS,         /* id, slot */
        DP_PING_INSIDE,   /* id, slot, ptr: struct meshping */
        DP_NETCHECK,      /* id */
        DP_POLLING,       /* num: 1 while control listens to us */
        DP_SET_OFFLOADS,  /* num: OFFLOAD_ bits that the server leaves on */
        DP_SET_PORTOFF,   /* num: PORTMAP_BITs that the server switches off */
        DP_SET_HARDNAT,   /* num: enum hn_pref */
        DP_STOP,

        /* data -> control */
        DP_ENDPOINTS,     /* ptr: struct dp_endpoints */
        DP_REPORT,        /* ptr: struct netcheck_report; id: request or 0; num: the home to announce */
        DP_LIVE,          /* slot: live sessions, num: live relays */
        DP_RELAY,         /* ptr: struct dp_relay */
        DP_STATUS_REPLY,  /* id, ptr: struct dp_status */
        DP_COUNTERS_REPLY,   /* id, ptr: struct counters */
        DP_PING_REPLY,    /* id, ptr: struct dp_ping_reply */
        DP_PATHS_REPLY,   /* id, ptr: struct ms_explain; NULL: no such peer */
        DP_TUN_GONE,
        DP_PORT,          /* num: the UDP port we have now; 0: none */
};

struct dp_msg {
        enum dp_msg_kind kind;
        uint32_t slot;
        uint32_t gen;
        uint32_t id;
        int64_t num;
        void *ptr;
};
_Static_assert(sizeof(struct dp_msg) <= 32, "a message is half a cache line");

enum {
        DP_RING = 1024,
        DP_SERVICE_ROUND = 256,   /* packets to or from the service addresses at most in one round of a loop */
};

struct dp_peer {
        struct node_public key;
        struct disco_public disco;
        int home_region;
        bool plain;
        bool expired;
        size_t endpoint_count, allowed_count;
        struct addr *endpoints;      /* both point into the same block */
        struct prefix *allowed;
};

struct dp_endpoints {
        size_t count;
        struct engine_endpoint eps[ENGINE_ENDPOINTS_MAX];
};

struct dp_relay {
        int region;
        bool connected;
        char text[ENGINE_RELAY_TEXT_MAX];
};

/* One row a peer that ever talked; node ids are filled in by the control half from slot and generation. */
struct dp_status_row {
        uint32_t slot, gen;
        struct engine_peer_status st;
};

struct dp_status {
        struct engine_status st;     /* .peers unused */
        size_t row_count;
        struct dp_status_row rows[];
};

struct dp_ping_reply {
        const char *error;           /* static text or NULL */
        int64_t latency_ns;
        struct addr direct;
        int relay_region;
        uint16_t service_port;
};
