#include "daemon/proxy/associate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "daemon/proxy/socks5.h"

enum { ROUNDS = 32, FIRST_MAX = 2048 };

struct target {
        struct associate *a;
        char host[SOCKS5_HOST_MAX];
        struct addr to;
        struct watch watch;             /* its socket, once it is known where that leads */
        struct dialout_call *call;      /* until then */
        size_t first_len;               /* of the first datagram, which waits for that */
        uint8_t first[FIRST_MAX];
        struct target *next, **prev;    /* used last is first */
};

struct associate {
        struct loop *loop;
        struct dialout *dialout;
        struct watch watch;             /* the client's datagrams */
        struct ip client_ip;
        struct addr client;             /* none until its first one */
        struct target *targets;
        size_t count;
};

/* ---- a place it sends to ---- */

static void target_free(struct target *t)
{
        int fd = t->watch.fd;
        loop_unwatch(&t->watch);
        if (fd >= 0)
                close(fd);
        dialout_cancel(t->call);
        *t->prev = t->next;
        if (t->next != NULL)
                t->next->prev = t->prev;
        t->a->count--;
        free(t);
}

static void link_first(struct target *t)
{
        t->next = t->a->targets;
        t->prev = &t->a->targets;
        if (t->next != NULL)
                t->next->prev = &t->next;
        t->a->targets = t;
}

static void send_to_client(struct associate *a, struct addr from, uint8_t *buf, size_t len)
{
        /* buf has room for the header in front of the data. */
        uint8_t head[SOCKS5_REPLY_MAX];
        struct sockaddr_storage sa;
        socklen_t sa_len = addr_to_sockaddr(a->client, &sa);
        size_t n = socks5_datagram_header(from, head);
        uint8_t *start = buf + SOCKS5_REPLY_MAX - n;
        memcpy(start, head, n);
        (void)sendto(a->watch.fd, start, n + len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&sa, sa_len);
}

static void on_target(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        static uint8_t buf[SOCKS5_REPLY_MAX + UINT16_MAX];
        struct target *t = container_of(w, struct target, watch);
        for (int i = 0; i < ROUNDS; i++) {
                ssize_t n = recv(w->fd, buf + SOCKS5_REPLY_MAX, UINT16_MAX, MSG_DONTWAIT);
                if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED))
                        return;
                if (n < 0) {
                        target_free(t);
                        return;
                }
                send_to_client(t->a, t->to, buf, (size_t)n);
        }
}

static void put(struct target *t, const uint8_t *data, size_t len)
{
        if (len > 0)
                (void)send(t->watch.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_resolved(void *arg, enum dialout_error error, const struct ip *ips, size_t n)
{
        struct target *t = arg;
        t->call = NULL;
        t->to.ip = n > 0 ? ips[0] : (struct ip){0};
        int fd = error == DIALOUT_OK && n > 0 ? dialout_datagram(t->a->dialout, t->to) : -1;
        if (fd < 0 || loop_watch(t->a->loop, &t->watch, fd, LOOP_READ) != ERR_NONE) {
                if (fd >= 0)
                        close(fd);
                target_free(t);
                return;
        }
        put(t, t->first, t->first_len);
}

static void target_new(struct associate *a, const struct socks5_request *r, const uint8_t *data, size_t len)
{
        if (len > FIRST_MAX)
                return;
        if (a->count == ASSOCIATE_TARGETS_MAX) {
                struct target *last = a->targets;
                while (last->next != NULL)
                        last = last->next;
                target_free(last);
        }
        struct target *t = calloc(1, sizeof(*t));
        if (t == NULL)
                return;
        t->a = a;
        t->to.port = r->port;
        t->first_len = len;
        memcpy(t->first, data, len);
        (void)str_copy(t->host, sizeof(t->host), r->host);
        watch_init(&t->watch, on_target);
        link_first(t);
        a->count++;
        t->call = dialout_resolve(a->dialout, t->host, on_resolved, t);
        if (t->call == NULL)
                target_free(t);
}

/* ---- the client ---- */

static void take(struct associate *a, const uint8_t *data, size_t len)
{
        struct socks5_request r;
        const uint8_t *payload;
        size_t n;
        if (!socks5_datagram(data, len, &r, &payload, &n) || r.port == 0)
                return;
        struct target *t = a->targets;
        while (t != NULL && (t->to.port != r.port || strcmp(t->host, r.host) != 0))
                t = t->next;
        if (t == NULL) {
                target_new(a, &r, payload, n);
        } else if (t->watch.fd >= 0) {   /* else its name is still being looked up, and this one is lost */
                *t->prev = t->next;
                if (t->next != NULL)
                        t->next->prev = t->prev;
                link_first(t);
                put(t, payload, n);
        }
}

static void on_client(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        static uint8_t data[UINT16_MAX];
        struct associate *a = container_of(w, struct associate, watch);
        for (int i = 0; i < ROUNDS; i++) {
                struct sockaddr_storage sa;
                socklen_t len = sizeof(sa);
                ssize_t n = recvfrom(w->fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&sa, &len);
                if (n < 0)
                        return;
                struct addr from = addr_from_sockaddr((struct sockaddr *)&sa);
                if (!ip_eq(from.ip, a->client_ip))
                        continue;
                a->client = from;
                take(a, data, (size_t)n);
        }
}

static struct addr end_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        return get(fd, (struct sockaddr *)&sa, &len) == 0 ? addr_from_sockaddr((struct sockaddr *)&sa) : (struct addr){0};
}

struct associate *associate_new(struct loop *l, struct dialout *d, int client, struct addr *ret_at)
{
        struct sockaddr_storage sa;
        struct addr local = end_of(client, getsockname);
        socklen_t len = addr_to_sockaddr((struct addr){local.ip, 0}, &sa);
        struct associate *a = calloc(1, sizeof(*a));
        int fd = a != NULL ? socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
        if (fd < 0) {
                free(a);
                return NULL;
        }
        a->loop = l;
        a->dialout = d;
        a->client_ip = end_of(client, getpeername).ip;
        watch_init(&a->watch, on_client);
        if (bind(fd, (struct sockaddr *)&sa, len) != 0 || loop_watch(l, &a->watch, fd, LOOP_READ) != ERR_NONE) {
                close(fd);
                free(a);
                return NULL;
        }
        *ret_at = end_of(fd, getsockname);
        return a;
}

void associate_free(struct associate *a)
{
        if (a == NULL)
                return;
        int fd = a->watch.fd;
        loop_unwatch(&a->watch);
        close(fd);
        while (a->targets != NULL)
                target_free(a->targets);
        free(a);
}
