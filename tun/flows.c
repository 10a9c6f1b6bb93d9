#include "tun/flows.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

enum { NIL = UINT16_MAX };

struct entry {
        struct flow flow;
        uint16_t chain;        /* next in the bucket */
        uint16_t newer, older; /* the LRU list */
};

struct flows {
        uint16_t max, used;
        uint16_t newest, oldest;
        uint16_t mask;
        uint64_t seed;
        uint16_t *bucket;
        struct entry entry[];
};

struct flows *flows_new(uint16_t max)
{
        struct flows *f = calloc(1, sizeof(*f) + max * sizeof(f->entry[0]));
        if (f == NULL)
                return NULL;
        uint16_t buckets = 1;
        while (buckets < max)
                buckets = (uint16_t)(buckets * 2);
        f->bucket = malloc(buckets * sizeof(*f->bucket));
        if (f->bucket == NULL) {
                free(f);
                return NULL;
        }
        f->max = max;
        f->mask = (uint16_t)(buckets - 1);
        flows_clear(f);
        crypto_random(&f->seed, sizeof(f->seed));
        return f;
}

void flows_clear(struct flows *f)
{
        for (size_t i = 0; i <= f->mask; i++)
                f->bucket[i] = NIL;
        f->used = 0;
        f->newest = f->oldest = NIL;
}

void flows_free(struct flows *f)
{
        if (f == NULL)
                return;
        free(f->bucket);
        free(f);
}

static uint16_t *bucket_of(struct flows *f, const struct flow *flow)
{
        return &f->bucket[flow_hash(flow, f->seed) & f->mask];
}

static uint16_t find(struct flows *f, const struct flow *flow)
{
        uint16_t i = *bucket_of(f, flow);
        while (i != NIL && !flow_eq(&f->entry[i].flow, flow))
                i = f->entry[i].chain;
        return i;
}

static void unlink_lru(struct flows *f, uint16_t i)
{
        struct entry *e = &f->entry[i];
        if (e->newer != NIL)
                f->entry[e->newer].older = e->older;
        else
                f->newest = e->older;
        if (e->older != NIL)
                f->entry[e->older].newer = e->newer;
        else
                f->oldest = e->newer;
}

static void link_newest(struct flows *f, uint16_t i)
{
        f->entry[i].newer = NIL;
        f->entry[i].older = f->newest;
        if (f->newest != NIL)
                f->entry[f->newest].newer = i;
        else
                f->oldest = i;
        f->newest = i;
}

static void touch(struct flows *f, uint16_t i)
{
        if (f->newest == i)
                return;
        unlink_lru(f, i);
        link_newest(f, i);
}

/* The oldest entry, out of its bucket and the list. */
static uint16_t evict(struct flows *f)
{
        uint16_t i = f->oldest;
        uint16_t *at = bucket_of(f, &f->entry[i].flow);
        while (*at != i)
                at = &f->entry[*at].chain;
        *at = f->entry[i].chain;
        unlink_lru(f, i);
        return i;
}

void flows_add(struct flows *f, const struct flow *flow)
{
        uint16_t i = find(f, flow);
        if (i != NIL) {
                touch(f, i);
                return;
        }
        i = f->used < f->max ? f->used++ : evict(f);
        uint16_t *b = bucket_of(f, flow);
        f->entry[i].flow = *flow;
        f->entry[i].chain = *b;
        *b = i;
        link_newest(f, i);
}

bool flows_has(struct flows *f, const struct flow *flow)
{
        uint16_t i = find(f, flow);
        if (i == NIL)
                return false;
        touch(f, i);
        return true;
}
