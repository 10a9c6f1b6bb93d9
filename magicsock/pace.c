#include "magicsock/pace.h"

#define PACKET_FULL ((size_t)PACE_PIECE / PACE_PACKETS)

size_t pace_piece(size_t mean)
{
        return mean < PACKET_FULL ? mean * PACE_PACKETS : PACE_PIECE;
}

void pace_sent(struct pace *p, size_t n, size_t mean, mono_t now)
{
        if (mean < PACKET_FULL)
                n = n * PACKET_FULL / mean;
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
