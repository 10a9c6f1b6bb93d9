/* tests/unit/magicsock_onepeer.h - one path machine, fed event by event on a fake clock. */
#pragma once

#include <stdbool.h>

#include "base/crypto.h"
#include "magicsock/peer.h"
#include "tests/unit/check.h"

static struct ms_peer p;
static struct ms_actions out;
static mono_t now;

static inline struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

#define E1 addr("203.0.113.1:1000")
#define E2 addr("192.168.7.7:1000")
#define X addr("198.51.100.9:777")

static inline int set_up(void **state)
{
        (void)state;
        ms_peer_init(&p);
        out.count = 0;
        now = (mono_t){1000 * NS_PER_SEC};
        struct addr eps[] = {E1, E2};
        ms_peer_on_config(&p, true, false, 1, eps, 2, now);
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        ms_peer_done(&p);
        return 0;
}

static inline unsigned count(enum ms_action_kind k)
{
        unsigned n = 0;
        for (size_t i = 0; i < out.count; i++)
                n += out.a[i].kind == k;
        return n;
}

/* The newest ping to a; NULL: none among the actions. */
static inline const struct ms_action *ping_to(struct addr a)
{
        for (size_t i = out.count; i-- > 0;)
                if (out.a[i].kind == MS_ACT_PING && addr_eq(out.a[i].addr, a))
                        return &out.a[i];
        return NULL;
}

static inline struct disco_txid txid(uint32_t n)
{
        struct disco_txid t = {{0}};
        memcpy(t.b, &n, sizeof(n));
        return t;
}

/* Lets ms go by, running the machine at each of its deadlines. */
static inline void pass(int64_t ms)
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

static inline enum ms_route_kind send_data(void)
{
        return ms_peer_on_send(&p, now, &out).kind;
}

/* Sends, and has E1 answer after rtt_ms. */
static inline void go_direct(int64_t rtt_ms)
{
        send_data();
        struct disco_txid t = ping_to(E1)->txid;
        now = mono_add_ms(now, rtt_ms);
        assert_true(ms_peer_on_pong(&p, &t, false, 0, now, &out));
        assert_true(ms_peer_is_direct(&p, now));
        out.count = 0;
}

static inline void answer_pings_to(struct addr a)
{
        for (size_t i = 0; i < out.count; i++)
                if (out.a[i].kind == MS_ACT_PING && addr_eq(out.a[i].addr, a))
                        (void)ms_peer_on_pong(&p, &out.a[i].txid, false, 0, now, &out);
}

/* The same as pass(), with each ping to E1, and to a, answered rtt_ms after it was sent. */
static inline void pass_answered_by(struct addr a, int64_t ms, int64_t rtt_ms)
{
        for (; ms > 0; ms--) {
                pass(1);
                for (size_t i = p.pings.count; i-- > 0;) {
                        struct ping g = p.pings.p[i];
                        if ((addr_eq(g.to, E1) || addr_eq(g.to, a)) && mono_diff_ms(now, g.sent) >= rtt_ms)
                                (void)ms_peer_on_pong(&p, &g.txid, false, 0, now, &out);
                }
        }
}

static inline void pass_answered(int64_t ms, int64_t rtt_ms)
{
        pass_answered_by(E1, ms, rtt_ms);
}
