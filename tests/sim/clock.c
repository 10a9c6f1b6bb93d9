#include "tests/sim/clock.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/net.h"
#include "tests/sim/trace.h"

struct loop {
        struct host *host;    /* NULL: the world */
        struct timer wake;    /* a descriptor is ready */
        int *ready, ready_count, ready_cap;   /* those that may be */
        void (*on_idle)(void *arg, mono_t now);
        void *idle_arg;
};

struct vfd {
        bool used, ready, queued;
        struct watch *watch;
};

/* Its time of the world, and whom it belongs to. */
struct entry {
        int64_t key;
        uint64_t seq;
        struct timer *t;
};

static struct {
        mono_t now;
        uint64_t next_seq;
        struct entry *heap;
        uint32_t len, cap;
        unsigned rounds;
        struct loop *world;
        struct vfd *fd;
        int fd_count, fd_cap, fd_free;   /* none below fd_free is free */
} k;

struct host *host_running;

/* ---- time ---- */

mono_t clock_now(void)
{
        return k.now;
}

mono_t mono_now(void)
{
        return mono_add_ns(k.now, host_running != NULL ? host_running->clock_offset : 0);
}

int64_t wall_now_ns(void)
{
        int64_t base = INT64_C(1790000000) * NS_PER_SEC + k.now.ns;
        return base + (host_running != NULL ? host_running->wall_offset : 0);
}

mono_t loop_now(const struct loop *l)
{
        return mono_add_ns(k.now, l->host != NULL ? l->host->clock_offset : 0);
}

/* ---- the queue ---- */

/* A host's clock is set before its loop is made. */
static int64_t key(const struct timer *t)
{
        const struct host *h = t->loop->host;
        if (h == NULL)
                return t->at.ns;
        int64_t at = t->at.ns - h->clock_offset;
        return at < h->frozen_ns ? h->frozen_ns : at;
}

