/* The search itself: what it asks for, what it finds, and what it costs. */
#include "tests/unit/magicsock_hardnat_world.h"

static void test_finds_and_says_so(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_BLOCK);
        assert_int_equal(w.asks, 1);
        run_for(&w, 3);
        assert_int_equal(w.p.status.outcome, HN_FOUND);
        assert_int_equal(w.opens, HN_SOCKETS);
        assert_int_equal(w.pings, HN_SOCKETS);
        assert_true(w.most_at_once <= 2);
        assert_in_range(mono_diff_ms(w.first_ping, t0), HN_FIRST_NS / NS_PER_MS, HN_FIRST_NS / NS_PER_MS + 1);
        assert_in_range(mono_diff_ms(w.last_ping, w.first_ping), 255, 256);
        assert_in_range(mono_diff_ms(w.first_call, w.last_ping), 0, 151);
        assert_int_equal(w.pins, 1);
        assert_int_equal(w.unpins, 0);
        assert_true(w.closes >= 1);
        assert_int_equal(w.plain_calls, 1);
        struct hn_status s;
        hn_peer_status(&w.h, &w.p, w.now, &s);
        assert_int_equal(s.tries, 1);
        assert_int_equal(s.found, 1);
        assert_int_equal(s.sockets, HN_SOCKETS);
        assert_int_equal(s.pings, HN_SOCKETS);
        assert_int_equal(s.answers, HN_SAMPLES_MAX);
        assert_int_equal(s.guesses, w.guesses);
        assert_int_equal(s.calls, w.calls);
        assert_true(s.pinned);
        /* 1000 ports: hardly more than that are guessed from */
        assert_in_range(s.low, 39400, 40100);
        assert_in_range(s.high, 40900, 41600);
        assert_int_equal(w.h.totals.found, 1);
        assert_true(w.guesses <= 2 * HN_GUESSES);
        assert_int_equal(w.h.state, HN_IDLE);
        assert_null(w.h.aim);
        end_world(&w);
}

/* 1 - (1 - N/M)^G */
static double chance(double ports, int guesses)
{
        double none = 1;
        while (guesses-- > 0)
                none *= 1 - HN_SOCKETS / ports;
        return 1 - none;
}

/* Within four and a half standard deviations, and two runs. */
static bool is_off(double got, double want, double runs)
{
        double off = got - want * runs, slack = 4.5 * 4.5 * want * (1 - want) * runs + 4;
        return off * off > slack;
}

static void check_rate(enum nat_kind nat, bool with_stun, double ports, unsigned guesses_most, double least)
{
        enum { RUNS = 400 };
        unsigned found = 0, by_half = 0;
        static struct world w;
        for (int i = 0; i < RUNS; i++) {
                start_try(&w, nat);
                w.stun_lost = !with_stun;
                run_for(&w, 5);
                found += w.p.status.outcome == HN_FOUND;
                /* what was guessed by the call that hit, as far as the next is apart */
                by_half += w.p.status.outcome == HN_FOUND && w.p.status.guesses <= 192;
                assert_true(w.guesses <= guesses_most);
                end_world(&w);
        }
        double want = chance(ports, HN_CALLS_MAX * HN_GUESSES), half = chance(ports, 192);
        print_message("found %u of %d, formula %.3f; by 192 guesses %u, formula %.3f\n", found, RUNS, want, by_half, half);
        assert_true(found >= least * RUNS);
        assert_true(found >= want * RUNS || !is_off(found, want, RUNS));
        assert_true((by_half >= half * RUNS && half > 0.9) || !is_off(by_half, half, RUNS));
}

static void test_rate_random(void **state)
{
        (void)state;
        check_rate(NAT_RANDOM, true, 64512, HN_CALLS_MAX * HN_GUESSES, 0.97);
        check_rate(NAT_RANDOM, false, 64512, HN_CALLS_MAX * HN_GUESSES, 0.97);
}

