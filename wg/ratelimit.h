/* wg/ratelimit.h - how many handshakes one proven source may ask for while we are under load.
 *
 * A token bucket a source (20 a second, burst 5) in a table of fixed size.  A source is a hash under a
 * random key, so nobody can choose whom to collide with; a colliding source takes the older bucket
 * over.  Pure: time comes in.  Source: WireGuard paper 5.3.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mono.h"

enum {
        RATELIMIT_SLOTS = 1024,
        RATELIMIT_PER_S = 20,
        RATELIMIT_BURST = 5,
};

struct ratelimit {
        uint8_t key[32];
        bool keyed;
        struct {
                uint32_t tag;      /* further bits of the hash; 0 with `full_at` unset = free */
                mono_t full_at;    /* when the bucket will be full again */
        } slot[RATELIMIT_SLOTS];
};

/* True: this one may pass.  Zero-initialised struct; source is address bytes or a key. */
bool ratelimit_allow(struct ratelimit *r, const uint8_t *source, size_t len, mono_t now);
