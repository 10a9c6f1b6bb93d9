/* daemon/engine.h - the data side (WireGuard, paths, relays, netcheck, TUN) as the control thread sees it.
 *
 * engine_new() starts the data thread.  Every function here is called on the control thread and every
 * callback runs there; what crosses goes by message (daemon/dpmsg.h).  Configuration is copied by the call
 * unless it says "consumes".  Peers are named by the control server's node id; the engine gives them slots.
 * A peer costs the same to add, change or remove however many there are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/derpmap.h"
#include "base/err.h"
#include "base/key.h"
#include "base/loop.h"
#include "daemon/meshping.h"
#include "magicsock/hardnat_status.h"
#include "netcheck/report.h"

struct counters; /* daemon/counters.h */
struct engine;
struct filter;   /* tun/filter.h */
struct ms_explain; /* magicsock/explain.h */
struct sizes;    /* daemon/sizes.h */
struct tun;      /* tun/device.h */

enum { ENGINE_ENDPOINTS_MAX = 64, ENGINE_RELAY_TEXT_MAX = 128 };

struct engine_endpoint {
        struct addr addr;
        int type;   /* EndpointType of the control protocol: 1 local, 2 STUN, 3 portmapped, 4 STUN4+local port */
};

struct engine_peer {
        int64_t node_id;
        struct node_public key;
        struct disco_public disco;         /* zero: none yet */
        int home_region;                   /* 0: none */
        bool plain;                        /* WireGuard and nothing else */
        bool expired;                      /* data refused, disco still answered */
        const struct addr *endpoints;
        size_t endpoint_count;
        const struct prefix *allowed;      /* what it may send from and be sent to */
        size_t allowed_count;
};

/* What the data side knows of a peer, for status. */
struct engine_peer_status {
        int64_t node_id;
        struct addr direct;                /* none while on the relay */
        int64_t rx_bytes, tx_bytes;
        int64_t last_write_ns;             /* wall clock; 0 = never */
        int64_t last_handshake_ns;         /* wall clock; 0 = never */
        bool active;                       /* sent to within 45 s */
};

struct engine_status {
        size_t peer_count;                 /* only peers that ever talked; the rest is all zero */
        const struct engine_peer_status *peers;
        size_t endpoint_count;
        struct engine_endpoint endpoints[ENGINE_ENDPOINTS_MAX];
        int home_region;
        bool home_connected;
        uint16_t port;                     /* UDP port in use */
        int live_sessions, live_relays;
};

struct engine_ping_result {
        const char *error;                 /* NULL: answered */
        int64_t latency_ns;
        struct addr direct;                /* none: by relay */
        int relay_region;
        uint16_t service_port;             /* of the peer's PeerAPI, as it answers to a TSMP ping; 0: not said */
};

struct engine_callbacks {
        /* Our own endpoints changed: tell the control server. */
        void (*on_endpoints)(void *arg, const struct engine_endpoint *eps, size_t n);
        /* A netcheck finished, or the home to announce is another one; 0 = none has let us in yet, or there is none. */
        void (*on_report)(void *arg, const struct netcheck_report *report, int announce);
        /* The number of live sessions or relay connections changed (the backend's Starting -> Running). */
        void (*on_live)(void *arg, int sessions, int relays);
        /* A relay connection came up or failed; text is empty when up. */
        void (*on_relay)(void *arg, int region, bool connected, const char *text);
        /* The host sent an IP packet to one of the service addresses, or without a TUN device a peer sent one that the
         * filter let in; borrowed for the call. */
        void (*on_service_packet)(void *arg, const uint8_t *pkt, size_t len);
        /* The UDP port is another one, also after a change of network; 0: there is none. */
        void (*on_port)(void *arg, uint16_t port);
        /* Somebody deleted the interface: no packet goes in or out any more. */
        void (*on_tun_gone)(void *arg);
};

