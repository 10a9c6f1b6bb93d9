/* magicsock/derp_conn.h - one region's connection: dials, logs in, moves packets, comes back after a failure.
 *
 * Between derp_manager.c, which owns all of them, and derp_client.c, which speaks the protocol.  Data thread.
 * A conn lives as long as its region is wanted and goes through many streams; `id` names the present one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "magicsock/derp_client.h"
#include "magicsock/derp_manager.h"
#include "magicsock/pace.h"

enum conn_state {
        CONN_BACKOFF,     /* no stream; dials again when retry_at comes */
        CONN_DIALING,
        CONN_LOGIN,       /* the stream is up, the relay has not accepted us yet */
        CONN_UP,
};

struct derp_conn {
        struct derp_conn *next;
        struct derp_mgr *mgr;
        int region;
        uint32_t id;                 /* of the present stream; 0 = none */
        enum conn_state state;
        bool dead;                   /* closed inside one of its own callbacks; freed on the way out */
        unsigned busy;               /* depth of those */
        struct stream *stream;
        size_t node;                 /* index of the node being dialled */
        size_t first;                /* where the next attempt begins: past a node that took us and was no use */
        unsigned failures;           /* in a row */
        mono_t retry_at;             /* CONN_BACKOFF */
        mono_t give_up_at;           /* CONN_DIALING, CONN_LOGIN: end of this attempt */
        mono_t up_at;
        mono_t heard;                /* last byte from the relay */
        bool asked;                  /* a ping is out, and nothing came since */
        mono_t asked_at;
        mono_t answer_by;            /* the connection ends if it is out then still; unset = it does not */
        bool given_up;               /* by the relay: it is of no use once there is a way there again */
        mono_t tidy_at;              /* buffers that a burst has stretched are looked at; unset: none is */
        mono_t last_send;            /* a packet was asked to be sent, or might have been: it was opened, or was home */
        bool reported_down;
        char detail[DERP_DETAIL_MAX];   /* as last reported */
        char health[DERP_DETAIL_MAX];   /* what the relay complains of; "" = nothing */
        mono_t health_due;              /* when that is to be reported; unset = it is */
        mono_t health_next;             /* not before */
        mono_t leave_at;             /* the relay restarts, or sheds load, and asks us to come back then; unset = it does not */
        mono_t hurry_until;          /* and to try often until then */
        struct pkt_queue queue;      /* until the relay lets us in; derp_send_head() is in front already */
        struct pace pace;
        struct timer timer;          /* the earliest of the above */
        struct timer kick;           /* flush, and read on if `unread`, in the next round or when the pace allows it */
        bool unread;                 /* the last round of reading was cut short */
        struct timer look;           /* look at the socket then, while it is `resting` */
        bool resting;                /* much comes: the loop does not watch the socket */
        struct derp_client client;
};

/* What the conns share; owned by derp_manager.c. */
struct derp_mgr {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct derp_mgr_callbacks cb;
        void *arg;
        bool plain;
        struct key_private key;      /* zero: logged out */
        const struct derpmap *map;
        int home, told;              /* told: where others look for us; 0 = nowhere yet */
        bool accepted;               /* a relay has let this key in: packets need not wait for the next */
        uint32_t last_id;
        struct derp_conn *conns;
        size_t conn_count;
        size_t queued, queue_limit;   /* packets waiting on all conns: they must not eat the pool */
        struct timer sweep;
        size_t view_count;           /* packets since the last on_pause, each in the buffer it was read to */
        struct pkt views[DERP_MGR_BURST_MAX];
        struct derp_mgr_stats stats;
};

/* ---- derp_wait.c: c->queue ---- */
/* Takes pkt over.  ERR_FULL: no packet left in the pool to keep it in.  The oldest goes if too much waits. */
enum err derp_wait_put(struct derp_conn *c, const struct node_public *dst, struct pkt *pkt);
void derp_wait_drop(struct derp_conn *c);   /* the first; not empty */

/* ---- derp_conn.c ---- */
/* At rest: derp_conn_redial() dials.  NULL: out of memory. */
struct derp_conn *derp_conn_new(struct derp_mgr *m, int region, mono_t now);
/* Drops what is queued; says nothing to anyone. */
void derp_conn_free(struct derp_conn *c);
/* Takes pkt over.  ERR_FULL: no packet left in the pool to keep it in. */
enum err derp_conn_send(struct derp_conn *c, const struct node_public *dst, struct pkt *pkt, mono_t now);
void derp_conn_hasten(struct derp_conn *c, mono_t now);
/* Closes the stream and dials anew at once. */
void derp_conn_redial(struct derp_conn *c, mono_t now);
void derp_conn_set_home(struct derp_conn *c, bool home, mono_t now);
/* Its timer goes to the earliest deadline. */
void derp_conn_arm(struct derp_conn *c);

/* ---- derp_ask.c ---- */
/* A sign of life within 1 s, or the connection ends. */
void derp_ask(struct derp_conn *c, mono_t now);
/* Bytes came from the relay: of this round's question they are no answer. */
void derp_ask_heard(struct derp_conn *c, mono_t now);
/* The host's network may be another one: a sign of life within 1 s, or redial.  At once if it is not up, if the way to the
 * relay begins at another address now, or if the relay has given us up.  slept_ms: for how long the host slept; 0: it did not.
 * Nothing at all while there is no way to the relay. */
void derp_conn_check(struct derp_conn *c, int64_t slept_ms, mono_t now);
/* What is sent now arrives, as far as one can know: a connection that nothing came or went by for 5 s is asked first, and none
 * is ready that has a question to answer. */
bool derp_conn_is_ready(struct derp_conn *c, mono_t now);
