/* magicsock/magicsock.h - the one door to the network: packets for a peer go in, and leave by its best path.
 *
 * Joins the UDP sockets, the relay (DERP) connections, the path machine of every peer and netcheck.  All of
 * it lives on the data thread, on the loop given to ms_new(); every callback runs there, and may call back
 * in, except ms_free().  Peers are named by the caller's slot number, below MS_SLOTS_MAX; the key of a slot
 * may change, which starts its paths over.
 *
 * A peer starts on its relay, so the first packet never waits; disco pings find a direct path meanwhile and
 * data moves there.  Nothing on the packet path allocates but what a search for a path needs: a peer's candidates and
 * pings in flight, bounded, and the connection to a relay that was not needed before.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/derpmap.h"
#include "base/dial.h"
#include "base/err.h"
#include "base/key.h"
#include "base/loop.h"
#include "base/mono.h"
#include "base/pkt.h"
#include "magicsock/derp_manager.h"
#include "magicsock/endpoints.h"
#include "magicsock/explain.h"
#include "magicsock/hardnat_status.h"
#include "netcheck/netcheck.h"
#include "portmap/portmap.h"

enum {
        MS_SLOTS_MAX = 65536,
        MS_BATCH_MAX = 64,         /* packets in one call, either way */
        MS_PEER_ENDPOINTS_MAX = 64,   /* of one peer in the network map; what is beyond is ignored */
};
#define MS_SLOT_NONE UINT32_MAX

/* Where a WireGuard packet came from.  By relay: region and key are set, addr is none, and slot is the
 * peer with that key (a stranger's packets never get this far).  By UDP: addr is set and slot is
 * MS_SLOT_NONE, as only WireGuard can say who it was. */
struct ms_source {
        struct addr addr;
        uint16_t region;
        uint32_t slot;
        struct node_public key;
};

enum ms_relay_state {
        MS_RELAY_DOWN,         /* not connected; detail says why, if it failed */
        MS_RELAY_CONNECTING,
        MS_RELAY_UP,
        MS_RELAY_UNHEALTHY,    /* up, but the server complains: detail */
};

/* The answer to ms_ping(), exactly one for each. */
struct ms_ping_result {
        uint64_t cookie;
        uint32_t slot;
        enum err err;            /* ERR_NONE, ERR_TIMEOUT, ERR_STATE (expired, stopped, peer removed) */
        int64_t latency_ns;
        struct addr addr;        /* direct */
        uint16_t region;         /* by relay: id and code */
        char region_code[32];
};

struct ms_callbacks {
        /* WireGuard packets; takes over all n, n <= MS_BATCH_MAX.  srcs is borrowed.  True, which it may be only if
         * may_keep: some of them are still wanted, and another call, maybe of none, comes before this round of the loop
         * ends.  They last until it returns. */
        bool (*on_wg)(void *arg, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t now);
        /* The set of our endpoints changed: for control.  Borrowed. */
        void (*on_endpoints)(void *arg, const struct ms_endpoint *eps, size_t n, mono_t now);
        /* A netcheck report is complete; preferred in it is our home.  Borrowed.  announce: the home that others should
         * know; 0 = none has let us in yet, or there is none, and they had better keep what they know. */
        void (*on_report)(void *arg, const struct netcheck_report *report, int announce, mono_t now);
        void (*on_ping)(void *arg, const struct ms_ping_result *res, mono_t now);
        void (*on_relay_state)(void *arg, int region, enum ms_relay_state st, const char *detail, mono_t now);
        /* A peer answered for the first time, or its home is another: what leaves from `since` on may arrive where what left
         * before did not. */
        void (*on_known)(void *arg, uint32_t slot, mono_t since, mono_t now);
};

struct ms_opts {
        uint16_t port;            /* 0 = any; taken: any, with a warning */
        uint32_t mark;            /* SO_MARK of every socket; 0 = none */
        const char *tun_name;     /* whose addresses are never advertised; NULL = none; copied */
        int socket_bytes;         /* what the kernel may hold for a UDP socket, each way; 0 = much */
        bool no_udp;              /* no UDP at all: relay only */
        unsigned portmap;         /* PORTMAP_BITs: ways to a port of the router that may be used; 0 = it is not asked */
        const struct addr *statics;   /* endpoints besides those that are found; copied, up to MS_STATIC_MAX */
        size_t static_count;
        bool relay_plain;         /* relays speak plain HTTP: for tests */
        uint8_t *room;            /* SOCK_ROOM bytes, lent, in use from when a socket is read to the last on_wg of it; may be
                                   * NULL without UDP */
        const struct ms_callbacks *cb;   /* copied; members may be NULL */
        void *arg;
};

struct ms;

/* NULL: no memory, or no UDP socket could be had (errno says why).  Starts idle: see ms_set_active(). */
struct ms *ms_new(struct loop *l, struct pkt_pool *pool, struct dialer *d, const struct ms_opts *opts);
void ms_free(struct ms *ms);

/* Our node key; closes the relay connections of another one.  NULL or zero: logged out. */
void ms_set_keys(struct ms *ms, const struct key_private *node);
struct disco_public ms_disco_public(const struct ms *ms);   /* made at start, never stored */
/* Between `up` and `down`: inactive drops every packet, closes the relays and stops probing. */
void ms_set_active(struct ms *ms, bool active, mono_t now);
/* Borrowed until replaced; NULL = none. */
void ms_set_derp_map(struct ms *ms, const struct derpmap *map, mono_t now);
int ms_home(const struct ms *ms);   /* 0 = none yet */
/* Home changes only while control listens, as peers could not learn of it otherwise. */
void ms_set_map_polling(struct ms *ms, bool polling, mono_t now);
void ms_want_offloads(struct ms *ms, unsigned wanted);   /* of the UDP sockets, now and later: magicsock/sock.h */
void ms_set_portmap_off(struct ms *ms, unsigned ways, mono_t now);   /* by the server, of ms_opts.portmap */
uint16_t ms_port(const struct ms *ms, enum ip_family f);   /* 0: no socket of that family */

