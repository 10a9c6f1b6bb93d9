/* magicsock/hardnat.h - a path through our hard NAT, found by guessing.
 *
 * A hard NAT gives each of our sockets another outside port for each destination, and nobody can tell us which.  But
 * with 256 sockets that all have sent to a peer's public address P, 256 ports of our public address are open towards
 * P; and a peer pings every address that a call-me-maybe names.  So calls with 64 guessed ports each, 100 ms apart, hit
 * one of them after some 250 guesses; 18 calls (1152 guesses) miss once in a hundred tries.  The socket that was hit
 * carries that peer's traffic from then on, and the others are closed.  STUN from some of the sockets aims the guesses
 * (magicsock/hardnat_aim.h).  Two hard NATs have no such path: the peer's pings would come from unknown ports as well.
 *
 * What it costs the peer and the NATs is bounded: one ping a millisecond, those 18 calls, one peer at a time; after a
 * miss 1, 5, then 30 minutes of rest, and two tries an hour at most while the same traffic goes on.
 *
 * Who takes part.  With HN_PREF_OWN only peers of our kind are searched for, and they are asked first: a ping by relay
 * carries a "hello", four bytes of what other implementations take for padding, with what the sender knows of itself
 * (enum hn_hello); the pong answers with the same.  It lies inside the box of the peer's disco key, needs no help from
 * the server, and never reaches a peer that did not send it first, except as padding.  Whoever has the preference off
 * does not say it.  A name of software in the map would tell the kind, but neither the wish nor the NAT of today.
 *
 * Pure: events come in with `now`, the machine appends to an action list of the caller's.  It draws ports and ping ids
 * from base/crypto.h.  Owner: magicsock/hardnat_io.c, data thread, which calls hn_expire() at hn_deadline().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"
#include "magicsock/disco.h"
#include "magicsock/hardnat_aim.h"
#include "magicsock/hardnat_status.h"
#include "netcheck/report.h"

enum {
        HN_SOCKETS = 256,
        HN_SOCKETS_MIN = 16,         /* with fewer it is not worth the guesses */
        HN_TARGETS_MAX = 2,          /* public addresses of the peer that are sent to */
        HN_GUESSES = 64,             /* in one call */
        HN_CALLS_MAX = 18,
        HN_TICK_MAX = 8,             /* pings that one late tick makes up for */
        HN_ACTIONS_MAX = 64,
};
#define HN_PING_GAP_NS    NS_PER_MS
#define HN_CALL_GAP_NS    (100 * NS_PER_MS)
#define HN_SAMPLE_WAIT_NS (150 * NS_PER_MS)      /* for the last STUN answers */
#define HN_CATCH_NS       (1 * NS_PER_SEC)       /* a hit may come that long after the last call */
#define HN_PROVE_NS       (3 * NS_PER_SEC)       /* a hit is a path by then */
#define HN_FIRST_NS       (500 * NS_PER_MS)      /* the usual ways come first */
#define HN_FIRST_AGAIN_NS (2 * NS_PER_SEC)       /* and the socket found before */
#define HN_FIRST_UNSURE_NS (3 * NS_PER_SEC)      /* if it is not known that our NAT is hard */
#define HN_ASK_GAP_NS     (1 * NS_PER_SEC)       /* three times; for the rest of a minute, and then: */
#define HN_ASK_LATER_NS   (5 * NS_PER_SEC)
#define HN_ASK_AGAIN_NS   (60 * NS_PER_SEC)
#define HN_HELLO_OLD_NS   (60 * NS_PER_SEC)      /* the peer may be gone by then */
#define HN_REFUSED_OLD_NS (300 * NS_PER_SEC)     /* or think otherwise */
#define HN_IDLE_NS        (45 * NS_PER_SEC)      /* silence after which traffic counts as new */
#define HN_HOUR_NS        (3600 * NS_PER_SEC)
#define HN_HELD_NS        (20 * NS_PER_SEC)      /* a path that lasted: no try to be counted */
#define HN_UNPIN_NS       (120 * NS_PER_SEC)     /* lost that long: no NAT remembers it */

/* What a node says of itself, or-ed. */
enum hn_hello {
        HN_HELLO_HARD = 1,           /* its NAT is hard */
        HN_HELLO_EASY = 2,           /* it is not; neither: it does not know */
};

enum hn_kind {
        HN_KIND_UNKNOWN,
        HN_KIND_OWN,
        HN_KIND_FOREIGN,             /* it answers, but without a hello */
};

/* Part of each peer that is awake.  All-zero = nothing known. */
struct hn_peer {
        struct hn_peer *prev, *next;     /* of those that want a path */
        bool is_listed;
        enum hn_kind kind;
        uint8_t hello;
        mono_t answered;             /* when it said so */
        mono_t asked;
        unsigned asks;
        mono_t since;                /* there has been traffic and no direct path */
        mono_t last_send, session;   /* the newest traffic; when it began */
        mono_t found_at;
        mono_t not_before;           /* after a miss, or for lack of an address */
        mono_t tries[2];             /* that count, the older first */
        unsigned misses;
        enum hn_why lacks;           /* what a try was put off for */
        struct hn_status status;
};

