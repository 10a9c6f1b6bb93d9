/* The search of one path machine: rounds, bursts, what the peer's pings and calls ask for and how much of it is done,
 * knocks. */
#include "tests/unit/magicsock_onepeer.h"

static void test_burst_repeats(void **state)
{
        (void)state;
        ms_peer_on_proof(&p, X, now);
        send_data();
        out.count = 0;
        pass(59);
        assert_int_equal(count(MS_ACT_PING), 0);
        pass(1);
        assert_int_equal(count(MS_ACT_PING), 2);
        pass(100);
        assert_int_equal(count(MS_ACT_PING), 4);
        pass(200);
        assert_int_equal(count(MS_ACT_PING), 6);
        assert_int_equal(count(MS_ACT_CALL), 0);
        pass(140);   /* 500 ms: no ping of the peer's came */
        assert_int_equal(count(MS_ACT_CALL), 1);
        pass(260);
        assert_int_equal(count(MS_ACT_PING), 8);
        out.count = 0;
        pass(2000);
        assert_int_equal(out.count, 0);
}

static void test_ping_is_answered_and_returned(void **state)
{
        (void)state;
        struct disco_txid t = txid(1);
        ms_peer_on_ping(&p, X, &t, true, now, &out);
        assert_int_equal(count(MS_ACT_PONG), 1);
        assert_true(disco_txid_eq(&out.a[0].txid, &t));
        assert_true(addr_eq(out.a[0].addr, X));
        assert_non_null(ping_to(X));
        struct disco_txid back = ping_to(X)->txid;
        /* It is not the path before it has answered. */
        assert_false(ms_peer_is_direct(&p, now));
        ms_peer_on_pong(&p, &back, false, 0, now, &out);
        assert_true(addr_eq(p.best.addr, X));
        assert_false(ms_peer_is_active(&p, now));   /* being pinged is no traffic of ours */

        out.count = 0;
        t = txid(2);
        ms_peer_on_ping(&p, X, &t, true, now, &out);   /* trusted: pong, no ping back */
        assert_int_equal(count(MS_ACT_PONG), 1);
        assert_int_equal(count(MS_ACT_PING), 0);
}

static void test_replayed_ping(void **state)
{
        (void)state;
        go_direct(5);
        struct disco_txid t = txid(1);
        ms_peer_on_ping(&p, E1, &t, true, now, &out);
        out.count = 0;
        ms_peer_on_ping(&p, E1, &t, true, now, &out);   /* delivered twice */
        ms_peer_on_ping(&p, X, &t, true, now, &out);    /* replayed from elsewhere */
        assert_int_equal(out.count, 0);
        assert_null(path_find(&p.paths, X));
        assert_true(addr_eq(p.best.addr, E1));

        /* Long forgotten, it is pinged once, which proves nothing; the path stays. */
        for (uint32_t i = 100; i < 100 + MS_PEER_SEEN_MAX; i++) {
                struct disco_txid o = txid(i);
                ms_peer_on_ping(&p, E1, &o, true, now, &out);
        }
        now = mono_add_ms(now, 2000);
        out.count = 0;
        ms_peer_on_ping(&p, X, &t, true, now, &out);
        assert_int_equal(count(MS_ACT_PING), 1);
        assert_true(addr_eq(p.best.addr, E1));
}

static void test_shared_key_one_pong(void **state)
{
        (void)state;
        struct disco_txid t = txid(1);
        ms_peer_on_ping(&p, X, &t, false, now, &out);
        assert_int_equal(count(MS_ACT_PONG), 0);
        assert_non_null(path_find(&p.paths, X));
}

static void test_rates(void **state)
{
        (void)state;
        struct addr a = X;
        for (uint32_t i = 0; i < 1000; i++) {
                struct disco_txid t = txid(i + 1);
                a.port = (uint16_t)(1000 + i);
                ms_peer_on_ping(&p, a, &t, true, now, &out);
        }
        assert_int_equal(count(MS_ACT_PONG), 50);
        assert_int_equal(count(MS_ACT_PING), 8);
        assert_int_equal(p.limited, 950);
        assert_true(p.paths.count <= PATH_CANDIDATES_MAX);
        now = mono_add_ms(now, 1000);
        out.count = 0;
        struct disco_txid t = txid(5000);
        ms_peer_on_ping(&p, a, &t, true, now, &out);
        assert_int_equal(count(MS_ACT_PONG), 1);
        assert_int_equal(count(MS_ACT_PING), 1);

        /* To one address, once in 200 ms. */
        out.count = 0;
        for (uint32_t i = 0; i < 10; i++) {
                t = txid(6000 + i);
                ms_peer_on_ping(&p, a, &t, true, now, &out);
        }
        assert_int_equal(count(MS_ACT_PING), 0);
}

