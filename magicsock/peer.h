/* magicsock/peer.h - how to reach one peer: the path machine.
 *
 * Pure: events come in with `now`, the machine changes its state and appends what must be sent to an
 * action list of the caller's.  It draws its own ping ids from base/crypto.h.  The owner (magicsock.c, data
 * thread) carries the actions out, and calls ms_peer_expire() at ms_peer_deadline().
 *
 * Data starts on the peer's relay.  The same packet starts a round: pings to every candidate, and a
 * call-me-maybe by relay that makes the peer ping us.  A pong proves a path; it is trusted for 6.5 s and kept
 * alive by a heartbeat every 3 s while there is traffic.  All numbers are those of the reference, and on top of
 * them three rules that make two NATs open in one round trip where it takes 5 s: ping back whoever pings us,
 * answer a call-me-maybe with ours, and repeat the pings of a fresh round soon.
 *
 * Whether the path in use still carries is watched closely (magicsock/liveness.h).  In doubt, and out of trust,
 * data goes both ways, every other address is tried as well, and the first pong decides.  Without one the data goes by
 * relay alone, and the peer is told so in a way that every peer understands: a call without addresses makes it
 * forget those that calls named, also the one it still trusts, and the call right after it names them anew.
 *
 * A server may take a second to tell a peer of us, and until then it drops all we send.  So with the first data
 * for a peer that never answered, has restarted since, or knew us by another key, we also knock: pings by relay, which
 * cost next to nothing, until one is answered.  Of a peer that speaks before that one more is sent: its answer shows what
 * came too early.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/mono.h"
#include "magicsock/disco.h"
#include "magicsock/liveness.h"
#include "magicsock/path.h"
#include "magicsock/pings.h"

enum {
        MS_PEER_SLICE = 24,         /* pings at once; a longer round goes on 20 ms later */
        MS_PEER_CLI_MAX = 8,        /* ms_ping()s in flight */
        MS_PEER_SEEN_MAX = 16,      /* newest ping ids from the peer: each is answered once */
        MS_ACTIONS_MAX = 192,
};
#define MS_PEER_HEARTBEAT_NS (3 * NS_PER_SEC)
#define MS_PEER_TRUST_NS (6500 * NS_PER_MS)
#define MS_PEER_PING_TIMEOUT_NS (5 * NS_PER_SEC)
#define MS_PEER_ACTIVE_NS (45 * NS_PER_SEC)
#define MS_PEER_UPGRADE_NS (60 * NS_PER_SEC)
#define MS_PEER_GOOD_LATENCY_NS (5 * NS_PER_MS)
#define MS_PEER_WORSE_GAP_NS (10 * NS_PER_SEC)   /* the same, if it takes twice as long as then */

enum ms_action_kind {
        MS_ACT_PING,          /* to addr, with txid and padding; report ms_peer_on_ping_failed() */
        MS_ACT_PING_RELAY,    /* by the peer's relay */
        MS_ACT_PONG,          /* to addr, naming addr */
        MS_ACT_PONG_RELAY,    /* back by region */
        MS_ACT_CALL,          /* our endpoints, by relay */
        MS_ACT_WITHDRAW,      /* the same without any; MS_ACT_CALL follows */
        MS_ACT_KNOWN,         /* the peer can hear us, and an answer to what was sent before `sent` need not be waited for */
        MS_ACT_CLI_RESULT,    /* the end of ms_peer_ping(): cookie, err, latency_ns, addr or region */
};

struct ms_action {
        enum ms_action_kind kind;
        struct addr addr;
        struct disco_txid txid;
        size_t padding;
        int region;
        uint64_t cookie;
        enum err err;
        int64_t latency_ns;
        mono_t sent;
};

struct ms_actions {
        size_t count;
        struct ms_action a[MS_ACTIONS_MAX];   /* more than one event can ask for */
        struct ms_action spill;               /* where it would go all the same */
};

struct ms_peer {
        /* What control says. */
        bool has_disco;
        bool plain;              /* neither disco nor relay: magicsock/plain.h */
        bool expired;
        bool takes_part;         /* in searches through a hard NAT: the peer may name many addresses at once */
        int home;                /* relay region, 0 = unknown */
        int learned;             /* region it last sent to us by, 0 = none */
        int likely;              /* our own home: tried while neither is known */

        struct path_set paths;
        struct path_best best;
        mono_t trust_until;
        struct liveness live;    /* of the best */
        mono_t doubted;          /* all others were tried then, because of doubt */
        int64_t chosen_ns;       /* its latency when others were tried last */
        struct addr last_good;   /* the one before, if it was lost: looked for until it is back */

        mono_t unanswered;       /* plain: the first that was sent since it spoke last; 0 = nothing */
        mono_t last_send;        /* by WireGuard or the CLI; drives heartbeats */
        mono_t heartbeat_at;     /* each *_at: MONO_NEVER or zero = not armed */
        mono_t round_started;    /* entered, even if it pinged nobody */
        mono_t quiet_until;      /* all gates are closed till then: no use in looking */
        mono_t more_at;          /* the rest of a long round */
        mono_t burst_started;
        mono_t burst_at;         /* next repetition */
        unsigned burst_step;
        mono_t call_sent;
        mono_t call_again_at;
        mono_t heard_ping;       /* the peer's last ping by UDP */
        mono_t lost;             /* last_good was given up then; 0 = nothing is missed */
        mono_t probe_at;
        bool knows_us;           /* something of the peer's came since it started: the server has told it of us */
        bool renamed;            /* we have another node key since it showed to know ours.  By UDP, which goes by disco keys, it
                                  * speaks to whom we were; a relay brings what is sent to our key alone */
        bool answered;           /* it did so to something of ours since then, as far as that tells of the relay */
        mono_t moved;            /* our network changed then, and nothing that was sent since has been answered; 0 = no */
        mono_t knock_started;
        mono_t knock_at;

