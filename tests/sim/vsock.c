/* magicsock/sock.h over tests/sim/net.h: UDP sockets of the running host. */
#include "magicsock/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/unset.h"
#include "tests/sim/net.h"

enum { QUEUE_MAX = 512 };   /* datagrams that the kernel holds for a socket */

struct datagram {
        struct datagram *next;
        struct addr src;
        size_t len;
        uint8_t data[];
};

struct vsock {
        struct vsock *next;
        struct host *host;
        int fd;
        uint16_t port;
        enum ip_family family;
        bool shared;                     /* during a renewal */
        struct datagram *first, **last;
        size_t count;
};

struct sock_rx {
        struct datagram *now, *before;   /* handed out by the last call, and by the one before it */
        struct datagram *read;           /* not handed out yet */
        unsigned turn;
        struct pkt view[2][SOCK_VIEWS_MAX];
};

static void free_list(struct datagram **list)
{
        while (*list != NULL) {
                struct datagram *d = *list;
                *list = d->next;
                free(d);
        }
}

static struct vsock **bucket(struct host *h, uint16_t port)
{
        return &h->socks[port % SOCK_BUCKETS];
}

static struct vsock *find(struct host *h, const struct sock *s)
{
        for (struct vsock *v = *bucket(h, s->port); v != NULL; v = v->next)
                if (v->fd == s->fd)
                        return v;
        return NULL;
}

static struct vsock *by_port(struct host *h, uint16_t port, enum ip_family f)
{
        for (struct vsock *v = *bucket(h, port); v != NULL; v = v->next)
                if (v->port == port && v->family == f)
                        return v;
        return NULL;
}

static bool is_taken(struct host *h, const struct sock *s, uint16_t port)
{
        const struct vsock *v = by_port(h, port, s->family);
        return v != NULL && !(v->shared && port == s->shares);
}

bool vsock_deliver(struct host *h, struct addr src, struct addr dst, const uint8_t *data, size_t len)
{
        struct vsock *v = by_port(h, dst.port, dst.ip.family);
        struct datagram *d;
        if (v == NULL || v->count == QUEUE_MAX || (d = malloc(sizeof(*d) + len)) == NULL)
                return false;
        *d = (struct datagram){.src = src, .len = len};
        memcpy(d->data, data, len);
        *v->last = d;
        v->last = &d->next;
        v->count++;
        vfd_ready(v->fd, true);
        return true;
}

/* ---- magicsock/sock.h ---- */

void sock_init(struct sock *s, enum ip_family f)
{
        *s = (struct sock){.fd = -1, .family = f, .buffer_bytes = SOCK_BUFFER_BYTES, .wanted = SOCK_OFFLOADS};
}

void sock_want_offloads(struct sock *s, unsigned wanted)
{
        s->wanted = wanted;
}

void sock_want_buffers(struct sock *s, int bytes)
{
        s->buffer_bytes = bytes;
}

bool sock_is_open(const struct sock *s)
{
        return s->fd >= 0;
}

enum err sock_open(struct sock *s, uint16_t port, uint32_t mark)
{
        (void)mark;
        struct host *h = host_running;
        while (port == 0 || (is_taken(h, s, port) && s->port == 0)) {
                uint16_t p = (uint16_t)rng_in(net_rng(), 32768, 60999);
                if (by_port(h, p, s->family) == NULL) {
                        port = p;
                        break;
                }
        }
        if (is_taken(h, s, port)) {
                errno = EADDRINUSE;
                return ERR_IO;
        }
        struct vsock *v = calloc(1, sizeof(*v));
        if (v == NULL)
                return ERR_IO;
        struct vsock **first = bucket(h, port);
        *v = (struct vsock){.next = *first, .host = h, .fd = vfd_new(), .port = port, .family = s->family};
        v->last = &v->first;
        *first = v;
        h->sock_count++;
        s->fd = v->fd;
        s->port = port;
        return ERR_NONE;
}

