#include "tests/sim/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/trace.h"

enum { WINDOW = 64 * 1024, RETRY_MS = 200, SERVER_PATIENCE_S = 60, CLIENT_PATIENCE_S = 5 };

struct chunk {
        struct chunk *next;
        mono_t at;
        size_t len;
        bool fin;
        uint8_t data[];
};

struct half {
        struct timer timer;
        struct chunk *first, **last;
        size_t bytes;
        mono_t last_at;
};

struct stream {
        struct watch watch;
        struct tcp *tcp;
        stream_fn fn;
        void *arg;
        struct timer give_up;
        bool connected, failed, told, closed, want_read, want_write;
        enum err error;
        uint8_t *in;
        size_t in_at, in_len, in_cap;
        unsigned busy;
};

struct tcp {
        struct tcp *next;
        struct host *host;
        unsigned generation, nat_generation;
        struct tcp_server *server;
        struct stream *client;   /* NULL: closed */
        void *conn;              /* the server's; NULL: closed */
        bool orphan;             /* the server knows nothing of it any more */
        struct timer dialing;
        int dial_step, syns;
        struct half up, down;    /* to the server, to the client */
};

static struct tcp *all;

void tcp_reset(void)
{
        all = NULL;
}

static void drop_half(struct half *h)
{
        loop_timer_stop(&h->timer);
        while (h->first != NULL) {
                struct chunk *c = h->first;
                h->first = c->next;
                free(c);
        }
        h->last = &h->first;
        h->bytes = 0;
}

static void free_tcp(struct tcp *t)
{
        loop_timer_stop(&t->dialing);
        drop_half(&t->up);
        drop_half(&t->down);
        for (struct tcp **at = &all; *at != NULL; at = &(*at)->next) {
                if (*at == t) {
                        *at = t->next;
                        break;
                }
        }
        free(t);
}

void tcp_done(void)
{
        while (all != NULL)
                free_tcp(all);
}

struct host *tcp_host(const struct tcp *t)
{
        return t->host;
}

void tcp_set_conn(struct tcp *t, void *conn)
{
        t->conn = conn;
}

size_t tcp_waiting(const struct tcp *t)
{
        return t->down.bytes;
}

static bool is_dead(const struct tcp *t)
{
        return t->generation != t->host->generation;
}

/* What the client sends comes from another address and is answered by a reset; what the server sends goes nowhere. */
static bool is_unmapped(const struct tcp *t)
{
        return t->nat_generation != t->host->nat_generation;
}

static int64_t one_way(const struct tcp *t)
{
        return net_delay_to_core(t->host) + t->server->far_ns + NS_PER_MS / 2;
}

/* A lost segment is sent again, and what follows it waits. */
static int64_t hold_up(const struct tcp *t)
{
        double loss = t->host->link.loss + t->host->site->link.loss;
        return loss > 0 && rng_chance(net_rng(), loss) ? 200 * NS_PER_MS + 2 * one_way(t) : 0;
}

static void push(struct tcp *t, struct half *h, const void *data, size_t len, bool fin)
{
        struct chunk *c = malloc(sizeof(*c) + len);
        if (c == NULL)
                abort();
        mono_t at = mono_add_ns(clock_now(), one_way(t) + hold_up(t));
        *c = (struct chunk){.len = len, .fin = fin, .at = at.ns < h->last_at.ns ? h->last_at : at};
        if (len > 0)
                memcpy(c->data, data, len);
        h->last_at = c->at;
        h->bytes += len;
        *h->last = c;
        h->last = &c->next;
        if (!timer_is_armed(&h->timer))
                loop_timer_at(clock_world(), &h->timer, c->at);
}

static struct chunk *pop(struct half *h)
{
        struct chunk *c = h->first;
        h->first = c->next;
        if (h->first == NULL)
                h->last = &h->first;
        else
                loop_timer_at(clock_world(), &h->timer, h->first->at);
        h->bytes -= c->len;
        return c;
}

static void wake_client(struct stream *s)
{
        if (s != NULL)
                vfd_ready(s->watch.fd, true);
}

static void client_lost(struct tcp *t, enum err e)
{
        struct stream *s = t->client;
        if (s == NULL || s->error != ERR_NONE)
                return;
        s->error = e;
        wake_client(s);
}

static void server_lost(struct tcp *t)
{
        void *conn = t->conn;
        t->conn = NULL;
        if (conn != NULL)
                t->server->on_close(t, conn);
}

/* Nobody holds an end any more. */
static void reap(struct tcp *t)
{
        if (t->client == NULL && t->conn == NULL)
                free_tcp(t);
}

/* Time goes on, and then one end gives up. */
static bool is_held(struct tcp *t, struct half *h, int64_t patience_s)
{
        bool gone = is_dead(t) || (h == &t->down && is_unmapped(t));
        bool held = !net_host_online(t->host) || gone || (h == &t->up && !t->server->up && !t->server->refuses);
        if (!held)
                return false;
        if (mono_diff_ns(clock_now(), h->first->at) < patience_s * NS_PER_SEC) {
                mono_t end = mono_add_ms(h->first->at, patience_s * 1000);
                loop_timer_at(clock_world(), &h->timer, gone ? end : mono_add_ms(clock_now(), RETRY_MS));
                return true;
        }
        if (h == &t->up) {
                client_lost(t, ERR_IO);
        } else {
                server_lost(t);
                t->orphan = true;
        }
        drop_half(h);
        reap(t);
        return true;
}