static bool before(const struct entry *a, const struct entry *b)
{
        return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void place(uint32_t i, struct entry e)
{
        k.heap[i] = e;
        e.t->index = i + 1;
}

static void sift_down(uint32_t i)
{
        struct entry e = k.heap[i];
        for (uint32_t c; (c = 2 * i + 1) < k.len; i = c) {
                if (c + 1 < k.len && before(&k.heap[c + 1], &k.heap[c]))
                        c++;
                if (!before(&k.heap[c], &e))
                        break;
                place(i, k.heap[c]);
        }
        place(i, e);
}

static void sift(uint32_t i)
{
        struct entry e = k.heap[i];
        while (i > 0 && before(&e, &k.heap[(i - 1) / 2])) {
                place(i, k.heap[(i - 1) / 2]);
                i = (i - 1) / 2;
        }
        place(i, e);
        sift_down(i);
}

void timer_init(struct timer *t, void (*on_expire)(struct timer *, mono_t))
{
        *t = (struct timer){.at = MONO_NEVER, .on_expire = on_expire};
}

bool timer_is_armed(const struct timer *t)
{
        return t->index != 0;
}

void loop_timer_stop(struct timer *t)
{
        if (t->index == 0)
                return;
        uint32_t i = t->index - 1;
        struct entry last = k.heap[--k.len];
        if (last.t != t) {
                place(i, last);
                sift(i);
        }
        t->index = 0;
        t->at = MONO_NEVER;
}

void loop_timer_at(struct loop *l, struct timer *t, mono_t at)
{
        if (at.ns == MONO_NEVER.ns) {
                loop_timer_stop(t);
                return;
        }
        mono_t now = loop_now(l);
        t->at = at.ns < now.ns ? now : at;
        t->seq = k.next_seq++;
        if (t->index == 0) {
                if (k.len == k.cap) {
                        k.cap = k.cap ? k.cap * 2 : 256;
                        k.heap = realloc(k.heap, k.cap * sizeof(k.heap[0]));
                        if (k.heap == NULL)
                                abort();
                }
                t->loop = l;
                t->index = ++k.len;
        }
        k.heap[t->index - 1] = (struct entry){key(t), t->seq, t};
        sift(t->index - 1);
}

void loop_timer_in(struct loop *l, struct timer *t, int64_t ms)
{
        loop_timer_at(l, t, mono_add_ms(loop_now(l), ms));
}

void clock_enter(struct host *h)
{
        host_running = h;
}

void clock_freeze(struct host *h, mono_t until)
{
        h->frozen_ns = until.ns;
        for (uint32_t i = 0; i < k.len; i++)
                k.heap[i].key = key(k.heap[i].t);
        for (uint32_t i = k.len / 2; i-- > 0;)
                sift_down(i);
}

/* ---- descriptors ---- */

int vfd_new(void)
{
        int fd = k.fd_free;
        while (fd < k.fd_count && k.fd[fd].used)
                fd++;
        if (fd == k.fd_cap) {
                k.fd_cap = k.fd_cap ? k.fd_cap * 2 : 64;
                k.fd = realloc(k.fd, (size_t)k.fd_cap * sizeof(k.fd[0]));
                if (k.fd == NULL)
                        abort();
        }
        if (fd == k.fd_count)
                k.fd_count++;
        k.fd[fd] = (struct vfd){.used = true};
        k.fd_free = fd + 1;
        return fd;
}

void vfd_free(int fd)
{
        k.fd[fd] = (struct vfd){0};
        k.fd_free = fd < k.fd_free ? fd : k.fd_free;
}

static bool wants(const struct vfd *v)
{
        return v->ready && v->watch != NULL && (v->watch->events & LOOP_READ);
}

static void wake_if_wanted(int fd)
{
        struct vfd *v = &k.fd[fd];
        if (!wants(v))
                return;
        struct loop *l = v->watch->loop;
        if (!v->queued) {
                if (l->ready_count == l->ready_cap) {
                        l->ready_cap = l->ready_cap ? l->ready_cap * 2 : 16;
                        l->ready = realloc(l->ready, (size_t)l->ready_cap * sizeof(l->ready[0]));
                        if (l->ready == NULL)
                                abort();
                }
                l->ready[l->ready_count++] = fd;
                v->queued = true;
        }
        if (!timer_is_armed(&l->wake))
                loop_timer_at(l, &l->wake, loop_now(l));
}

void vfd_ready(int fd, bool ready)
{
        k.fd[fd].ready = ready;
        wake_if_wanted(fd);
}

void watch_init(struct watch *w, void (*on_ready)(struct watch *, unsigned, mono_t))
{
        *w = (struct watch){.fd = -1, .on_ready = on_ready};
}

enum err loop_watch(struct loop *l, struct watch *w, int fd, unsigned events)
{
        if (w->fd >= 0)
                return ERR_STATE;
        w->fd = fd;
        w->events = events;
        w->loop = l;
        k.fd[fd].watch = w;
        wake_if_wanted(fd);
        return ERR_NONE;
}

void loop_change(struct watch *w, unsigned events)
{
        if (w->fd < 0)
                return;
        w->events = events;
        wake_if_wanted(w->fd);
}

void loop_unwatch(struct watch *w)
{
        if (w->fd < 0)
                return;
        if (k.fd[w->fd].watch == w)
                k.fd[w->fd].watch = NULL;
        w->fd = -1;
        w->events = 0;
}

/* What they leave is told again in the next round. */
static void run_ready(struct loop *l)
{
        int *list = l->ready, n = l->ready_count;
        l->ready = NULL;
        l->ready_count = l->ready_cap = 0;
        for (int i = 0; i < n; i++) {
                int fd = list[i];
                struct watch *w = k.fd[fd].watch;
                k.fd[fd].queued = false;
                if (w == NULL || w->loop != l || !wants(&k.fd[fd]))
                        continue;
                w->on_ready(w, LOOP_READ, loop_now(l));
                wake_if_wanted(fd);
        }
        if (l->ready == NULL) {
                l->ready = list;
                l->ready_cap = n;
        } else {
                free(list);
        }
}

static void on_wake(struct timer *t, mono_t now)
{
        (void)now;
        run_ready(t->loop);
}

/* ---- loops ---- */

struct loop *loop_new(void)
{
        struct loop *l = calloc(1, sizeof(*l));
        if (l == NULL)
                return NULL;
        l->host = host_running;
        timer_init(&l->wake, on_wake);
        return l;
}

void loop_free(struct loop *l)
{
        if (l == NULL)
                return;
        loop_timer_stop(&l->wake);
        free(l->ready);
        free(l);
}

void loop_on_idle(struct loop *l, void (*fn)(void *arg, mono_t now), void *arg)
{
        l->on_idle = fn;
        l->idle_arg = arg;
}

/* Only timers armed before this pass run in it. */
static void run_round(struct loop *l)
{
        uint64_t first_new = k.next_seq;
        host_running = l->host;
        while (k.len > 0) {
                struct timer *t = k.heap[0].t;
                if (t->loop != l || k.heap[0].key > k.now.ns || t->seq >= first_new)
                        break;
                loop_timer_stop(t);
                t->on_expire(t, loop_now(l));
        }
        if (l->on_idle != NULL)
                l->on_idle(l->idle_arg, loop_now(l));
        host_running = NULL;
}

bool clock_step(mono_t until)
{
        if (k.len == 0 || k.heap[0].key > until.ns) {
                k.now = until;
                return false;
        }
        int64_t at = k.heap[0].key;
        k.rounds++;
        if (at > k.now.ns) {
                k.now.ns = at;
                k.rounds = 0;
        }
        run_round(k.heap[0].t->loop);
        return true;
}

unsigned clock_rounds_now(void)
{
        return k.rounds;
}

struct loop *clock_world(void)
{
        return k.world;
}

void clock_reset(void)
{
        loop_free(k.world);
        if (k.len > 0)
                trace_fail("%u timers are armed that nobody owns any more", k.len);
        k.len = 0;
        k.fd_count = k.fd_free = 0;
        k.now = (mono_t){NS_PER_SEC};
        k.next_seq = 0;
        k.rounds = 0;
        host_running = NULL;
        k.world = loop_new();
        if (k.world == NULL)
                abort();
}

/* Nobody waits in this world. */
void loop_run(struct loop *l)
{
        (void)l;
}

void loop_once(struct loop *l, int max_wait_ms)
{
        (void)l;
        (void)max_wait_ms;
}

void loop_stop(struct loop *l)
{
        (void)l;
}
