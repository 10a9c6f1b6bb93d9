/* daemon/host/clockwatch.h - tells when the host slept and when somebody set its wall clock.
 *
 * Control thread.  Costs nothing in between: the kernel wakes us at both.
 * Source: timerfd_create(2) (TFD_TIMER_CANCEL_ON_SET), clock_gettime(2).
 */
#pragma once

#include "base/loop.h"

struct clockwatch;

enum {
        CLOCKWATCH_SLEPT_MS = 10000,    /* a nap below this costs no connection */
        CLOCKWATCH_STEPPED_MS = 1000,   /* what NTP steps by in daily life is no event */
};

struct clockwatch_callbacks {
        void (*on_slept)(void *arg, int64_t ms);
        void (*on_stepped)(void *arg, int64_t ms);   /* > 0: forward */
};

/* NULL: errno. */
struct clockwatch *clockwatch_new(struct loop *l, const struct clockwatch_callbacks *cb, void *arg);
void clockwatch_free(struct clockwatch *w);   /* NULL is fine */

/* ---- Pure ---- */

struct clocks {
        int64_t boot_ns, mono_ns, wall_ns;   /* CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME */
};

int64_t clocks_slept_ms(const struct clocks *then, const struct clocks *now);     /* 0: not worth a word */
int64_t clocks_stepped_ms(const struct clocks *then, const struct clocks *now);   /* likewise */
