#include "daemon/slots.h"

#include <stdlib.h>

struct slot {
        int64_t node_id;    /* 0 = free */
        uint32_t gen;
        uint32_t hash_next; /* chain within a bucket, or the free list; slot + 1, 0 = end */
};

struct slots {
        struct slot *at;
        uint32_t *bucket;   /* slot + 1 */
        uint32_t cap;       /* a power of two; as many buckets as slots */
        uint32_t free;      /* slot + 1 */
        uint32_t used;
        uint32_t first;     /* no slot below it is in use */
};

static uint32_t bucket_of(const struct slots *s, int64_t node_id)
{
        return (uint32_t)(((uint64_t)node_id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (s->cap - 1);
}

/* Doubles the table; slots keep their numbers, chains are built anew. */
static enum err grow(struct slots *s)
{
        uint32_t cap = s->cap ? s->cap * 2 : 64;
        if (cap > SLOTS_MAX)
                return ERR_FULL;
        struct slot *at = realloc(s->at, cap * sizeof(*at));
        if (at == NULL)
                return ERR_FULL;
        s->at = at;
        uint32_t *bucket = calloc(cap, sizeof(*bucket));
        if (bucket == NULL)
                return ERR_FULL;
        free(s->bucket);
        s->bucket = bucket;
        uint32_t old = s->cap;
        s->cap = cap;
        for (uint32_t i = 0; i < old; i++) {
                uint32_t b = bucket_of(s, at[i].node_id);
                at[i].hash_next = bucket[b];
                bucket[b] = i + 1;
        }
        for (uint32_t i = cap; i-- > old;) {
                at[i] = (struct slot){.hash_next = s->free};
                s->free = i + 1;
        }
        return ERR_NONE;
}

struct slots *slots_new(void)
{
        struct slots *s = calloc(1, sizeof(*s));
        if (s != NULL && grow(s) != ERR_NONE) {
                slots_free(s);
                return NULL;
        }
        return s;
}

void slots_free(struct slots *s)
{
        if (s == NULL)
                return;
        free(s->at);
        free(s->bucket);
        free(s);
}

bool slots_find(const struct slots *s, int64_t node_id, uint32_t *ret_slot)
{
        for (uint32_t i = s->bucket[bucket_of(s, node_id)]; i != 0; i = s->at[i - 1].hash_next) {
                if (s->at[i - 1].node_id == node_id) {
                        *ret_slot = i - 1;
                        return true;
                }
        }
        return false;
}

enum err slots_take(struct slots *s, int64_t node_id, uint32_t *ret_slot, uint32_t *ret_gen)
{
        uint32_t slot;
        if (node_id <= 0)
                return ERR_FORMAT;
        if (!slots_find(s, node_id, &slot)) {
                if (s->free == 0 && grow(s) != ERR_NONE)
                        return ERR_FULL;
                slot = s->free - 1;
                s->free = s->at[slot].hash_next;
                if (slot < s->first)
                        s->first = slot;
                uint32_t b = bucket_of(s, node_id);
                s->at[slot].node_id = node_id;
                s->at[slot].gen++;
                s->at[slot].hash_next = s->bucket[b];
                s->bucket[b] = slot + 1;
                s->used++;
        }
        *ret_slot = slot;
        *ret_gen = s->at[slot].gen;
        return ERR_NONE;
}

bool slots_release(struct slots *s, int64_t node_id, uint32_t *ret_slot)
{
        for (uint32_t *at = &s->bucket[bucket_of(s, node_id)]; *at != 0; at = &s->at[*at - 1].hash_next) {
                uint32_t i = *at;
                if (s->at[i - 1].node_id != node_id)
                        continue;
                *at = s->at[i - 1].hash_next;
                s->at[i - 1].node_id = 0;
                s->at[i - 1].hash_next = s->free;
                s->free = i;
                s->used--;
                *ret_slot = i - 1;
                return true;
        }
        return false;
}

int64_t slots_node(const struct slots *s, uint32_t slot, uint32_t gen)
{
        if (slot >= s->cap || s->at[slot].gen != gen)
                return 0;
        return s->at[slot].node_id;
}

int64_t slots_any(struct slots *s)
{
        if (s->used == 0)
                return 0;
        while (s->at[s->first].node_id == 0)
                s->first++;
        return s->at[s->first].node_id;
}
