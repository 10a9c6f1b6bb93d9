#include "daemon/netstack/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ROUNDS = 16 };   /* pieces at a time, so that others get their turn */

/* From one end to the other. */
struct half {
        uint8_t *left;           /* read and not written yet */
        size_t left_at, left_len;
        bool eof, shut;          /* the source writes no more; the target knows */
        bool blocked;            /* the target takes nothing now */
};

struct side {
        struct relay *r;
        struct relay_end end;
        struct watch watch;
};

struct relay {
        struct loop *loop;
        struct side side[2];
        struct half half[2];     /* half[i] flows from side[i] */
        struct timer again;
        relay_limit_fn limit;    /* of half[0]; NULL: none */
        void *limit_arg;
        void (*fn)(void *arg);
        void *arg;
        bool broken;
};

static bool is_over(const struct relay *r)
{
        return r->broken || (r->half[0].shut && r->half[0].left_len == 0 && r->half[1].shut);
}

void relay_close_end(struct relay_end e)
{
        if (e.fd >= 0)
                close(e.fd);
        if (e.conn != NULL)
                stack_close(e.conn);
}

void relay_free(struct relay *r)
{
        if (r == NULL)
                return;
        loop_timer_stop(&r->again);
        for (int i = 0; i < 2; i++) {
                struct relay_end e = r->side[i].end;
                loop_unwatch(&r->side[i].watch);
                free(r->half[i].left);
                if (r->broken && e.conn != NULL) {
                        stack_abort(e.conn);
                        continue;
                }
                static const struct linger now = {1, 0};
                if (r->broken)   /* what is cut off must not look complete */
                        (void)setsockopt(e.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
                relay_close_end(e);
        }
        free(r);
}

/* ---- one end ---- */

/* Bytes taken, 0: none now, -1: broken. */
static ssize_t put(struct relay_end e, const struct iovec *v, int n)
{
        if (e.conn != NULL) {
                size_t done = 0;
                if (stack_state(e.conn) > STACK_OPEN)
                        return -1;
                for (int i = 0; i < n; i++) {
                        size_t took = stack_write(e.conn, v[i].iov_base, v[i].iov_len);
                        done += took;
                        if (took < v[i].iov_len)
                                break;
                }
                return (ssize_t)done;
        }
        ssize_t done = writev(e.fd, v, n);
        return done < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : done;
}

static void shut(struct relay_end e)
{
        if (e.conn != NULL)
                stack_shut(e.conn);
        else
                (void)shutdown(e.fd, SHUT_WR);
}

/* ---- one direction ---- */

static ssize_t put_left(struct half *h, struct relay_end to)
{
        struct iovec v = {h->left + h->left_at, h->left_len};
        ssize_t n = put(to, &v, 1);
        if (n > 0) {
                h->left_at += (size_t)n;
                h->left_len -= (size_t)n;
        }
        return n;
}

/* What the target does not take of a piece is kept. */
static ssize_t put_piece(struct half *h, struct relay_end to, const uint8_t *data, size_t len)
{
        struct iovec v = {(void *)(uintptr_t)data, len};
        ssize_t n = put(to, &v, 1);
        if (n < 0 || (size_t)n == len)
                return n;
        if (h->left == NULL && (h->left = malloc(RELAY_PIECE)) == NULL)
                return -1;
        h->left_at = 0;
        h->left_len = len - (size_t)n;
        memcpy(h->left, data + n, h->left_len);
        return n;
}

/* False: nothing more can be done now. */
static bool from_stack(struct relay *r, struct half *h, struct stack_conn *c, struct relay_end to)
{
        struct iovec v[2];
        int n = stack_peek(c, v);
        if (n == 0) {
                h->eof = stack_eof(c);
                r->broken |= !h->eof && stack_state(c) > STACK_OPEN;
                return false;
        }
        ssize_t done = put(to, v, n);
        if (done < 0)
                r->broken = true;
        h->blocked = done == 0;
        if (done <= 0)
                return false;
        stack_consume(c, (size_t)done);
        return true;
}

static bool from_socket(struct relay *r, struct half *h, int fd, struct relay_end to)
{
        static uint8_t piece[RELAY_PIECE];
        size_t room = sizeof(piece);
        if (to.conn != NULL) {
                size_t has = stack_room(to.conn);
                room = has < room ? has : room;
                r->broken |= stack_state(to.conn) > STACK_OPEN;
                if (room == 0 || r->broken) {
                        h->blocked = true;
                        return false;
                }
        }
        ssize_t got = read(fd, piece, room);
        size_t n = got > 0 ? (size_t)got : 0;
        if (got == 0)
                h->eof = true;
        else if (got < 0 && errno != EAGAIN && errno != EINTR)
                r->broken = true;
        if (n > 0 && r->limit != NULL && h == &r->half[0] && r->limit(r->limit_arg, piece, &n))
                h->eof = h->shut = true;
        if (n > 0 && put_piece(h, to, piece, n) < 0)
                r->broken = true;
        h->blocked = h->left_len > 0;
        return got > 0 && !r->broken && !h->blocked;
}

void relay_limit(struct relay *r, relay_limit_fn fn, void *arg)
{
        size_t none = 0;
        r->limit = fn;
        r->limit_arg = arg;
        if (fn(arg, NULL, &none))
                r->half[0].eof = r->half[0].shut = true;
}

/* True: it stopped only to let others have their turn. */
static bool move(struct relay *r, int i)
{
        struct half *h = &r->half[i];
        struct relay_end from = r->side[i].end, to = r->side[!i].end;
        if (h->left_len > 0) {
                r->broken |= put_left(h, to) < 0;
                h->blocked = h->left_len > 0;
                if (h->blocked || r->broken)
                        return false;
        }
        int rounds = 0;
        h->blocked = false;
        while (!h->eof && !r->broken && rounds < ROUNDS &&
                (from.conn != NULL ? from_stack(r, h, from.conn, to) : from_socket(r, h, from.fd, to)))
                rounds++;
        if (h->eof && h->left_len == 0 && !h->shut && !r->broken) {
                shut(to);
                h->shut = true;
        }
        return rounds == ROUNDS;
}

/* ---- both ---- */

static void watch_sides(struct relay *r)
{
        for (int i = 0; i < 2; i++) {
                struct side *s = &r->side[i];
                const struct half *in = &r->half[i], *out = &r->half[!i];
                unsigned events = 0;
                if (s->end.fd < 0)
                        continue;
                if (!in->eof && !in->blocked)
                        events |= LOOP_READ;
                if (out->blocked)
                        events |= LOOP_WRITE;
                if (s->watch.fd >= 0)
                        loop_change(&s->watch, events);
                else if (events != 0 && loop_watch(r->loop, &s->watch, s->end.fd, events) != ERR_NONE)
                        r->broken = true;
        }
}

static void work(struct relay *r)
{
        bool more = move(r, 0);
        more |= move(r, 1);
        if (!is_over(r))
                watch_sides(r);
        if (!is_over(r)) {
                if (more)
                        loop_timer_in(r->loop, &r->again, 0);
                return;
        }
        void (*fn)(void *) = r->fn;
        void *arg = r->arg;
        relay_free(r);
        fn(arg);
}

static void on_socket(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        work(container_of(w, struct side, watch)->r);
}

static void on_stack(void *user)
{
        work(user);
}

static void on_again(struct timer *t, mono_t now)
{
        (void)now;
        work(container_of(t, struct relay, again));
}

struct relay *relay_new(struct loop *l, struct relay_end a, struct relay_end b, const void *early, size_t early_len,
        void (*fn)(void *arg), void *arg)
{
        struct relay *r = early_len <= RELAY_PIECE ? calloc(1, sizeof(*r)) : NULL;
        if (r != NULL && early_len > 0)
                r->half[0].left = malloc(RELAY_PIECE);
        if (r == NULL || (early_len > 0 && r->half[0].left == NULL)) {
                relay_close_end(a);
                relay_close_end(b);
                free(r);
                return NULL;
        }
        r->loop = l;
        r->fn = fn;
        r->arg = arg;
        r->side[0].end = a;
        r->side[1].end = b;
        timer_init(&r->again, on_again);
        for (int i = 0; i < 2; i++) {
                int one = 1;
                r->side[i].r = r;
                watch_init(&r->side[i].watch, on_socket);
                if (r->side[i].end.fd >= 0)   /* a local one has none */
                        (void)setsockopt(r->side[i].end.fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
                if (r->side[i].end.conn != NULL)
                        stack_owner(r->side[i].end.conn, on_stack, r);
        }
        if (early_len > 0) {
                memcpy(r->half[0].left, early, early_len);
                r->half[0].left_len = early_len;
        }
        loop_timer_in(l, &r->again, 0);
        return r;
}
