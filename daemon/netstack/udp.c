#include "daemon/netstack/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/reader.h"

enum {
        HEADER = 8,
        P_UDP = 17,
        SUM_AT = 6,
        RECEIVES = 32,                 /* datagrams at a time, so that others get their turn */
        PORT_FIRST = 49152, PORTS = 65536 - PORT_FIRST,
        PORT_TRIES = 64,
};

struct flow {
        struct udp *u;
        struct addr from, to;          /* the peer, and whom it means */
        struct watch watch;
        struct timer idle;
        int64_t idle_ms;
        struct flow *next, **prev;     /* the one that was busy last is first */
};

struct udp_port {
        struct udp *u;
        struct addr at;
        udp_fn fn;
        void *arg;
        struct udp_port *next, **prev;
};

struct udp {
        struct loop *loop;
        udp_where_fn where;
        void *arg;
        struct flow *flows;
        size_t flow_count, port_count;
        struct udp_port *ports;
};

/* ---- to the tailnet ---- */

static void send_to_peer(struct addr from, struct addr to, uint8_t *packet, size_t len)
{
        store_be16(packet, from.port);
        store_be16(packet + 2, to.port);
        store_be16(packet + 4, (uint16_t)(HEADER + len));
        store_be16(packet + 6, 0);
        netstack_send(P_UDP, from, to, packet, HEADER + len, SUM_AT);
}

/* ---- flows ---- */

static void flow_free(struct flow *f)
{
        int fd = f->watch.fd;
        loop_unwatch(&f->watch);
        close(fd);
        loop_timer_stop(&f->idle);
        *f->prev = f->next;
        if (f->next != NULL)
                f->next->prev = f->prev;
        f->u->flow_count--;
        free(f);
}

static void link_first(struct flow *f)
{
        f->next = f->u->flows;
        f->prev = &f->u->flows;
        if (f->next != NULL)
                f->next->prev = &f->next;
        f->u->flows = f;
}

static void touch(struct flow *f)
{
        loop_timer_in(f->u->loop, &f->idle, f->idle_ms);
        *f->prev = f->next;
        if (f->next != NULL)
                f->next->prev = f->prev;
        link_first(f);
}

static void on_idle(struct timer *t, mono_t now)
{
        (void)now;
        flow_free(container_of(t, struct flow, idle));
}

static void on_socket(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        static uint8_t packet[HEADER + UINT16_MAX];
        struct flow *f = container_of(w, struct flow, watch);
        for (int i = 0; i < RECEIVES; i++) {
                ssize_t n = recv(w->fd, packet + HEADER, UDP_DATA_MAX, MSG_DONTWAIT);
                if (n < 0)   /* refused ones as well: the peer's next datagram may be answered */
                        return;
                touch(f);
                send_to_peer(f->to, f->from, packet, (size_t)n);
        }
}

static int open_socket(struct addr to)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(to, &sa);
        int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, len) == 0)
                return fd;
        if (fd >= 0)
                close(fd);
        return -1;
}

static struct flow *find(struct udp *u, struct addr from, struct addr to)
{
        struct flow *f = u->flows;
        while (f != NULL && !(addr_eq(f->from, from) && addr_eq(f->to, to)))
                f = f->next;
        return f;
}

/* The oldest of this source where it has its share, of all where all are taken. */
static void make_room(struct udp *u, struct ip source)
{
        size_t same = 0;
        struct flow *oldest = NULL, *oldest_same = NULL;
        for (struct flow *f = u->flows; f != NULL; f = f->next) {
                oldest = f;
                if (ip_eq(f->from.ip, source)) {
                        oldest_same = f;
                        same++;
                }
        }
        if (same >= UDP_FLOWS_EACH)
                flow_free(oldest_same);
        else if (u->flow_count >= UDP_FLOWS_MAX)
                flow_free(oldest);
}

