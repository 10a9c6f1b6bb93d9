/* magicsock/derp_manager.h - the relay connections of this node: one to its home region, others on demand.
 *
 * Data thread, on the loop given to derp_mgr_new(); every callback runs there and may call back in, except
 * derp_mgr_free().  A connection is opened by set_home() or by the first send to its region; it reconnects
 * with jittered backoff (n * n * 10 ms up to 5 s, times 0.5 to 1.5); one that is not home is closed when
 * nothing was sent on it for 60 s, nor was it home (looked at every 15 s).  After 67 s without a byte the relay is asked,
 * and then it has 1 s.
 *
 * Learned routes (a peer was heard on region R, so answer there) live with the caller, in its peer: store
 * region and conn of on_recv, use them while derp_mgr_conn_alive() says so, and drop them on on_peer_gone.
 *
 * Nothing allocates per packet: a connection owns fixed buffers, and until a relay has let us in a queue of 32 packets,
 * oldest dropped.  All queues together hold at most a quarter of the pool.  What a buffer has no room for is dropped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/derpmap.h"
#include "base/dial.h"
#include "base/err.h"
#include "base/key.h"
#include "base/loop.h"
#include "base/mono.h"
#include "base/pkt.h"

enum {
        DERP_MGR_QUEUE_MAX = 32,   /* packets waiting for one connection to be let in */
        DERP_MGR_BURST_MAX = 64,   /* packets between two on_pause */
        DERP_MGR_CONNS_MAX = 64,   /* connections open at a time; the home always finds room */
};

enum derp_state {
        DERP_STATE_DOWN,         /* not connected; detail says why, "" if on purpose */
        DERP_STATE_CONNECTING,
        DERP_STATE_UP,           /* the server accepted us; also: a health complaint is over */
        DERP_STATE_UNHEALTHY,    /* up, but the server complains: detail */
};

enum derp_gone { DERP_GONE_DISCONNECTED = 0, DERP_GONE_NOT_HERE = 1 };

struct derp_mgr_callbacks {
        /* pkt is a view, until the next on_pause has returned.  conn numbers this very connection; never 0. */
        void (*on_recv)(void *arg, int region, uint32_t conn, const struct node_public *src, struct pkt *pkt,
                mono_t now);
        /* After one to DERP_MGR_BURST_MAX on_recv of one connection. */
        void (*on_pause)(void *arg, mono_t now);
        /* The relay has not, or no longer, this peer: forget a route learned on this conn, nothing else. */
        void (*on_peer_gone)(void *arg, int region, uint32_t conn, const struct node_public *key,
                enum derp_gone why, mono_t now);
        /* lost: an established connection broke (a reason to probe the network); it reconnects by itself. */
        void (*on_state)(void *arg, int region, enum derp_state st, const char *detail, bool lost, mono_t now);
};

struct derp_mgr_opts {
        const struct derp_mgr_callbacks *cb;   /* copied; members may be NULL */
        void *arg;
        bool plain;                            /* no TLS at all: only where a test relay speaks plain HTTP */
};

struct derp_mgr;

/* NULL: out of memory.  Starts with no key, no map, no home, network up. */
struct derp_mgr *derp_mgr_new(struct loop *l, struct dialer *d, struct pkt_pool *pool,
        const struct derp_mgr_opts *opts);
void derp_mgr_free(struct derp_mgr *m);   /* NULL is fine; no callback is called */

/* Our node key, copied.  Another key closes every connection and dials home anew; NULL or zero: closes all. */
void derp_mgr_set_key(struct derp_mgr *m, const struct key_private *node, mono_t now);
/* Borrowed until replaced, and still valid during the call that replaces it; NULL = none.  Closes exactly the
 * regions whose definition changed or went; if the home went, home is 0 until set anew. */
void derp_mgr_set_map(struct derp_mgr *m, const struct derpmap *map, mono_t now);
/* Connects it, and tells every open connection whether it is home.  0 = none: the old one is left to the
 * idle sweep.  A region the map does not have counts as 0. */
void derp_mgr_set_home(struct derp_mgr *m, int region, mono_t now);
int derp_mgr_home(const struct derp_mgr *m);
/* Where others look for us, which need not be home yet; 0 = nowhere.  An open connection to it does not go for being idle. */
void derp_mgr_set_told(struct derp_mgr *m, int region);
int derp_mgr_told(const struct derp_mgr *m);
/* The network may have changed under us: every open connection is pinged and is replaced unless a byte
 * comes within 1 s; those that are not up, or whose own address is not the one that leads to the relay now, are dialed anew
 * at once.  slept_ms: for how long the host slept, 0 = not at all; a relay that has missed an answer meanwhile is not asked
 * either.  Those to which there is no way now are left for the next time. */
void derp_mgr_check(struct derp_mgr *m, int64_t slept_ms, mono_t now);

/* Those that are up are asked, as above; the others go on as they do. */
void derp_mgr_ask(struct derp_mgr *m, mono_t now);

/* One that waits for its next attempt makes it now. */
void derp_mgr_hurry(struct derp_mgr *m, int region, mono_t now);

/* Queues for dst, connecting first if need be; always takes pkt over.  It leaves in this round of the loop, or when
 * the pace (pace.h) allows it, many at a time.
 * ERR_STATE: no key, or network down.  ERR_NOT_FOUND: no such region.  ERR_FULL: too many connections. */
enum err derp_mgr_send(struct derp_mgr *m, int region, const struct node_public *dst, struct pkt *pkt,
        mono_t now);

/* What waits for the region leaves now, as far as the pace allows, and not at the end of the round.  Calls nobody back: that
 * the connection broke is told at the end of the round. */
void derp_mgr_hasten(struct derp_mgr *m, int region, mono_t now);

bool derp_mgr_is_up(const struct derp_mgr *m, int region);
/* Up, and what is sent now arrives as far as one can know: for who has another way.  One that nothing came or went by for 5 s
 * is asked; no connection is ready that has a question to answer. */
bool derp_mgr_is_ready(struct derp_mgr *m, int region, mono_t now);
/* conn of on_recv is still the live connection of the region. */
bool derp_mgr_conn_alive(const struct derp_mgr *m, int region, uint32_t conn);
/* When a byte last came from the region's connection; unset = never, or there is none. */
mono_t derp_mgr_heard(const struct derp_mgr *m, int region);

struct derp_mgr_stats {
        uint64_t sent, received;   /* packets */
        uint64_t dropped_queue;    /* no room, pushed out by newer ones, or left when a connection ended */
        uint64_t dropped_large;    /* received, but too large for a struct pkt */
        uint64_t dropped_rate;     /* over the rate the server set */
};
void derp_mgr_get_stats(const struct derp_mgr *m, struct derp_mgr_stats *ret);
