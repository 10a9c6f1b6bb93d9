/* tests/sim/draw.h - makes the world that a seed stands for. */
#pragma once

#include "base/mono.h"
#include "tests/sim/rng.h"

struct plan {
        mono_t quiet_from;   /* nothing changes any more */
};

void draw_world(struct rng *rng, struct plan *ret);
