#include "base/pkt.h"

#include <stdlib.h>
#include <string.h>

struct pkt_pool {
        struct pkt *free;
        size_t free_count;
        size_t fresh, count;   /* those from `fresh` on were never out, and have no memory of their own yet */
        struct pooled {
                struct pkt p;
                uint8_t bytes[PKT_STORAGE];
        } slab[];
};

void pkt_reset(struct pkt *p)
{
        p->next = NULL;
        p->off = PKT_HEADROOM;
        p->len = 0;
        p->peer = 0;
        p->src = (struct addr){0};
}

void pkt_view(struct pkt *p, uint8_t *storage, size_t cap, size_t off, size_t len)
{
        *p = (struct pkt){
                .storage = storage,
                .cap = (uint16_t)cap,
                .off = (uint16_t)off,
                .len = (uint16_t)len,
                .view = true,
        };
}

uint8_t *pkt_push(struct pkt *p, size_t n)
{
        if (n > p->off)
                return NULL;
        p->off = (uint16_t)(p->off - n);
        p->len = (uint16_t)(p->len + n);
        return pkt_data(p);
}

bool pkt_pull(struct pkt *p, size_t n)
{
        if (n > p->len)
                return false;
        p->off = (uint16_t)(p->off + n);
        p->len = (uint16_t)(p->len - n);
        return true;
}

uint8_t *pkt_put(struct pkt *p, size_t n)
{
        size_t end = (size_t)p->off + p->len;
        if (n > p->cap - end)
                return NULL;
        p->len = (uint16_t)(p->len + n);
        return p->storage + end;
}

bool pkt_trim(struct pkt *p, size_t len)
{
        if (len > p->len)
                return false;
        p->len = (uint16_t)len;
        return true;
}

struct pkt_pool *pkt_pool_new(size_t count)
{
        if (count > (SIZE_MAX - sizeof(struct pkt_pool)) / sizeof(struct pooled))
                return NULL;
        struct pkt_pool *pool = calloc(1, sizeof(*pool) + count * sizeof(struct pooled));
        if (pool == NULL)
                return NULL;
        pool->count = pool->free_count = count;
        return pool;
}

void pkt_pool_free(struct pkt_pool *pool)
{
        free(pool);
}

struct pkt *pkt_get(struct pkt_pool *pool)
{
        struct pkt *p = pool->free;
        if (p != NULL) {
                pool->free = p->next;
        } else if (pool->fresh < pool->count) {
                struct pooled *at = &pool->slab[pool->fresh++];
                p = &at->p;
                p->storage = at->bytes;
                p->cap = PKT_STORAGE;
        } else {
                return NULL;
        }
        pool->free_count--;
        pkt_reset(p);
        return p;
}

void pkt_release(struct pkt_pool *pool, struct pkt *p)
{
        if (p == NULL || p->view)
                return;
        p->next = pool->free;
        pool->free = p;
        pool->free_count++;
}

struct pkt *pkt_keep(struct pkt_pool *pool, struct pkt *p)
{
        if (!p->view)
                return p;
        struct pkt *own = p->len <= PKT_DATA_MAX + PKT_TAILROOM ? pkt_get(pool) : NULL;
        if (own == NULL)
                return NULL;
        memcpy(pkt_data(own), pkt_cdata(p), p->len);
        own->len = p->len;
        own->peer = p->peer;
        own->src = p->src;
        return own;
}

size_t pkt_pool_free_count(const struct pkt_pool *pool)
{
        return pool->free_count;
}

void pkt_queue_push(struct pkt_queue *q, struct pkt *p)
{
        p->next = NULL;
        if (q->tail != NULL)
                q->tail->next = p;
        else
                q->head = p;
        q->tail = p;
        q->count++;
}

struct pkt *pkt_queue_pop(struct pkt_queue *q)
{
        struct pkt *p = q->head;
        if (p == NULL)
                return NULL;
        q->head = p->next;
        if (q->head == NULL)
                q->tail = NULL;
        q->count--;
        p->next = NULL;
        return p;
}