        struct ms_bucket {       /* tokens, counted in the time they take to come back */
                int64_t tokens_ns;
                mono_t refilled;
        } pongs, pongs_home, backs, calls, searches, guesses;   /* _home: by the relay, or to the path in use */

        struct pings pings;
        struct disco_txid seen[MS_PEER_SEEN_MAX];
        size_t seen_next, seen_count;
        struct {
                uint64_t cookie;
                mono_t until;
        } cli[MS_PEER_CLI_MAX];
        size_t cli_count;
        uint64_t limited;        /* pongs and calls dropped for their rate */
};

enum ms_route_kind {
        MS_ROUTE_NONE,       /* expired, or no way at all */
        MS_ROUTE_DIRECT,
        MS_ROUTE_BOTH,       /* direct, not trusted: and by relay */
        MS_ROUTE_RELAY,
};
struct ms_route {
        enum ms_route_kind kind;
        struct addr addr;
        int region;          /* 0 = only whatever route the relay side knows */
};

void ms_peer_init(struct ms_peer *p);
void ms_peer_done(struct ms_peer *p);

/* Control: replaces endpoints (borrowed), home and flags; the path in use survives. */
void ms_peer_on_config(struct ms_peer *p, bool has_disco, bool expired, int home, const struct addr *eps, size_t n,
        mono_t now);
/* Data for the peer: where it goes, and the start of whatever search is due. */
struct ms_route ms_peer_on_send(struct ms_peer *p, mono_t now, struct ms_actions *out);
/* The same decision without the effects. */
struct ms_route ms_peer_route(const struct ms_peer *p, mono_t now);

/* A ping of the peer's, opened with its key.  reply: pong it (false if another slot of that key did).  False: a
 * repetition, or one too many. */
bool ms_peer_on_ping(struct ms_peer *p, struct addr src, const struct disco_txid *txid, bool reply, mono_t now,
        struct ms_actions *out);
void ms_peer_on_relay_ping(struct ms_peer *p, int region, const struct disco_txid *txid, mono_t now,
        struct ms_actions *out);
/* False: no ping of ours to this peer has that id. */
bool ms_peer_on_pong(struct ms_peer *p, const struct disco_txid *txid, bool by_relay, int region, mono_t now,
        struct ms_actions *out);
void ms_peer_on_call(struct ms_peer *p, const struct addr *eps, size_t n, mono_t now, struct ms_actions *out);
/* A packet of the peer came by relay. */
void ms_peer_on_heard(struct ms_peer *p, int region, mono_t now, struct ms_actions *out);
/* A packet of the peer was authenticated; by UDP from src, or src none. */
void ms_peer_on_proof(struct ms_peer *p, struct addr src, mono_t now);
/* The relay says that the peer is not there any more. */
void ms_peer_on_relay_gone(struct ms_peer *p, int region);

void ms_peer_on_ping_failed(struct ms_peer *p, const struct disco_txid *txid);
/* The kernel knows no route to it. */
void ms_peer_on_unreachable(struct ms_peer *p, struct addr a, mono_t now, struct ms_actions *out);
/* Our endpoint list changed: a search under way tells the peer. */
void ms_peer_on_own_endpoints(struct ms_peer *p, mono_t now, struct ms_actions *out);
/* New sockets: every path must prove itself again.  A peer with traffic is searched for at once. */
void ms_peer_on_rebind(struct ms_peer *p, mono_t now, struct ms_actions *out);
/* The peer's process is another one: the same, and that one may not have been told of us yet. */
void ms_peer_on_restart(struct ms_peer *p, mono_t now, struct ms_actions *out);
/* We have another node key, of which the server has yet to tell it. */
void ms_peer_on_own_key(struct ms_peer *p);
/* Down: as if nothing had ever been sent. */
void ms_peer_stop(struct ms_peer *p, struct ms_actions *out);

/* ERR_STATE: expired; ERR_NOT_FOUND: no disco key, or no way to send; ERR_FULL: too many at once.  On
 * ERR_NONE exactly one MS_ACT_CLI_RESULT follows. */
ERR_CHECK enum err ms_peer_ping(struct ms_peer *p, uint64_t cookie, size_t wire_mtu, mono_t now,
        struct ms_actions *out);

/* Pings for magicsock/hardnat.h: to an address, and by relay. */
void ms_peer_probe(struct ms_peer *p, struct addr to, mono_t now, struct ms_actions *out);

mono_t ms_peer_deadline(const struct ms_peer *p);   /* MONO_NEVER: nothing pending */
void ms_peer_expire(struct ms_peer *p, mono_t now, struct ms_actions *out);   /* harmless if early */
bool ms_peer_is_active(const struct ms_peer *p, mono_t now);
bool ms_peer_is_direct(const struct ms_peer *p, mono_t now);   /* trusted, no doubt: data goes by UDP alone */
