/* base/mono.h - a moment on the monotonic clock, and wall-clock helpers.
 *
 * A struct, so that seconds, milliseconds and moments do not mix.  Protocol code gets `now` as an
 * argument and never calls mono_now(); only glue (event loop, threads) does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
        int64_t ns;   /* since an arbitrary start; 0 = never set, so a zeroed struct is valid */
} mono_t;

#define MONO_NEVER ((mono_t){INT64_MAX})
#define NS_PER_US  INT64_C(1000)
#define NS_PER_MS  INT64_C(1000000)
#define NS_PER_SEC INT64_C(1000000000)

mono_t mono_now(void);      /* CLOCK_BOOTTIME: a suspended host ages its sessions too */
int64_t wall_now_ns(void);  /* CLOCK_REALTIME, nanoseconds since 1970 */

static inline bool mono_is_set(mono_t t)
{
        return t.ns != 0;
}
static inline mono_t mono_add_ns(mono_t t, int64_t ns)   /* saturates at MONO_NEVER */
{
        return t.ns > INT64_MAX - (ns > 0 ? ns : 0) ? MONO_NEVER : (mono_t){t.ns + ns};
}
static inline mono_t mono_add_ms(mono_t t, int64_t ms)
{
        return ms > INT64_MAX / NS_PER_MS ? MONO_NEVER : mono_add_ns(t, ms * NS_PER_MS);
}
static inline int64_t mono_diff_ns(mono_t later, mono_t earlier)
{
        return later.ns - earlier.ns;
}
static inline int64_t mono_diff_ms(mono_t later, mono_t earlier)
{
        return (later.ns - earlier.ns) / NS_PER_MS;
}
static inline bool mono_reached(mono_t now, mono_t deadline)   /* now >= deadline */
{
        return now.ns >= deadline.ns;
}
/* At least ns ago; true also of what never happened. */
static inline bool mono_older(mono_t t, int64_t ns, mono_t now)
{
        return !mono_is_set(t) || mono_diff_ns(now, t) >= ns;
}
static inline mono_t mono_min(mono_t a, mono_t b)
{
        return a.ns < b.ns ? a : b;
}
