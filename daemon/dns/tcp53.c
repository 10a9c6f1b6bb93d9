#include "daemon/dns/tcp53.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/reader.h"
#include "daemon/dns/tcpstack.h"

struct conn;

struct asked {                   /* a question on its way to an upstream */
        struct conn *conn;
        struct dns_forward *forward;
        struct asked *next, **prev;
};

struct conn {
        struct tcp53 *owner;
        struct tcpstack_conn *stack;
        struct timer idle;
        struct asked *asked;
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
        struct timer tick;
        size_t count;
        bool in_stack;           /* called by the stack, which must not be entered again */
};

static void run_stack(struct tcp53 *t)
{
        if (t->in_stack)
                return;
        t->in_stack = true;
        int ms = tcpstack_tick();
        t->in_stack = false;
        if (ms >= 0)
                loop_timer_in(t->loop, &t->tick, ms > 0 ? ms : 1);
        else
                loop_timer_stop(&t->tick);
}

static void on_tick(struct timer *timer, mono_t now)
{
        (void)now;
        run_stack(container_of(timer, struct tcp53, tick));
}

static void send_packet(void *arg, const uint8_t *pkt, size_t len)
{
        struct tcp53 *t = arg;
        t->send(t->arg, pkt, len);
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
        free(c);
}

static void conn_close(struct conn *c)
{
        if (c->busy) {
                c->broken = true;
                return;
        }
        tcpstack_close(c->stack);
        conn_free(c);
}

static void on_idle(struct timer *timer, mono_t now)
{
        (void)now;
        struct conn *c = container_of(timer, struct conn, idle);
        struct tcp53 *t = c->owner;
        conn_close(c);
        run_stack(t);
}

/* May close the connection. */
static void flush(struct conn *c)
{
        while (c->backlog.len > 0) {
                size_t n = tcpstack_write(c->stack, c->backlog.data, c->backlog.len);
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
        struct tcp53 *t = c->owner;
        drop_asked(a);
        if (len > 0)
                answer(c, msg, len);
        else
                flush(c);
        run_stack(t);
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

static void on_data(void *conn, const uint8_t *data, size_t len)
{
        struct conn *c = conn;
        loop_timer_in(c->owner->loop, &c->idle, TCP53_IDLE_MS);
        c->busy = true;
        take_in(c, data, len);
        c->busy = false;
        if (c->broken)
                conn_close(c);
}

static void on_eof(void *conn)
{
        struct conn *c = conn;
        c->ending = true;
        flush(c);
}

static void on_room(void *conn)
{
        flush(conn);
}

static void on_closed(void *conn)
{
        conn_free(conn);
}

static void *on_accept(void *arg, struct tcpstack_conn *s)
{
        struct tcp53 *t = arg;
        struct conn *c = t->count < TCP53_CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
        if (c == NULL)
                return NULL;
        c->owner = t;
        c->stack = s;
        buf_init(&c->backlog, TCP53_BACKLOG_MAX);
        timer_init(&c->idle, on_idle);
        loop_timer_in(t->loop, &c->idle, TCP53_IDLE_MS);
        t->count++;
        return c;
}

static const struct tcpstack_ops ops = {
        .send = send_packet,
        .accept = on_accept,
        .data = on_data,
        .eof = on_eof,
        .room = on_room,
        .closed = on_closed,
};

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
        timer_init(&t->tick, on_tick);
        if (tcpstack_start(dns_service4().b, dns_service6().b, 53, &ops, t))
                return t;
        free(t);
        return NULL;
}

void tcp53_free(struct tcp53 *t)
{
        if (t == NULL)
                return;
        tcpstack_stop();
        loop_timer_stop(&t->tick);
        free(t);
}

void tcp53_in(struct tcp53 *t, const uint8_t *pkt, size_t len)
{
        t->in_stack = true;
        tcpstack_in(pkt, len);
        t->in_stack = false;
        run_stack(t);
}
