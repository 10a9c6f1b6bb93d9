/* One path machine: which way data goes, trust and its end, the pings of the CLI.  The races between two are in
 * magicsock_sim_test.c. */
#include "tests/unit/magicsock_onepeer.h"

static void test_starts_on_relay(void **state)
{
        (void)state;
        assert_int_equal(ms_peer_deadline(&p).ns, INT64_MAX);   /* lazy: nothing before the first packet */
        struct ms_route r = ms_peer_on_send(&p, now, &out);
        assert_int_equal(r.kind, MS_ROUTE_RELAY);
        assert_int_equal(r.region, 1);
        assert_int_equal(count(MS_ACT_PING), 2);
        assert_int_equal(count(MS_ACT_CALL), 1);
        assert_false(disco_txid_eq(&out.a[0].txid, &out.a[1].txid));
        /* The gates are closed now. */
        out.count = 0;
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        assert_int_equal(out.count, 0);
}

static void test_no_way(void **state)
{
        (void)state;
        ms_peer_on_config(&p, true, false, 0, NULL, 0, now);
        assert_int_equal(send_data(), MS_ROUTE_NONE);
        ms_peer_on_heard(&p, 5, now, &out);   /* it speaks to us by region 5 */
        struct ms_route r = ms_peer_on_send(&p, now, &out);
        assert_int_equal(r.kind, MS_ROUTE_RELAY);
        assert_int_equal(r.region, 5);
        ms_peer_on_relay_gone(&p, 4);
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        ms_peer_on_relay_gone(&p, 5);
        assert_int_equal(send_data(), MS_ROUTE_NONE);
}

static void test_expired(void **state)
{
        (void)state;
        ms_peer_on_config(&p, true, true, 1, NULL, 0, now);
        assert_int_equal(send_data(), MS_ROUTE_NONE);
        assert_int_equal(ms_peer_ping(&p, 1, 0, now, &out), ERR_STATE);
        assert_int_equal(out.count, 0);
        struct disco_txid t = txid(1);
        ms_peer_on_ping(&p, X, &t, true, now, &out);   /* disco is still answered, and that is all */
        assert_int_equal(count(MS_ACT_PONG), 1);
        struct addr e = E1;
        ms_peer_on_call(&p, &e, 1, now, &out);
        pass(10000);
        assert_int_equal(out.count, 1);
}

/* Its key runs out while a path is in use, and it calls from another place. */
static void test_expires_while_direct(void **state)
{
        (void)state;
        struct addr e = E1, elsewhere = X;
        go_direct(40);
        ms_peer_on_config(&p, true, true, 1, &e, 1, now);
        ms_peer_on_call(&p, &elsewhere, 1, now, &out);
        ms_peer_on_call(&p, NULL, 0, now, &out);
        pass(10000);
        assert_int_equal(out.count, 0);
}

static void test_without_disco_key(void **state)
{
        (void)state;
        struct addr e = E1;
        ms_peer_on_config(&p, false, false, 1, &e, 1, now);
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        assert_int_equal(out.count, 0);
        assert_int_equal(ms_peer_ping(&p, 1, 0, now, &out), ERR_NOT_FOUND);
        assert_int_equal(ms_peer_deadline(&p).ns, INT64_MAX);
}

static void test_trust_and_heartbeat(void **state)
{
        (void)state;
        go_direct(40);
        assert_int_equal(p.best.latency_ns, 40 * NS_PER_MS);
        struct ms_route r = ms_peer_on_send(&p, now, &out);
        assert_int_equal(r.kind, MS_ROUTE_DIRECT);
        assert_true(addr_eq(r.addr, E1));
        assert_int_equal(out.count, 0);   /* no search while trusted */
        ms_peer_on_proof(&p, E1, now);    /* and an answer from there */
        pass(2960);
        assert_int_equal(out.count, 1);
        assert_non_null(ping_to(E1));
        for (int i = 0; i < 12; i++) {    /* a pong each 3 s keeps it */
                pass(40);
                assert_true(ms_peer_is_direct(&p, now));
                answer_pings_to(E1);
                out.count = 0;
                pass(2960);
                assert_int_equal(out.count, 1);
        }
        now = mono_add_ms(now, 3539);     /* 6.499 s after the last one; nobody looked meanwhile */
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_DIRECT);
        now = mono_add_ms(now, 2);
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_BOTH);
}

