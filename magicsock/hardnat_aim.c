#include "magicsock/hardnat_aim.h"

#include <string.h>

#include "base/crypto.h"

enum { PORT_LAST = 65535 };

void hn_aim_init(struct hn_aim *a)
{
        memset(a, 0, sizeof(*a));
}

void hn_aim_seen(struct hn_aim *a, struct addr outside)
{
        if (a->seen_count < HN_SAMPLES_MAX && outside.port != 0)
                a->seen[a->seen_count++] = outside;
}

struct ip hn_aim_ip(const struct hn_aim *a)
{
        struct ip best = {.family = IP_NONE};
        size_t most = 0;
        for (size_t i = 0; i < a->seen_count; i++) {
                size_t n = 0;
                for (size_t j = 0; j < a->seen_count; j++)
                        n += ip_eq(a->seen[i].ip, a->seen[j].ip);
                if (n > most) {
                        most = n;
                        best = a->seen[i].ip;
                }
        }
        return best;
}

static bool is_guessed(const struct hn_aim *a, uint32_t port)
{
        return a->guessed[port / 8] & (1U << port % 8);
}

static void take_range(struct hn_aim *a, int low, int high)
{
        a->low = (uint16_t)low;
        a->high = (uint16_t)high;
        a->left = 0;
        for (uint32_t p = a->low; p <= a->high; p++)
                a->left += !is_guessed(a, p);
}

void hn_aim_fix(struct hn_aim *a)
{
        int low = PORT_LAST, high = 0;
        for (size_t i = 0; i < a->seen_count; i++) {
                low = a->seen[i].port < low ? a->seen[i].port : low;
                high = a->seen[i].port > high ? a->seen[i].port : high;
        }
        int half = (high - low + 1) / 2;
        if (a->seen_count < HN_SAMPLES_MIN) {
                take_range(a, HN_PORT_FIRST, PORT_LAST);
                return;
        }
        /* One that gives out ports below the usual does so for the others as well. */
        int first = low < HN_PORT_FIRST ? 1 : HN_PORT_FIRST;
        take_range(a, low - half > first ? low - half : first, high + half < PORT_LAST ? high + half : PORT_LAST);
}

/* The nth port of the range that was not guessed. */
static uint16_t nth_left(const struct hn_aim *a, uint32_t n)
{
        uint32_t p = a->low;
        while (is_guessed(a, p) || n-- > 0)
                p++;
        return (uint16_t)p;
}

static uint16_t pick(const struct hn_aim *a)
{
        uint32_t span = (uint32_t)a->high - a->low + 1;
        /* Where most are left, throwing again is quicker than counting, and as fair. */
        for (int i = 0; i < 16; i++) {
                uint32_t p = a->low + (uint32_t)crypto_random_below(span);
                if (!is_guessed(a, p))
                        return (uint16_t)p;
        }
        return nth_left(a, (uint32_t)crypto_random_below(a->left));
}

size_t hn_aim_pick(struct hn_aim *a, uint16_t *ret, size_t n)
{
        size_t got = 0;
        while (got < n) {
                if (a->left == 0) {
                        take_range(a, HN_PORT_FIRST, PORT_LAST);   /* the aim was wrong */
                        if (a->left == 0)
                                break;
                }
                uint16_t p = pick(a);
                a->guessed[p / 8] = (uint8_t)(a->guessed[p / 8] | 1U << p % 8);
                a->left--;
                ret[got++] = p;
        }
        return got;
}
