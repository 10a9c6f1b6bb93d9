#include "base/pktring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CACHE_LINE = 64, LENGTH = 2 };

/* head and tail count bytes and only grow; a packet is its length and then itself, wrapping where the block ends. */
struct pktring {
        size_t bytes;
        uint8_t *block;
        int fd;
        _Alignas(CACHE_LINE) atomic_size_t head;   /* next to write; the producer's */
        _Alignas(CACHE_LINE) atomic_size_t tail;   /* next to read; the consumer's */
};

struct pktring *pktring_new(size_t bytes)
{
        if (bytes < LENGTH + PKTRING_PACKET_MAX || (bytes & (bytes - 1)) != 0) {
                errno = EINVAL;
                return NULL;
        }
        struct pktring *r = aligned_alloc(CACHE_LINE, sizeof(*r));
        if (r == NULL)
                return NULL;
        *r = (struct pktring){.bytes = bytes};
        atomic_init(&r->head, 0);
        atomic_init(&r->tail, 0);
        r->block = calloc(1, bytes);
        r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (r->block != NULL && r->fd >= 0)
                return r;
        int saved = errno;
        pktring_free(r);
        errno = saved;
        return NULL;
}

void pktring_free(struct pktring *r)
{
        if (r == NULL)
                return;
        if (r->fd >= 0)
                close(r->fd);
        free(r->block);
        free(r);
}

static void put(struct pktring *r, size_t at, const void *from, size_t n)
{
        size_t i = at & (r->bytes - 1), first = n < r->bytes - i ? n : r->bytes - i;
        memcpy(r->block + i, from, first);
        memcpy(r->block, (const uint8_t *)from + first, n - first);
}

static void get(const struct pktring *r, size_t at, void *to, size_t n)
{
        size_t i = at & (r->bytes - 1), first = n < r->bytes - i ? n : r->bytes - i;
        memcpy(to, r->block + i, first);
        memcpy((uint8_t *)to + first, r->block, n - first);
}

bool pktring_push(struct pktring *r, const void *pkt, size_t len)
{
        size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
        size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (len == 0 || len > PKTRING_PACKET_MAX || head - tail + LENGTH + len > r->bytes)
                return false;
        uint16_t n = (uint16_t)len;
        put(r, head, &n, LENGTH);
        put(r, head + LENGTH, pkt, len);
        atomic_store_explicit(&r->head, head + LENGTH + len, memory_order_release);
        return true;
}

void pktring_wake(struct pktring *r)
{
        uint64_t one = 1;
        while (write(r->fd, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
}

size_t pktring_pop(struct pktring *r, uint8_t ret_pkt[PKTRING_PACKET_MAX])
{
        size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
        size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
        uint16_t n;
        if (head == tail)
                return 0;
        get(r, tail, &n, LENGTH);
        get(r, tail + LENGTH, ret_pkt, n);
        atomic_store_explicit(&r->tail, tail + LENGTH + n, memory_order_release);
        return n;
}

int pktring_fd(const struct pktring *r)
{
        return r->fd;
}

void pktring_drain_fd(struct pktring *r)
{
        uint64_t n;
        while (read(r->fd, &n, sizeof(n)) < 0 && errno == EINTR)
                ;
}
