/* daemon/dns/race.h - one forwarded query: all ways of asking run against each other, the first good answer wins.
 *
 * Pure: told what happened and when, it says what to start next.  A way is a dns_try; a plain one has two legs, UDP
 * at once and TCP when UDP failed or has been silent for 2 s (at once if the client came by TCP).  NXDOMAIN is a
 * good answer; SERVFAIL and REFUSED are soft: the others are waited for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mono.h"
#include "daemon/dns/doh.h"

enum {
        RACE_TCP_AFTER_MS = 2000,
        RACE_TCP_MS = 5000,
        RACE_UDP_CLIENT_MS = 4500,    /* a stub resolver gives up after 5 s: it shall have an answer before */
        RACE_TCP_CLIENT_MS = 10000,
};

enum race_leg { RACE_UDP, RACE_TCP, RACE_POST, RACE_LEGS };

enum race_state {
        RACE_RUNNING,
        RACE_WON,
        RACE_REFUSED,                 /* by all */
        RACE_FAILED,                  /* by all, in any way */
        RACE_LATE,                    /* the time is over */
};

struct race_way {
        bool plain;
        bool started[RACE_LEGS], over[RACE_LEGS];
        mono_t at;                    /* of the first leg */
        mono_t tcp_at, tcp_end;
};

struct race {
        enum race_state state;
        mono_t end;
        bool tcp_client;
        size_t count, refused;
        struct race_way ways[DNS_TRIES_MAX];
};

void race_start(struct race *r, const struct dns_try *tries, size_t n, bool tcp_client, mono_t now);
/* What is to be started now; false: nothing more.  Also ends what has run out of time. */
bool race_next(struct race *r, mono_t now, size_t *ret_way, enum race_leg *ret_leg);
/* When race_next() has to be asked again without an event. */
mono_t race_deadline(const struct race *r);

/* An answer that belongs to the question came.  True: it is the one. */
bool race_answer(struct race *r, size_t way, enum race_leg leg, const uint8_t *msg, mono_t now);
/* A leg cannot give an answer any more. */
void race_failed(struct race *r, size_t way, enum race_leg leg, mono_t now);
