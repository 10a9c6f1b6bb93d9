/* base/loop.h - epoll event loop with timers.  One loop a thread; everything here runs on that thread.
 *
 * Watchers and timers are embedded in their owner, which removes them before it goes away.  Removing a
 * watcher also scrubs events already fetched in this round; a callback may remove anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mono.h"

struct loop;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };   /* hang-up and error are reported as both */

struct watch {
        int fd;                /* -1 = not watched; set by loop_watch() */
        unsigned events;
        void (*on_ready)(struct watch *w, unsigned events, mono_t now);
        struct loop *loop;
};

struct timer {
        mono_t at;             /* MONO_NEVER or unarmed */
        uint64_t seq;          /* ties fire in the order they were armed */
        uint32_t index;        /* place in the heap + 1; 0 = not armed */
        void (*on_expire)(struct timer *t, mono_t now);
        struct loop *loop;
};

/* The owner of an embedded member: struct conn *c = container_of(w, struct conn, watch); */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

struct loop *loop_new(void);   /* NULL: errno says why */
void loop_free(struct loop *l);
mono_t loop_now(const struct loop *l);   /* taken once a round */
void loop_run(struct loop *l);           /* until loop_stop() */
/* One round: waits at most max_wait_ms (-1 = until something happens), then runs what is due. */
void loop_once(struct loop *l, int max_wait_ms);
void loop_stop(struct loop *l);
/* Called at the end of every round, before it sleeps (to flush batches).  One per loop. */
void loop_on_idle(struct loop *l, void (*fn)(void *arg, mono_t now), void *arg);

void watch_init(struct watch *w, void (*on_ready)(struct watch *, unsigned, mono_t));
ERR_CHECK enum err loop_watch(struct loop *l, struct watch *w, int fd, unsigned events);
void loop_change(struct watch *w, unsigned events);
void loop_unwatch(struct watch *w);      /* harmless if not watched; does not close fd */

void timer_init(struct timer *t, void (*on_expire)(struct timer *, mono_t));
void loop_timer_at(struct loop *l, struct timer *t, mono_t at);   /* re-arms; MONO_NEVER disarms */
void loop_timer_in(struct loop *l, struct timer *t, int64_t ms);
void loop_timer_stop(struct timer *t);   /* harmless if not armed */
bool timer_is_armed(const struct timer *t);
