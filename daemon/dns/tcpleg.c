#include "daemon/dns/tcpleg.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/reader.h"

struct tcp_leg {
        struct watch watch;
        const struct dns_query *q;   /* lives longer than the leg */
        uint16_t id;
        tcp_leg_fn fn;
        void *arg;
        size_t sent, got;
        uint8_t head[2];
        uint8_t *answer;             /* of the length in head */
        size_t out_len;
        uint8_t out[];               /* length and message */
};

static void done(struct tcp_leg *t, uint8_t *msg, size_t len, mono_t now)
{
        int fd = t->watch.fd;
        loop_unwatch(&t->watch);
        if (fd >= 0)
                close(fd);
        t->fn(t->arg, msg, len, now);
}

/* False: over, and told so; the leg may be gone. */
static bool write_out(struct tcp_leg *t, mono_t now)
{
        while (t->sent < t->out_len) {
                ssize_t n = send(t->watch.fd, t->out + t->sent, t->out_len - t->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
                        return true;
                if (n < 0) {
                        done(t, NULL, 0, now);
                        return false;
                }
                t->sent += (size_t)n;
        }
        loop_change(&t->watch, LOOP_READ);
        return true;
}

/* Reads into what is still missing.  1: complete, 0: not yet, -1: over. */
static int fill(struct tcp_leg *t, uint8_t *to, size_t from, size_t want)
{
        ssize_t n = recv(t->watch.fd, to + (t->got - from), from + want - t->got, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0)
                return -1;
        t->got += (size_t)n;
        return t->got == from + want ? 1 : 0;
}

static void read_in(struct tcp_leg *t, mono_t now)
{
        int r = 1;
        if (t->got < 2)
                r = fill(t, t->head, 0, 2);
        size_t len = load_be16(t->head);
        if (r == 1 && t->answer == NULL && (len < DNS_HEADER || (t->answer = malloc(len)) == NULL))
                r = -1;
        if (r == 1)
                r = fill(t, t->answer, 2, len);
        if (r == 1 && !dns_answers(t->answer, len, t->q, t->id))
                r = -1;
        if (r < 0)
                done(t, NULL, 0, now);
        else if (r == 1)
                done(t, t->answer, len, now);
}

static void on_ready(struct watch *w, unsigned events, mono_t now)
{
        struct tcp_leg *t = container_of(w, struct tcp_leg, watch);
        int error = 0;
        socklen_t n = sizeof(error);
        if (t->sent == 0 && (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0)) {
                done(t, NULL, 0, now);
                return;
        }
        if ((events & LOOP_WRITE) && t->sent < t->out_len && !write_out(t, now))
                return;
        if ((events & LOOP_READ) && t->sent == t->out_len)
                read_in(t, now);
}

static void no_delay(int fd, int family)
{
        (void)family;
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

struct tcp_leg *tcp_leg_start(struct loop *l, struct dialer *d, struct addr to, const struct dns_query *q, tcp_leg_fn fn,
        void *arg)
{
        struct tcp_leg *t = calloc(1, sizeof(*t) + 2 + q->len);
        if (t == NULL)
                return NULL;
        watch_init(&t->watch, on_ready);
        t->q = q;
        t->id = (uint16_t)crypto_random_u32();
        t->fn = fn;
        t->arg = arg;
        t->out_len = 2 + q->len;
        store_be16(t->out, (uint16_t)q->len);
        memcpy(t->out + 2, q->msg, q->len);
        store_be16(t->out + 2, t->id);
        int fd = dialer_socket(d, to, SOCK_STREAM, no_delay);
        if (fd >= 0 && loop_watch(l, &t->watch, fd, LOOP_READ | LOOP_WRITE) == ERR_NONE)
                return t;
        if (fd >= 0)
                close(fd);
        free(t);
        return NULL;
}

void tcp_leg_free(struct tcp_leg *t)
{
        if (t == NULL)
                return;
        int fd = t->watch.fd;
        loop_unwatch(&t->watch);
        if (fd >= 0)
                close(fd);
        free(t->answer);
        free(t);
}
