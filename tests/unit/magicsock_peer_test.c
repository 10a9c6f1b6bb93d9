/* One path machine, event by event on a fake clock.  The races between two are in magicsock_sim_test.c. */
#include "tests/unit/check.h"

#include <stdbool.h>

#include "base/crypto.h"
#include "magicsock/peer.h"

static struct ms_peer p;
static struct ms_actions out;
static mono_t now;

static struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

#define E1 addr("203.0.113.1:1000")
#define E2 addr("192.168.7.7:1000")
#define X addr("198.51.100.9:777")

static int set_up(void **state)
{
        (void)state;
        ms_peer_init(&p);
        out.count = 0;
        now = (mono_t){1000 * NS_PER_SEC};
        struct addr eps[] = {E1, E2};
        ms_peer_on_config(&p, true, false, 1, eps, 2, now);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        ms_peer_done(&p);
        return 0;
}

static unsigned count(enum ms_action_kind k)
{
        unsigned n = 0;
        for (size_t i = 0; i < out.count; i++)
                n += out.a[i].kind == k;
        return n;
}

/* The newest ping to a; NULL: none among the actions. */
static const struct ms_action *ping_to(struct addr a)
{
        for (size_t i = out.count; i-- > 0;)
                if (out.a[i].kind == MS_ACT_PING && addr_eq(out.a[i].addr, a))
                        return &out.a[i];
        return NULL;
}

static struct disco_txid txid(uint32_t n)
{
        struct disco_txid t = {{0}};
        memcpy(t.b, &n, sizeof(n));
        return t;
}

/* Lets ms go by, running the machine at each of its deadlines. */
static void pass(int64_t ms)
{
        mono_t end = mono_add_ms(now, ms);
        while (ms_peer_deadline(&p).ns <= end.ns) {
                mono_t at = ms_peer_deadline(&p);
                if (at.ns > now.ns)
                        now = at;
                ms_peer_expire(&p, now, &out);
                assert_true(ms_peer_deadline(&p).ns > now.ns);
        }
        now = end;
}

static enum ms_route_kind send_data(void)
{
        return ms_peer_on_send(&p, now, &out).kind;
}

/* Sends, and has E1 answer after rtt_ms. */
static void go_direct(int64_t rtt_ms)
{
        send_data();
        struct disco_txid t = ping_to(E1)->txid;
        now = mono_add_ms(now, rtt_ms);
        assert_true(ms_peer_on_pong(&p, &t, false, 0, now, &out));
        assert_true(ms_peer_is_direct(&p, now));
        out.count = 0;
}

static void answer_pings_to(struct addr a)
{
        for (size_t i = 0; i < out.count; i++)
                if (out.a[i].kind == MS_ACT_PING && addr_eq(out.a[i].addr, a))
                        (void)ms_peer_on_pong(&p, &out.a[i].txid, false, 0, now, &out);
}

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
        ms_peer_on_ping(&p, X, &t, true, now, &out);   /* disco is still answered */
        assert_int_equal(count(MS_ACT_PONG), 1);
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