static void test_path_dies(void **state)
{
        (void)state;
        go_direct(40);
        unsigned withdrawn = 0, calls = 0, probes = 0;
        for (int i = 0; i < 90; i++) {   /* 9 s of packets every 100 ms, nothing comes back */
                enum ms_route_kind k = send_data();
                int64_t ms = i * 100;
                if (ms <= 200)
                        assert_int_equal(k, MS_ROUTE_DIRECT);
                else if (ms > 600)
                        assert_int_equal(k, MS_ROUTE_RELAY);
                else if (ms == 400)
                        assert_int_equal(k, MS_ROUTE_BOTH);
                withdrawn += count(MS_ACT_WITHDRAW);
                calls += count(MS_ACT_CALL);
                probes += ms > 2100 && ping_to(E1);
                out.count = 0;
                pass(100);
        }
        assert_int_equal(withdrawn, 1);
        assert_in_range(calls, 2, 5);
        assert_in_range(probes, 6, 14);
        /* It is still knocked at, every second, and one pong brings it back at once. */
        out.count = 0;
        pass(1100);
        assert_non_null(ping_to(E1));
        answer_pings_to(E1);
        assert_int_equal(send_data(), MS_ROUTE_DIRECT);
}

static void test_a_path_that_comes_back_is_called(void **state)
{
        (void)state;
        go_direct(40);
        ms_peer_on_unreachable(&p, E1, now, &out);
        assert_int_equal(count(MS_ACT_WITHDRAW), 1);
        pass(500);   /* a call of ours has just been sent */
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        answer_pings_to(E1);
        assert_true(ms_peer_is_direct(&p, now));
        assert_int_equal(p.probe_at.ns, 0);

        out.count = 0;
        ms_peer_on_unreachable(&p, E1, now, &out);
        pass(3500);   /* probes go on without data */
        send_data();
        out.count = 0;
        pass(1001);
        assert_int_equal(count(MS_ACT_CALL), 0);
        answer_pings_to(E1);
        assert_int_equal(count(MS_ACT_CALL), 1);
        out.count = 0;
        answer_pings_to(E1);
        assert_int_equal(out.count, 0);
}

/* The better one of two dies: the other one is asked with the first doubt and takes over. */
static void test_next_path_takes_over(void **state)
{
        (void)state;
        go_direct(40);
        for (int i = 0; i < 7; i++) {
                send_data();
                pass(100);
                answer_pings_to(E2);
        }
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_DIRECT);
        assert_true(addr_eq(p.best.addr, E2));
        assert_int_equal(count(MS_ACT_WITHDRAW), 0);
}

static void test_idle(void **state)
{
        (void)state;
        go_direct(1);
        assert_true(ms_peer_is_active(&p, now));
        for (int i = 0; i < 60; i++) {
                pass_answered(1000, 40);
                if (i < 40)
                        assert_true(ms_peer_is_direct(&p, now));
                out.count = 0;
        }
        assert_false(ms_peer_is_active(&p, now));
        assert_false(ms_peer_is_direct(&p, now));
        pass(10000);
        assert_int_equal(out.count, 0);
        assert_int_equal(ms_peer_deadline(&p).ns, INT64_MAX);
        assert_int_equal(send_data(), MS_ROUTE_BOTH);   /* the old path is worth a try */
}

static void test_upgrade_search(void **state)
{
        (void)state;
        for (int good = 0; good < 2; good++) {
                go_direct(good ? 4 : 50);
                unsigned to_other = 0;
                for (int i = 0; i < 59; i++) {
                        pass_answered(1000, good ? 4 : 50);
                        send_data();
                        to_other += ping_to(E2) != NULL;
                        out.count = 0;
                }
                assert_int_equal(to_other, 0);
                for (int i = 0; i < 6; i++) {
                        pass_answered(1000, good ? 4 : 50);
                        send_data();
                        to_other += ping_to(E2) != NULL;
                        out.count = 0;
                }
                assert_int_equal(to_other, good ? 0 : 1);   /* 5 ms is good enough */
                tear_down(NULL);
                set_up(NULL);
        }
}

static void test_better_path_wins(void **state)
{
        (void)state;
        send_data();
        struct disco_txid t1 = ping_to(E1)->txid, t2 = ping_to(E2)->txid;
        now = mono_add_ms(now, 10);
        ms_peer_on_pong(&p, &t1, false, 0, now, &out);
        assert_true(addr_eq(p.best.addr, E1));
        now = mono_add_ms(now, 1);
        ms_peer_on_pong(&p, &t2, false, 0, now, &out);   /* private: +20 */
        assert_true(addr_eq(p.best.addr, E2));
}

static void test_pong_must_be_ours(void **state)
{
        (void)state;
        send_data();
        struct disco_txid strange = txid(99), t = ping_to(E1)->txid;
        assert_false(ms_peer_on_pong(&p, &strange, false, 0, now, &out));
        assert_false(ms_peer_is_direct(&p, now));
        /* By relay it proves nothing about the direct path. */
        assert_true(ms_peer_on_pong(&p, &t, true, 1, now, &out));
        assert_false(ms_peer_is_direct(&p, now));
        assert_false(ms_peer_on_pong(&p, &t, false, 0, now, &out));   /* used up */
        struct disco_txid t2 = ping_to(E2)->txid;
        pass(5001);   /* too late */
        assert_false(ms_peer_on_pong(&p, &t2, false, 0, now, &out));
        assert_false(ms_peer_is_direct(&p, now));
}

