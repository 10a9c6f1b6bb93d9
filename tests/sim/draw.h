/* tests/sim/draw.h - makes the world that a seed stands for. */
#pragma once

#include <stdbool.h>

#include "base/mono.h"
#include "tests/sim/rng.h"

struct plan {
        bool calm;                   /* nothing ever goes wrong */
        mono_t idle_from, idle_until;   /* nobody sends; unset: no such time */
        mono_t quiet_from;           /* nothing changes any more */
};

/* A few nodes. */
void draw_world(struct rng *rng, struct plan *ret);
/* Hundreds of them, of which some talk. */
void draw_crowd(struct rng *rng, struct plan *ret);
