/* Two path machines find each other, and keep each other. */
#include "tests/unit/magicsock_twopeers.h"

static void test_easy_easy(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        exchange_maps();
        run_for(&sim, 300);
        assert_direct_within(A, 150);
        assert_direct_within(B, 150);
        assert_int_equal(sim.n[A].peer.best.latency_ns, 40 * NS_PER_MS);
        /* Steady: with traffic a ping a second, one round a minute, no more calls. */
        run_for(&sim, 1000);
        unsigned pings = sim.n[A].pings, calls = sim.n[A].calls;
        run_for(&sim, 50000);
        assert_in_range(sim.n[A].pings - pings, 45, 53);
        assert_int_equal(sim.n[A].calls, calls);
}

static void test_easy_easy_against_reference(void **state)
{
        (void)state;
        for (int ref = 0; ref < 2; ref++) {
                set_up(NAT_EASY, NAT_EASY, 20, 20);
                sim.n[ref].is_reference = true;
                exchange_maps();
                run_for(&sim, 300);
                assert_direct_within(A, 200);
                assert_direct_within(B, 200);
                tear_down(NULL);
        }
        /* The model is worth something only if two of its kind are as slow as two of the real ones. */
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        sim.n[A].is_reference = sim.n[B].is_reference = true;
        exchange_maps();
        run_for(&sim, 12000);
        assert_in_range(direct_ms(A), 3000, 7000);
        assert_direct_within(B, 200);
}

static void test_first_call_lost(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        sim.n[B].is_silent = true;
        exchange_maps();
        run_for(&sim, 10);
        sim.count = 0;   /* the relay drops what it has */
        run_for(&sim, 900);
        assert_direct_within(A, 700);
        assert_direct_within(B, 700);
}

static void test_loss(void **state)
{
        (void)state;
        for (uint32_t seed = 1; seed <= 50; seed++) {
                set_up(NAT_EASY, NAT_EASY, 20, 20);
                sim.loss_percent = 30;
                sim.seed = seed * 7919;
                exchange_maps();
                run_for(&sim, 6000);
                assert_direct_within(A, 5500);
                assert_direct_within(B, 5500);
                tear_down(NULL);
        }
}

static void test_open_and_hard(void **state)
{
        (void)state;
        for (int hard = 0; hard < 2; hard++) {
                set_up(hard == A ? NAT_HARD : NAT_OPEN, hard == B ? NAT_HARD : NAT_OPEN, 20, 20);
                exchange_maps();
                run_for(&sim, 500);
                assert_direct_within(A, 200);
                assert_direct_within(B, 200);
                tear_down(NULL);
        }
}

/* No path: everything by relay, bounded noise, nothing lost. */
static void assert_relay_only(enum nat a, enum nat b)
{
        set_up(a, b, 20, 20);
        exchange_maps();
        run_for(&sim, 60000);
        assert_int_equal(direct_ms(A), -1);
        assert_int_equal(direct_ms(B), -1);
        assert_in_range(sim.n[A].received, 598, 600);
        assert_int_equal(sim.n[A].longest_gap_ns, 100 * NS_PER_MS);
        assert_in_range(sim.n[A].calls, 10, 30);
        assert_in_range(sim.n[A].pings, 20, 130);
        tear_down(NULL);
}

static void test_no_direct_path(void **state)
{
        (void)state;
        assert_relay_only(NAT_HARD, NAT_HARD);
        assert_relay_only(NAT_EASY, NAT_HARD);
        assert_relay_only(NAT_BLOCKED, NAT_OPEN);
        assert_relay_only(NAT_OPEN, NAT_BLOCKED);
}

static void test_same_lan_is_preferred(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        sim.same_lan = true;
        exchange_maps();
        run_for(&sim, 500);
        assert_direct_within(A, 50);
        assert_direct_within(B, 50);
        assert_true(addr_eq(sim.n[A].peer.best.addr, sim.n[B].face[0].inner));
        assert_true(addr_eq(sim.n[B].peer.best.addr, sim.n[A].face[0].inner));
}