struct engine_opts {
        struct tun *tun;                   /* borrowed until engine_free(); NULL: on_service_packet gets all packets */
        const char *tun_name;              /* never offered as an endpoint's interface */
        uint16_t port;                     /* UDP; 0 = any */
        uint32_t mark;                     /* SO_MARK of every socket; 0 = none */
        const struct sizes *sizes;         /* NULL: normal; for ever */
        unsigned offloads;                 /* that may be used: daemon/offload.h */
        unsigned portmap;                  /* ways to a port of the router that may be used: PORTMAP_BITs */
        const struct addr *statics;        /* endpoints by the administrator, up to MS_STATIC_MAX; copied */
        size_t static_count;
        unsigned threads;                  /* that help the data thread to seal and open: 0 to AEAD_CREW_MAX */
        int64_t stamp_floor_ns;            /* wall clock: stamps of handshakes are later; 0 = any */
};

/* NULL: errno says why (thread, sockets).  A taken port falls back to any port with a warning. */
struct engine *engine_new(struct loop *control, const struct engine_opts *opts,
        const struct engine_callbacks *cb, void *arg);
void engine_free(struct engine *e);   /* stops and joins the thread; pending requests are answered with an error */

/* The disco key pair is made at start and lives in memory only. */
struct disco_public engine_disco_public(const struct engine *e);

/* Our identity.  A new key drops every session. */
void engine_set_key(struct engine *e, const struct key_private *node);
/* Up: sockets answer, relays connect, netcheck runs.  Down: silence.  Peers stay, and their sessions, which run out
 * by themselves. */
void engine_set_up(struct engine *e, bool up);
void engine_set_derpmap(struct engine *e, const struct derpmap *m);
/* Whether the control server hears us: home does not move while it could not be announced. */
void engine_set_polling(struct engine *e, bool polling);
void engine_set_offloads(struct engine *e, unsigned allowed);   /* by the server: daemon/offload.h */
void engine_set_portoff(struct engine *e, unsigned ways);      /* by the server: daemon/portoff.h */

void engine_set_hardnat(struct engine *e, enum hn_pref pref);   /* magicsock/hardnat_status.h */
void engine_peer_set(struct engine *e, const struct engine_peer *p);   /* adds or changes */
void engine_peer_remove(struct engine *e, int64_t node_id);
void engine_peers_clear(struct engine *e);

void engine_set_filter(struct engine *e, struct filter *f);   /* consumes; swapped in between packets */

/* An IP packet for the host, as if it came through the tunnel; without a TUN device one for a peer.  Dropped if the bounded
 * queue is full, as a network would: then false. */
bool engine_service_send(struct engine *e, const uint8_t *pkt, size_t len);

/* The host's addresses or default route changed, or it slept (0: it did not). */
void engine_link_changed(struct engine *e, int64_t slept_ms);
/* Look at endpoints and relays again now. */
void engine_restun(struct engine *e);

typedef void (*engine_status_fn)(void *arg, const struct engine_status *st);
void engine_status(struct engine *e, engine_status_fn fn, void *arg);

typedef void (*engine_counters_fn)(void *arg, const struct counters *c);
/* fn is called once; all is zero if memory is short or the daemon is shutting down. */
void engine_counters(struct engine *e, engine_counters_fn fn, void *arg);

typedef void (*engine_ping_fn)(void *arg, const struct engine_ping_result *res);
/* Disco ping; size pads it (0 = none).  fn is called once. */
void engine_ping(struct engine *e, int64_t node_id, size_t size, engine_ping_fn fn, void *arg);
/* Ping through the tunnel, from an address of ours to one behind the node, both of one family.  fn is called once. */
void engine_ping_inside(struct engine *e, int64_t node_id, enum meshping_kind kind, struct ip from, struct ip to,
        engine_ping_fn fn, void *arg);

typedef void (*engine_paths_fn)(void *arg, const struct ms_explain *x);
/* What is known of the paths to the peer; fn is called once, with NULL if there is no such peer. */
void engine_paths(struct engine *e, int64_t node_id, engine_paths_fn fn, void *arg);

typedef void (*engine_netcheck_fn)(void *arg, const struct netcheck_report *report);
/* A full netcheck over the current relay map; fn is called once, with an all-zero report if there is none. */
void engine_netcheck(struct engine *e, engine_netcheck_fn fn, void *arg);
