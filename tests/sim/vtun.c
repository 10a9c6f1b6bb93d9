#include "tests/sim/vtun.h"

#include <stdlib.h>
#include <string.h>

#include "base/pktring.h"
#include "base/ring.h"

struct item {
        struct item *next;
        size_t len;
        uint8_t data[];
};

struct queue {
        struct item *first, **last;
        int fd;
};

static void queue_init(struct queue *q)
{
        *q = (struct queue){.fd = vfd_new()};
        q->last = &q->first;
}

static void queue_push(struct queue *q, const void *data, size_t len)
{
        struct item *i = malloc(sizeof(*i) + len);
        if (i == NULL)
                abort();
        *i = (struct item){.len = len};
        memcpy(i->data, data, len);
        *q->last = i;
        q->last = &i->next;
        vfd_ready(q->fd, true);
}

static size_t queue_pop(struct queue *q, void *ret, size_t cap)
{
        struct item *i = q->first;
        if (i == NULL)
                return 0;
        size_t n = i->len < cap ? i->len : cap;
        memcpy(ret, i->data, n);
        if ((q->first = i->next) == NULL) {
                q->last = &q->first;
                vfd_ready(q->fd, false);
        }
        free(i);
        return n;
}

static void queue_done(struct queue *q)
{
        while (q->first != NULL) {
                struct item *i = q->first;
                q->first = i->next;
                free(i);
        }
        vfd_free(q->fd);
}

/* ---- tun/device.h ---- */

struct tun {
        struct host *host;
        struct queue in;
        struct tun_counters counters;
};

void (*vtun_got)(struct host *h, const uint8_t *packet, size_t len);

struct tun *vtun_new(struct host *h)
{
        struct tun *t = calloc(1, sizeof(*t));
        if (t == NULL)
                abort();
        t->host = h;
        queue_init(&t->in);
        return t;
}

void tun_close(struct tun *t)
{
        if (t == NULL)
                return;
        queue_done(&t->in);
        free(t);
}

void vtun_send(struct tun *t, const void *packet, size_t len)
{
        queue_push(&t->in, packet, len);
}

int tun_fd(const struct tun *t)
{
        return t->in.fd;
}

unsigned tun_set_offloads(struct tun *t, unsigned wanted)
{
        (void)t;
        (void)wanted;
        return 0;
}

unsigned tun_offloads(const struct tun *t)
{
        (void)t;
        return 0;
}

bool tun_next(struct tun *t, uint8_t room[TUN_ROOM], struct gso *ret)
{
        static const struct vnet plain;
        size_t n;
        while ((n = queue_pop(&t->in, room, TUN_ROOM)) > 0) {
                t->counters.read++;
                if (gso_begin(ret, &plain, room, n) == ERR_NONE)
                        return true;
                t->counters.read_dropped++;
        }
        return false;
}

bool tun_is_gone(const struct tun *t)
{
        (void)t;
        return false;
}

bool tun_write_one(struct tun *t, const struct pkt *p)
{
        t->counters.written++;
        vtun_got(t->host, pkt_cdata(p), p->len);
        return true;
}

void tun_write(struct tun *t, const struct gro *g, size_t n)
{
        for (size_t i = 0; i < n; i++)
                for (const struct pkt *p = g->item[i].first; p != NULL; p = p->next)
                        (void)tun_write_one(t, p);
}

struct tun_counters tun_counters(const struct tun *t)
{
        return t->counters;
}

/* ---- base/ring.h ---- */

struct ring {
        struct queue q;
        size_t msg_bytes;
};

struct ring *ring_new(size_t count, size_t msg_bytes)
{
        (void)count;
        struct ring *r = calloc(1, sizeof(*r));
        if (r == NULL)
                return NULL;
        queue_init(&r->q);
        r->msg_bytes = msg_bytes;
        return r;
}

void ring_free(struct ring *r)
{
        if (r == NULL)
                return;
        queue_done(&r->q);
        free(r);
}

bool ring_push(struct ring *r, const void *msg)
{
        queue_push(&r->q, msg, r->msg_bytes);
        return true;
}

bool ring_pop(struct ring *r, void *ret_msg)
{
        return queue_pop(&r->q, ret_msg, r->msg_bytes) > 0;
}

int ring_fd(const struct ring *r)
{
        return r->q.fd;
}

void ring_drain_fd(struct ring *r)
{
        (void)r;
}

/* ---- base/pktring.h: for service addresses, to which nobody sends here ---- */

struct pktring {
        int fd;
};

struct pktring *pktring_new(size_t bytes)
{
        (void)bytes;
        struct pktring *r = calloc(1, sizeof(*r));
        if (r != NULL)
                r->fd = vfd_new();
        return r;
}

void pktring_free(struct pktring *r)
{
        if (r == NULL)
                return;
        vfd_free(r->fd);
        free(r);
}

bool pktring_push(struct pktring *r, const void *pkt, size_t len)
{
        (void)r;
        (void)pkt;
        (void)len;
        return false;
}

size_t pktring_pop(struct pktring *r, uint8_t ret_pkt[PKTRING_PACKET_MAX])
{
        (void)r;
        (void)ret_pkt;
        return 0;
}

void pktring_wake(struct pktring *r)
{
        (void)r;
}

int pktring_fd(const struct pktring *r)
{
        return r->fd;
}

void pktring_drain_fd(struct pktring *r)
{
        (void)r;
}
