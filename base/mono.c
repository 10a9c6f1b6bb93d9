#include "base/mono.h"

#include <time.h>

static int64_t clock_ns(clockid_t id)
{
        struct timespec ts = {0};
        clock_gettime(id, &ts);
        return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

mono_t mono_now(void)
{
        return (mono_t){clock_ns(CLOCK_BOOTTIME)};
}

int64_t wall_now_ns(void)
{
        return clock_ns(CLOCK_REALTIME);
}
