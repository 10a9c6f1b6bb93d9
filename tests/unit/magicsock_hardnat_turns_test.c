/* For whom is searched, when and how often; and what ends a search or what it found. */
#include "tests/unit/magicsock_hardnat_world.h"

/* ---- who and when ---- */

static void test_who(void **state)
{
        (void)state;
        static const struct {
                enum hn_pref pref;
                enum nc_tri varies;
                int kind;             /* -1: it never answers */
                uint8_t hello;
                bool tried;
                enum hn_why why;
        } rows[] = {
                {HN_PREF_OWN, NC_TRUE, HN_KIND_OWN, HN_HELLO_EASY, true, HN_WHY_NOTHING},
                {HN_PREF_OWN, NC_TRUE, HN_KIND_OWN, 0, true, HN_WHY_NOTHING},
                {HN_PREF_OWN, NC_TRUE, HN_KIND_OWN, HN_HELLO_HARD, false, HN_WHY_BOTH_HARD},
                {HN_PREF_OWN, NC_TRUE, HN_KIND_FOREIGN, 0, false, HN_WHY_FOREIGN},
                {HN_PREF_OWN, NC_TRUE, -1, 0, false, HN_WHY_ASKED},
                {HN_PREF_OWN, NC_FALSE, HN_KIND_OWN, HN_HELLO_EASY, false, HN_WHY_EASY},
                {HN_PREF_OWN, NC_UNKNOWN, HN_KIND_OWN, HN_HELLO_EASY, true, HN_WHY_NOTHING},
                {HN_PREF_ON, NC_TRUE, HN_KIND_FOREIGN, 0, true, HN_WHY_NOTHING},
                {HN_PREF_ON, NC_TRUE, -1, 0, true, HN_WHY_NOTHING},
                {HN_PREF_ON, NC_TRUE, HN_KIND_OWN, HN_HELLO_HARD, false, HN_WHY_BOTH_HARD},
                {HN_PREF_ON, NC_FALSE, HN_KIND_FOREIGN, 0, false, HN_WHY_EASY},
                {HN_PREF_OFF, NC_TRUE, HN_KIND_OWN, HN_HELLO_EASY, false, HN_WHY_OFF},
        };
        static struct world w;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                start_world(&w, NAT_RANDOM);
                hn_set_pref(&w.h, rows[i].pref, w.now, &w.out);
                hn_set_nat(&w.h, rows[i].varies);
                traffic(&w, &w.p);
                if (rows[i].kind >= 0)
                        hn_on_hello(&w.p, rows[i].kind == HN_KIND_OWN, rows[i].hello, w.now);
                run_for(&w, 4);
                if (w.p.status.tries != rows[i].tried)
                        print_error("row %zu\n", i);
                assert_int_equal(w.p.status.tries, rows[i].tried);
                struct hn_status s;
                hn_peer_status(&w.h, &w.p, w.now, &s);
                if (!rows[i].tried)
                        assert_int_equal(s.why, rows[i].why);
                uint8_t hello;
                assert_int_equal(hn_says(&w.h, &hello), rows[i].pref != HN_PREF_OFF);
                assert_int_equal(hello, rows[i].varies == NC_TRUE ? HN_HELLO_HARD : rows[i].varies ? HN_HELLO_EASY : 0);
                assert_true(w.asks <= 5);
                end_world(&w);
        }
}

/* A peer that answered once and fell silent is not searched for. */
static void test_silent_peer(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_RANDOM);
        hn_on_direct(&w.h, &w.p, w.target, w.now, &w.out);
        w.now = mono_add_ns(w.now, 600 * NS_PER_SEC);
        traffic(&w, &w.p);
        assert_int_equal(w.asks, 2);
        run_for(&w, 10);
        assert_int_equal(w.p.status.tries, 0);
        says(&w, &w.p, HN_HELLO_EASY);
        run_for(&w, 1);
        assert_int_equal(w.p.status.tries, 1);
        end_world(&w);
}