static void test_cli_ping(void **state)
{
        (void)state;
        ms_peer_on_proof(&p, X, now);
        assert_int_equal(ms_peer_ping(&p, 7, 0, now, &out), ERR_NONE);
        assert_int_equal(count(MS_ACT_PING_RELAY), 1);
        assert_int_equal(count(MS_ACT_PING), 2);
        assert_int_equal(count(MS_ACT_CALL), 1);
        struct disco_txid relay = out.a[0].txid, t1 = ping_to(E1)->txid;
        out.count = 0;
        now = mono_add_ms(now, 30);
        ms_peer_on_pong(&p, &relay, true, 1, now, &out);
        assert_int_equal(out.count, 1);
        assert_int_equal(out.a[0].kind, MS_ACT_CLI_RESULT);
        assert_int_equal(out.a[0].cookie, 7);
        assert_int_equal(out.a[0].region, 1);
        assert_int_equal(out.a[0].latency_ns, 30 * NS_PER_MS);
        assert_false(addr_is_set(out.a[0].addr));
        /* Later pongs count for the path, not for the caller. */
        ms_peer_on_pong(&p, &t1, false, 0, now, &out);
        assert_int_equal(out.count, 1);
        assert_true(ms_peer_is_direct(&p, now));

        out.count = 0;
        assert_int_equal(ms_peer_ping(&p, 8, 1280, now, &out), ERR_NONE);
        assert_int_equal(out.count, 1);   /* direct and trusted: only there */
        assert_true(addr_eq(out.a[0].addr, E1));
        assert_int_equal(out.a[0].padding, 1252 - 124);
        out.count = 0;
        pass(5000);
        assert_int_equal(count(MS_ACT_CLI_RESULT), 1);
        for (size_t i = 0; i < out.count; i++)
                if (out.a[i].kind == MS_ACT_CLI_RESULT)
                        assert_int_equal(out.a[i].err, ERR_TIMEOUT);
}

static void test_cli_ping_bounds(void **state)
{
        (void)state;
        for (unsigned i = 0; i < MS_PEER_CLI_MAX; i++)
                assert_int_equal(ms_peer_ping(&p, i, 0, now, &out), ERR_NONE);
        assert_int_equal(ms_peer_ping(&p, 100, 0, now, &out), ERR_FULL);
        out.count = 0;
        ms_peer_stop(&p, &out);
        assert_int_equal(out.count, MS_PEER_CLI_MAX);
        assert_int_equal(out.a[0].err, ERR_STATE);
        assert_int_equal(ms_peer_deadline(&p).ns, INT64_MAX);
        ms_peer_on_config(&p, true, false, 0, NULL, 0, now);
        path_prune(&p.paths, (struct addr){.port = 0}, now);
        assert_int_equal(ms_peer_ping(&p, 1, 0, now, &out), ERR_NOT_FOUND);
}

static void test_send_errors(void **state)
{
        (void)state;
        go_direct(5);
        ms_peer_on_unreachable(&p, X, now, &out);
        assert_true(ms_peer_is_direct(&p, now));
        ms_peer_on_unreachable(&p, E1, now, &out);
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        assert_non_null(ping_to(E1));   /* its gate is open again */
        struct disco_txid t = ping_to(E1)->txid;
        ms_peer_on_ping_failed(&p, &t);
        assert_false(ms_peer_on_pong(&p, &t, false, 0, now, &out));
}

/* The map does not know the peer's home yet: our own is tried, but never when there is better knowledge. */
static void test_likely_relay(void **state)
{
        (void)state;
        ms_peer_on_config(&p, true, false, 0, NULL, 0, now);
        assert_int_equal(send_data(), MS_ROUTE_NONE);
        assert_int_equal(ms_peer_ping(&p, 1, 0, now, &out), ERR_NOT_FOUND);
        p.likely = 5;
        struct ms_route r = ms_peer_on_send(&p, now, &out);
        assert_int_equal(r.kind, MS_ROUTE_RELAY);
        assert_int_equal(r.region, 5);
        assert_int_equal(ms_peer_ping(&p, 1, 0, now, &out), ERR_NONE);
        p.learned = 3;
        assert_int_equal(ms_peer_route(&p, now).region, 3);
        ms_peer_on_config(&p, true, false, 2, NULL, 0, now);
        assert_int_equal(ms_peer_route(&p, now).region, 2);
        assert_int_equal(p.learned, 3);
        ms_peer_on_config(&p, true, false, 4, NULL, 0, now);   /* it has moved: it is not where it spoke last */
        assert_int_equal(p.learned, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_starts_on_relay, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_way, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_expired, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_expires_while_direct, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_without_disco_key, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_trust_and_heartbeat, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_path_dies, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_path_that_comes_back_is_called, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_next_path_takes_over, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_idle, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_upgrade_search, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_better_path_wins, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_pong_must_be_ours, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cli_ping, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cli_ping_bounds, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_send_errors, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_likely_relay, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