static void test_burst_repeats(void **state)
{
        (void)state;
        ms_peer_on_proof(&p);
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

static void test_trust_and_heartbeat(void **state)
{
        (void)state;
        go_direct(40);
        assert_int_equal(p.best.latency_ns, 40 * NS_PER_MS);
        struct ms_route r = ms_peer_on_send(&p, now, &out);
        assert_int_equal(r.kind, MS_ROUTE_DIRECT);
        assert_true(addr_eq(r.addr, E1));
        assert_int_equal(out.count, 0);   /* no search while trusted */
        pass(3000);
        assert_int_equal(count(MS_ACT_PING), 1);
        assert_non_null(ping_to(E1));
        now = mono_add_ms(now, 3499);   /* 6.499 s after the pong, and no other came */
        assert_int_equal(send_data(), MS_ROUTE_DIRECT);
        now = mono_add_ms(now, 2);
        out.count = 0;
        assert_int_equal(send_data(), MS_ROUTE_BOTH);
        assert_int_equal(count(MS_ACT_CALL), 1);
}

static void test_path_dies(void **state)
{
        (void)state;
        go_direct(40);
        for (int i = 0; i < 90; i++) {   /* 9 s of packets every 100 ms, nothing comes back */
                pass(100);
                enum ms_route_kind k = send_data();
                int64_t ms = (i + 1) * 100;
                if (ms <= 6500)
                        assert_int_equal(k, MS_ROUTE_DIRECT);
                else if (ms > 8200)
                        assert_int_equal(k, MS_ROUTE_RELAY);
                else
                        assert_true(k == MS_ROUTE_BOTH || k == MS_ROUTE_RELAY);
        }
        /* It is still knocked at, every second, and one pong brings it back at once. */
        out.count = 0;
        pass(1100);
        assert_non_null(ping_to(E1));
        answer_pings_to(E1);
        assert_int_equal(send_data(), MS_ROUTE_DIRECT);
}

static void test_idle(void **state)
{
        (void)state;
        go_direct(1);
        assert_true(ms_peer_is_active(&p, now));
        for (int i = 0; i < 60; i++) {
                pass(1000);
                answer_pings_to(E1);
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
                        pass(1000);
                        send_data();
                        answer_pings_to(E1);
                        to_other += ping_to(E2) != NULL;
                        out.count = 0;
                }
                assert_int_equal(to_other, 0);
                for (int i = 0; i < 6; i++) {
                        pass(1000);
                        send_data();
                        answer_pings_to(E1);
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
        struct addr e = X;
        ms_peer_on_call(&p, &e, 1, now, &out);
        assert_int_equal(count(MS_ACT_CALL), 0);
        assert_true(ms_peer_is_direct(&p, now));
        /* The address in use survives a call that does not list it. */
        assert_non_null(path_find(&p.paths, E1));
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

static void test_heard_by_relay_starts_search(void **state)
{
        (void)state;
        ms_peer_on_heard(&p, 1, now, &out);
        assert_int_equal(count(MS_ACT_PING), 2);
        assert_int_equal(count(MS_ACT_CALL), 1);
        out.count = 0;
        ms_peer_on_heard(&p, 1, now, &out);
        assert_int_equal(out.count, 0);
        ms_peer_on_heard(&p, 0, now, &out);
        assert_int_equal(out.count, 0);
}

static void test_cli_ping(void **state)
{
        (void)state;
        ms_peer_on_proof(&p);
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
        ms_peer_on_unreachable(&p, X);
        assert_true(ms_peer_is_direct(&p, now));
        ms_peer_on_unreachable(&p, E1);
        assert_int_equal(send_data(), MS_ROUTE_RELAY);
        assert_non_null(ping_to(E1));   /* its gate is open again */
        struct disco_txid t = ping_to(E1)->txid;
        ms_peer_on_ping_failed(&p, &t);
        assert_false(ms_peer_on_pong(&p, &t, false, 0, now, &out));
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
        pass(6400);   /* the heartbeat at 6 s closed the only gate */
        out.count = 0;
        pass(101);
        assert_int_equal(send_data(), MS_ROUTE_BOTH);
        assert_int_equal(count(MS_ACT_CALL), 1);
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
        p.home = 2;
        assert_int_equal(ms_peer_route(&p, now).region, 2);
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

static void test_no_knocks_for_the_known(void **state)
{
        (void)state;
        for (int i = 0; i < 5; i++) {
                struct disco_txid t = txid(1);
                struct addr e = E1;
                send_data();
                switch (i) {
                case 0:
                        ms_peer_on_proof(&p);
                        break;
                case 1:
                        ms_peer_on_ping(&p, E1, &t, true, now, &out);
                        break;
                case 2:
                        ms_peer_on_relay_ping(&p, 1, &t, now, &out);
                        break;
                case 3:
                        ms_peer_on_call(&p, &e, 1, now, &out);
                        break;
                default:
                        t = ping_to(E1)->txid;
                        assert_true(ms_peer_on_pong(&p, &t, false, 0, now, &out));
                        break;
                }
                assert_int_equal(knocks_within(3000), 0);
                tear_down(state);
                set_up(state);
        }
        ms_peer_on_config(&p, false, false, 1, NULL, 0, now);
        send_data();   /* nothing to knock with */
        assert_int_equal(knocks_within(3000), 0);
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
                cmocka_unit_test_setup_teardown(test_starts_on_relay, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_way, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_expired, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_without_disco_key, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_burst_repeats, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_trust_and_heartbeat, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_path_dies, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_idle, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_upgrade_search, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_better_path_wins, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_pong_must_be_ours, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_ping_is_answered_and_returned, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_replayed_ping, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_shared_key_one_pong, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_rates, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_call_is_answered, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_call_when_direct, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_large_call_is_paced, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_calls_without_end, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_heard_by_relay_starts_search, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cli_ping, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cli_ping_bounds, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_send_errors, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_own_endpoints, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_likely_relay, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_knocks_until_known, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_knocks_are_bounded, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_knocks_for_the_known, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_knock_answers_the_cli, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_new_endpoints_in_map, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_single_candidate_still_calls, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