/* Pings recorded and sent again from everywhere do not keep us from answering the peer itself. */
static void test_replays_do_not_silence_us(void **state)
{
        (void)state;
        go_direct(10);
        struct addr a = X;
        for (uint32_t i = 0; i < 1000; i++) {
                struct disco_txid t = txid(i + 1);
                a.port = (uint16_t)(1000 + i);
                ms_peer_on_ping(&p, a, &t, true, now, &out);
        }
        out.count = 0;
        struct disco_txid t = txid(5000);
        ms_peer_on_ping(&p, E1, &t, true, now, &out);
        assert_int_equal(count(MS_ACT_PONG), 1);
        t = txid(5001);
        ms_peer_on_relay_ping(&p, 1, &t, now, &out);
        assert_int_equal(count(MS_ACT_PONG_RELAY), 1);
        for (uint32_t i = 0; i < 100; i++) {   /* nor is that without bound */
                t = txid(6000 + i);
                ms_peer_on_ping(&p, E1, &t, true, now, &out);
        }
        assert_int_equal(count(MS_ACT_PONG), 49);
}

static void test_call_is_answered(void **state)
{
        (void)state;
        struct addr eps[] = {E1, X};
        ms_peer_on_call(&p, eps, 2, now, &out);
        assert_int_equal(count(MS_ACT_PING), 3);
        assert_int_equal(count(MS_ACT_CALL), 1);
        out.count = 0;
        now = mono_add_ms(now, 1000);
        ms_peer_on_call(&p, eps, 2, now, &out);   /* past the gates, but no call within 2 s */
        assert_int_equal(count(MS_ACT_PING), 3);
        assert_int_equal(count(MS_ACT_CALL), 0);
        /* One that omits an address takes away only what calls named. */
        struct addr only = X;
        now = mono_add_ms(now, 1000);
        ms_peer_on_call(&p, &only, 1, now, &out);
        assert_non_null(path_find(&p.paths, E1));
        now = mono_add_ms(now, 1000);
        ms_peer_on_call(&p, NULL, 0, now, &out);
        assert_null(path_find(&p.paths, X));
        assert_non_null(path_find(&p.paths, E1));
}

static void test_call_when_direct(void **state)
{
        (void)state;
        go_direct(5);
        now = mono_add_ms(now, 3000);
        const struct addr both[] = {X, E1};
        ms_peer_on_call(&p, both, 2, now, &out);
        assert_int_equal(count(MS_ACT_CALL), 0);
        assert_true(ms_peer_is_direct(&p, now));
}

/* It may have moved: nothing is lost while that is found out. */
static void test_call_without_the_address_in_use(void **state)
{
        (void)state;
        go_direct(5);
        now = mono_add_ms(now, 3000);
        out.count = 0;
        struct addr e = X;
        ms_peer_on_call(&p, &e, 1, now, &out);
        assert_false(ms_peer_is_direct(&p, now));
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_BOTH);
        assert_non_null(path_find(&p.paths, E1));
        /* It is pinged as well, and trusted again if it answers. */
        size_t i = 0;
        while (i < out.count && !(out.a[i].kind == MS_ACT_PING && addr_eq(out.a[i].addr, E1)))
                i++;
        assert_true(i < out.count);
        struct disco_txid txid = out.a[i].txid;
        assert_true(ms_peer_on_pong(&p, &txid, false, 0, now, &out));
        assert_int_equal(ms_peer_route(&p, now).kind, MS_ROUTE_DIRECT);
        assert_true(addr_eq(p.best.addr, E1));
}