static void test_rate_narrow(void **state)
{
        (void)state;
        check_rate(NAT_BLOCK, true, 2000, 4 * HN_GUESSES, 1);
        check_rate(NAT_SEQUENCE, true, 600, 2 * HN_GUESSES, 1);
        /* without STUN it is as with any other */
        check_rate(NAT_BLOCK, false, 64512, HN_CALLS_MAX * HN_GUESSES, 0.97);
}

static void test_miss_is_bounded(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_SHUT);
        run_for(&w, 6);
        assert_int_equal(w.p.status.outcome, HN_MISSED);
        assert_int_equal(w.calls, HN_CALLS_MAX);
        assert_int_equal(w.guesses, HN_CALLS_MAX * HN_GUESSES);
        assert_int_equal(w.plain_calls, 1);    /* or the peer would go on with the guesses */
        assert_int_equal(w.closes, 1);
        assert_int_equal(w.pins, 0);
        assert_true(mono_diff_ms(w.last_call, w.first_call) >= 1700);
        assert_true(w.p.status.took_ns < 4 * NS_PER_SEC);
        assert_int_equal(w.h.totals.missed, 1);
        assert_null(w.h.aim);
        end_world(&w);
}

/* A hit that comes after the last call is as good; after that it is nobody's. */
static void test_late_hit(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_BLOCK);
        w.delay_ns = 2300 * NS_PER_MS;
        run_for(&w, 6);
        assert_int_equal(w.p.status.outcome, HN_FOUND);
        assert_int_equal(w.calls, HN_CALLS_MAX);
        end_world(&w);

        start_try(&w, NAT_BLOCK);
        w.delay_ns = 3500 * NS_PER_MS;
        run_for(&w, 6);
        assert_int_equal(w.p.status.outcome, HN_MISSED);
        assert_int_equal(w.pins, 0);
        end_world(&w);
}

static void test_hit_that_does_not_carry(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_BLOCK);
        w.probes_lost = true;
        run_for(&w, 8);
        assert_int_equal(w.p.status.outcome, HN_MISSED);
        assert_int_equal(w.pins, 1);
        assert_int_equal(w.unpins, 1);
        assert_false(w.p.status.pinned);
        assert_in_range(w.probes, 4, 6);
        assert_true(w.calls < HN_CALLS_MAX);   /* no guess after a hit */
        assert_int_equal(w.plain_calls, 1);
        end_world(&w);
}

/* The peer's NAT filters by address only, or not at all: a ping of ours is answered at once. */
static void test_pong_is_a_hit(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_RANDOM);
        run_until(&w, mono_add_ns(t0, HN_FIRST_NS + 20 * NS_PER_MS));
        assert_int_equal(w.h.state, HN_OPENING);
        struct disco_txid id;
        memcpy(id.b, w.h.txid, sizeof(w.h.txid));
        memcpy(id.b + sizeof(w.h.txid), (const uint8_t[]){0, 5, 0, 0}, 4);
        w.hit_socket = 5;
        struct disco_txid wrong = id;
        wrong.b[0] ^= 1;
        assert_false(hn_on_pong(&w.h, &w.p, 5, w.target, &wrong, w.now, &w.out));
        assert_false(hn_on_pong(&w.h, &w.p, 6, w.target, &id, w.now, &w.out));
        assert_false(hn_on_pong(&w.h, &w.q, 5, w.target, &id, w.now, &w.out));
        assert_int_equal(w.out.count, 0);
        assert_true(hn_on_pong(&w.h, &w.p, 5, w.target, &id, w.now, &w.out));
        assert_false(hn_on_pong(&w.h, &w.p, 5, w.target, &id, w.now, &w.out));
        carry_out(&w);
        hn_on_direct(&w.h, &w.p, w.target, w.now, &w.out);
        carry_out(&w);
        assert_int_equal(w.p.status.outcome, HN_FOUND);
        assert_int_equal(w.calls, 0);
        assert_int_equal(w.plain_calls, 1);
        end_world(&w);
}

