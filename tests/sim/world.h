/* tests/sim/world.h - one run: a world, what happens in it and whether that was right, all of it from a seed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct run_result {
        bool ok;
        char why[512];
        uint64_t hash;        /* of all that happened */
        int nodes;
        int flukes;           /* flows that are direct where only a fluke makes them so */
        double seconds;       /* of the world's time */
};

struct run_result world_run(uint64_t seed, bool verbose);
