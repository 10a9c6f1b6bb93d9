/* magicsock/liveness.h - does the direct path in use still carry what we send?
 *
 * Pure; part of magicsock/peer.h, and about one path: live_start() when another one is taken.  A pong is the only
 * proof that both directions work, but whoever sends data has better evidence than a ping every 3 s: an answer that
 * does not come.  So what was sent and not followed by anything from there starts a check, sooner for a near peer.
 *
 *      sure     data goes there alone.  Silence after a send, four sends a second after the last proof, a heartbeat
 *               or a hint -> asked
 *      asked    two pings are out, data still goes there alone.  No pong -> doubt
 *      doubt    one ping more, data goes there and by relay.  No pong and not a word -> lost, the owner takes another
 *               path; with data of the peer's from there it is two pings later
 *
 * A pong to a ping of the check leads back to sure from everywhere.  While the peer's data keeps coming the path is
 * rather full than dead, and the pings get more time.  Where pongs are the only thing that ever comes back, silence
 * is asked about less and less, down to once a second.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum live_step {
        LIVE_NOTHING,
        LIVE_PING,       /* ping it, and say so by live_on_ping() */
        LIVE_DOUBT,      /* the same, and doubt begins */
        LIVE_LOST,       /* leave it */
};

struct liveness {
        int64_t rtt_ns, var_ns;   /* smoothed: its mean and its mean deviation */
        mono_t proven;            /* the newest ping that was answered left then */
        mono_t waiting;           /* the first data we sent since the peer was heard; 0 = none */
        mono_t spoke;             /* its last data by this path; 0 = none, or used as a hint */
        mono_t asked;             /* the first ping of the check; 0 = sure */
        mono_t pinged, next;      /* the last ping of it, and what comes after */
        unsigned pings;           /* in the check */
        unsigned heard;           /* bursts of the peer's since the last ping of it */
        unsigned sends;           /* of ours since the last proof */
        unsigned patience;        /* doublings of the silence that is noticed */
        bool is_heard;            /* at all since the second ping of it: what was under way has come by then */
        bool in_doubt;
};

/* A path that has just been proven by a ping of `sent`. */
void live_start(struct liveness *l, mono_t sent, mono_t now);
/* A path that was fine long ago: it is in doubt, and to be pinged. */
enum live_step live_resume(struct liveness *l, mono_t now);

/* Data went there.  LIVE_PING or LIVE_NOTHING. */
enum live_step live_on_sent(struct liveness *l, mono_t now);
/* Data of the peer's came from there, authenticated. */
void live_on_heard(struct liveness *l, mono_t now);
/* The peer may know more than we do: LIVE_PING or LIVE_NOTHING. */
enum live_step live_on_hint(struct liveness *l, mono_t now);
/* Its data came another way; a hint if it came by this path just before. */
enum live_step live_on_elsewhere(struct liveness *l, mono_t now);
void live_on_ping(struct liveness *l, mono_t now);
void live_on_pong(struct liveness *l, mono_t sent, mono_t now);

mono_t live_deadline(const struct liveness *l);   /* MONO_NEVER: nothing is waited for */
enum live_step live_expire(struct liveness *l, mono_t now);   /* harmless if early */
