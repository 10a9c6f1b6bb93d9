/* tun/flows.h - the flows we opened, so that their replies may come in: a bounded LRU set.  Data thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct flows;

struct flow { /* as the reply will look */
        uint8_t proto;
        uint8_t version;
        uint16_t src_port, dst_port;
        uint8_t zero[2];
        uint8_t src[16], dst[16];
};
_Static_assert(sizeof(struct flow) == 40, "whole words, no padding: flows are hashed and compared as bytes");

static inline bool flow_eq(const struct flow *a, const struct flow *b)
{
        return memcmp(a, b, sizeof(*a)) == 0;
}

/* Keyed, so that a peer cannot aim at one bucket. */
static inline uint64_t flow_hash(const struct flow *f, uint64_t seed)
{
        uint64_t w[sizeof(*f) / 8], h = seed;
        memcpy(w, f, sizeof(w));
        for (size_t i = 0; i < sizeof(w) / sizeof(w[0]); i++) {
                h = (h ^ w[i]) * UINT64_C(0x9e3779b97f4a7c15);
                h ^= h >> 32;
        }
        return h;
}

struct flows *flows_new(uint16_t max); /* NULL: out of memory */
void flows_free(struct flows *f);
void flows_clear(struct flows *f);                        /* forgets them all */
void flows_add(struct flows *f, const struct flow *flow); /* newest now; the oldest may go */
bool flows_has(struct flows *f, const struct flow *flow); /* a hit makes it newest */
