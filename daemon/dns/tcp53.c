#include "daemon/dns/tcp53.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/reader.h"
#include "daemon/netstack/netstack.h"

struct conn;

struct asked {                   /* a question on its way to an upstream */
        struct conn *conn;
        struct dns_forward *forward;
        struct asked *next, **prev;
};

struct conn {
        struct tcp53 *owner;
        struct stack_conn *stack;
        struct timer idle;
        struct asked *asked;
        struct conn *next, **prev;
        struct buf backlog;      /* answers that found no room */
        bool busy;               /* its bytes are being taken in: it is closed afterwards, not now */
        bool broken;
        bool ending;             /* the client asks no more: closed after the last answer */
        size_t got;
        uint8_t in[2 + DNS_QUERY_MAX];
};

struct tcp53 {
        struct loop *loop;
        struct dns_service *service;
        tcp53_send_fn send;
        void *arg;
        struct netstack *stack;
        size_t count;
        struct conn *conns;
};

static bool send_packet(void *arg, const uint8_t *pkt, size_t len)
{
        struct tcp53 *t = arg;
        t->send(t->arg, pkt, len);
        return true;
}

/* ---- a connection ---- */

static void drop_asked(struct asked *a)
{
        *a->prev = a->next;
        if (a->next != NULL)
                a->next->prev = a->prev;
        free(a);
}

static void conn_free(struct conn *c)
{
        while (c->asked != NULL) {
                dns_forward_cancel(c->asked->forward);
                drop_asked(c->asked);
        }
        loop_timer_stop(&c->idle);
        buf_done(&c->backlog);
        c->owner->count--;
        *c->prev = c->next;
        if (c->next != NULL)
                c->next->prev = c->prev;
        free(c);
}

static void conn_close(struct conn *c)
{
        if (c->busy) {
                c->broken = true;
                return;
        }
        stack_close(c->stack);
        conn_free(c);
}

static void on_idle(struct timer *timer, mono_t now)
{
        (void)now;
        conn_close(container_of(timer, struct conn, idle));
}

/* May close the connection. */
static void flush(struct conn *c)
{
        while (c->backlog.len > 0) {
                size_t n = stack_write(c->stack, c->backlog.data, c->backlog.len);
                if (n == 0)
                        return;
                buf_consume(&c->backlog, n);
        }
        if (c->ending && c->asked == NULL)
                conn_close(c);
}

static void answer(struct conn *c, const uint8_t *msg, size_t len)
{
        uint8_t head[2];
        store_be16(head, (uint16_t)len);
        buf_add(&c->backlog, head, 2);
        buf_add(&c->backlog, msg, len);
        loop_timer_in(c->owner->loop, &c->idle, TCP53_IDLE_MS);
        if (buf_ok(&c->backlog))
                flush(c);
        else
                conn_close(c);
}

static void on_answer(void *arg, const uint8_t *msg, size_t len, mono_t now)
{
        (void)now;
        struct asked *a = arg;
        struct conn *c = a->conn;
        drop_asked(a);
        if (len > 0)
                answer(c, msg, len);
        else
                flush(c);
}

static void ask(struct conn *c, const uint8_t *msg, size_t len)
{
        struct asked *a = calloc(1, sizeof(*a));
        if (a == NULL) {
                c->broken = true;
                return;
        }
        a->conn = c;
        a->next = c->asked;
        a->prev = &c->asked;
        if (a->next != NULL)
                a->next->prev = &a->next;
        c->asked = a;
        struct dns_forward *w = dns_service_ask(c->owner->service, msg, len, true, on_answer, a, loop_now(c->owner->loop));
        if (w != NULL)   /* else a is gone */
                a->forward = w;
}

static size_t wanted(const struct conn *c)
{
        return c->got < 2 ? 2 : 2u + load_be16(c->in);
}

/* Each message comes with its length in front. */
static void take_in(struct conn *c, const uint8_t *data, size_t len)
{
        while (len > 0 && !c->broken) {
                size_t missing = wanted(c) - c->got, n = missing < len ? missing : len;
                memcpy(c->in + c->got, data, n);
                c->got += n;
                data += n;
                len -= n;
                if (wanted(c) > sizeof(c->in)) {
                        c->broken = true;
                } else if (c->got >= 2 && c->got == wanted(c)) {
                        c->got = 0;
                        ask(c, c->in + 2, load_be16(c->in));
                }
        }
}

static void on_change(void *user)
{
        struct conn *c = user;
        struct iovec v[2];
        int n = stack_peek(c->stack, v);
        if (stack_state(c->stack) > STACK_OPEN) {
                stack_abort(c->stack);
                conn_free(c);
                return;
        }
        c->busy = true;
        for (int i = 0; i < n; i++) {
                take_in(c, v[i].iov_base, v[i].iov_len);
                stack_consume(c->stack, v[i].iov_len);
        }
        c->busy = false;
        if (n > 0)
                loop_timer_in(c->owner->loop, &c->idle, TCP53_IDLE_MS);
        c->ending |= stack_eof(c->stack);
        if (c->broken)
                conn_close(c);
        else
                flush(c);
}

static void on_syn(void *arg, struct stack_syn *s)
{
        struct tcp53 *t = arg;
        struct addr from, to;
        netstack_syn_ends(s, &from, &to);
        struct conn *c = to.port == 53 && t->count < TCP53_CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
        if (c == NULL) {
                stack_refuse(s);
                return;
        }
        c->stack = stack_accept(s, on_change, c);
        if (c->stack == NULL) {
                free(c);
                return;
        }
        c->owner = t;
        buf_init(&c->backlog, TCP53_BACKLOG_MAX);
        timer_init(&c->idle, on_idle);
        loop_timer_in(t->loop, &c->idle, TCP53_IDLE_MS);
        c->next = t->conns;
        c->prev = &t->conns;
        if (c->next != NULL)
                c->next->prev = &c->next;
        t->conns = c;
        t->count++;
}

static const struct netstack_ops ops = {.send = send_packet, .syn = on_syn};

/* ---- life ---- */

struct tcp53 *tcp53_new(struct loop *l, struct dns_service *s, tcp53_send_fn send, void *arg)
{
        struct tcp53 *t = calloc(1, sizeof(*t));
        if (t == NULL)
                return NULL;
        t->loop = l;
        t->service = s;
        t->send = send;
        t->arg = arg;
        t->stack = netstack_new(l, &ops, t);
        if (t->stack != NULL)
                return t;
        free(t);
        return NULL;
}

void tcp53_free(struct tcp53 *t)
{
        if (t == NULL)
                return;
        netstack_free(t->stack);
        while (t->conns != NULL)
                conn_free(t->conns);
        free(t);
}

void tcp53_in(struct tcp53 *t, const uint8_t *pkt, size_t len)
{
        netstack_in(t->stack, pkt, len);
        netstack_run(t->stack);
}