static struct flow *flow_new(struct udp *u, struct addr from, struct addr to)
{
        struct addr target = to;
        if (!u->where(u->arg, from, &target))
                return NULL;
        make_room(u, from.ip);
        struct flow *f = calloc(1, sizeof(*f));
        int fd = f != NULL ? open_socket(target) : -1;
        if (fd < 0) {
                free(f);
                return NULL;
        }
        f->u = u;
        f->from = from;
        f->to = to;
        f->idle_ms = to.port == 53 ? UDP_IDLE_DNS_MS : UDP_IDLE_MS;
        watch_init(&f->watch, on_socket);
        timer_init(&f->idle, on_idle);
        if (loop_watch(u->loop, &f->watch, fd, LOOP_READ) != ERR_NONE) {
                close(fd);
                free(f);
                return NULL;
        }
        link_first(f);
        u->flow_count++;
        return f;
}

/* ---- ports ---- */

static struct udp_port *port_at(struct udp *u, struct addr at)
{
        struct udp_port *p = u->ports;
        while (p != NULL && !addr_eq(p->at, at))
                p = p->next;
        return p;
}

struct udp_port *udp_port_open(struct udp *u, struct ip local, udp_fn fn, void *arg)
{
        struct udp_port *p = u->port_count < UDP_PORTS_MAX ? calloc(1, sizeof(*p)) : NULL;
        if (p == NULL)
                return NULL;
        for (int i = 0; i < PORT_TRIES; i++) {
                uint16_t r;
                crypto_random(&r, sizeof(r));
                p->at = (struct addr){local, (uint16_t)(PORT_FIRST + r % PORTS)};
                if (port_at(u, p->at) != NULL)
                        continue;
                p->u = u;
                p->fn = fn;
                p->arg = arg;
                p->next = u->ports;
                p->prev = &u->ports;
                if (p->next != NULL)
                        p->next->prev = &p->next;
                u->ports = p;
                u->port_count++;
                return p;
        }
        free(p);
        return NULL;
}

void udp_port_send(struct udp_port *p, struct addr to, const uint8_t *data, size_t len)
{
        static uint8_t packet[HEADER + UINT16_MAX];
        if (len > UDP_DATA_MAX)
                return;
        memcpy(packet + HEADER, data, len);
        send_to_peer(p->at, to, packet, len);
}

void udp_port_close(struct udp_port *p)
{
        *p->prev = p->next;
        if (p->next != NULL)
                p->next->prev = p->prev;
        p->u->port_count--;
        free(p);
}

/* ---- what comes in ---- */

void udp_datagram(struct udp *u, struct addr from, struct addr to, const uint8_t *data, size_t len)
{
        struct rd r = rd_init(data, len);
        from.port = rd_be16(&r);
        to.port = rd_be16(&r);
        size_t total = rd_be16(&r);
        rd_skip(&r, 2);
        const uint8_t *payload = total >= HEADER ? rd_take(&r, total - HEADER) : NULL;
        if (payload == NULL || from.port == 0 || to.port == 0)
                return;
        struct udp_port *p = port_at(u, to);
        if (p != NULL) {
                p->fn(p->arg, from, payload, total - HEADER);
                return;
        }
        struct flow *f = find(u, from, to);
        if (f == NULL)
                f = flow_new(u, from, to);
        if (f == NULL)
                return;
        touch(f);
        (void)send(f->watch.fd, payload, total - HEADER, MSG_DONTWAIT | MSG_NOSIGNAL);
}

struct udp *udp_new(struct loop *l, udp_where_fn fn, void *arg)
{
        struct udp *u = calloc(1, sizeof(*u));
        if (u == NULL)
                return NULL;
        u->loop = l;
        u->where = fn;
        u->arg = arg;
        return u;
}

void udp_free(struct udp *u)
{
        if (u == NULL)
                return;
        while (u->flows != NULL)
                flow_free(u->flows);
        free(u);
}