static void test_large_call_is_paced(void **state)
{
        (void)state;
        struct addr eps[DISCO_CMM_MAX];
        for (unsigned i = 0; i < DISCO_CMM_MAX; i++)
                eps[i] = (struct addr){ip_v4(203, 0, 113, 7), (uint16_t)(2000 + i)};
        ms_peer_on_call(&p, eps, DISCO_CMM_MAX, now, &out);
        assert_int_equal(count(MS_ACT_PING), MS_PEER_SLICE);
        assert_int_equal(p.paths.count, PATH_CANDIDATES_MAX);
        unsigned total = count(MS_ACT_PING);
        for (int i = 0; i < 6; i++) {
                out.count = 0;
                pass(20);
                assert_in_range(count(MS_ACT_PING), 0, MS_PEER_SLICE + 16);
                total += count(MS_ACT_PING);
        }
        assert_in_range(total, PATH_CANDIDATES_MAX, PATH_CANDIDATES_MAX + 32);
        /* Calls without end: 10 a second are heeded. */
        uint64_t limited = p.limited;
        for (int i = 0; i < 100; i++) {
                out.count = 0;
                ms_peer_on_call(&p, eps, DISCO_CMM_MAX, now, &out);
        }
        assert_in_range(p.limited - limited, 89, 91);
}

/* A peer that sends ever new addresses of somebody else must not make us flood that one. */
static void test_calls_without_end(void **state)
{
        (void)state;
        enum { SECONDS = 60, CALLS_A_SECOND = 10 };
        struct addr eps[DISCO_CMM_MAX];
        unsigned total = 0, worst = 0;
        for (unsigned call = 0; call < SECONDS * CALLS_A_SECOND; call++) {
                for (unsigned i = 0; i < DISCO_CMM_MAX; i++)
                        eps[i] = (struct addr){ip_v4(198, 51, 100, 1), (uint16_t)(1024 + (call * DISCO_CMM_MAX + i) % 60000)};
                out.count = 0;
                ms_peer_on_call(&p, eps, DISCO_CMM_MAX, now, &out);
                pass(1000 / CALLS_A_SECOND);
                total += count(MS_ACT_PING);
                if (call >= 2 * CALLS_A_SECOND && count(MS_ACT_PING) > worst)
                        worst = count(MS_ACT_PING);
        }
        assert_int_equal(p.limited, 0);
        assert_in_range(total, 32 * SECONDS, 128 + 32 * SECONDS);
        assert_in_range(worst, 3, 5);
        /* Rest fills the purse: a search that is meant has its whole first round. */
        pass(60000);
        out.count = 0;
        ms_peer_on_call(&p, eps, DISCO_CMM_MAX, now, &out);
        pass(150);
        assert_in_range(count(MS_ACT_PING), 128, 134);
}

/* Calls as from behind a hard NAT, 100 ms apart: how many of the guesses are pinged before the next call comes. */
static unsigned guesses_pinged(unsigned calls)
{
        enum { GUESSES = 64 };
        struct addr eps[2 + GUESSES] = {E1, E2};
        unsigned pinged = 0;
        for (unsigned call = 0; call < calls; call++) {
                for (unsigned i = 0; i < GUESSES; i++)
                        eps[2 + i] = (struct addr){ip_v4(203, 0, 113, 50), (uint16_t)(1024 + call * GUESSES + i)};
                out.count = 0;
                ms_peer_on_call(&p, eps, 2 + GUESSES, now, &out);
                pass(100);
                for (unsigned i = 0; i < GUESSES; i++)
                        pinged += ping_to(eps[2 + i]) != NULL;
        }
        return pinged;
}

static void test_guesses_of_a_hard_nat(void **state)
{
        (void)state;
        p.takes_part = true;
        assert_int_equal(guesses_pinged(18), 18 * 64);
        assert_int_equal(p.limited, 0);
        assert_true(p.paths.count <= PATH_CANDIDATES_MAX);
        /* The guesses are gone with the next call that does not name them. */
        struct addr eps[] = {E1, E2};
        ms_peer_on_call(&p, eps, 2, now, &out);
        assert_int_equal(p.paths.count, 2);
        /* One search is meant; what comes after it without a rest is as from any peer. */
        assert_in_range(guesses_pinged(10), 0, 400);
        pass(60000);
        assert_int_equal(guesses_pinged(18), 18 * 64);
}

static void test_guesses_of_others(void **state)
{
        (void)state;
        assert_in_range(guesses_pinged(18), 100, 128 + 2 * 32);
}