enum hn_action_kind {
        HN_ACT_ASK,          /* a ping with a hello to peer, by relay */
        HN_ACT_OPEN,         /* socket; hn_on_open_failed() if it cannot be */
        HN_ACT_STUN,         /* from socket; the answer's address to hn_on_stun() */
        HN_ACT_PING,         /* from socket to addr, with txid */
        HN_ACT_CALL,         /* to peer: our endpoints, and count of h->ports at ip */
        HN_ACT_PIN,          /* socket is peer's way to addr from now on, instead of any before */
        HN_ACT_PROBE,        /* to addr, as a ping of the path machine's */
        HN_ACT_UNPIN,        /* close what was pinned */
        HN_ACT_CLOSE,        /* all sockets but the one pinned */
};

struct hn_action {
        enum hn_action_kind kind;
        struct hn_peer *peer;
        unsigned socket;
        struct addr addr;
        struct disco_txid txid;
        struct ip ip;
        size_t count;
};

struct hn_actions {
        size_t count;
        struct hn_action a[HN_ACTIONS_MAX];
};

enum hn_state { HN_IDLE, HN_OPENING, HN_AIMING, HN_GUESSING, HN_CATCHING, HN_PROVING };

/* What the owner knows at the start of a try. */
struct hn_facts {
        struct addr targets[HN_TARGETS_MAX];   /* public IPv4 addresses of the peer, the likeliest first */
        size_t target_count;
        struct ip ours;                        /* our public IPv4 address as of the last report; none = unknown */
        bool has_stun;                         /* there is a server to ask */
        bool can_call;                         /* the peer's relay is there */
};

struct hardnat {
        enum hn_pref pref;
        enum nc_tri varies;          /* our NAT is hard */
        struct hn_peer *first, *last;   /* want a path, the oldest first */
        struct hn_totals totals;

        /* The one try. */
        enum hn_state state;
        struct hn_peer *peer;
        struct hn_facts facts;
        mono_t next;                 /* what the state does next, and when it ends */
        unsigned opened, pinged;     /* sockets; pings, target by target within a socket */
        unsigned want;               /* sockets */
        unsigned kept;               /* STUN answers whose port was the socket's own */
        unsigned stuns;
        uint8_t txid[8];             /* of its pings, before the number of socket and target */
        unsigned winner;
        struct addr via;             /* where the winner's peer is */
        unsigned probes;
        mono_t until;                /* HN_PROVING */
        uint16_t ports[HN_GUESSES];
        struct hn_aim *aim;          /* of the one try; allocated when the first starts */
};

void hn_init(struct hardnat *h);
void hn_done(struct hardnat *h);   /* every peer was forgotten */
void hn_set_pref(struct hardnat *h, enum hn_pref pref, mono_t now, struct hn_actions *out);
void hn_set_nat(struct hardnat *h, enum nc_tri varies);
/* What we say of ourselves; false: nothing. */
bool hn_says(const struct hardnat *h, uint8_t *ret);

/* Traffic for the peer, which goes by relay, or a call of the peer, which says that it has some.  Cheap when nothing changes. */
void hn_on_relayed(struct hardnat *h, struct hn_peer *p, mono_t now, struct hn_actions *out);
/* It has a direct path: by `via`. */
void hn_on_direct(struct hardnat *h, struct hn_peer *p, struct addr via, mono_t now, struct hn_actions *out);
/* Its answer to a ping of ours by relay, or its own question; has_hello false: an answer without. */
void hn_on_hello(struct hn_peer *p, bool has_hello, uint8_t hello, mono_t now);
/* The peer is gone, or another one now; its socket is the owner's to close.  All its memory of tries goes, too. */
void hn_forget(struct hardnat *h, struct hn_peer *p, mono_t now, struct hn_actions *out);
/* It has another disco key: maybe another program, with other sockets.  A try for it is no use, and does not count. */
void hn_on_restart(struct hardnat *h, struct hn_peer *p, mono_t now, struct hn_actions *out);
/* The network or our keys changed, or we went down: no try goes on, nobody wants anything, no socket is pinned. */
void hn_stop(struct hardnat *h, mono_t now, struct hn_actions *out);

/* Whose turn it is; NULL = nobody's.  The owner gathers the facts and calls hn_start(). */
struct hn_peer *hn_due(struct hardnat *h, mono_t now);
/* Starts its try, or notes why not. */
void hn_start(struct hardnat *h, struct hn_peer *p, const struct hn_facts *f, mono_t now, struct hn_actions *out);

void hn_on_open_failed(struct hardnat *h, unsigned socket);
/* own_port: of the socket itself. */
void hn_on_stun(struct hardnat *h, struct addr outside, uint16_t own_port, mono_t now);
/* An authenticated ping of the peer p came to a socket of the try. */
void hn_on_hit(struct hardnat *h, struct hn_peer *p, unsigned socket, struct addr src, mono_t now,
        struct hn_actions *out);
/* A pong.  True: it answers a ping of the try, which is a hit as well. */
bool hn_on_pong(struct hardnat *h, struct hn_peer *p, unsigned socket, struct addr src, const struct disco_txid *txid,
        mono_t now, struct hn_actions *out);

mono_t hn_deadline(const struct hardnat *h, mono_t now);   /* MONO_NEVER: nothing pending; looks at all who want */
void hn_expire(struct hardnat *h, mono_t now, struct hn_actions *out);   /* harmless if early */
void hn_peer_status(const struct hardnat *h, const struct hn_peer *p, mono_t now, struct hn_status *ret);
