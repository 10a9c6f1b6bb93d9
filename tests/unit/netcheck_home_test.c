#include "netcheck/home.h"

#include "tests/unit/check.h"

static struct derp_node nodes[3];
static struct derp_region regions[3];
static const struct derpmap map = {.region_count = 3, .regions = regions};
static struct nc_home history;
static int home;
static mono_t now, heard;

static int setup(void **state)
{
        (void)state;
        for (int i = 0; i < 3; i++)
                regions[i] = (struct derp_region){.id = i + 1, .score = 1, .node_count = 1, .nodes = &nodes[i]};
        memset(nodes, 0, sizeof(nodes));
        home = 0;
        now = (mono_t){1000 * NS_PER_SEC};
        heard = (mono_t){0};
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        nc_home_done(&history);
        return 0;
}

/* A second later a report with these latencies in milliseconds (0 = none); what it chooses is the home. */
static int step(int d1, int d2, int d3)
{
        struct netcheck_report r = {0};
        const int ms[] = {d1, d2, d3};
        now = mono_add_ms(now, 1000);
        for (int i = 0; i < 3; i++)
                if (ms[i] != 0)
                        nc_report_https(&r, i + 1, IP_V4, ms[i] * NS_PER_MS);
        home = nc_home_choose(&history, &(struct nc_home_args){&map, &r, home, now, heard}, now);
        return home;
}

static void test_history_minimum_counts(void **state)
{
        (void)state;
        assert_int_equal(step(2000, 3000, 0), 1);
        assert_int_equal(step(4000, 3000, 0), 1);
        assert_int_equal(step(0, 3000, 0), 2);
        assert_int_equal(step(4000, 3000, 0), 1);
}

static void test_history_expires(void **state)
{
        (void)state;
        for (int i = 0; i < 4; i++)
                assert_int_equal(step(1000, 2000, 0), 1);
        now = mono_add_ms(now, 600000);
        assert_int_equal(step(0, 0, 3000), 3);
        assert_int_equal(history.count, 1);
}

static void test_history_is_bounded(void **state)
{
        (void)state;
        for (int i = 0; i < 3 * NC_HISTORY_MAX; i++)
                assert_int_equal(step(1000, 2000, 0), 1);
        assert_int_equal(history.count, NC_HISTORY_MAX);
}

/* Each row: a first report, a second one, and the home after it. */
static void test_hysteresis(void **state)
{
        static const struct {
                int first[2], second[2], want;
        } rows[] = {
                {{4000, 5000}, {4000, 3000}, 1},   /* not a third faster */
                {{4, 5}, {4, 1}, 1},               /* under 10 ms */
                {{34, 35}, {34, 23}, 1},           /* 23 > 22.67 */
                {{34, 35}, {34, 22}, 2},
                {{4000, 5000}, {4000, 1000}, 2},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                nc_home_done(&history);
                (void)setup(state);
                assert_int_equal(step(rows[i].first[0], rows[i].first[1], 0), 1);
                assert_int_equal(step(rows[i].second[0], rows[i].second[1], 0), rows[i].want);
        }
}

static void test_scores(void **state)
{
        (void)state;
        regions[0].score = 2.0 / 3;
        assert_int_equal(step(10000, 8000, 0), 1);
        nc_home_done(&history);
        home = 0;
        assert_int_equal(step(100000, 10000, 0), 2);
        nc_home_done(&history);
        home = 0;
        regions[0].score = 0;
        regions[1].score = -1;
        assert_int_equal(step(4000, 5000, 0), 1);
}

static void test_relay_that_is_heard(void **state)
{
        (void)state;
        assert_int_equal(step(2000, 3000, 0), 1);
        heard = now;
        assert_int_equal(step(0, 0, 0), 1);
        now = mono_add_ms(now, 117000);
        assert_int_equal(step(0, 0, 0), 1);
        now = mono_add_ms(now, 2000);
        assert_int_equal(step(0, 0, 0), 0);
}

static void test_home_without_an_answer(void **state)
{
        (void)state;
        assert_int_equal(step(2000, 3000, 0), 1);
        assert_int_equal(step(4000, 3000, 0), 1);
        heard = mono_add_ms(now, -6000);
        assert_int_equal(step(0, 3000, 0), 1);   /* heard 7 s ago */
        now = mono_add_ms(now, 1000);
        assert_int_equal(step(0, 3000, 0), 2);   /* 9 s ago */
}

static void test_regions_not_for_home(void **state)
{
        (void)state;
        regions[0].avoid = true;
        regions[1].no_measure_no_home = true;
        assert_int_equal(step(10, 20, 3000), 3);
        assert_int_equal(step(10, 20, 0), 0);
        home = 9;   /* no longer in the map */
        heard = now;
        assert_int_equal(step(0, 0, 0), 0);
}

/* A region that only answers STUN is near, and nobody's home; not even of one whose home it was. */
static void test_region_without_relay(void **state)
{
        (void)state;
        nodes[1].stun_only = true;
        assert_int_equal(step(3000, 10, 0), 1);
        assert_int_equal(step(0, 10, 0), 0);
        home = 2;
        heard = now;
        assert_int_equal(step(3000, 10, 4000), 1);
        home = 0;
        regions[1].node_count = 0;
        assert_int_equal(step(0, 10, 4000), 3);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_history_minimum_counts, setup, teardown),
                cmocka_unit_test_setup_teardown(test_history_expires, setup, teardown),
                cmocka_unit_test_setup_teardown(test_history_is_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hysteresis, setup, teardown),
                cmocka_unit_test_setup_teardown(test_scores, setup, teardown),
                cmocka_unit_test_setup_teardown(test_relay_that_is_heard, setup, teardown),
                cmocka_unit_test_setup_teardown(test_home_without_an_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_regions_not_for_home, setup, teardown),
                cmocka_unit_test_setup_teardown(test_region_without_relay, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