static void test_ipv6_past_hard_nats(void **state)
{
        (void)state;
        set_up(NAT_HARD, NAT_HARD, 20, 20);
        have_v6();
        exchange_maps();
        run_for(&sim, 500);
        assert_direct_within(A, 200);
        assert_direct_within(B, 200);
        assert_int_equal(sim.n[A].peer.best.addr.ip.family, IP_V6);
        assert_int_equal(sim.n[B].peer.best.addr.ip.family, IP_V6);
}

static void test_both_families_prefer_ipv6(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        have_v6();
        exchange_maps();
        run_for(&sim, 1000);
        assert_direct_within(A, 200);
        assert_int_equal(sim.n[A].peer.best.addr.ip.family, IP_V6);
        /* IPv6 breaks alone: IPv4 carries on. */
        sim.n[A].face[1].nat = sim.n[B].face[1].nat = NAT_BLOCKED;
        run_for(&sim, 15000);
        assert_int_equal(sim.n[A].peer.best.addr.ip.family, IP_V4);
        assert_true(ms_peer_is_direct(&sim.n[A].peer, sim.now));
        assert_true(sim.n[A].longest_gap_ns < 700 * NS_PER_MS);
}

static void test_path_dies_and_returns(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        exchange_maps();
        run_for(&sim, 5000);
        assert_true(ms_peer_is_direct(&sim.n[A].peer, sim.now));

        sim.udp_cut = true;
        run_for(&sim, 12000);
        assert_int_equal(ms_peer_route(&sim.n[A].peer, sim.now).kind, MS_ROUTE_RELAY);
        assert_int_equal(ms_peer_route(&sim.n[B].peer, sim.now).kind, MS_ROUTE_RELAY);
        /* Lost is what went out until it was doubted. */
        assert_true(sim.n[A].longest_gap_ns < 700 * NS_PER_MS);
        sim.n[A].longest_gap_ns = 0;

        sim.udp_cut = false;
        run_for(&sim, 1500);
        assert_true(ms_peer_is_direct(&sim.n[A].peer, sim.now));
        assert_true(ms_peer_is_direct(&sim.n[B].peer, sim.now));
        run_for(&sim, 20000);
        assert_int_equal(sim.n[A].longest_gap_ns, 100 * NS_PER_MS);   /* coming back costs nothing */
}

static void test_idle_and_resume(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        exchange_maps();
        run_for(&sim, 5000);
        sim.n[A].next_data = (mono_t){0};
        run_for(&sim, 60000);
        unsigned pings = sim.n[A].pings + sim.n[B].pings;
        run_for(&sim, 60000);
        assert_int_equal(sim.n[A].pings + sim.n[B].pings, pings);   /* silence */
        assert_true(ms_peer_deadline(&sim.n[A].peer).ns == INT64_MAX);
        assert_false(ms_peer_is_active(&sim.n[A].peer, sim.now));

        mono_t start = sim.now;
        sim.n[A].direct_since = sim.n[B].direct_since = (mono_t){0};
        sim.n[A].next_data = start;
        sim.n[A].received = 0;
        run_for(&sim, 400);
        assert_true(mono_is_set(sim.n[A].direct_since));
        assert_true(mono_diff_ms(sim.n[A].direct_since, start) <= 200);
        assert_in_range(sim.n[A].received, 3, 8);   /* nothing lost; some came twice */
}

/* The NAT gives A another outer port in the middle of it. */
static void test_rebinding_nat(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        exchange_maps();
        run_for(&sim, 5000);
        sim.n[A].face[0].outer.port = 4999;
        sim.n[A].face[0].count = 0;
        run_for(&sim, 9000);
        assert_true(ms_peer_is_direct(&sim.n[A].peer, sim.now));
        assert_true(ms_peer_is_direct(&sim.n[B].peer, sim.now));
        assert_int_equal(sim.n[B].peer.best.addr.port, 4999);
}

