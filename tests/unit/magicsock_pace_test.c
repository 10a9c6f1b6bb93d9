#include "magicsock/pace.h"

#include "tests/unit/check.h"

static const mono_t start = {INT64_C(5) * NS_PER_SEC};
enum { FULL = 1500 };

/* What one second of pieces comes to, when more always waits. */
static uint64_t flood(struct pace *p, mono_t from)
{
        uint64_t bytes = 0;
        for (mono_t now = from; mono_diff_ms(now, from) < 1000; now = mono_add_ns(now, 10 * NS_PER_US))
                for (; pace_ready(p, now); bytes += PACE_PIECE)
                        pace_sent(p, PACE_PIECE, FULL, now);
        return bytes;
}

static void test_first_leaves_at_once(void **state)
{
        (void)state;
        struct pace p = {0};
        assert_true(pace_ready(&p, start));
        pace_sent(&p, PACE_PIECE, FULL, start);
        assert_false(pace_ready(&p, start));
        assert_int_equal(mono_diff_ns(p.next, start), PACE_PIECE * NS_PER_SEC / PACE_RATE_MIN);
        assert_true(pace_ready(&p, p.next));
}

/* Of small packets no more leave at once than of full ones. */
static void test_small(void **state)
{
        (void)state;
        assert_int_equal(pace_piece(FULL), PACE_PIECE);
        assert_int_equal(pace_piece(160), 160 * PACE_PACKETS);
        struct pace small = {0}, full = {0};
        pace_sent(&small, 160 * PACE_PACKETS, 160, start);
        pace_sent(&full, PACE_PIECE, FULL, start);
        assert_in_range(full.next.ns - small.next.ns, 0, 10 * NS_PER_US);
        pace_sent(&small, 160, 160, start);
        assert_in_range(mono_diff_ns(small.next, start), 90 * NS_PER_US, 95 * NS_PER_US);
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
                pace_sent(&p, PACE_PIECE, FULL, now);
        }
        int64_t gap = mono_diff_ns(p.next, mono_add_ns(now, -400 * NS_PER_US));
        assert_in_range(gap, 180 * NS_PER_US, 220 * NS_PER_US);
        /* After a rest it starts anew. */
        now = mono_add_ms(now, 60000);
        pace_sent(&p, PACE_PIECE, FULL, now);
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
