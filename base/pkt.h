/* base/pkt.h - one packet in fixed storage, and the pool it comes from.
 *
 * Storage has head room so that each layer can put its header in front without copying, and tail room
 * for the AEAD tag and padding.  Data thread only.  Exactly one owner: a function either borrows
 * (const struct pkt *) or says in its comment that it consumes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
        PKT_HEADROOM = 64,     /* 16 data header + 37 DERP send frame + slack; inwards 12 vnet header */
        PKT_TAILROOM = 32,     /* 16 tag + up to 15 padding */
        PKT_DATA_MAX = 2048,   /* largest single packet carried; super-packets use their own buffers */
};
_Static_assert(16 + 37 <= PKT_HEADROOM, "headers fit");
_Static_assert(16 + 15 <= PKT_TAILROOM, "tag and padding fit");

struct pkt {
        struct pkt *next;      /* list link of whoever owns it */
        uint16_t off;          /* first byte of the packet within storage */
        uint16_t len;
        uint32_t peer;         /* slot of the peer it came from or goes to */
        struct addr src;       /* where it came from, if it came by UDP */
        uint8_t ecn;
        uint8_t storage[PKT_HEADROOM + PKT_DATA_MAX + PKT_TAILROOM];
};

static inline uint8_t *pkt_data(struct pkt *p)
{
        return p->storage + p->off;
}
static inline const uint8_t *pkt_cdata(const struct pkt *p)
{
        return p->storage + p->off;
}

void pkt_reset(struct pkt *p);                /* empty, off = PKT_HEADROOM */
/* The four moves; each checks and fails without change (NULL/false). */
uint8_t *pkt_push(struct pkt *p, size_t n);   /* n bytes in front; returns the new first byte */
bool pkt_pull(struct pkt *p, size_t n);       /* drop n bytes in front */
uint8_t *pkt_put(struct pkt *p, size_t n);    /* n bytes behind; returns the first of them */
bool pkt_trim(struct pkt *p, size_t len);     /* shorten to len */

/* A slab of `count` packets; get returns NULL when all are out. */
struct pkt_pool;
struct pkt_pool *pkt_pool_new(size_t count);
void pkt_pool_free(struct pkt_pool *pool);
struct pkt *pkt_get(struct pkt_pool *pool);   /* reset */
void pkt_release(struct pkt_pool *pool, struct pkt *p);   /* NULL is fine */
size_t pkt_pool_free_count(const struct pkt_pool *pool);

/* FIFO of packets, bounded by whoever fills it. */
struct pkt_queue {
        struct pkt *head, *tail;
        size_t count;
};
void pkt_queue_push(struct pkt_queue *q, struct pkt *p);
struct pkt *pkt_queue_pop(struct pkt_queue *q);
