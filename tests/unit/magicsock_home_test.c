/* What others are told of our home. */
#include "tests/unit/magicsock_homes.h"

/* Whoever is told of a home before it has let us in looks for us there in vain. */
static void test_told_once_it_has_let_us_in(void **state)
{
        (void)state;
        t.servers[0].refuse = true;
        start(1);
        assert_int_equal(ms_home(t.ms), 1);
        UNTIL(t.reports > 0);
        assert_int_equal(t.told, 0);
        assert_int_equal(t.preferred, 1);
        t.servers[0].refuse = false;
        UNTIL(derp_mgr_is_up(t.ms->derp, 1));
        assert_int_equal(t.told, 1);
}

/* Its server knows nothing of the one before. */
static void test_another_node_starts_over(void **state)
{
        struct key_private other;
        (void)state;
        settle();
        t.servers[0].refuse = true;
        key_generate(&other);
        ms_set_keys(t.ms, &other);
        prefer(1);
        assert_int_equal(t.told, 0);
        t.servers[0].refuse = false;
        UNTIL(derp_mgr_is_up(t.ms->derp, 1));
        assert_int_equal(t.told, 1);
}

static void test_found_where_we_were_until_the_new_one_has(void **state)
{
        (void)state;
        settle_and_move();
        is_let_in_and_told();
}

/* Nobody finds us at the new one yet either, and the old one may be back first. */
static void test_the_old_one_breaks_meanwhile(void **state)
{
        (void)state;
        settle_and_move();
        srv_stop(&t.servers[0]);
        UNTIL(!derp_mgr_is_up(t.ms->derp, 1));
        assert_int_equal(t.told, 1);
        is_let_in_and_told();
}

/* Where others find us is not closed because we have nothing to send there. */
static void test_the_old_one_stays_until_then(void **state)
{
        (void)state;
        settle_and_move();
        for (struct derp_conn *c = t.ms->derp->conns; c != NULL; c = c->next)
                c->last_send = mono_add_ms(now(), -3600 * 1000);
        t.ms->derp->sweep.on_expire(&t.ms->derp->sweep, now());
        assert_true(derp_mgr_is_up(t.ms->derp, 1));
        is_let_in_and_told();
        t.ms->derp->sweep.on_expire(&t.ms->derp->sweep, now());
        assert_false(derp_mgr_is_up(t.ms->derp, 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_told_once_it_has_let_us_in, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_another_node_starts_over, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_found_where_we_were_until_the_new_one_has, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_old_one_breaks_meanwhile, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_old_one_stays_until_then, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
