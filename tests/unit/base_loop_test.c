#include "base/loop.h"

#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/check.h"

/* What happened, in order, one letter each. */
static char seen[64];

static void note(char c)
{
        size_t n = strlen(seen);
        assert_true(n + 1 < sizeof(seen));
        seen[n] = c;
        seen[n + 1] = '\0';
}

static int setup(void **state)
{
        seen[0] = '\0';
        *state = loop_new();
        return *state == NULL;
}

static int teardown(void **state)
{
        loop_free(*state);
        return 0;
}

struct letter {
        struct timer timer;
        char name;
        int again;               /* re-arm for now this many times */
        struct timer *kills;
};

static void letter_expired(struct timer *t, mono_t now)
{
        struct letter *l = container_of(t, struct letter, timer);
        assert_false(timer_is_armed(t));
        assert_true(now.ns != 0);
        note(l->name);
        if (l->kills != NULL)
                loop_timer_stop(l->kills);
        if (l->again-- > 0)
                loop_timer_at(t->loop, t, (mono_t){1});
}

static void letter_init(struct letter *l, char name)
{
        *l = (struct letter){.name = name};
        timer_init(&l->timer, letter_expired);
}

static void test_timers_fire_in_order(void **state)
{
        struct loop *l = *state;
        struct letter a, b, c, d;
        letter_init(&a, 'a');
        letter_init(&b, 'b');
        letter_init(&c, 'c');
        letter_init(&d, 'd');
        mono_t at = mono_add_ms(loop_now(l), 5);
        loop_timer_at(l, &c.timer, mono_add_ms(at, 2));
        loop_timer_at(l, &b.timer, at);
        loop_timer_at(l, &a.timer, mono_add_ms(at, -1));
        loop_timer_at(l, &d.timer, at);   /* a tie: after b, which was armed first */
        assert_true(timer_is_armed(&c.timer));
        while (timer_is_armed(&c.timer))
                loop_once(l, -1);
        assert_string_equal(seen, "abdc");
}

static void test_timer_moves_and_stops(void **state)
{
        struct loop *l = *state;
        struct letter a, b, never;
        letter_init(&a, 'a');
        letter_init(&b, 'b');
        letter_init(&never, 'n');
        loop_timer_in(l, &a.timer, 1);
        loop_timer_in(l, &b.timer, 2);
        loop_timer_in(l, &never.timer, 1);
        loop_timer_at(l, &never.timer, MONO_NEVER);
        assert_false(timer_is_armed(&never.timer));
        loop_timer_stop(&never.timer);
        loop_timer_in(l, &a.timer, 4);   /* now behind b */
        while (timer_is_armed(&a.timer))
                loop_once(l, -1);
        assert_string_equal(seen, "ba");
}

static void test_timer_stops_another_that_is_due(void **state)
{
        struct loop *l = *state;
        struct letter a, b;
        letter_init(&a, 'a');
        letter_init(&b, 'b');
        a.kills = &b.timer;
        loop_timer_in(l, &a.timer, 0);
        loop_timer_in(l, &b.timer, 0);
        loop_once(l, 0);
        loop_once(l, 0);
        assert_string_equal(seen, "a");
}

/* One that is always overdue runs once a round and lets the others run too. */
static void test_timer_rearmed_in_the_past_starves_nobody(void **state)
{
        struct loop *l = *state;
        struct letter a, b;
        letter_init(&a, 'a');
        letter_init(&b, 'b');
        a.again = 2;
        loop_timer_in(l, &a.timer, 0);
        loop_timer_in(l, &b.timer, 0);
        loop_once(l, 0);
        assert_string_equal(seen, "ab");
        loop_once(l, -1);
        loop_once(l, -1);
        assert_string_equal(seen, "abaa");
        assert_false(timer_is_armed(&a.timer));
}

