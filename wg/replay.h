/* wg/replay.h - which counters of a session were received already.
 *
 * A sliding bitmap (RFC 6479) of 8192 bits of which 8128 are usable.  Asked twice a packet: peek before
 * the tag is checked, to drop copies cheaply, and accept after it, which alone decides and remembers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
        REPLAY_BITS = 8192,
        REPLAY_WORDS = REPLAY_BITS / 64,
        REPLAY_WINDOW = REPLAY_BITS - 64,
};

/* Counters from here on are neither sent nor accepted (WireGuard paper 6.2). */
#define REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13))

struct replay {   /* zero-initialised */
        uint64_t highest;
        uint64_t bits[REPLAY_WORDS];
};

/* False: certainly refused by accept. */
bool replay_peek(const struct replay *r, uint64_t counter);
/* True once for each counter; only for packets whose tag verified. */
bool replay_accept(struct replay *r, uint64_t counter);