static void test_heard_by_relay_starts_search(void **state)
{
        (void)state;
        ms_peer_on_heard(&p, 1, now, &out);
        assert_int_equal(count(MS_ACT_PING), 2);
        assert_int_equal(count(MS_ACT_CALL), 1);
        out.count = 0;
        ms_peer_on_heard(&p, 1, now, &out);
        assert_int_equal(out.count, 0);
}

static void test_own_endpoints(void **state)
{
        (void)state;
        ms_peer_on_own_endpoints(&p, now, &out);
        assert_int_equal(out.count, 0);   /* nobody asked yet */
        send_data();
        out.count = 0;
        ms_peer_on_own_endpoints(&p, now, &out);
        assert_int_equal(count(MS_ACT_CALL), 1);
        pass(6000);
        out.count = 0;
        now = mono_add_ms(now, 60000);
        ms_peer_on_own_endpoints(&p, now, &out);
        assert_int_equal(out.count, 0);
}

static void test_new_endpoints_in_map(void **state)
{
        (void)state;
        send_data();
        pass(1500);
        out.count = 0;
        struct addr eps[] = {E1, E2, X};
        ms_peer_on_config(&p, true, false, 1, eps, 3, now);
        pass(1);
        assert_int_equal(count(MS_ACT_PING), 1);
        assert_non_null(ping_to(X));
        ms_peer_on_config(&p, true, false, 1, NULL, 0, now);
        assert_null(path_find(&p.paths, E2));
}

static void test_single_candidate_still_calls(void **state)
{
        (void)state;
        struct addr e = E1;
        ms_peer_on_config(&p, true, false, 1, &e, 1, now);
        go_direct(5);
        pass(2995);   /* the heartbeat closes the only gate */
        answer_pings_to(E1);
        out.count = 0;
        now = mono_add_ms(now, 6501);
        assert_int_equal(send_data(), MS_ROUTE_BOTH);
        assert_non_null(ping_to(E1));
        assert_int_equal(count(MS_ACT_CALL), 1);
}

static unsigned knocks_within(int64_t ms)
{
        out.count = 0;
        pass(ms);
        return count(MS_ACT_PING_RELAY);
}

/* The server has not told the peer of us yet: pings by relay until one is answered, and then the word that an
 * initiation older than that ping may be lost. */
static void test_knocks_until_known(void **state)
{
        (void)state;
        send_data();
        assert_int_equal(count(MS_ACT_PING_RELAY), 0);   /* the packet itself goes there */
        assert_int_equal(knocks_within(49), 0);
        assert_int_equal(knocks_within(1), 1);
        assert_int_equal(knocks_within(350), 7);
        mono_t before = now;
        assert_int_equal(knocks_within(60), 1);
        const struct ms_action *a = NULL;
        for (size_t i = 0; i < out.count; i++)
                if (out.a[i].kind == MS_ACT_PING_RELAY)
                        a = &out.a[i];
        struct disco_txid t = a->txid;
        out.count = 0;
        assert_true(ms_peer_on_pong(&p, &t, true, 1, now, &out));
        assert_int_equal(count(MS_ACT_KNOWN), 1);
        assert_int_equal(mono_diff_ms(out.a[0].sent, before), 50);
        assert_int_equal(knocks_within(4000), 0);
        send_data();
        assert_int_equal(knocks_within(4000), 0);
}

/* A peer that is away costs a few dozen small packets, and not again with every packet for it. */
static void test_knocks_are_bounded(void **state)
{
        (void)state;
        unsigned all = 0;
        for (int s = 0; s < 300; s++) {
                send_data();
                all += knocks_within(1000);
        }
        assert_true(all >= 20 && all <= 35);
        send_data();
        assert_int_equal(knocks_within(51), 1);
}

static const struct ms_action *last_knock(void)
{
        for (size_t i = out.count; i-- > 0;)
                if (out.a[i].kind == MS_ACT_PING_RELAY)
                        return &out.a[i];
        fail_msg("no knock");
        return NULL;
}

static void speak(int how)
{
        static uint8_t number;
        struct disco_txid t = txid(++number);
        struct addr e = E1;
        if (how == 0)
                ms_peer_on_ping(&p, E1, &t, true, now, &out);
        else if (how == 1)
                ms_peer_on_relay_ping(&p, 1, &t, now, &out);
        else
                ms_peer_on_call(&p, &e, 1, now, &out);
}