static void on_up(struct timer *timer, mono_t now)
{
        (void)now;
        struct tcp *t = container_of(timer, struct tcp, up.timer);
        if (is_held(t, &t->up, CLIENT_PATIENCE_S))
                return;
        struct chunk *c = pop(&t->up);
        if (t->orphan || t->conn == NULL || is_unmapped(t)) {
                client_lost(t, ERR_IO);
        } else if (c->fin) {
                server_lost(t);
        } else {
                t->server->on_bytes(t, t->conn, c->data, c->len);
                struct stream *s = t->client;
                if (s != NULL && s->want_write)
                        wake_client(s);
        }
        free(c);
        reap(t);
}

static void append(struct stream *s, const uint8_t *data, size_t len)
{
        if (s->in_at == s->in_len)
                s->in_at = s->in_len = 0;
        if (s->in_len + len > s->in_cap) {
                s->in_cap = (s->in_len + len) * 2;
                s->in = realloc(s->in, s->in_cap);
                if (s->in == NULL)
                        abort();
        }
        memcpy(s->in + s->in_len, data, len);
        s->in_len += len;
}

static void on_down(struct timer *timer, mono_t now)
{
        (void)now;
        struct tcp *t = container_of(timer, struct tcp, down.timer);
        if (is_held(t, &t->down, SERVER_PATIENCE_S))
                return;
        struct chunk *c = pop(&t->down);
        struct stream *s = t->client;
        if (s != NULL && c->fin) {
                client_lost(t, ERR_CLOSED);
        } else if (s != NULL) {
                append(s, c->data, c->len);
                wake_client(s);
        }
        free(c);
        reap(t);
}

void tcp_send(struct tcp *t, const void *data, size_t len)
{
        push(t, &t->down, data, len, false);
}

void tcp_close(struct tcp *t)
{
        t->conn = NULL;
        t->orphan = true;
        push(t, &t->down, NULL, 0, true);
}

void tcp_abandon(struct tcp *t)
{
        t->conn = NULL;
        t->orphan = true;
        drop_half(&t->down);
        reap(t);
}

/* ---- base/dial.h ---- */

struct dialer *dialer_new(struct loop *l)
{
        struct dialer *d = calloc(1, sizeof(*d));
        if (d != NULL)
                d->loop = l;
        return d;
}

void dialer_free(struct dialer *d)
{
        free(d);
}

void dialer_set_mark(struct dialer *d, uint32_t mark)
{
        (void)d;
        (void)mark;
}

static void free_stream(struct stream *s)
{
        free(s->in);
        free(s);
}

static void fail_dial(struct stream *s, enum err e)
{
        if (s->connected || s->failed)
                return;
        s->failed = true;
        s->error = e;
        wake_client(s);
}

static void on_give_up(struct timer *t, mono_t now)
{
        (void)now;
        fail_dial(container_of(t, struct stream, give_up), ERR_TIMEOUT);
}

/* Out to the server, and back. */
static void on_dialing(struct timer *timer, mono_t now)
{
        struct tcp *t = container_of(timer, struct tcp, dialing);
        if (t->client == NULL || is_dead(t))
                return;   /* the client's patience decides */
        if (t->dial_step > 0 && is_unmapped(t)) {
                fail_dial(t->client, ERR_IO);
                return;
        }
        if (!net_host_online(t->host) || is_unmapped(t) || (!t->server->up && !t->server->refuses)) {
                if (t->dial_step > 0)
                        return;
                t->nat_generation = t->host->nat_generation;   /* another SYN, after 1, 2, 4 s */
                loop_timer_at(clock_world(), timer, mono_add_ns(now, (NS_PER_SEC << t->syns++) + 2 * one_way(t)));
                return;
        }
        if (!t->server->up) {
                fail_dial(t->client, ERR_IO);
                return;
        }
        if (++t->dial_step == 1) {   /* TCP; TLS takes another round trip */
                loop_timer_at(clock_world(), timer, mono_add_ns(now, 2 * one_way(t)));
                return;
        }
        t->server->on_accept(t, t->server);
        t->client->connected = true;
        wake_client(t->client);
}

static void dispatch(struct stream *s, enum stream_event ev, mono_t now)
{
        s->busy++;
        s->fn(s, ev, s->arg, now);
        s->busy--;
}

static bool has_input(const struct stream *s)
{
        return s->want_read && (s->in_at < s->in_len || s->error != ERR_NONE);
}

static bool has_room(const struct stream *s)
{
        return s->want_write && s->tcp->up.bytes < WINDOW;
}

