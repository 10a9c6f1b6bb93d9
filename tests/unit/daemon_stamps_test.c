/* Stamps of handshakes over restarts: the next process starts above all that this one used, however it ended. */
#include "daemon/stamps.h"

#include "base/crypto.h"
#include "tests/unit/check.h"

#define WALL (INT64_C(1700000000) * NS_PER_SEC)
#define DAY  (86400 * NS_PER_SEC)

static struct state_file *store;
static struct loop *loop;

static int setup(void **state)
{
        const char *why;
        (void)state;
        loop = loop_new();
        return loop == NULL || crypto_init() != ERR_NONE || state_file_open("mem:", &store, &why) != ERR_NONE;
}

static int teardown(void **state)
{
        (void)state;
        state_file_free(store);
        loop_free(loop);
        return 0;
}

/* The floor of a process that starts when the clock says wall. */
static int64_t floor_at(int64_t wall)
{
        struct stamps s;
        stamps_start(&s, loop, store, wall);
        loop_timer_stop(&s.timer);   /* ends without a word */
        return s.floor_ns;
}

static void test_first_start(void **state)
{
        (void)state;
        assert_int_equal(floor_at(WALL), 0);
}

static void test_orderly_end(void **state)
{
        (void)state;
        struct stamps s;
        stamps_start(&s, loop, store, WALL);
        stamps_stop(&s, WALL + 100 * NS_PER_SEC + 5);
        stamps_stop(&s, WALL + DAY);   /* it is over */
        int64_t floor = floor_at(WALL + 101 * NS_PER_SEC);
        assert_true(floor > WALL + 100 * NS_PER_SEC + 5 && floor <= WALL + 103 * NS_PER_SEC);
}

static void test_crash(void **state)
{
        (void)state;
        struct stamps s;
        stamps_start(&s, loop, store, WALL);
        loop_timer_stop(&s.timer);
        /* Before the timer comes, and the clock of the next start is wrong: */
        int64_t last_used = WALL + (STAMPS_AHEAD_S - STAMPS_LEAST_S) * NS_PER_SEC;
        int64_t floor = floor_at(0);
        assert_true(floor > last_used && floor <= WALL + STAMPS_AHEAD_S * NS_PER_SEC);
        /* That one goes on above it, and so does the one after it. */
        assert_true(floor_at(0) > floor);
        assert_true(floor_at(DAY) > floor);
        /* By and by the clock is right again. */
        assert_true(floor_at(WALL + 2 * DAY) < WALL + 2 * DAY);
}

static void test_timer_writes_ahead(void **state)
{
        (void)state;
        struct stamps s;
        int64_t wall = wall_now_ns();
        stamps_start(&s, loop, store, wall);
        int64_t first = s.bound_ns;
        assert_int_equal(mono_diff_ms(s.timer.at, loop_now(loop)), (STAMPS_AHEAD_S - STAMPS_LEAST_S) * 1000);
        s.top_at = mono_add_ms(s.top_at, -(STAMPS_AHEAD_S - STAMPS_LEAST_S) * 1000 - 10);   /* time goes by */
        s.timer.on_expire(&s.timer, loop_now(loop));
        assert_true(s.bound_ns >= first + (STAMPS_AHEAD_S - STAMPS_LEAST_S) * NS_PER_SEC);
        assert_true(timer_is_armed(&s.timer));
        loop_timer_stop(&s.timer);
        assert_true(floor_at(wall) >= first + (STAMPS_AHEAD_S - STAMPS_LEAST_S) * NS_PER_SEC - NS_PER_SEC);
}

static void test_clock_set(void **state)
{
        (void)state;
        struct stamps s;
        stamps_start(&s, loop, store, WALL);
        stamps_clock_stepped(&s, WALL + DAY);   /* forward: the bound is there before a stamp is */
        assert_true(s.bound_ns > WALL + DAY);
        int64_t bound = s.bound_ns;
        stamps_clock_stepped(&s, WALL - DAY);   /* back: what was used stays used */
        assert_true(s.bound_ns == bound);
        stamps_stop(&s, WALL - DAY + NS_PER_SEC);
        int64_t floor = floor_at(WALL - DAY);
        assert_true(floor > WALL + DAY && floor <= bound);
        stamps_clock_stepped(&s, WALL);   /* it is over */
}

static void test_damaged_values(void **state)
{
        (void)state;
        static const char *const texts[] = {"", "x", "-5", "99999999999999999999999", "8589934592", "0"};
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                assert_int_equal(state_file_set(store, "_stamp-bound", texts[i], strlen(texts[i])), ERR_NONE);
                assert_int_equal(floor_at(WALL), 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_first_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_orderly_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_writes_ahead, setup, teardown),
                cmocka_unit_test_setup_teardown(test_clock_set, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_values, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
