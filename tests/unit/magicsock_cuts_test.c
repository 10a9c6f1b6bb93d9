/* Two path machines whose paths break and come back, under a stream of numbered packets. */
#include "tests/unit/magicsock_twopeers.h"

/* Both direct, 100 packets a second and an answer to each; what came before is forgotten. */
static void settle(int reference, int64_t udp_ms)
{
        set_up(NAT_EASY, NAT_EASY, udp_ms, udp_ms);
        if (reference >= 0)
                sim.n[reference].is_reference = true;
        sim.period_ms = 10;
        exchange_maps();
        run_for(&sim, 9000);
        for (int i = 0; i < 2; i++) {
                assert_true(ms_peer_is_direct(&sim.n[i].peer, sim.now));
                sim.n[i].longest_gap_ns = 0;
                sim.n[i].pings = sim.n[i].calls = 0;
                sim.n[i].direct_since = (mono_t){0};
        }
}

static int64_t gap_ms(int i)
{
        return sim.n[i].longest_gap_ns / NS_PER_MS;
}

static void assert_all_on(enum ms_route_kind kind)
{
        for (int i = 0; i < 2; i++)
                assert_int_equal(ms_peer_route(&sim.n[i].peer, sim.now).kind, kind);
}

/* Cut for cut_ms; the flow stalls no longer than stall_ms, and both are back within 3 s. */
static void cut_and_return(int reference, int64_t udp_ms, int64_t cut_ms, int64_t stall_ms)
{
        settle(reference, udp_ms);
        sim.udp_cut = true;
        run_for(&sim, cut_ms);
        if (gap_ms(A) > stall_ms || gap_ms(B) > stall_ms)
                print_error("reference %d, %d ms: A waited %d ms, B %d ms\n", reference, (int)udp_ms, (int)gap_ms(A),
                        (int)gap_ms(B));
        assert_true(gap_ms(A) <= stall_ms && gap_ms(B) <= stall_ms);
        sim.udp_cut = false;
        forget_numbers();
        run_for(&sim, 3000);
        assert_all_on(MS_ROUTE_DIRECT);
        assert_in_range(gap_ms(A), 0, 10);   /* coming back costs nothing */
        assert_in_range(gap_ms(B), 0, 10);
        tear_down(NULL);
}

static void test_cut(void **state)
{
        (void)state;
        for (int64_t cut = 2000; cut < 62000; cut += 3300) {
                cut_and_return(-1, 1, cut, 450);
                cut_and_return(-1, 20, cut, 600);
        }
        cut_and_return(-1, 150, 5000, 1500);
}

/* The reference would trust the path for 6.5 s: a call without addresses tells it better. */
static void test_cut_from_reference(void **state)
{
        (void)state;
        for (int reference = 0; reference < 2; reference++)
                for (int64_t cut = 2000; cut < 40000; cut += 3700) {
                        cut_and_return(reference, 1, cut, 550);
                        cut_and_return(reference, 20, cut, 750);
                }
}

static void test_cut_one_way(void **state)
{
        (void)state;
        for (int who = 0; who < 4; who++) {
                settle(who < 2 ? -1 : 1, 20);      /* with the reference as B in the second half */
                sim.cut_from[who % 2] = true;
                run_for(&sim, 8000);
                assert_in_range(gap_ms(A), 0, 1300);
                assert_in_range(gap_ms(B), 0, 1300);
                assert_all_on(MS_ROUTE_RELAY);
                sim.cut_from[who % 2] = false;
                forget_numbers();
                run_for(&sim, 3000);
                assert_all_on(MS_ROUTE_DIRECT);
                assert_in_range(gap_ms(A), 0, 10);
                assert_in_range(gap_ms(B), 0, 10);
                tear_down(NULL);
        }
}

static void test_flapping(void **state)
{
        (void)state;
        settle(-1, 20);
        for (int i = 0; i < 40; i++) {
                sim.udp_cut = i % 2 == 0;
                run_for(&sim, 100 + 137 * i);
        }
        assert_in_range(gap_ms(A), 0, 700);
        run_for(&sim, 3000);
        assert_all_on(MS_ROUTE_DIRECT);
        forget_numbers();
        run_for(&sim, 5000);
        count_numbers();
        assert_int_equal(sim.n[B].doubled, 0);
        /* Noise is bounded: a few pings a second, whatever the path does. */
        assert_in_range(sim.n[A].pings, 50, 700);
        assert_in_range(sim.n[A].calls, 10, 120);
}

/* Pings die and data does not: the path is left and taken again, and each packet comes. */
static void test_switching_loses_nothing(void **state)
{
        (void)state;
        settle(-1, 20);
        forget_numbers();
        for (int i = 0; i < 50; i++) {
                sim.disco_cut = true;
                run_for(&sim, 5000);
                assert_all_on(MS_ROUTE_RELAY);
                sim.disco_cut = false;
                run_for(&sim, 3000);
                assert_all_on(MS_ROUTE_DIRECT);
        }
        run_for(&sim, 200);
        sim.n[A].next_data = (mono_t){0};
        run_for(&sim, 200);
        count_numbers();
        print_message("100 switches, %u packets: %u and %u lost, %u and %u twice\n", sim.number - sim.first, sim.n[B].lost,
                sim.n[A].lost, sim.n[B].doubled, sim.n[A].doubled);
        assert_int_equal(sim.n[A].lost + sim.n[B].lost, 0);
        assert_true(sim.n[B].doubled > 0);
}

