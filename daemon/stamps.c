#include "daemon/stamps.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Ours alone; seconds since 1970 in decimal. */
#define STAMPS_KEY "_stamp-bound"

static int64_t load(const struct state_file *store)
{
        size_t len;
        const char *text = state_file_get(store, STAMPS_KEY, &len);
        long long v = text != NULL ? strtoll(text, NULL, 10) : 0;
        /* Out of all reason: a damaged value must not keep our stamps at the end of time. */
        return v > 0 && v < INT64_C(1) << 33 ? (int64_t)v * NS_PER_SEC : 0;
}

/* The first bound has to be on the disk before the first handshake; later ones have STAMPS_LEAST_S. */
static void store_bound(struct stamps *s, int64_t bound_ns)
{
        bool first = s->bound_ns == s->floor_ns;
        char text[24];
        s->bound_ns = bound_ns;
        snprintf(text, sizeof(text), "%" PRId64, bound_ns / NS_PER_SEC);
        enum err e = state_file_set(s->store, STAMPS_KEY, text, strlen(text));
        if (!first)
                state_file_save_later(s->store);
        else if (e == ERR_NONE && state_file_save(s->store) != ERR_NONE)
                log_warn("%s", state_file_trouble(s->store));   /* goes out with the next save */
}

/* By the clock, or above what was used before: there a stamp a handshake is one step, of 17 ms for at least 5 s, so
 * that they do not get on faster than time does. */
static void look(struct stamps *s, int64_t wall_ns)
{
        mono_t now = loop_now(s->loop);
        s->top_ns += mono_diff_ns(now, s->top_at);
        s->top_at = now;
        if (s->top_ns < wall_ns)
                s->top_ns = wall_ns;
}

static void plan(struct stamps *s, int64_t wall_ns)
{
        look(s, wall_ns);
        if (s->bound_ns - s->top_ns <= STAMPS_LEAST_S * NS_PER_SEC)
                store_bound(s, s->top_ns + STAMPS_AHEAD_S * NS_PER_SEC);
        loop_timer_at(s->loop, &s->timer,
                mono_add_ns(s->top_at, s->bound_ns - s->top_ns - STAMPS_LEAST_S * NS_PER_SEC));
}

static void on_timer(struct timer *t, mono_t now)
{
        (void)now;
        plan(container_of(t, struct stamps, timer), wall_now_ns());
}

void stamps_start(struct stamps *s, struct loop *l, struct state_file *store, int64_t wall_ns)
{
        *s = (struct stamps){.store = store, .loop = l};
        timer_init(&s->timer, on_timer);
        s->floor_ns = s->top_ns = s->bound_ns = load(store);
        s->top_at = loop_now(l);
        plan(s, wall_ns);
}

void stamps_clock_stepped(struct stamps *s, int64_t wall_ns)
{
        if (s->store != NULL)
                plan(s, wall_ns);
}

void stamps_stop(struct stamps *s, int64_t wall_ns)
{
        if (s->store == NULL)
                return;
        loop_timer_stop(&s->timer);
        look(s, wall_ns);
        store_bound(s, s->top_ns + 2 * NS_PER_SEC);   /* whole seconds, and the odd step */
        s->store = NULL;
}
