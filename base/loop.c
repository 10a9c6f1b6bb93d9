#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
        ROUND_NS = 250000,
        LOOP_BATCH = 64,      /* events fetched at once */
        LOOP_HEAP_MIN = 64,   /* timers there is room for from the start */
};

struct loop {
        int epoll_fd;
        int timer_fd;          /* on the clock of mono_now(): epoll's own timeout stands still in suspend */
        mono_t timer_at;       /* when timer_fd rings; MONO_NEVER: not set, or it rang */
        bool stopping;
        mono_t now;
        uint64_t next_seq;

        struct timer **heap;   /* binary heap, soonest first */
        uint32_t heap_len;
        uint32_t heap_cap;

        struct epoll_event ready[LOOP_BATCH];   /* fetched in this round; ptr NULL = scrubbed */
        int ready_len;

        void (*on_idle)(void *arg, mono_t now);
        void *idle_arg;
};

/* --- timers --- */

static bool timer_before(const struct timer *a, const struct timer *b)
{
        return a->at.ns != b->at.ns ? a->at.ns < b->at.ns : a->seq < b->seq;
}

static void heap_place(struct loop *l, uint32_t i, struct timer *t)
{
        l->heap[i] = t;
        t->index = i + 1;
}

static void heap_up(struct loop *l, uint32_t i)
{
        struct timer *t = l->heap[i];
        while (i > 0) {
                uint32_t parent = (i - 1) / 2;
                if (!timer_before(t, l->heap[parent]))
                        break;
                heap_place(l, i, l->heap[parent]);
                i = parent;
        }
        heap_place(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i)
{
        struct timer *t = l->heap[i];
        for (;;) {
                uint32_t child = 2 * i + 1;
                if (child >= l->heap_len)
                        break;
                if (child + 1 < l->heap_len && timer_before(l->heap[child + 1], l->heap[child]))
                        child++;
                if (!timer_before(l->heap[child], t))
                        break;
                heap_place(l, i, l->heap[child]);
                i = child;
        }
        heap_place(l, i, t);
}

static void heap_fix(struct loop *l, uint32_t i)
{
        if (i > 0 && timer_before(l->heap[i], l->heap[(i - 1) / 2]))
                heap_up(l, i);
        else
                heap_down(l, i);
}

/* A timer that cannot be armed would stop the protocol that needs it without a word, so running out of
 * memory for a pointer ends the process. */
static void heap_grow(struct loop *l)
{
        uint32_t cap = l->heap_cap * 2;
        struct timer **heap = realloc(l->heap, cap * sizeof(heap[0]));
        if (heap == NULL)
                abort();
        l->heap = heap;
        l->heap_cap = cap;
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
        struct loop *l = t->loop;
        uint32_t i = t->index - 1;
        struct timer *last = l->heap[--l->heap_len];
        if (last != t) {
                heap_place(l, i, last);
                heap_fix(l, i);
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
        /* Never in the past: a timer that re-arms itself then sorts behind all that are due, and cannot
         * starve them. */
        t->at = at.ns < l->now.ns ? l->now : at;
        t->seq = l->next_seq++;
        if (t->index != 0) {
                heap_fix(l, t->index - 1);
                return;
        }
        if (l->heap_len == l->heap_cap)
                heap_grow(l);
        t->loop = l;
        l->heap[l->heap_len] = t;
        heap_up(l, l->heap_len++);
}

void loop_timer_in(struct loop *l, struct timer *t, int64_t ms)
{
        loop_timer_at(l, t, mono_add_ms(l->now, ms));
}

/* Only timers armed before this pass run in it. */
static void run_timers(struct loop *l)
{
        uint64_t first_new = l->next_seq;
        while (l->heap_len > 0) {
                struct timer *t = l->heap[0];
                if (!mono_reached(l->now, t->at) || t->seq >= first_new)
                        break;
                loop_timer_stop(t);
                t->on_expire(t, l->now);
        }
}

/* --- descriptors --- */

static uint32_t to_epoll(unsigned events)
{
        return ((events & LOOP_READ) ? (uint32_t)EPOLLIN : 0U) | ((events & LOOP_WRITE) ? (uint32_t)EPOLLOUT : 0U);
}

static unsigned from_epoll(uint32_t events)
{
        unsigned out = 0;
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                out |= LOOP_READ;
        if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
                out |= LOOP_WRITE;
        return out;
}

static int epoll_set(struct loop *l, int op, struct watch *w, unsigned events)
{
        struct epoll_event ev = {.events = to_epoll(events), .data.ptr = w};
        return epoll_ctl(l->epoll_fd, op, w->fd, &ev);
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
        if (events != 0 && epoll_set(l, EPOLL_CTL_ADD, w, events) < 0) {
                w->fd = -1;
                return ERR_IO;
        }
        return ERR_NONE;
}

static void scrub(struct loop *l, const struct watch *w)
{
        for (int i = 0; i < l->ready_len; i++)
                if (l->ready[i].data.ptr == w)
                        l->ready[i].data.ptr = NULL;
}

/* Without interest the descriptor leaves epoll altogether, which would report a hang-up for ever. */
void loop_change(struct watch *w, unsigned events)
{
        if (w->fd < 0 || w->events == events)
                return;
        int op = w->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
        /* Fails only if the owner closed the descriptor before it stopped watching, and then there is
         * nothing left to change. */
        (void)epoll_set(w->loop, op, w, events);
        if (events == 0)
                scrub(w->loop, w);
        w->events = events;
}

void loop_unwatch(struct watch *w)
{
        if (w->fd < 0)
                return;
        if (w->events != 0)
                (void)epoll_set(w->loop, EPOLL_CTL_DEL, w, 0);
        scrub(w->loop, w);
        w->fd = -1;
        w->events = 0;
}

static void run_ready(struct loop *l)
{
        for (int i = 0; i < l->ready_len; i++) {
                void *ptr = l->ready[i].data.ptr;
                if (ptr == &l->timer_fd) {
                        l->timer_at = MONO_NEVER;   /* edge-triggered: nothing to read */
                } else if (ptr != NULL) {
                        struct watch *w = ptr;
                        w->on_ready(w, from_epoll(l->ready[i].events), l->now);
                }
        }
        l->ready_len = 0;
}

/* --- the loop --- */

/* Told from the watchers by its pointer: the place of timer_fd. */
static int watch_timer_fd(struct loop *l)
{
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &l->timer_fd};
        return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->timer_fd, &ev);
}