static void on_client(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct stream *s = container_of(w, struct stream, watch);
        vfd_ready(w->fd, false);
        s->busy++;
        if (s->failed && !s->told) {
                s->told = true;
                loop_timer_stop(&s->give_up);
                dispatch(s, STREAM_FAILED, now);
        } else if (s->connected && !s->told) {
                s->told = true;
                loop_timer_stop(&s->give_up);
                dispatch(s, STREAM_CONNECTED, now);
        }
        if (!s->closed && s->connected && has_input(s))
                dispatch(s, STREAM_READABLE, now);
        if (!s->closed && s->connected && has_room(s))
                dispatch(s, STREAM_WRITABLE, now);
        s->busy--;
        if (s->closed)
                free_stream(s);
        else if (s->connected && (has_input(s) || has_room(s)) && s->error == ERR_NONE)
                wake_client(s);
}

struct tcp_server *tcp_server_named(const struct dial_opts *o)
{
        struct ip ip;
        const char *const field[] = {o->connect_ip4, o->connect_ip6, o->host};
        for (int i = 0; i < 3; i++)
                if (field[i] != NULL && ip_parse(field[i], &ip) == ERR_NONE)
                        return net_server_owner(ip);
        return NULL;
}

struct stream *stream_dial(struct dialer *d, const struct dial_opts *o, stream_fn fn, void *arg)
{
        struct tcp_server *server = tcp_server_named(o);
        struct stream *s = calloc(1, sizeof(*s));
        struct tcp *t = calloc(1, sizeof(*t));
        if (s == NULL || t == NULL || server == NULL)
                abort();
        *t = (struct tcp){.next = all, .host = host_running, .server = server, .client = s, .generation = host_running->generation,
                .nat_generation = host_running->nat_generation};
        all = t;
        t->up.last = &t->up.first;
        t->down.last = &t->down.first;
        timer_init(&t->up.timer, on_up);
        timer_init(&t->down.timer, on_down);
        timer_init(&t->dialing, on_dialing);
        *s = (struct stream){.tcp = t, .fn = fn, .arg = arg, .want_read = true};
        watch_init(&s->watch, on_client);
        timer_init(&s->give_up, on_give_up);
        (void)!loop_watch(d->loop, &s->watch, vfd_new(), LOOP_READ);
        loop_timer_in(d->loop, &s->give_up, o->timeout_ms ? o->timeout_ms : 10000);
        if (host_running->unplugged)
                fail_dial(s, ERR_IO);
        else
                loop_timer_at(clock_world(), &t->dialing, mono_add_ns(clock_now(), 2 * one_way(t)));
        return s;
}

void stream_close(struct stream *s)
{
        if (s == NULL || s->closed)
                return;
        struct tcp *t = s->tcp;
        int fd = s->watch.fd;
        loop_timer_stop(&s->give_up);
        loop_unwatch(&s->watch);
        vfd_free(fd);
        t->client = NULL;
        loop_timer_stop(&t->dialing);
        if (t->conn != NULL)
                push(t, &t->up, NULL, 0, true);
        else
                free_tcp(t);
        s->closed = true;
        if (s->busy == 0)
                free_stream(s);
}

enum err stream_read(struct stream *s, void *buf, size_t cap, size_t *ret_n)
{
        size_t n = s->in_len - s->in_at;
        if (!s->connected)
                return ERR_STATE;
        if (n == 0)
                return s->error != ERR_NONE ? s->error : ERR_AGAIN;
        n = n < cap ? n : cap;
        memcpy(buf, s->in + s->in_at, n);
        s->in_at += n;
        *ret_n = n;
        return ERR_NONE;
}

enum err stream_write(struct stream *s, const void *data, size_t len, size_t *ret_n)
{
        if (!s->connected)
                return ERR_STATE;
        if (s->error != ERR_NONE)
                return s->error;
        size_t room = s->tcp->up.bytes < WINDOW ? WINDOW - s->tcp->up.bytes : 0;
        len = len < room ? len : room;
        if (len == 0)
                return ERR_AGAIN;
        push(s->tcp, &s->tcp->up, data, len, false);
        *ret_n = len;
        return ERR_NONE;
}

void stream_want_write(struct stream *s, bool on)
{
        s->want_write = on;
        if (on && s->tcp->up.bytes < WINDOW)
                wake_client(s);
}

void stream_want_read(struct stream *s, bool on)
{
        s->want_read = on;
        if (on && has_input(s))
                wake_client(s);
}

const char *stream_error(const struct stream *s)
{
        return s->error == ERR_TIMEOUT ? "timed out" : "refused";
}

enum err stream_error_code(const struct stream *s)
{
        return s->error;
}

size_t stream_peer_cert(struct stream *s, unsigned i, const uint8_t **ret_der)
{
        (void)s;
        (void)i;
        *ret_der = NULL;
        return 0;
}

enum stream_way stream_way(const struct stream *s)
{
        const struct tcp *t = s->tcp;
        if (t->host->unplugged)
                return STREAM_WAY_NONE;
        return is_dead(t) ? STREAM_WAY_OTHER : STREAM_WAY_SAME;
}

void stream_remember(const struct stream *s)
{
        (void)s;
}