static void test_relay_cut(void **state)
{
        (void)state;
        settle(-1, 20);
        sim.relay_cut = true;
        run_for(&sim, 120000);
        assert_in_range(gap_ms(A), 0, 10);
        assert_in_range(gap_ms(B), 0, 10);
        assert_all_on(MS_ROUTE_DIRECT);
}

static void test_loss_one_way(void **state)
{
        (void)state;
        for (unsigned percent = 5; percent <= 40; percent += 5) {
                settle(-1, 20);
                forget_numbers();
                sim.loss_percent = percent;
                run_for(&sim, 60000);
                count_numbers();
                /* What is lost is what the path loses; the relay carries the rest. */
                assert_true(sim.n[B].lost <= (sim.number - sim.first) * (percent + 2) / 100);
                assert_in_range(gap_ms(A), 0, 300);
                tear_down(NULL);
        }
}

/* Only A speaks.  No doubt, one ping a second, and a cut costs B's side nothing it could notice. */
static void test_one_way_flow(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        sim.n[B].is_silent = true;
        sim.period_ms = 10;
        exchange_maps();
        run_for(&sim, 2000);
        forget_numbers();
        sim.n[A].pings = 0;
        run_for(&sim, 60000);
        sim.n[A].next_data = (mono_t){0};
        run_for(&sim, 100);
        count_numbers();
        assert_int_equal(sim.n[B].lost + sim.n[B].doubled, 0);
        assert_in_range(sim.n[A].pings, 50, 66);
        sim.n[A].next_data = sim.now;
        run_for(&sim, 5000);
        forget_numbers();
        sim.udp_cut = true;
        run_for(&sim, 5000);
        assert_in_range(gap_ms(B), 0, 1500);
        assert_int_equal(ms_peer_route(&sim.n[A].peer, sim.now).kind, MS_ROUTE_RELAY);
}

/* Two families; the one in use dies, the other one takes over without the relay having to stay. */
static void test_second_path_takes_over(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        have_v6();
        sim.period_ms = 10;
        exchange_maps();
        run_for(&sim, 5000);
        assert_int_equal(sim.n[A].peer.best.addr.ip.family, IP_V6);
        forget_numbers();
        sim.n[A].face[1].nat = sim.n[B].face[1].nat = NAT_BLOCKED;
        run_for(&sim, 800);
        assert_all_on(MS_ROUTE_DIRECT);
        for (int i = 0; i < 2; i++)
                assert_int_equal(sim.n[i].peer.best.addr.ip.family, IP_V4);
        assert_in_range(gap_ms(A), 0, 600);
        run_for(&sim, 5000);
        forget_numbers();
        sim.n[A].face[1].nat = sim.n[B].face[1].nat = NAT_EASY;
        run_for(&sim, 3500);
        for (int i = 0; i < 2; i++)
                assert_int_equal(sim.n[i].peer.best.addr.ip.family, IP_V6);
        assert_in_range(gap_ms(A), 0, 10);
}

/* The peer restarts with other sockets and another key: nothing of the old path answers any more. */
static void test_peer_restarts(void **state)
{
        (void)state;
        settle(-1, 20);
        ms_peer_done(&sim.n[B].peer);
        ms_peer_init(&sim.n[B].peer);
        sim.n[B].face[0].outer.port = 5001;
        sim.n[B].face[0].count = 0;
        run_for(&sim, 700);
        forget_numbers();
        exchange_maps();                        /* the map names its new endpoints */
        ms_peer_on_rebind(&sim.n[A].peer, sim.now, &sim.out);
        carry_out(&sim, A, MSG_DATA);
        run_for(&sim, 300);
        assert_all_on(MS_ROUTE_DIRECT);
        assert_in_range(gap_ms(B), 0, 50);
        assert_int_equal(sim.n[A].peer.best.addr.port, 5001);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_cut, tear_down),
                cmocka_unit_test_teardown(test_cut_from_reference, tear_down),
                cmocka_unit_test_teardown(test_cut_one_way, tear_down),
                cmocka_unit_test_teardown(test_flapping, tear_down),
                cmocka_unit_test_teardown(test_switching_loses_nothing, tear_down),
                cmocka_unit_test_teardown(test_relay_cut, tear_down),
                cmocka_unit_test_teardown(test_loss_one_way, tear_down),
                cmocka_unit_test_teardown(test_one_way_flow, tear_down),
                cmocka_unit_test_teardown(test_second_path_takes_over, tear_down),
                cmocka_unit_test_teardown(test_peer_restarts, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
