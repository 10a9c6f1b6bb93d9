#include "tests/sim/rng.h"

#include <sodium.h>
#include <string.h>

static uint64_t mix(uint64_t z)   /* splitmix64 */
{
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
}

struct rng rng_of(uint64_t seed, uint64_t stream)
{
        return (struct rng){mix(seed * 0x9e3779b97f4a7c15U + mix(stream + 1))};
}

uint64_t rng_next(struct rng *r)
{
        r->s += 0x9e3779b97f4a7c15U;
        return mix(r->s);
}

int64_t rng_in(struct rng *r, int64_t lo, int64_t hi)
{
        return lo + (int64_t)(rng_next(r) % (uint64_t)(hi - lo + 1));
}

bool rng_chance(struct rng *r, double p)
{
        return (double)(rng_next(r) >> 11) * 0x1p-53 < p;
}

int rng_pick(struct rng *r, const int *weights)
{
        int sum = 0, i = 0;
        for (const int *w = weights; *w >= 0; w++)
                sum += *w;
        for (int64_t at = rng_in(r, 0, sum - 1); at >= weights[i]; i++)
                at -= weights[i];
        return i;
}

/* ---- libsodium's source of randomness ---- */

static struct rng crypto;

static const char *name(void)
{
        return "sim";
}

static uint32_t random32(void)
{
        return (uint32_t)rng_next(&crypto);
}

static void fill(void *const buf, const size_t size)
{
        uint8_t *at = buf;
        for (size_t left = size; left > 0;) {
                uint64_t v = rng_next(&crypto);
                size_t n = left < sizeof(v) ? left : sizeof(v);
                memcpy(at, &v, n);
                at += n;
                left -= n;
        }
}

void rng_own_crypto(uint64_t seed)
{
        static randombytes_implementation ours = {.implementation_name = name, .random = random32, .buf = fill};
        crypto = rng_of(seed, 3);
        (void)randombytes_set_implementation(&ours);
}