static void test_strangers_do_not_hit(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_RANDOM);
        hn_on_hit(&w.h, &w.p, 0, w.target, w.now, &w.out);          /* nothing is open */
        run_until(&w, mono_add_ns(t0, HN_FIRST_NS + 20 * NS_PER_MS));
        hn_on_hit(&w.h, &w.q, 0, w.target, w.now, &w.out);          /* another peer */
        hn_on_hit(&w.h, &w.p, w.h.opened, w.target, w.now, &w.out); /* not opened yet */
        assert_int_equal(w.out.count, 0);
        assert_int_equal(w.h.state, HN_OPENING);
        end_world(&w);
}

static void test_few_descriptors(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_BLOCK);
        w.socket_limit = 100;
        run_for(&w, 5);
        assert_int_equal(w.p.status.outcome, HN_FOUND);
        assert_int_equal(w.p.status.sockets, 100);
        end_world(&w);
        start_try(&w, NAT_BLOCK);
        w.socket_limit = HN_SOCKETS_MIN - 1;
        run_for(&w, 5);
        assert_int_equal(w.p.status.outcome, HN_MISSED);
        assert_int_equal(w.calls + w.plain_calls, 0);
        end_world(&w);
}

/* Two addresses of the peer are sent to from each socket, still a ping a millisecond. */
static void test_two_targets(void **state)
{
        (void)state;
        struct world w;
        start_world(&w, NAT_RANDOM);
        struct hn_facts f = facts(&w);
        f.targets[1] = addr_of("198.51.100.8:9");
        f.target_count = 2;
        traffic(&w, &w.p);
        hn_start(&w.h, &w.p, &f, w.now, &w.out);
        unsigned sent[2] = {0}, opened = 0;
        mono_t start = w.now;
        while (w.h.state == HN_OPENING) {
                for (size_t i = 0; i < w.out.count; i++) {
                        opened += w.out.a[i].kind == HN_ACT_OPEN;
                        if (w.out.a[i].kind == HN_ACT_PING)
                                sent[addr_eq(w.out.a[i].addr, f.targets[1])]++;
                }
                w.out.count = 0;
                w.now = hn_deadline(&w.h, w.now);
                hn_expire(&w.h, w.now, &w.out);
        }
        sent[1] += 1;   /* with the step that ended it */
        assert_int_equal(opened, HN_SOCKETS);
        assert_int_equal(sent[0], HN_SOCKETS);
        assert_int_equal(sent[1], HN_SOCKETS);
        assert_in_range(mono_diff_ms(w.now, start), 510, 513);
        w.out.count = 0;
        end_world(&w);
}

/* A loop that was late makes up for it a few pings at a time. */
static void test_late_ticks(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_RANDOM);
        run_until(&w, mono_add_ns(t0, HN_FIRST_NS + 10 * NS_PER_MS));
        w.now = mono_add_ns(w.now, 500 * NS_PER_MS);
        w.most_at_once = 0;
        run_until(&w, mono_add_ns(w.now, 100 * NS_PER_MS));
        assert_true(w.most_at_once <= HN_TICK_MAX);
        assert_int_equal(w.pings, HN_SOCKETS);
        end_world(&w);
}

static void test_easy_after_all(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_KEEPS);
        hn_set_nat(&w.h, NC_UNKNOWN);
        run_for(&w, 6);
        assert_int_equal(w.p.status.tries, 1);
        assert_true(mono_diff_ns(w.first_ping, t0) >= HN_FIRST_UNSURE_NS);
        assert_int_equal(w.p.status.outcome, HN_MISSED);
        assert_int_equal(w.calls, 0);
        end_world(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_finds_and_says_so),
                cmocka_unit_test(test_rate_random),
                cmocka_unit_test(test_rate_narrow),
                cmocka_unit_test(test_miss_is_bounded),
                cmocka_unit_test(test_late_hit),
                cmocka_unit_test(test_hit_that_does_not_carry),
                cmocka_unit_test(test_pong_is_a_hit),
                cmocka_unit_test(test_strangers_do_not_hit),
                cmocka_unit_test(test_few_descriptors),
                cmocka_unit_test(test_two_targets),
                cmocka_unit_test(test_late_ticks),
                cmocka_unit_test(test_easy_after_all),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
