/* wg/timers.h - when a peer's handshakes, keepalives and wiping are due.
 *
 * Pure state.  Nothing outside sets a timer: the owner reports protocol events by name and asks
 * timers_expire() what to do when timers_deadline() comes.  Source: WireGuard paper 6.1 to 6.6; the early
 * retries are ours.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum {
        REKEY_TIMEOUT_MS = 5000,      /* between two initiations of a series */
        KEEPALIVE_TIMEOUT_MS = 10000,
        SILENCE_TIMEOUT_MS = REKEY_TIMEOUT_MS + KEEPALIVE_TIMEOUT_MS,
        ZERO_KEY_S = 540,             /* 3 * REJECT_AFTER_TIME */
        TIMERS_TRIES = 20,            /* initiations of a series, early ones not counted */
        TIMERS_EARLY_TRIES = 4,       /* 0.25, 0.5, 1 and 2 s after the first */
        TIMERS_SPACING_MS = 50,       /* no hint makes initiations follow each other faster */
        TIMERS_JITTER_MS = 333,
        TIMERS_ANSWERED_MS = 1000,    /* we answered and wait to be confirmed before we ask again */
};

struct timers {   /* zero-initialised */
        mono_t initiate_at;     /* next initiation; unset: no series is running */
        unsigned tries;         /* initiations sent in this series ... */
        unsigned early_tries;   /* ... of which this many had a short wait */
        bool first_contact;     /* no session to fall back on when the series began */
        mono_t asked_at;        /* last initiation sent */
        mono_t answered_at;     /* last response sent */
        mono_t keepalive_at;    /* data came and nothing was sent since */
        mono_t silence_at;      /* data was sent and nothing came since */
        mono_t zero_at;
        mono_t persistent_at;
        int64_t persistent_ns;  /* 0: off */
        int64_t jitter_ns;      /* drawn anew with each initiation */
};

/* Events.  have_session: current can send. */
void timers_data_sent(struct timers *t, mono_t now);
void timers_data_received(struct timers *t, mono_t now);
void timers_any_sent(struct timers *t, mono_t now);        /* authenticated: data, keepalive, handshake */
void timers_any_received(struct timers *t, mono_t now);
/* A new session is wanted.  At once, or when the last try is long enough ago, or never mind. */
void timers_want_handshake(struct timers *t, bool have_session, mono_t now);
/* The other side has most likely lost its sessions: at once, however fresh ours is, but no oftener than once
 * in TIMERS_ANSWERED_MS. */
void timers_peer_restarted(struct timers *t, mono_t now);
/* The other side has known our key, or has been where it is sent to, since `since` at the latest.  If all initiations of a
 * first contact are older, it may have dropped them as a stranger's, or never got them: another one at once. */
void timers_peer_known(struct timers *t, mono_t since, mono_t now);
void timers_initiation_sent(struct timers *t, int64_t jitter_ns, mono_t now);
void timers_initiation_failed(struct timers *t, mono_t now);   /* no buffer: again in a moment */
void timers_response_sent(struct timers *t, bool have_session, mono_t now);
void timers_session_derived(struct timers *t, mono_t now);
void timers_handshake_complete(struct timers *t);
void timers_set_persistent(struct timers *t, uint16_t interval_s, mono_t now);
/* The session is gone and nothing is wanted any more, but for the persistent keepalive. */
void timers_stop(struct timers *t);

mono_t timers_deadline(const struct timers *t);   /* MONO_NEVER: none */

enum timers_action {
        TIMERS_NOTHING,
        TIMERS_INITIATE,     /* send an initiation, then report it sent or failed */
        TIMERS_GIVE_UP,      /* nobody answered: drop what is staged */
        TIMERS_KEEPALIVE,    /* send an empty packet if there is a session */
        TIMERS_PERSISTENT,   /* the same; without a session, want a handshake */
        TIMERS_ZERO,         /* wipe all keys */
};
/* One action a call; call again until TIMERS_NOTHING. */
enum timers_action timers_expire(struct timers *t, bool have_session, mono_t now);
