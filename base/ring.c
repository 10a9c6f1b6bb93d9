#include "base/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CACHE_LINE = 64 };

/* head and tail only grow (and wrap with size_t); a slot is at its low bits.  Each is written by one side,
 * so the two stand on lines of their own. */
struct ring {
        size_t count;
        size_t msg_bytes;
        unsigned char *slots;
        int fd;
        _Alignas(CACHE_LINE) atomic_size_t head;   /* next to write; the producer's */
        _Alignas(CACHE_LINE) atomic_size_t tail;   /* next to read; the consumer's */
};

struct ring *ring_new(size_t count, size_t msg_bytes)
{
        if (count == 0 || (count & (count - 1)) != 0 || msg_bytes == 0) {
                errno = EINVAL;
                return NULL;
        }
        struct ring *r = aligned_alloc(CACHE_LINE, sizeof(*r));
        if (r == NULL)
                return NULL;
        *r = (struct ring){.count = count, .msg_bytes = msg_bytes};
        atomic_init(&r->head, 0);
        atomic_init(&r->tail, 0);
        r->slots = calloc(count, msg_bytes);
        r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (r->slots == NULL || r->fd < 0) {
                int saved = errno;
                ring_free(r);
                errno = saved;
                return NULL;
        }
        return r;
}

void ring_free(struct ring *r)
{
        if (r == NULL)
                return;
        if (r->fd >= 0)
                close(r->fd);
        free(r->slots);
        free(r);
}

static unsigned char *slot(const struct ring *r, size_t i)
{
        return r->slots + (i & (r->count - 1)) * r->msg_bytes;
}

/* Written for every message, not only for the first of a batch: messages here are events, not packets, and a
 * consumer that once stopped short is woken again by the next. */
static void signal_consumer(const struct ring *r)
{
        uint64_t one = 1;
        while (write(r->fd, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
}

bool ring_push(struct ring *r, const void *msg)
{
        size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
        size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (head - tail == r->count)
                return false;
        memcpy(slot(r, head), msg, r->msg_bytes);
        atomic_store_explicit(&r->head, head + 1, memory_order_release);
        signal_consumer(r);
        return true;
}

bool ring_pop(struct ring *r, void *ret_msg)
{
        size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
        size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
        if (head == tail)
                return false;
        memcpy(ret_msg, slot(r, tail), r->msg_bytes);
        atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
        return true;
}

int ring_fd(const struct ring *r)
{
        return r->fd;
}

void ring_drain_fd(struct ring *r)
{
        uint64_t n;
        while (read(r->fd, &n, sizeof(n)) < 0 && errno == EINTR)
                ;
}