struct loop *loop_new(void)
{
        struct loop *l = calloc(1, sizeof(*l));
        if (l == NULL)
                return NULL;
        l->heap_cap = LOOP_HEAP_MIN;
        l->heap = calloc(l->heap_cap, sizeof(struct timer *));
        l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        l->timer_at = MONO_NEVER;
        l->now = mono_now();
        if (l->heap == NULL || l->epoll_fd < 0 || l->timer_fd < 0 || watch_timer_fd(l) < 0) {
                int saved = errno;
                loop_free(l);
                errno = saved;
                return NULL;
        }
        return l;
}

void loop_free(struct loop *l)
{
        if (l == NULL)
                return;
        if (l->epoll_fd >= 0)
                close(l->epoll_fd);
        if (l->timer_fd >= 0)
                close(l->timer_fd);
        free(l->heap);
        free(l);
}

mono_t loop_now(const struct loop *l)
{
        return l->now;
}

/* Sees to it that a wait ends when the next timer is due, rounded up to a quarter of a millisecond so that neighbours
 * share a round.  A deadline that moved away is left to ring once for nothing, after which the next one is set: one that is
 * pushed back with every packet costs no system call. */
static int wait_ms(struct loop *l, int max_wait_ms)
{
        if (l->heap_len == 0)
                return max_wait_ms;
        mono_t at = l->heap[0]->at;
        if (mono_reached(mono_now(), at))
                return 0;
        at.ns = (at.ns + ROUND_NS - 1) / ROUND_NS * ROUND_NS;
        if (at.ns < l->timer_at.ns) {
                struct itimerspec when = {.it_value = {(time_t)(at.ns / NS_PER_SEC), (long)(at.ns % NS_PER_SEC)}};
                if (timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
                        return 0;
                l->timer_at = at;
        }
        return max_wait_ms;
}

void loop_once(struct loop *l, int max_wait_ms)
{
        int n = epoll_wait(l->epoll_fd, l->ready, LOOP_BATCH, wait_ms(l, max_wait_ms));
        l->ready_len = n > 0 ? n : 0;
        l->now = mono_now();
        run_ready(l);
        run_timers(l);
        if (l->on_idle != NULL)
                l->on_idle(l->idle_arg, l->now);
}

void loop_run(struct loop *l)
{
        l->stopping = false;
        if (l->on_idle != NULL)
                l->on_idle(l->idle_arg, l->now);
        while (!l->stopping)
                loop_once(l, -1);
}

void loop_stop(struct loop *l)
{
        l->stopping = true;
}

void loop_on_idle(struct loop *l, void (*fn)(void *arg, mono_t now), void *arg)
{
        l->on_idle = fn;
        l->idle_arg = arg;
}