static void test_rests_after_misses(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_SHUT);
        mono_t at[8];
        unsigned tries = 0;
        /* three hours of the same traffic, then a pause, then more */
        for (int s = 0; s < 4 * 3600; s++) {
                if (s < 3 * 3600 || s > 3 * 3600 + 100)
                        traffic(&w, &w.p);
                says(&w, &w.p, HN_HELLO_EASY);
                run_until(&w, mono_add_ns(w.now, NS_PER_SEC));
                if (w.p.status.tries > tries) {
                        assert_true(tries < 8);
                        at[tries++] = w.p.status.started;
                }
        }
        int64_t gap[8];
        for (unsigned i = 1; i < tries; i++)
                gap[i] = mono_diff_ns(at[i], at[i - 1]) / NS_PER_SEC;
        assert_true(tries >= 6);
        assert_in_range(gap[1], 60, 66);            /* a minute */
        assert_in_range(gap[1] + gap[2], 3599, 3605);   /* two an hour */
        for (unsigned i = 2; i < tries; i++)
                assert_true(gap[i] >= 300);
        for (unsigned i = 3; i < tries; i++)
                assert_true(gap[i] >= 1800 - 1);
        struct hn_status st;
        hn_peer_status(&w.h, &w.p, w.now, &st);
        assert_int_equal(st.why, HN_WHY_LATER);
        assert_true(st.next.ns > w.now.ns);
        end_world(&w);
}

/* New traffic lifts the two an hour, not the rest after a miss. */
static void test_new_traffic(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_SHUT);
        for (int s = 0; s < 120; s++) {
                says(&w, &w.p, HN_HELLO_EASY);
                run_for(&w, 1);
        }
        assert_int_equal(w.p.status.tries, 2);
        mono_t second = w.p.status.started;
        run_until(&w, mono_add_ns(w.now, 60 * NS_PER_SEC));    /* silence */
        assert_false(w.p.is_listed);
        for (int s = 0; s < 600; s++) {
                says(&w, &w.p, HN_HELLO_EASY);
                run_for(&w, 1);
        }
        assert_int_equal(w.p.status.tries, 3);
        assert_in_range(mono_diff_ms(w.p.status.started, second), 300000, 310000);
        end_world(&w);
}

static void test_one_peer_at_a_time(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_SHUT);
        traffic(&w, &w.q);
        says(&w, &w.q, HN_HELLO_EASY);
        run_until(&w, mono_add_ns(t0, NS_PER_SEC));
        assert_ptr_equal(w.h.peer, &w.p);
        struct hn_status s;
        hn_peer_status(&w.h, &w.q, w.now, &s);
        assert_int_equal(s.why, HN_WHY_TURN);
        hn_peer_status(&w.h, &w.p, w.now, &s);
        assert_int_equal(s.outcome, HN_SEARCHING);
        run_until(&w, mono_add_ns(t0, 5 * NS_PER_SEC));
        assert_ptr_equal(w.h.peer, &w.q);
        assert_true(w.q.status.started.ns >= w.p.status.started.ns + w.p.status.took_ns);
        run_until(&w, mono_add_ns(t0, 10 * NS_PER_SEC));
        assert_null(w.h.peer);
        assert_int_equal(w.calls, 2 * HN_CALLS_MAX);
        end_world(&w);
}

/* Put off, not missed: without an address to send to, and without the relay that calls go by. */
static void test_put_off(void **state)
{
        (void)state;
        for (int relay = 0; relay < 2; relay++) {
                struct world w;
                start_try(&w, NAT_RANDOM);
                w.now = mono_add_ns(w.now, HN_FIRST_NS);
                struct hn_facts f = facts(&w);
                if (relay)
                        f.can_call = false;
                else
                        f.target_count = 0;
                assert_ptr_equal(hn_due(&w.h, w.now), &w.p);
                hn_start(&w.h, &w.p, &f, w.now, &w.out);
                assert_int_equal(w.out.count, 0);
                assert_null(hn_due(&w.h, w.now));
                struct hn_status s;
                hn_peer_status(&w.h, &w.p, w.now, &s);
                assert_int_equal(s.why, relay ? HN_WHY_NO_RELAY : HN_WHY_NO_ADDRESS);
                assert_int_equal(s.tries, 0);
                assert_int_equal(s.outcome, HN_NOT_TRIED);
                run_for(&w, 8);
                assert_int_equal(w.p.status.tries, 1);
                end_world(&w);
        }
}