/* Who sends us something knows us now, and perhaps did not when it got what we sent: one knock more, whose answer tells.
 * A pong by another way meanwhile does not: what the relay has may not have come yet. */
static void test_one_knock_for_who_speaks(void **state)
{
        for (int how = 0; how < 3; how++) {
                send_data();
                (void)knocks_within(how == 1 ? 6000 : 0);   /* or when there is no more knocking */
                speak(how);
                struct disco_txid direct = ping_to(E1)->txid;
                assert_true(ms_peer_on_pong(&p, &direct, false, 0, now, &out));
                assert_int_equal(count(MS_ACT_KNOWN), 0);
                assert_int_equal(knocks_within(100), 1);
                struct disco_txid t = last_knock()->txid;
                speak(how);
                assert_int_equal(knocks_within(3000), 0);
                assert_true(ms_peer_on_pong(&p, &t, true, 1, now, &out));
                assert_int_equal(count(MS_ACT_KNOWN), 1);
                ms_peer_on_restart(&p, now, &out);   /* all of it once more */
                send_data();
                assert_true(knocks_within(60) > 0);
                t = last_knock()->txid;
                out.count = 0;
                assert_true(ms_peer_on_pong(&p, &t, true, 1, now, &out));
                assert_int_equal(count(MS_ACT_KNOWN), 1);
                tear_down(state);
                set_up(state);
        }
        speak(1);   /* we have sent nothing: nothing is lost */
        assert_int_equal(knocks_within(3000), 0);
}

/* We are another node: whom we have known for long does not know us. */
static void test_knocks_for_our_own_key(void **state)
{
        (void)state;
        send_data();
        ms_peer_on_proof(&p, X, now);
        assert_int_equal(knocks_within(3000), 0);
        ms_peer_on_own_key(&p);
        send_data();
        assert_int_equal(knocks_within(51), 1);
        struct disco_txid t = last_knock()->txid;
        out.count = 0;
        assert_true(ms_peer_on_pong(&p, &t, true, 1, now, &out));
        assert_int_equal(count(MS_ACT_KNOWN), 1);
}

/* By UDP the peer goes on with our disco key, which is the same: what it says there says nothing of the other one. */
static void test_by_udp_it_speaks_to_whom_we_were(void **state)
{
        for (int how = 0; how < 3; how++) {
                go_direct(10);
                ms_peer_on_proof(&p, E1, now);
                assert_int_equal(ms_peer_ping(&p, 1, 0, now, &out), ERR_NONE);
                struct disco_txid before = ping_to(E1)->txid, t = txid(77);
                ms_peer_on_own_key(&p);
                out.count = 0;
                assert_true(ms_peer_on_pong(&p, &before, false, 0, now, &out));
                assert_int_equal(count(MS_ACT_CLI_RESULT), 1);
                speak(0);
                ms_peer_on_restart(&p, now, &out);   /* the other process may have been told before we were another */
                struct disco_txid since = ping_to(E1)->txid;
                assert_true(ms_peer_on_pong(&p, &since, false, 0, now, &out));
                assert_int_equal(count(MS_ACT_KNOWN), 0);
                assert_false(p.knows_us || p.answered);
                send_data();
                assert_int_equal(knocks_within(51), 1);
                if (how == 0)
                        assert_true(ms_peer_on_pong(&p, &last_knock()->txid, true, 1, now, &out));
                else if (how == 1)
                        ms_peer_on_relay_ping(&p, 1, &t, now, &out);
                else
                        ms_peer_on_proof(&p, E1, now);
                assert_true(p.knows_us && !p.renamed);
                assert_int_equal(count(MS_ACT_KNOWN), how == 0);
                tear_down(state);
                set_up(state);
        }
}

static void test_no_knocks_for_who_answers(void **state)
{
        (void)state;
        send_data();
        ms_peer_on_proof(&p, X, now);
        assert_int_equal(knocks_within(3000), 0);
        tear_down(state);
        set_up(state);
        send_data();
        struct disco_txid t = ping_to(E1)->txid;
        assert_true(ms_peer_on_pong(&p, &t, false, 0, now, &out));
        assert_int_equal(count(MS_ACT_KNOWN), 1);
        assert_int_equal(knocks_within(3000), 0);
        tear_down(state);
        set_up(state);
        ms_peer_on_config(&p, false, false, 1, NULL, 0, now);
        send_data();   /* nothing to knock with */
        assert_int_equal(knocks_within(3000), 0);
}