void sock_close(struct sock *s)
{
        if (s->fd < 0)
                return;
        struct host *h = host_running;
        for (struct vsock **at = bucket(h, s->port); *at != NULL; at = &(*at)->next) {
                struct vsock *v = *at;
                if (v->fd != s->fd)
                        continue;
                *at = v->next;
                free_list(&v->first);
                vfd_free(v->fd);
                free(v);
                h->sock_count--;
                break;
        }
        s->fd = -1;
}

enum err sock_open_both(struct sock *v4, struct sock *v6, const uint16_t *ports, size_t n, uint32_t mark)
{
        sock_close(v4);
        sock_close(v6);
        for (size_t i = 0; i < n; i++) {
                v4->port = 0;
                if (ports[i] != 0 && is_taken(host_running, v4, ports[i]))
                        continue;
                if (sock_open(v4, ports[i], mark) != ERR_NONE)
                        continue;
                if (!is_taken(host_running, v6, v4->port))
                        (void)!sock_open(v6, v4->port, mark);
                return ERR_NONE;
        }
        errno = EADDRINUSE;
        return ERR_IO;
}

void sock_begin_renewal(struct sock *fresh, struct sock *old)
{
        struct vsock *v = find(host_running, old);
        *fresh = *old;
        fresh->fd = -1;
        fresh->shares = old->port;
        fresh->port = 0;
        if (v != NULL)
                v->shared = true;
}

void sock_end_renewal(struct sock *fresh, struct sock *old)
{
        struct vsock *v = find(host_running, old);
        fresh->shares = 0;
        if (v != NULL)
                v->shared = false;
}

struct sock_rx *sock_rx_new(uint8_t *room)
{
        (void)room;
        return calloc(1, sizeof(struct sock_rx));
}

void sock_rx_free(struct sock_rx *rx)
{
        if (rx == NULL)
                return;
        free_list(&rx->now);
        free_list(&rx->before);
        free_list(&rx->read);
        free(rx);
}

bool sock_recv(struct sock *s, struct sock_rx *rx, bool keep)
{
        struct vsock *v = find(host_running, s);
        free_list(&rx->before);
        free_list(&rx->read);
        if (keep)
                rx->before = rx->now;
        else
                free_list(&rx->now);
        rx->now = NULL;
        rx->read = v != NULL ? v->first : NULL;
        if (v == NULL || v->first == NULL)
                return false;
        v->first = NULL;
        v->last = &v->first;
        v->count = 0;
        vfd_ready(v->fd, false);
        return true;
}

size_t sock_rx_next(struct sock_rx *rx, struct pkt *ret[SOCK_VIEWS_MAX])
{
        struct pkt *view = rx->view[rx->turn ^= 1];
        size_t n = 0;
        if (rx->read == NULL)
                return 0;
        struct datagram **last = &rx->before;   /* what was handed out before is wanted until the call after this */
        while (*last != NULL)
                last = &(*last)->next;
        *last = rx->now;
        rx->now = rx->read;
        for (struct datagram *d = rx->now; d != NULL; d = d->next) {
                struct pkt *p = &view[n];
                bool fits = d->len <= PKT_DATA_MAX;
                pkt_view(p, d->data, d->len, 0, fits ? d->len : 0);
                p->src = d->src;
                ret[n++] = p;
                if (n == SOCK_VIEWS_MAX) {
                        rx->read = d->next;
                        d->next = NULL;
                        return n;
                }
        }
        rx->read = NULL;
        return n;
}

bool sock_rx_may_keep(const struct sock_rx *rx)
{
        return rx->read == NULL;
}

static bool send_one(const struct sock *s, struct addr to, const void *data, size_t len)
{
        int e = s->fd < 0 ? EBADF : net_send(host_running, s->port, to, data, len);
        errno = e;
        return e == 0;
}

size_t sock_send(struct sock *s, struct addr to, struct pkt *const *pkts, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!send_one(s, to, pkt_cdata(pkts[i]), pkts[i]->len))
                        return i;
        return n;
}

bool sock_send_bytes(struct sock *s, struct addr to, const void *data, size_t len)
{
        return send_one(s, to, data, len);
}