struct ms_peer_config {
        struct node_public key;
        struct disco_public disco;        /* zero: reachable by relay alone */
        int home;                         /* relay region; 0 = unknown */
        const struct addr *endpoints;     /* copied */
        size_t endpoint_count;
        bool plain;                       /* of plain WireGuard: reachable at its endpoints alone */
        bool expired;                     /* its key: nothing is sent to it */
};

/* Adds or updates.  Same key: the paths survive.  ERR_FULL: slot out of range, or no memory.
 * ERR_STATE: another slot has this key. */
ERR_CHECK enum err ms_peer_set(struct ms *ms, uint32_t slot, const struct ms_peer_config *c, mono_t now);
void ms_peer_remove(struct ms *ms, uint32_t slot, mono_t now);
struct disco_public ms_peer_disco(const struct ms *ms, uint32_t slot);   /* zero: none, or no such peer */

/* WireGuard packets for a peer, any kind, n <= MS_BATCH_MAX; takes over all.  One decision about the path
 * a call.  ERR_NONE: on their way; else dropped: ERR_NOT_FOUND (no such peer, or no way to reach it),
 * ERR_STATE (expired or inactive). */
enum err ms_send(struct ms *ms, uint32_t slot, struct pkt **pkts, size_t n, mono_t now);
/* One packet straight back to where another came from (cookie replies); takes it over. */
enum err ms_send_to(struct ms *ms, const struct ms_source *to, struct pkt *pkt, mono_t now);
/* WireGuard authenticated a packet of this peer, from src (none: by relay).  Call it for each batch, not for each
 * packet; cheap.  Never moves a path: only disco does. */
void ms_heard(struct ms *ms, uint32_t slot, struct addr src, mono_t now);

/* A disco ping by the present path and, if it is not direct, by all candidates.  The first pong is the
 * result, through on_ping.  size: bytes of the whole IP packet, 0 = plain.  On an error there is no result. */
ERR_CHECK enum err ms_ping(struct ms *ms, uint32_t slot, uint64_t cookie, size_t size, mono_t now);

struct ms_peer_status {
        bool active;               /* sent to within 45 s */
        struct addr cur_addr;      /* the direct address in use; none while on relay */
        int relay;                 /* the peer's home region */
        char relay_code[32];       /* "" = unknown */
        mono_t last_send, last_heard;
        uint64_t tx_direct, tx_relay;   /* bytes handed to each way */
        struct hn_status hard_nat;      /* the search through a hard NAT of ours */
};
/* False: no such peer. */
bool ms_peer_status(const struct ms *ms, uint32_t slot, struct ms_peer_status *ret, mono_t now);

/* All that is known of the paths to it.  False: no such peer. */
bool ms_explain(const struct ms *ms, uint32_t slot, struct ms_explain *ret, mono_t now);

/* Who is searched for through a hard NAT of ours: magicsock/hardnat_status.h. */
void ms_set_hardnat(struct ms *ms, enum hn_pref pref, mono_t now);
struct hn_totals ms_hardnat_totals(const struct ms *ms);

/* Another network, or a host that slept (for slept_ms; 0: it did not): new sockets (on the same port if it is free), fresh
 * paths, fresh netcheck. */
void ms_rebind(struct ms *ms, int64_t slept_ms, mono_t now);
/* Start a netcheck now, all regions if full. */
void ms_restun(struct ms *ms, bool full, mono_t now);
/* Our endpoints of this moment, at most MS_ENDPOINTS_MAX. */
size_t ms_endpoints(const struct ms *ms, const struct ms_endpoint **ret);

enum ms_drop {
        MS_DROP_SHORT,          /* too short for anything */
        MS_DROP_INACTIVE,
        MS_DROP_DISCO_STRANGER,   /* a disco key we do not know */
        MS_DROP_DISCO_AUTH,
        MS_DROP_DISCO_PARSE,
        MS_DROP_DISCO_RATE,     /* too many from one peer */
        MS_DROP_RELAY_STRANGER,   /* a node key we do not know */
        MS_DROP_NO_PATH,
        MS_DROP_SOCKET,         /* the kernel refused */
        MS_DROP_LARGE,          /* longer than PKT_DATA_MAX */
        MS_DROP_PEER_RELAY,     /* Geneve: we take no part in that */
        MS_DROP_COUNT,
};
/* Inactive, and the router knows it too; until then the loop has to go on. */
bool ms_is_quiet(const struct ms *ms);
void ms_portmap_counts(const struct ms *ms, struct portmap_counts *ret);
/* WireGuard messages that came in or went out, by way; what goes both ways in doubt counts twice. */
enum ms_way { MS_WAY_DIRECT4, MS_WAY_DIRECT6, MS_WAY_RELAY, MS_WAYS };
struct ms_traffic {
        uint64_t packets, bytes;
};
void ms_traffic(const struct ms *ms, struct ms_traffic ret_in[MS_WAYS], struct ms_traffic ret_out[MS_WAYS]);
void ms_relay_stats(const struct ms *ms, struct derp_mgr_stats *ret);
uint64_t ms_drops(const struct ms *ms, enum ms_drop why);
const char *ms_drop_str(enum ms_drop why);
