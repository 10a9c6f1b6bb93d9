/* One path machine, event by event: what each may change, and what it must leave alone. */
#include "tests/unit/magicsock_onepeer.h"

static struct disco_txid pinged(struct addr a)
{
        const struct ms_action *act = ping_to(a);
        assert_non_null(act);
        return act->txid;
}

static void assert_direct_by(struct addr a)
{
        struct ms_route r = ms_peer_route(&p, now);
        assert_int_equal(r.kind, MS_ROUTE_DIRECT);
        assert_true(addr_eq(r.addr, a));
}

static void data_proves_nothing(void **state)
{
        (void)state;
        send_data();
        ms_peer_on_proof(&p, E1, now);
        ms_peer_on_proof(&p, X, now);
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_RELAY);   /* not both: nothing is lost by relay */
        go_direct(10);
        for (int i = 0; i < 100; i++) {
                ms_peer_on_proof(&p, X, now);
                assert_direct_by(E1);
        }
}

/* The reference trusts data instead of pongs where heartbeats are off; ours never does. */
static void data_alone_keeps_no_trust(void **state)
{
        (void)state;
        go_direct(10);
        for (int i = 0; i < 70; i++) {
                ms_peer_on_proof(&p, E1, now);
                now = mono_add_ms(now, 100);
        }
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_BOTH);
}

static void data_shortens_no_check(void **state)
{
        (void)state;
        go_direct(10);
        pass(3000);   /* a heartbeat is out */
        ms_peer_on_proof(&p, E1, now);
        pass(2000);
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_RELAY);
}

static void map_without_the_address_in_use(void **state)
{
        (void)state;
        go_direct(10);
        struct addr other = E2;
        ms_peer_on_config(&p, true, false, 1, &other, 1, now);
        assert_direct_by(E1);
        pass_answered(4000, 10);
        assert_direct_by(E1);
        ms_peer_on_config(&p, true, false, 1, NULL, 0, now);
        assert_direct_by(E1);
}

static void home_moves(void **state)
{
        (void)state;
        struct addr e = E1;
        assert_int_equal(ms_peer_on_send(&p, now, &out).region, 1);
        ms_peer_on_config(&p, true, false, 2, &e, 1, now);
        struct ms_route r = ms_peer_route(&p, now);
        assert_int_equal(r.kind, MS_ROUTE_RELAY);
        assert_int_equal(r.region, 2);
        go_direct(10);
        ms_peer_on_config(&p, true, false, 3, &e, 1, now);
        assert_direct_by(E1);
        ms_peer_on_config(&p, true, false, 0, &e, 1, now);   /* without a relay the path is all there is */
        assert_direct_by(E1);
        now = mono_add_ms(now, 7000);
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_DIRECT);
}

static void relay_goes(void **state)
{
        (void)state;
        go_direct(10);
        ms_peer_on_heard(&p, 4, now, &out);
        ms_peer_on_relay_gone(&p, 4);
        ms_peer_on_relay_gone(&p, 1);
        assert_direct_by(E1);
        assert_int_equal(p.home, 1);   /* what the map says stands */
}

static void disco_key_goes(void **state)
{
        (void)state;
        go_direct(10);
        pass(3000);
        struct addr e = E1;
        ms_peer_on_config(&p, false, false, 1, &e, 1, now);
        out.count = 0;
        pass(20000);
        assert_int_equal(count(MS_ACT_PING) + count(MS_ACT_CALL) + count(MS_ACT_WITHDRAW), 0);
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        ms_peer_on_config(&p, true, false, 1, &e, 1, now);
        go_direct(10);
        ms_peer_on_config(&p, false, false, 1, &e, 1, now);   /* not one ping on its way: nothing would prove the path wrong */
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
}

static void key_expires(void **state)
{
        (void)state;
        go_direct(10);
        send_data();
        pass(3000);
        struct addr e = E1;
        ms_peer_on_config(&p, true, true, 1, &e, 1, now);
        out.count = 0;
        pass(20000);
        assert_int_equal(count(MS_ACT_PING) + count(MS_ACT_CALL) + count(MS_ACT_WITHDRAW), 0);
        assert_int_equal(send_data(), MS_ROUTE_NONE);
        ms_peer_on_config(&p, true, false, 1, &e, 1, now);
        out.count = 0;
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        assert_int_equal(count(MS_ACT_CALL), 1);
}