static void test_rebind_of_ours(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        exchange_maps();
        run_for(&sim, 5000);
        sim.n[A].direct_since = (mono_t){0};
        mono_t start = sim.now;
        ms_peer_on_rebind(&sim.n[A].peer, sim.now, &sim.out);
        assert_false(ms_peer_is_direct(&sim.n[A].peer, sim.now));
        carry_out(&sim, A, MSG_DATA);
        run_for(&sim, 300);
        assert_true(mono_is_set(sim.n[A].direct_since));
        assert_true(mono_diff_ms(sim.n[A].direct_since, start) <= 100);
}

/* The map knows no endpoints of B's; the call of B's answer names them. */
static void test_no_endpoints_in_map(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        struct event e = call_of(&sim.n[A]);
        ms_peer_on_config(&sim.n[A].peer, true, false, 1, NULL, 0, sim.now);
        ms_peer_on_config(&sim.n[B].peer, true, false, 1, e.eps, e.count, sim.now);
        run_for(&sim, 500);
        assert_direct_within(A, 300);
        assert_direct_within(B, 300);
}

/* B hears of A's endpoints a second after A's first packet, from the map alone: the calls got lost. */
static void test_endpoints_reach_the_peer_late(void **state)
{
        (void)state;
        for (int late = 0; late < 2; late++) {
                set_up(NAT_EASY, NAT_EASY, 20, 20);
                struct event e = call_of(&sim.n[!late]);
                ms_peer_on_config(&sim.n[late].peer, true, false, 1, NULL, 0, sim.now);
                ms_peer_on_config(&sim.n[!late].peer, true, false, 1, call_of(&sim.n[late]).eps, 2, sim.now);
                for (int i = 0; i < 1000; i++) {
                        run_for(&sim, 1);
                        for (size_t k = sim.count; k-- > 0;)
                                if (sim.ev[k].msg == MSG_CALL)
                                        sim.ev[k] = sim.ev[--sim.count];
                }
                assert_int_equal(direct_ms(late), -1);
                ms_peer_on_config(&sim.n[late].peer, true, false, 1, e.eps, e.count, sim.now);
                run_for(&sim, 2000);
                assert_direct_within(A, 1500);
                assert_direct_within(B, 1500);
                tear_down(NULL);
        }
}

/* What a node tells of itself is stale, in the map and in its call; a quarter of a second later STUN has answered. */
static void test_stale_stun(void **state)
{
        (void)state;
        for (int stale = 0; stale < 2; stale++) {
                set_up(NAT_EASY, NAT_EASY, 20, 20);
                sim.n[stale].face[0].told_port = 3999;
                exchange_maps();
                run_for(&sim, 250);
                sim.n[stale].face[0].told_port = 0;
                ms_peer_on_own_endpoints(&sim.n[stale].peer, sim.now, &sim.out);
                carry_out(&sim, stale, MSG_DATA);
                run_for(&sim, 1000);
                assert_direct_within(A, 500);
                assert_direct_within(B, 500);
                tear_down(NULL);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_easy_easy, tear_down),
                cmocka_unit_test_teardown(test_easy_easy_against_reference, tear_down),
                cmocka_unit_test_teardown(test_first_call_lost, tear_down),
                cmocka_unit_test_teardown(test_loss, tear_down),
                cmocka_unit_test_teardown(test_open_and_hard, tear_down),
                cmocka_unit_test_teardown(test_no_direct_path, tear_down),
                cmocka_unit_test_teardown(test_same_lan_is_preferred, tear_down),
                cmocka_unit_test_teardown(test_ipv6_past_hard_nats, tear_down),
                cmocka_unit_test_teardown(test_both_families_prefer_ipv6, tear_down),
                cmocka_unit_test_teardown(test_path_dies_and_returns, tear_down),
                cmocka_unit_test_teardown(test_idle_and_resume, tear_down),
                cmocka_unit_test_teardown(test_rebinding_nat, tear_down),
                cmocka_unit_test_teardown(test_rebind_of_ours, tear_down),
                cmocka_unit_test_teardown(test_no_endpoints_in_map, tear_down),
                cmocka_unit_test_teardown(test_endpoints_reach_the_peer_late, tear_down),
                cmocka_unit_test_teardown(test_stale_stun, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