/* What answers to what was sent before we moved goes where we were: the first pong to a ping since says so, once. */
static void test_known_again_after_a_move(void **state)
{
        (void)state;
        send_data();
        ms_peer_on_proof(&p, X, now);
        struct disco_txid before = ping_to(E1)->txid, since[2];
        now = mono_add_ms(now, 1000);
        mono_t moved = now;
        out.count = 0;
        ms_peer_on_rebind(&p, now, &out);
        assert_true(ms_peer_on_pong(&p, &before, false, 0, now, &out));
        assert_int_equal(count(MS_ACT_KNOWN), 0);
        since[0] = ping_to(E1)->txid;
        since[1] = ping_to(E2)->txid;
        for (int i = 0; i < 2; i++) {
                out.count = 0;
                assert_true(ms_peer_on_pong(&p, &since[i], false, 0, now, &out));
                assert_int_equal(count(MS_ACT_KNOWN), i == 0);
                if (i == 0)
                        assert_int_equal(out.a[0].sent.ns, moved.ns);
                now = mono_add_ms(now, 1);
        }
}

/* What was sent long after we moved is not lost because of that, nor is anything because the peer is another process. */
static void test_what_a_move_says_nothing_of(void **state)
{
        (void)state;
        ms_peer_on_proof(&p, X, now);
        mono_t moved = now;
        ms_peer_on_rebind(&p, now, &out);
        now = mono_add_ms(now, 3600 * 1000);
        out.count = 0;
        send_data();
        struct disco_txid t = ping_to(E1)->txid;
        out.count = 0;
        assert_true(ms_peer_on_pong(&p, &t, false, 0, now, &out));
        assert_int_equal(count(MS_ACT_KNOWN), 1);
        assert_int_equal(out.a[0].sent.ns, moved.ns);

        ms_peer_on_restart(&p, now, &out);
        ms_peer_on_proof(&p, X, now);
        t = ping_to(E1)->txid;
        out.count = 0;
        assert_true(ms_peer_on_pong(&p, &t, false, 0, now, &out));
        assert_int_equal(count(MS_ACT_KNOWN), 0);
}

/* `tailscale ping` at first contact: its own ping was dropped, a knock brings the answer. */
static void test_knock_answers_the_cli(void **state)
{
        (void)state;
        assert_int_equal(ms_peer_ping(&p, 77, 0, now, &out), ERR_NONE);
        assert_int_equal(knocks_within(200), 4);
        struct disco_txid t = {{0}};
        for (size_t i = 0; i < out.count; i++)
                if (out.a[i].kind == MS_ACT_PING_RELAY)
                        t = out.a[i].txid;
        now = mono_add_ms(now, 7);
        out.count = 0;
        assert_true(ms_peer_on_pong(&p, &t, true, 1, now, &out));
        assert_int_equal(count(MS_ACT_CLI_RESULT), 1);
        for (size_t i = 0; i < out.count; i++)
                if (out.a[i].kind == MS_ACT_CLI_RESULT)
                        assert_true(out.a[i].cookie == 77 && out.a[i].region == 1 &&
                                out.a[i].latency_ns == 7 * NS_PER_MS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_burst_repeats, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_ping_is_answered_and_returned, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_replayed_ping, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_shared_key_one_pong, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_rates, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_replays_do_not_silence_us, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_call_is_answered, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_call_when_direct, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_call_without_the_address_in_use, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_large_call_is_paced, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_calls_without_end, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_guesses_of_a_hard_nat, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_guesses_of_others, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_heard_by_relay_starts_search, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_own_endpoints, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_new_endpoints_in_map, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_single_candidate_still_calls, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_knocks_until_known, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_knocks_are_bounded, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_one_knock_for_who_speaks, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_knocks_for_who_answers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_knocks_for_our_own_key, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_by_udp_it_speaks_to_whom_we_were, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_known_again_after_a_move, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_what_a_move_says_nothing_of, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_knock_answers_the_cli, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
