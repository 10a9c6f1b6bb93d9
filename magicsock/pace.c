#include "magicsock/pace.h"

void pace_sent(struct pace *p, size_t n, mono_t now)
{
        int64_t ns = mono_diff_ns(now, p->since);
        p->bytes += n;
        if (!mono_is_set(p->since) || ns >= PACE_WINDOW_MS * NS_PER_MS) {
                p->rate = mono_is_set(p->since) ? p->bytes * (uint64_t)NS_PER_SEC / (uint64_t)ns : 0;
                p->since = now;
                p->bytes = 0;
        }
        uint64_t rate = p->rate * 2 > PACE_RATE_MIN ? p->rate * 2 : PACE_RATE_MIN;
        p->next = mono_add_ns(now, (int64_t)(n * (uint64_t)NS_PER_SEC / rate));
}
