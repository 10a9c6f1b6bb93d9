/* tests/sim/rng.h - numbers that follow from a seed, and nothing else.
 *
 * Three streams, so that a change in the code under test does not change the world that a seed stands for: what the world
 * is made of, what happens to single packets, and what the code under test takes for unpredictable bytes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rng {
        uint64_t s;
};

struct rng rng_of(uint64_t seed, uint64_t stream);
uint64_t rng_next(struct rng *r);
/* Uniform enough in [lo, hi]. */
int64_t rng_in(struct rng *r, int64_t lo, int64_t hi);
bool rng_chance(struct rng *r, double p);
/* An index by weight: weights end with a negative one. */
int rng_pick(struct rng *r, const int *weights);

/* From now on the unpredictable bytes of this process follow from the seed.  Once before crypto_init(), then for each run. */
void rng_own_crypto(uint64_t seed);
