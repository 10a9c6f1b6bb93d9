/* daemon/host/limiter.h - how soon something may be put right again that others keep undoing.
 *
 * A bucket of `burst` turns, one more each `every_ms`; pure.  All but the three settings starts as zero.
 */
#pragma once

#include "base/mono.h"

struct limiter {
        int64_t settle_ms;      /* the least delay, so that a burst is answered once */
        int burst;
        int64_t every_ms;
        int used;               /* turns not yet given back */
        mono_t refilled;        /* when the last one was */
};

/* When the next turn may be taken. */
mono_t limiter_next(const struct limiter *l, mono_t now);
void limiter_take(struct limiter *l, mono_t now);