/* ---- ends ---- */

static void test_another_way_is_found(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_SHUT);
        run_until(&w, mono_add_ns(t0, 1500 * NS_PER_MS));
        assert_true(w.calls > 0);
        hn_on_direct(&w.h, &w.p, addr_of("[2001:db8::1]:5"), w.now, &w.out);
        carry_out(&w);
        assert_int_equal(w.p.status.outcome, HN_STOPPED);
        assert_int_equal(w.plain_calls, 1);
        assert_int_equal(w.closes, 1);
        assert_false(w.p.is_listed);
        assert_int_equal(hn_deadline(&w.h, w.now).ns, MONO_NEVER.ns);
        end_world(&w);
}

static void test_stops(void **state)
{
        (void)state;
        static struct world w;
        for (int how = 0; how < 4; how++) {
                start_try(&w, NAT_SHUT);
                traffic(&w, &w.q);
                run_until(&w, mono_add_ns(t0, 700 * NS_PER_MS));
                assert_int_equal(w.h.state, HN_OPENING);
                if (how == 0)
                        hn_stop(&w.h, w.now, &w.out);
                else if (how == 1)
                        hn_set_pref(&w.h, HN_PREF_OFF, w.now, &w.out);
                else if (how == 2)
                        hn_forget(&w.h, &w.p, w.now, &w.out);
                else
                        hn_on_restart(&w.h, &w.p, w.now, &w.out);
                carry_out(&w);
                assert_int_equal(w.closes, 1);
                assert_int_equal(w.h.state, HN_IDLE);
                assert_null(w.h.aim);
                assert_int_equal(w.p.status.outcome, how == 2 ? HN_NOT_TRIED : HN_STOPPED);
                unsigned pings = w.pings;
                w.now = mono_add_ns(w.now, NS_PER_SEC);
                hn_expire(&w.h, w.now, &w.out);
                carry_out(&w);
                assert_int_equal(w.pings, pings);
                end_world(&w);
        }
        assert_memory_equal(&w.h.totals, &no_totals, sizeof(no_totals));
}

/* In the middle of a try, and after it: the next one is not made to wait. */
static void test_peer_restarts(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_BLOCK);
        run_until(&w, mono_add_ns(t0, 700 * NS_PER_MS));
        hn_on_restart(&w.h, &w.p, w.now, &w.out);
        carry_out(&w);
        memset(w.at_port, 0, sizeof(w.at_port));
        w.opens = w.pings = 0;
        run_for(&w, 1);
        assert_int_equal(w.p.kind, HN_KIND_UNKNOWN);
        assert_true(w.asks >= 2);
        assert_int_equal(w.p.status.tries, 1);
        says(&w, &w.p, HN_HELLO_EASY);
        run_for(&w, 2);
        assert_int_equal(w.p.status.outcome, HN_FOUND);
        assert_int_equal(w.p.status.tries, 2);
        /* found, lost soon, and found again */
        w.p.found_at = mono_add_ns(w.now, -5 * NS_PER_SEC);
        memset(w.at_port, 0, sizeof(w.at_port));
        w.opens = w.pings = 0;
        mono_t lost = w.now;
        hn_on_restart(&w.h, &w.p, w.now, &w.out);
        traffic(&w, &w.p);
        says(&w, &w.p, HN_HELLO_EASY);
        run_for(&w, 5);
        assert_int_equal(w.p.status.outcome, HN_FOUND);
        assert_int_equal(w.p.status.tries, 3);
        assert_true(mono_diff_ns(w.p.status.started, lost) >= HN_FIRST_AGAIN_NS);   /* the old socket may do */
        end_world(&w);
}

