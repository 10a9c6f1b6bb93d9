/* The replay table and bulk runs that WireGuard implementations share. */
#include "tests/unit/check.h"
#include "wg/replay.h"

#define W ((uint64_t)REPLAY_WINDOW)
#define L (W + 1)
#define R REJECT_AFTER_MESSAGES

static void test_table(void **state)
{
        static const struct {
                uint64_t counter;
                bool fresh;
        } rows[] = {
                {0, true}, {1, true}, {1, false}, {9, true}, {8, true}, {7, true}, {7, false}, {L, true},
                {L - 1, true}, {L - 1, false}, {L - 2, true}, {2, true}, {2, false}, {L + 16, true}, {3, false},
                {L + 16, false}, {4 * L, true}, {3 * L + 1, true}, {10, false}, {3 * L, false}, {3 * L - 1, false},
                {3 * L + 2, true}, {3 * L + 1, false}, {0, false}, {R, false}, {R - 1, true}, {R, false},
                {R - 1, false}, {R - 2, true}, {R + 1, false}, {R + 2, false}, {R - 2, false}, {R - 3, true}, {0, false},
        };
        struct replay r = {0};
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                if (replay_peek(&r, rows[i].counter) != rows[i].fresh)
                        fail_msg("row %zu: peek", i);
                if (replay_accept(&r, rows[i].counter) != rows[i].fresh)
                        fail_msg("row %zu: accept", i);
        }
}

static void up(struct replay *r, uint64_t from, uint64_t to)
{
        for (uint64_t c = from; c <= to; c++)
                assert_true(replay_accept(r, c));
}

static void down(struct replay *r, uint64_t from, uint64_t to)
{
        for (uint64_t c = from + 1; c-- > to;)
                assert_true(replay_accept(r, c));
}

static void test_bulk(void **state)
{
        (void)state;
        struct replay a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0};
        up(&a, 1, W);
        assert_true(replay_accept(&a, 0));
        assert_false(replay_accept(&a, 0));
        up(&b, 2, W + 1);
        assert_true(replay_accept(&b, 1));
        assert_false(replay_accept(&b, 0));
        down(&c, W + 1, 1);
        down(&d, W + 2, 2);
        assert_false(replay_accept(&d, 0));
        down(&e, W, 1);
        assert_true(replay_accept(&e, W + 1));
        assert_false(replay_accept(&e, 0));
        down(&f, W, 1);
        assert_true(replay_accept(&f, 0));
        assert_true(replay_accept(&f, W + 1));
}

/* Against a list of everything seen. */
static void test_oracle(void **state)
{
        enum { SPAN = 40000 };
        static bool seen[SPAN];
        struct replay r = {0};
        uint64_t highest = 0;
        uint32_t random = 1;
        (void)state;
        for (int i = 0; i < 200000; i++) {
                random = random * 1664525u + 1013904223u;
                uint64_t step = (random >> 8) % 12000;
                uint64_t c = highest + 40 > step ? highest + 40 - step : 0;
                if (i % 97 == 0)
                        c = highest + (random >> 20) % 300;
                if (c >= SPAN)
                        break;
                bool want = !seen[c] && (c > highest || highest - c <= W);
                assert_int_equal(replay_accept(&r, c), want);
                seen[c] = seen[c] || want;
                if (c > highest)
                        highest = c;
        }
        assert_true(highest > SPAN / 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_bulk),
                cmocka_unit_test(test_oracle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