/* Against a sorted reference: a thousand arms, moves and stops in a fixed disorder. */
static void test_timer_heap_keeps_order(void **state)
{
        struct loop *l = *state;
        enum { N = 1000 };
        static struct letter t[N];
        uint32_t r = 12345;
        mono_t base = loop_now(l);
        size_t armed = 0;
        for (size_t i = 0; i < N; i++)
                letter_init(&t[i], 0);
        for (size_t i = 0; i < (size_t)4 * N; i++) {
                r = r * 1664525U + 1013904223U;
                struct timer *one = &t[(r >> 8) % N].timer;
                if ((r >> 28) == 0)
                        loop_timer_stop(one);
                else
                        loop_timer_at(l, one, mono_add_ns(base, NS_PER_SEC * 1000 + (int64_t)(r >> 4)));
        }
        for (size_t i = 0; i < N; i++) {
                armed += timer_is_armed(&t[i].timer);
                if (timer_is_armed(&t[i].timer))
                        assert_true(t[i].timer.index >= 1 && t[i].timer.index <= N);
        }
        assert_true(armed > N / 2);
        /* Disarm the soonest over and over by index 1: it must be the minimum of the rest. */
        int64_t last = 0;
        for (; armed > 0; armed--) {
                struct timer *top = NULL;
                for (size_t i = 0; i < N && top == NULL; i++)
                        if (t[i].timer.index == 1)
                                top = &t[i].timer;
                assert_non_null(top);
                assert_true(top->at.ns >= last);
                last = top->at.ns;
                loop_timer_stop(top);
        }
}

struct pipe_end {
        struct watch watch;
        int fds[2];
        char name;
        unsigned events;
        struct watch *removes;
        struct loop *stops;
};

static void end_ready(struct watch *w, unsigned events, mono_t now)
{
        struct pipe_end *e = container_of(w, struct pipe_end, watch);
        (void)now;
        e->events = events;
        note(e->name);
        if (e->removes != NULL)
                loop_unwatch(e->removes);
        if (e->stops != NULL)
                loop_stop(e->stops);
}

static void end_open(struct pipe_end *e, char name)
{
        *e = (struct pipe_end){.name = name};
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, e->fds), 0);
        watch_init(&e->watch, end_ready);
}

static void end_close(struct pipe_end *e)
{
        loop_unwatch(&e->watch);
        loop_unwatch(&e->watch);   /* harmless */
        close(e->fds[0]);
        if (e->fds[1] >= 0)
                close(e->fds[1]);
}

static void test_watch_read_and_write(void **state)
{
        struct loop *l = *state;
        struct pipe_end a;
        end_open(&a, 'a');
        assert_int_equal(loop_watch(l, &a.watch, a.fds[0], LOOP_READ), ERR_NONE);
        assert_int_equal(loop_watch(l, &a.watch, a.fds[0], LOOP_READ), ERR_STATE);
        loop_once(l, 0);
        assert_string_equal(seen, "");
        assert_int_equal(write(a.fds[1], "x", 1), 1);
        loop_once(l, 100);
        assert_int_equal(a.events, LOOP_READ);
        loop_change(&a.watch, LOOP_WRITE);
        loop_once(l, 100);
        assert_int_equal(a.events, LOOP_WRITE);
        loop_change(&a.watch, LOOP_READ | LOOP_WRITE);
        loop_once(l, 100);
        assert_int_equal(a.events, LOOP_READ | LOOP_WRITE);
        assert_string_equal(seen, "aaa");
        end_close(&a);
        assert_int_equal(a.watch.fd, -1);
}

static void test_watch_hangup_is_both_unless_nothing_is_wanted(void **state)
{
        struct loop *l = *state;
        struct pipe_end a;
        end_open(&a, 'a');
        assert_int_equal(loop_watch(l, &a.watch, a.fds[0], LOOP_READ), ERR_NONE);
        close(a.fds[1]);
        a.fds[1] = -1;
        loop_once(l, 100);
        assert_int_equal(a.events, LOOP_READ | LOOP_WRITE);
        loop_change(&a.watch, 0);
        loop_once(l, 0);
        assert_string_equal(seen, "a");
        loop_change(&a.watch, LOOP_READ);
        loop_once(l, 100);
        assert_string_equal(seen, "aa");
        end_close(&a);
}

/* Both are ready in one round; whichever runs first removes the other, which must not run. */
static void test_unwatch_scrubs_fetched_events(void **state)
{
        struct loop *l = *state;
        struct pipe_end a, b;
        end_open(&a, 'a');
        end_open(&b, 'b');
        a.removes = &b.watch;
        b.removes = &a.watch;
        assert_int_equal(loop_watch(l, &a.watch, a.fds[0], LOOP_WRITE), ERR_NONE);
        assert_int_equal(loop_watch(l, &b.watch, b.fds[0], LOOP_WRITE), ERR_NONE);
        loop_once(l, 100);
        assert_int_equal(strlen(seen), 1);
        end_close(&a);
        end_close(&b);
}

