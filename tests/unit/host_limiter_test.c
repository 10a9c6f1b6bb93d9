#include "tests/unit/check.h"

#include "daemon/host/limiter.h"

static mono_t at(int64_t ms)
{
        return (mono_t){(1 + ms) * NS_PER_MS};
}

static int64_t next_ms(const struct limiter *l, int64_t now_ms)
{
        return mono_diff_ms(limiter_next(l, at(now_ms)), at(0));
}

static void a_burst_then_one_turn_at_a_time(void **state)
{
        (void)state;
        struct limiter l = {.settle_ms = 250, .burst = 3, .every_ms = 5000};
        for (int i = 0; i < 3; i++) {
                assert_int_equal(next_ms(&l, 1000 + i), 1250 + i);
                limiter_take(&l, at(1000 + i));
        }
        /* The first turn, taken at 1000, comes back at 6000. */
        assert_int_equal(next_ms(&l, 1010), 6000);
        assert_int_equal(next_ms(&l, 5900), 6150);
        limiter_take(&l, at(6000));
        assert_int_equal(next_ms(&l, 6001), 11000);
        assert_int_equal(next_ms(&l, 11500), 11750);
}

static void all_turns_come_back(void **state)
{
        (void)state;
        struct limiter l = {.settle_ms = 250, .burst = 3, .every_ms = 5000};
        for (int i = 0; i < 20; i++)
                limiter_take(&l, at(0));
        assert_int_equal(next_ms(&l, 15000), 15250);
        for (int i = 0; i < 3; i++)
                limiter_take(&l, at(100000));
        assert_int_equal(next_ms(&l, 100000), 105000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_burst_then_one_turn_at_a_time),
                cmocka_unit_test(all_turns_come_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
