#include "magicsock/pace.h"

#include "tests/unit/check.h"

static const mono_t start = {INT64_C(5) * NS_PER_SEC};

/* What one second of pieces comes to, when more always waits. */
static uint64_t flood(struct pace *p, mono_t from)
{
        uint64_t bytes = 0;
        for (mono_t now = from; mono_diff_ms(now, from) < 1000; now = mono_add_ns(now, 10 * NS_PER_US))
                for (; pace_ready(p, now); bytes += PACE_PIECE)
                        pace_sent(p, PACE_PIECE, now);
        return bytes;
}

static void test_first_leaves_at_once(void **state)
{
        (void)state;
        struct pace p = {0};
        assert_true(pace_ready(&p, start));
        pace_sent(&p, PACE_PIECE, start);
        assert_false(pace_ready(&p, start));
        assert_int_equal(mono_diff_ns(p.next, start), PACE_PIECE * NS_PER_SEC / PACE_RATE_MIN);
        assert_true(pace_ready(&p, p.next));
}

/* A small one holds up the next as little. */
static void test_small(void **state)
{
        (void)state;
        struct pace p = {0};
        pace_sent(&p, 160, start);
        assert_int_equal(mono_diff_ns(p.next, start), 10 * NS_PER_US);
}

static void test_grows_without_end(void **state)
{
        (void)state;
        struct pace p = {0};
        uint64_t first = flood(&p, start), second = flood(&p, mono_add_ms(start, 1000));
        assert_true(first > PACE_RATE_MIN);
        assert_true(second >= 100000 / 2 * (uint64_t)PACE_PIECE);   /* the loop's own step is the limit */
}

/* Steady traffic is spread over half of the time, whatever its rate. */
static void test_twice_the_rate_of_late(void **state)
{
        (void)state;
        struct pace p = {0};
        mono_t now = start;
        for (int i = 0; i < 1000; i++, now = mono_add_ns(now, 400 * NS_PER_US)) {
                assert_true(pace_ready(&p, now) || i < 60);
                pace_sent(&p, PACE_PIECE, now);
        }
        int64_t gap = mono_diff_ns(p.next, mono_add_ns(now, -400 * NS_PER_US));
        assert_in_range(gap, 180 * NS_PER_US, 220 * NS_PER_US);
        /* After a rest it starts anew. */
        now = mono_add_ms(now, 60000);
        pace_sent(&p, PACE_PIECE, now);
        assert_int_equal(mono_diff_ns(p.next, now), PACE_PIECE * NS_PER_SEC / PACE_RATE_MIN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first_leaves_at_once), cmocka_unit_test(test_small),
                cmocka_unit_test(test_grows_without_end), cmocka_unit_test(test_twice_the_rate_of_late),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