static void test_watch_refuses_what_cannot_be_polled(void **state)
{
        struct loop *l = *state;
        struct watch w;
        watch_init(&w, end_ready);
        FILE *f = tmpfile();
        assert_non_null(f);
        assert_int_equal(loop_watch(l, &w, fileno(f), LOOP_READ), ERR_IO);
        assert_int_equal(w.fd, -1);
        fclose(f);
}

static void on_idle(void *arg, mono_t now)
{
        (void)arg;
        assert_true(mono_is_set(now));
        note('i');
}

static void test_idle_runs_before_every_sleep(void **state)
{
        struct loop *l = *state;
        struct pipe_end a;
        end_open(&a, 'a');
        a.stops = l;
        loop_on_idle(l, on_idle, NULL);
        assert_int_equal(loop_watch(l, &a.watch, a.fds[0], LOOP_WRITE), ERR_NONE);
        loop_run(l);
        assert_string_equal(seen, "iai");
        end_close(&a);
}

/* /proc says of a timerfd which clock it is on and how long it still runs. */
static bool find_timerfd(int *ret_clock, double *ret_left)
{
        for (int fd = 0; fd < 64; fd++) {
                char path[64], line[128];
                unsigned long sec, nsec;
                bool found = false;
                snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
                FILE *f = fopen(path, "re");
                while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
                        found = sscanf(line, "clockid: %d", ret_clock) == 1 || found;
                        if (sscanf(line, "it_value: (%lu, %lu)", &sec, &nsec) == 2)
                                *ret_left = (double)sec + (double)nsec / 1e9;
                }
                if (f != NULL)
                        fclose(f);
                if (found)
                        return true;
        }
        return false;
}

/* A host that slept has its timers run as soon as it wakes: the wait is on the clock that went on meanwhile. */
static void test_wait_is_on_the_clock_of_the_deadlines(void **state)
{
        struct loop *l = *state;
        struct letter a;
        int clock = -1;
        double left = 0;
        letter_init(&a, 'a');
        loop_timer_in(l, &a.timer, 30000);
        loop_once(l, 1);
        assert_true(find_timerfd(&clock, &left));
        assert_int_equal(clock, CLOCK_BOOTTIME);
        assert_true(left > 10 && left <= 30);
        /* What is put off costs nothing now, what comes sooner is set at once. */
        loop_timer_in(l, &a.timer, 90000);
        loop_once(l, 1);
        assert_true(find_timerfd(&clock, &left));
        assert_true(left > 1 && left <= 30);
        loop_timer_in(l, &a.timer, 5);
        loop_once(l, -1);
        assert_string_equal(seen, "a");
        assert_false(timer_is_armed(&a.timer));
}

/* It rings for a deadline that is gone, and is then set for the next. */
static void test_deadline_that_moved_away_is_not_lost(void **state)
{
        struct loop *l = *state;
        struct letter a;
        letter_init(&a, 'a');
        loop_timer_in(l, &a.timer, 5);
        loop_once(l, 0);
        loop_timer_in(l, &a.timer, 20);
        mono_t due = a.timer.at;
        while (timer_is_armed(&a.timer))
                loop_once(l, -1);
        assert_true(loop_now(l).ns >= due.ns);
        loop_timer_in(l, &a.timer, 1);
        loop_once(l, -1);
        assert_string_equal(seen, "aa");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_timers_fire_in_order, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_moves_and_stops, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_stops_another_that_is_due, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_rearmed_in_the_past_starves_nobody, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_heap_keeps_order, setup, teardown),
                cmocka_unit_test_setup_teardown(test_wait_is_on_the_clock_of_the_deadlines, setup, teardown),
                cmocka_unit_test_setup_teardown(test_deadline_that_moved_away_is_not_lost, setup, teardown),
                cmocka_unit_test_setup_teardown(test_watch_read_and_write, setup, teardown),
                cmocka_unit_test_setup_teardown(
                        test_watch_hangup_is_both_unless_nothing_is_wanted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unwatch_scrubs_fetched_events, setup, teardown),
                cmocka_unit_test_setup_teardown(test_watch_refuses_what_cannot_be_polled, setup, teardown),
                cmocka_unit_test_setup_teardown(test_idle_runs_before_every_sleep, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