/* Of paths that are lost as soon as they are found, only two are made an hour; of one that held, the next at once. */
static void test_paths_that_do_not_hold(void **state)
{
        (void)state;
        static struct world w;
        for (int holds = 0; holds < 2; holds++) {
                start_try(&w, NAT_BLOCK);
                unsigned found = 0;
                for (int s = 0; s < 600; s++) {
                        says(&w, &w.p, HN_HELLO_EASY);
                        run_for(&w, 1);
                        if (!mono_is_set(w.p.found_at))
                                continue;
                        found++;
                        w.now = mono_add_ns(w.now, holds ? 30 * NS_PER_SEC : 5 * NS_PER_SEC);
                        memset(w.at_port, 0, sizeof(w.at_port));
                        w.opens = w.pings = 0;
                        traffic(&w, &w.p);
                }
                if (holds)
                        assert_true(found > 20);
                else
                        assert_int_equal(found, 2);
                end_world(&w);
        }
}

/* A path was found, and nothing comes by it any more. */
static void start_lost(struct world *w)
{
        start_try(w, NAT_BLOCK);
        run_for(w, 3);
        assert_true(w->p.status.pinned);
        w->nat = NAT_SHUT;
        w->p.found_at = (mono_t){0};
}

/* Not sooner when nothing is searched for any more. */
static void test_unpins_what_is_lost(void **state)
{
        (void)state;
        for (int off = 0; off < 2; off++) {
                struct world w;
                start_lost(&w);
                if (off)
                        hn_set_pref(&w.h, HN_PREF_OFF, w.now, &w.out);
                mono_t lost = w.now;
                while (w.unpins == 0 && mono_diff_ns(w.now, lost) < 300 * NS_PER_SEC)
                        run_for(&w, 1);
                assert_in_range(mono_diff_ms(w.now, lost), 119000, 122000);
                assert_false(w.p.status.pinned);
                end_world(&w);
        }
}

/* The NAT is an easy one now, by another line perhaps: the socket for all is tried at once, before or after the loss. */
static void test_unpins_behind_an_easy_nat(void **state)
{
        (void)state;
        for (int after = 0; after < 2; after++) {
                struct world w;
                start_lost(&w);
                if (after)
                        run_for(&w, 5);
                assert_int_equal(w.unpins, 0);
                hn_set_nat(&w.h, NC_FALSE);
                run_for(&w, 1);
                assert_int_equal(w.unpins, 1);
                assert_false(w.p.status.pinned);
                end_world(&w);
        }
}

static void test_idle_costs_nothing(void **state)
{
        (void)state;
        struct world w;
        start_world(&w, NAT_RANDOM);
        assert_int_equal(hn_deadline(&w.h, w.now).ns, MONO_NEVER.ns);
        hn_set_nat(&w.h, NC_FALSE);
        traffic(&w, &w.p);
        assert_int_equal(hn_deadline(&w.h, w.now).ns, MONO_NEVER.ns);   /* an easy NAT */
        assert_int_equal(w.asks, 0);
        hn_set_nat(&w.h, NC_TRUE);
        traffic(&w, &w.p);
        assert_int_equal(w.asks, 1);
        run_until(&w, mono_add_ns(w.now, 50 * NS_PER_SEC));
        assert_false(w.p.is_listed);
        assert_int_equal(hn_deadline(&w.h, w.now).ns, MONO_NEVER.ns);
        end_world(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_who),
                cmocka_unit_test(test_silent_peer),
                cmocka_unit_test(test_rests_after_misses),
                cmocka_unit_test(test_new_traffic),
                cmocka_unit_test(test_one_peer_at_a_time),
                cmocka_unit_test(test_put_off),
                cmocka_unit_test(test_another_way_is_found),
                cmocka_unit_test(test_stops),
                cmocka_unit_test(test_peer_restarts),
                cmocka_unit_test(test_paths_that_do_not_hold),
                cmocka_unit_test(test_unpins_what_is_lost),
                cmocka_unit_test(test_unpins_behind_an_easy_nat),
                cmocka_unit_test(test_idle_costs_nothing),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
