/* base/pkt.h - one packet in fixed storage, and the pool it comes from.
 *
 * Storage has head room so that each layer can put its header in front without copying, and tail room
 * for the AEAD tag and padding.  Data thread only.  Exactly one owner: a function either borrows
 * (const struct pkt *) or says in its comment that it consumes.
 *
 * A packet on its walk need not come from the pool: a view lies in a buffer that holds a whole burst, and lasts as
 * long as the call that brought it.  It is released like any other; whoever wants it for longer asks pkt_keep().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
        PKT_HEADROOM = 64,     /* 16 data header + 37 DERP send frame + slack */
        PKT_TAILROOM = 32,     /* 16 tag + up to 15 padding */
        PKT_DATA_MAX = 2048,   /* largest single packet carried; super-packets use their own buffers */
        PKT_STORAGE = PKT_HEADROOM + PKT_DATA_MAX + PKT_TAILROOM,
};
_Static_assert(16 + 37 <= PKT_HEADROOM, "headers fit");
_Static_assert(16 + 15 <= PKT_TAILROOM, "tag and padding fit");

struct pkt {
        struct pkt *next;      /* list link of whoever owns it */
        uint8_t *storage;      /* its own in the pool, or room in a buffer */
        uint16_t cap;          /* bytes of it */
        uint16_t off;          /* first byte of the packet within storage */
        uint16_t len;
        bool view;             /* storage is lent */
        uint32_t peer;         /* slot of the peer it came from or goes to */
        struct addr src;       /* where it came from, if it came by UDP */
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
/* A packet of len bytes in lent storage, off bytes into it. */
void pkt_view(struct pkt *p, uint8_t *storage, size_t cap, size_t off, size_t len);
/* The four moves; each checks and fails without change (NULL/false). */
uint8_t *pkt_push(struct pkt *p, size_t n);   /* n bytes in front; returns the new first byte */
bool pkt_pull(struct pkt *p, size_t n);       /* drop n bytes in front */
uint8_t *pkt_put(struct pkt *p, size_t n);    /* n bytes behind; returns the first of them */
bool pkt_trim(struct pkt *p, size_t len);     /* shorten to len */

/* A slab of `count` packets, of which memory is used as far as they were ever out at once; get returns NULL when all
 * are out. */
struct pkt_pool;
struct pkt_pool *pkt_pool_new(size_t count);
void pkt_pool_free(struct pkt_pool *pool);
struct pkt *pkt_get(struct pkt_pool *pool);   /* reset */
void pkt_release(struct pkt_pool *pool, struct pkt *p);   /* NULL is fine */
/* Consumes p; returns it, or a copy from the pool if it is a view.  NULL: all are out, or it is larger than any. */
struct pkt *pkt_keep(struct pkt_pool *pool, struct pkt *p);
size_t pkt_pool_free_count(const struct pkt_pool *pool);

/* FIFO of packets, bounded by whoever fills it. */
struct pkt_queue {
        struct pkt *head, *tail;
        size_t count;
};
void pkt_queue_push(struct pkt_queue *q, struct pkt *p);
struct pkt *pkt_queue_pop(struct pkt_queue *q);