/* New sockets: the old path is worth both ways until it has answered, or another one has. */
static void rebind(void **state)
{
        (void)state;
        go_direct(10);
        send_data();
        out.count = 0;
        ms_peer_on_rebind(&p, now, &out);
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_BOTH);
        assert_int_equal(count(MS_ACT_PING), 2);
        assert_int_equal(count(MS_ACT_CALL), 1);
        struct disco_txid t = pinged(E2);
        now = mono_add_ms(now, 10);
        assert_true(ms_peer_on_pong(&p, &t, false, 0, now, &out));
        assert_direct_by(E2);

        out.count = 0;
        now = mono_add_ms(now, 60000);   /* without traffic nothing is sent */
        ms_peer_on_rebind(&p, now, &out);
        assert_int_equal(out.count, 0);
}

static void stop_and_start(void **state)
{
        (void)state;
        go_direct(10);
        send_data();
        pass(50);
        ms_peer_stop(&p, &out);
        out.count = 0;
        pass(60000);
        assert_int_equal(out.count, 0);
        assert_false(ms_peer_is_active(&p, now));
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        assert_int_equal(count(MS_ACT_PING), 2);   /* no gate of before is left */
        assert_int_equal(count(MS_ACT_CALL), 1);
}

static void refused_ping(void **state)
{
        (void)state;
        send_data();
        struct disco_txid t1 = pinged(E1), t2 = pinged(E2);
        ms_peer_on_ping_failed(&p, &t1);
        assert_int_equal(p.pings.count, 1);
        now = mono_add_ms(now, 10);
        assert_false(ms_peer_on_pong(&p, &t1, false, 0, now, &out));
        assert_true(ms_peer_on_pong(&p, &t2, false, 0, now, &out));
        assert_direct_by(E2);
}

/* The peer speaks by relay right after it spoke this way: it may know more. */
static void peer_turns_to_the_relay(void **state)
{
        (void)state;
        go_direct(10);
        pass(1000);
        out.count = 0;
        ms_peer_on_heard(&p, 1, now, &out);
        assert_int_equal(count(MS_ACT_PING), 0);   /* it always did */
        ms_peer_on_proof(&p, E1, now);
        ms_peer_on_heard(&p, 1, now, &out);
        assert_int_equal(count(MS_ACT_PING), 1);
        assert_direct_by(E1);
        pass(130);
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_BOTH);
}

/* A path that has become slow makes us look at the others, long before the minute is over; but once. */
static void slow_path_is_compared(void **state)
{
        (void)state;
        go_direct(20);
        unsigned rounds = 0;
        for (int s = 0; s < 40; s++) {
                send_data();
                pass_answered(1000, s < 12 ? 20 : 90);
                rounds += ping_to(E2) != NULL;
                out.count = 0;
        }
        assert_int_equal(rounds, 1);
        assert_direct_by(E1);
}

static void lost_better_path_is_taken_back(void **state)
{
        (void)state;
        send_data();
        struct disco_txid t1 = pinged(E1), t2 = pinged(E2);
        now = mono_add_ms(now, 10);
        ms_peer_on_pong(&p, &t1, false, 0, now, &out);
        ms_peer_on_pong(&p, &t2, false, 0, now, &out);
        assert_direct_by(E2);                /* in the same building */
        out.count = 0;
        for (int ms = 0; ms < 500; ms += 20) {
                send_data();
                pass_answered(20, 10);       /* E1 alone */
        }
        assert_direct_by(E1);
        assert_int_equal(count(MS_ACT_WITHDRAW), 0);
        out.count = 0;
        p.pings.count = 0;                   /* those are lost for good */
        pass_answered_by(E2, 1100, 10);      /* it is asked each second */
        assert_direct_by(E2);
        assert_int_equal(p.probe_at.ns, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(data_proves_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(data_alone_keeps_no_trust, set_up, tear_down),
                cmocka_unit_test_setup_teardown(data_shortens_no_check, set_up, tear_down),
                cmocka_unit_test_setup_teardown(map_without_the_address_in_use, set_up, tear_down),
                cmocka_unit_test_setup_teardown(home_moves, set_up, tear_down),
                cmocka_unit_test_setup_teardown(relay_goes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(disco_key_goes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(key_expires, set_up, tear_down),
                cmocka_unit_test_setup_teardown(rebind, set_up, tear_down),
                cmocka_unit_test_setup_teardown(stop_and_start, set_up, tear_down),
                cmocka_unit_test_setup_teardown(refused_ping, set_up, tear_down),
                cmocka_unit_test_setup_teardown(peer_turns_to_the_relay, set_up, tear_down),
                cmocka_unit_test_setup_teardown(slow_path_is_compared, set_up, tear_down),
                cmocka_unit_test_setup_teardown(lost_better_path_is_taken_back, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
