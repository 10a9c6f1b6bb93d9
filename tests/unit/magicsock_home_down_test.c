/* A home that is out of reach, and when relays are asked whether they are still there. */
#include "tests/unit/magicsock_homes.h"

static bool explained_as_down(uint32_t slot)
{
        struct ms_explain x;
        assert_true(ms_explain(t.ms, slot, &x, now()));
        return x.home_down;
}

static void add_peer(uint32_t slot, bool plain)
{
        struct ms_peer_config c = {.home = 1, .plain = plain};
        crypto_random(&c.key, sizeof(c.key));
        assert_int_equal(ms_peer_set(t.ms, slot, &c, now()), ERR_NONE);
}

/* To whom it makes a difference: not to a peer without relays, and to nobody while we are down ourselves. */
static void test_whom_a_home_that_is_down_explains(void **state)
{
        (void)state;
        t.servers[0].refuse = true;
        start(1);
        add_peer(0, false);
        add_peer(1, true);
        assert_true(explained_as_down(0));
        assert_false(explained_as_down(1));
        ms_set_active(t.ms, false, now());
        assert_int_equal(ms_home(t.ms), 1);
        assert_false(explained_as_down(0));
}

/* A relay that restarts and says so is left before it is lost: no report follows. */
static void test_a_home_that_restarts_is_looked_after(void **state)
{
        (void)state;
        settle();
        add_peer(0, false);
        assert_false(explained_as_down(0));
        assert_false(timer_is_armed(&t.ms->home_down_timer));
        t.servers[0].refuse = true;
        derp_conn_redial(t.ms->derp->conns, now());
        assert_int_equal(t.ms->derp->conns->region, 1);
        assert_true(timer_is_armed(&t.ms->home_down_timer));
        assert_true(explained_as_down(0));
        t.servers[0].refuse = false;
        UNTIL(derp_mgr_is_up(t.ms->derp, 1));
        assert_false(timer_is_armed(&t.ms->home_down_timer));
        assert_false(explained_as_down(0));
}

/* Nobody sends anything, and no report is due. */
static void test_a_home_that_never_was_up_is_looked_after(void **state)
{
        (void)state;
        settle_and_move();
        assert_true(timer_is_armed(&t.ms->home_down_timer));
        UNTIL(t.ms->home_doubted);
        assert_true(netrun_running(t.ms->netrun));
        is_let_in_and_told();
        assert_false(t.ms->home_doubted || timer_is_armed(&t.ms->home_down_timer));
}

/* It was up before it was home: what the one before it did is no reason to be slow with this one. */
static void test_looks_start_over_with_a_home_that_is_up(void **state)
{
        (void)state;
        settle_and_move();
        t.ms->home_looks = 5;
        prefer(1);
        assert_int_equal(ms_home(t.ms), 1);
        assert_false(timer_is_armed(&t.ms->home_down_timer));
        t.servers[0].refuse = true;
        for (struct derp_conn *c = t.ms->derp->conns; c != NULL; c = c->next)
                if (c->region == 1)
                        derp_conn_redial(c, now());
        assert_true(timer_is_armed(&t.ms->home_down_timer));
        assert_in_range(mono_diff_ms(t.ms->home_down_timer.at, now()), 2000, 3000);
}

/* Not the nearest of each report, as long as nobody may prefer the one that is. */
static void test_while_one_is_shunned_home_stays(void **state)
{
        (void)state;
        settle();
        t.ms->shunned = 2;
        t.ms->shunned_until = mono_add_ms(now(), 300 * 1000);
        struct netcheck_report r = {.udp = true, .preferred = 2, .latency_count = 3, .latency = {
                {.region = 2, .any_ns = 1}, {.region = 3, .any_ns = 2}, {.region = 1, .any_ns = 3}}};
        ms_home_on_report(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 1);
        srv_stop(&t.servers[0]);
        UNTIL(!derp_mgr_is_up(t.ms->derp, 1));
        ms_home_on_report(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 3);
        t.ms->shunned_until = now();
        ms_home_on_report(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 2);
}

static void test_a_shunned_one_is_better_than_none(void **state)
{
        (void)state;
        settle();
        t.ms->shunned = 2;
        t.ms->shunned_until = mono_add_ms(now(), 300 * 1000);
        /* By echo the dead one may seem to be near. */
        struct netcheck_report r = {.preferred = 1, .latency_count = 2, .latency = {
                {.region = 1, .any_ns = 1}, {.region = 2, .any_ns = 2}}};
        srv_stop(&t.servers[0]);
        UNTIL(!derp_mgr_is_up(t.ms->derp, 1));
        t.ms->home_doubted = true;
        ms_home_on_report(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 2);
        assert_int_equal(t.ms->shunned, 1);
}

/* A router that restarts breaks all connections, and only one of them need be spoken on to notice. */
static void test_a_break_asks_the_others(void **state)
{
        (void)state;
        settle();
        prefer(2);
        UNTIL(derp_mgr_is_up(t.ms->derp, 2));
        assert_true(derp_mgr_is_up(t.ms->derp, 1));
        assert_int_equal(t.servers[1].pings, 0);
        srv_stop(&t.servers[0]);
        UNTIL(t.servers[1].pings >= 1);
        assert_true(derp_mgr_is_up(t.ms->derp, 2));
}

static bool is_asked(int region)
{
        for (const struct derp_conn *c = t.ms->derp->conns; c != NULL; c = c->next)
                if (c->region == region)
                        return mono_is_set(c->answer_by);
        return false;
}

static bool asks_after(bool udp, size_t answers, const char *seen)
{
        struct netcheck_report r = {.udp = udp, .latency_count = answers};
        assert_true(seen == NULL || addr_parse(seen, &r.global_v4) == ERR_NONE);
        UNTIL(!is_asked(1));
        ms_reach_note_seen(t.ms, &r, now());
        bool asks = is_asked(1);
        UNTIL(!is_asked(1));
        return asks;
}

/* Reports hint at another router: another address or port, nobody answers or somebody does again, or no UDP any more. */
static void test_another_router(void **state)
{
        (void)state;
        settle();
        (void)asks_after(true, 2, "5.0.0.1:1000");   /* whatever was before */
        assert_false(asks_after(true, 2, "5.0.0.1:1000"));
        assert_true(asks_after(true, 2, "5.0.0.2:1000"));
        assert_true(asks_after(true, 2, "5.0.0.2:1001"));
        assert_true(asks_after(false, 2, NULL));
        assert_false(asks_after(false, 2, NULL));
        assert_false(asks_after(true, 2, "5.0.0.2:1001"));
        assert_true(asks_after(false, 0, NULL));
        assert_false(asks_after(false, 0, NULL));
        assert_true(asks_after(true, 2, "5.0.0.2:1001"));
        assert_true(asks_after(false, 0, NULL));
        assert_true(asks_after(false, 2, NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_whom_a_home_that_is_down_explains, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_home_that_restarts_is_looked_after, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_home_that_never_was_up_is_looked_after, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_looks_start_over_with_a_home_that_is_up, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_while_one_is_shunned_home_stays, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_shunned_one_is_better_than_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_break_asks_the_others, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_another_router, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
