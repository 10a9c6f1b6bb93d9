/* Two path machines, a relay and two NATs in memory, on a clock of its own.
 *
 *      A -- NAT A --(udp, one way `udp_ms`)-- NAT B -- B
 *      A -------------(relay, `relay_ms`)------------- B
 *
 * A sends a packet every 100 ms, B answers each.  A node may also behave as the reference does (no ping
 * back, no answering call, no repetition), to see what ours achieves against it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "magicsock/peer.h"

enum nat {
        NAT_OPEN,       /* public, no filter */
        NAT_EASY,       /* one outer port; lets in whom it sent to (a stateful firewall, too) */
        NAT_HARD,       /* an outer port for each destination */
        NAT_BLOCKED,
};
enum { FLOWS_MAX = 256, EVENTS_MAX = 4096, A = 0, B = 1 };
#define NAT_TIMEOUT_NS (30 * NS_PER_SEC)

struct flow {
        struct addr dst;
        uint16_t port;
        mono_t last;
};

struct iface {
        struct addr inner, outer;   /* none: the node has no such family */
        enum nat nat;
        struct flow flows[FLOWS_MAX];
        size_t count;
};

struct node {
        struct iface face[2];   /* IPv4, IPv6 */
        struct ms_peer peer;    /* how it sees the other one */
        bool is_reference;
        bool is_silent;         /* answers no data */
        mono_t next_data;       /* unset: sends none by itself */
        mono_t direct_since;    /* first moment its data goes by UDP alone */
        unsigned calls, pings, received;
        mono_t last_received, longest_gap_from;
        int64_t longest_gap_ns;
};

enum msg { MSG_PING, MSG_PONG, MSG_CALL, MSG_DATA, MSG_ANSWER };

struct event {
        mono_t at;
        int to;
        bool by_relay;
        enum msg msg;
        struct addr src;
        struct disco_txid txid;
        struct addr eps[4];
        size_t count;
};

struct sim {
        mono_t now;
        struct node n[2];
        struct event ev[EVENTS_MAX];
        size_t count;
        int64_t udp_ms, relay_ms;
        unsigned loss_percent;
        uint32_t seed;
        bool same_lan;
        bool udp_cut;
        struct ms_actions out;
};

static struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static uint32_t sim_random(struct sim *s)
{
        s->seed = s->seed * 1664525 + 1013904223;
        return s->seed >> 8;
}

static void post(struct sim *s, struct event e, int64_t delay_ms)
{
        assert_true(s->count < EVENTS_MAX);
        e.at = mono_add_ms(s->now, delay_ms);
        s->ev[s->count++] = e;
}

/* The outer address a packet to dst leaves from; none if it cannot. */
static struct addr nat_out(struct sim *s, struct iface *f, struct addr dst)
{
        if (!addr_is_set(f->inner) || f->nat == NAT_BLOCKED)
                return (struct addr){.port = 0};
        struct flow *w = NULL;
        for (size_t i = 0; i < f->count; i++)
                if (addr_eq(f->flows[i].dst, dst))
                        w = &f->flows[i];
        if (!w) {
                assert_true(f->count < FLOWS_MAX);
                w = &f->flows[f->count];
                *w = (struct flow){.dst = dst, .port = (uint16_t)(f->outer.port + 1 + f->count)};
                f->count++;
        }
        w->last = s->now;
        return (struct addr){f->outer.ip, f->nat == NAT_HARD ? w->port : f->outer.port};
}

static bool nat_in(struct sim *s, const struct iface *f, struct addr dst, struct addr src)
{
        if (f->nat == NAT_OPEN)
                return addr_eq(dst, f->outer);
        for (size_t i = 0; i < f->count; i++) {
                const struct flow *w = &f->flows[i];
                uint16_t port = f->nat == NAT_HARD ? w->port : f->outer.port;
                if (addr_eq(w->dst, src) && port == dst.port && mono_diff_ns(s->now, w->last) < NAT_TIMEOUT_NS)
                        return true;
        }
        return false;
}

/* At arrival the other NAT decides. */
static void send_udp(struct sim *s, int from, struct addr dst, struct event e)
{
        struct iface *f = &s->n[from].face[dst.ip.family == IP_V6];
        struct addr inner = s->n[!from].face[dst.ip.family == IP_V6].inner;
        e.to = !from;
        if (s->same_lan && addr_eq(dst, inner)) {
                e.src = f->inner;
                e.eps[3] = dst;
                post(s, e, 0);
                return;
        }
        e.src = nat_out(s, f, dst);
        e.eps[3] = dst;
        if (!addr_is_set(e.src) || s->udp_cut || sim_random(s) % 100 < s->loss_percent)
                return;
        post(s, e, s->udp_ms);
}

static bool udp_arrives(struct sim *s, const struct event *e)
{
        struct addr dst = e->eps[3];
        struct iface *f = &s->n[e->to].face[dst.ip.family == IP_V6];
        if (s->same_lan && addr_eq(dst, f->inner))
                return true;
        return addr_is_set(f->outer) && ip_eq(dst.ip, f->outer.ip) && nat_in(s, f, dst, e->src);
}

static void send_relay(struct sim *s, int from, struct event e)
{
        e.to = !from;
        e.by_relay = true;
        post(s, e, s->relay_ms);
}

static struct event call_of(const struct node *n)
{
        struct event e = {.msg = MSG_CALL};
        for (int i = 0; i < 2; i++) {
                if (!addr_is_set(n->face[i].inner))
                        continue;
                e.eps[e.count++] = n->face[i].inner;
                if (e.count < 3 && n->face[i].nat != NAT_BLOCKED)
                        e.eps[e.count++] = n->face[i].outer;
        }
        return e;
}

/* ---- the reference's rules, as far as the race depends on them ---- */

static void strip_additions(struct ms_peer *p)
{
        p->burst_at = p->call_again_at = p->probe_at = p->knock_at = (mono_t){0};
}

/* The reference does not ping back, so the gate of that address stays as it was. */
static void on_ping(struct sim *s, const struct event *e)
{
        struct node *n = &s->n[e->to];
        struct path *c = path_find(&n->peer.paths, e->src);
        mono_t pinged = c ? c->pinged : (mono_t){0};
        ms_peer_on_ping(&n->peer, e->src, &e->txid, true, s->now, &s->out);
        if (n->is_reference && (c = path_find(&n->peer.paths, e->src)) != NULL)
                c->pinged = pinged;
}

/* Ours, with what it does beyond the reference taken away again. */
static void reference_filter(struct node *n, enum msg what, struct ms_actions *out, size_t from)
{
        size_t kept = from;
        for (size_t i = from; i < out->count; i++) {
                bool drop = (what == MSG_PING && out->a[i].kind == MS_ACT_PING) ||
                        (what == MSG_CALL && out->a[i].kind == MS_ACT_CALL);
                if (!drop)
                        out->a[kept++] = out->a[i];
        }
        out->count = kept;
        strip_additions(&n->peer);
}

/* ---- one step ---- */

static void carry_out(struct sim *s, int i, enum msg cause)
{
        struct node *n = &s->n[i];
        if (n->is_reference)
                reference_filter(n, cause, &s->out, 0);
        for (size_t k = 0; k < s->out.count; k++) {
                const struct ms_action *a = &s->out.a[k];
                switch (a->kind) {
                case MS_ACT_PING:
                        n->pings++;
                        send_udp(s, i, a->addr, (struct event){.msg = MSG_PING, .txid = a->txid});
                        break;
                case MS_ACT_PONG:
                        send_udp(s, i, a->addr, (struct event){.msg = MSG_PONG, .txid = a->txid});
                        break;
                case MS_ACT_CALL:
                        n->calls++;
                        send_relay(s, i, call_of(n));
                        break;
                case MS_ACT_PING_RELAY:
                        send_relay(s, i, (struct event){.msg = MSG_PING, .txid = a->txid});
                        break;
                case MS_ACT_PONG_RELAY:
                        send_relay(s, i, (struct event){.msg = MSG_PONG, .txid = a->txid});
                        break;
                case MS_ACT_KNOWN:
                case MS_ACT_CLI_RESULT:
                        break;
                }
        }
        s->out.count = 0;
        if (!mono_is_set(n->direct_since) && ms_peer_is_direct(&n->peer, s->now))
                n->direct_since = s->now;
}

static void send_data(struct sim *s, int i, enum msg msg)
{
        struct ms_route r = ms_peer_on_send(&s->n[i].peer, s->now, &s->out);
        carry_out(s, i, MSG_DATA);
        if (r.kind == MS_ROUTE_DIRECT || r.kind == MS_ROUTE_BOTH)
                send_udp(s, i, r.addr, (struct event){.msg = msg});
        if (r.kind == MS_ROUTE_RELAY || r.kind == MS_ROUTE_BOTH)
                send_relay(s, i, (struct event){.msg = msg});
}

static void receive_data(struct sim *s, const struct event *e)
{
        struct node *n = &s->n[e->to];
        if (n->received++ > 0 && mono_diff_ns(s->now, n->last_received) > n->longest_gap_ns) {
                n->longest_gap_ns = mono_diff_ns(s->now, n->last_received);
                n->longest_gap_from = n->last_received;
        }
        n->last_received = s->now;
        if (e->by_relay && !n->is_reference)
                ms_peer_on_heard(&n->peer, 1, s->now, &s->out);
        carry_out(s, e->to, MSG_DATA);
        if (e->msg == MSG_DATA && !n->is_silent)
                send_data(s, e->to, MSG_ANSWER);
}

static void receive(struct sim *s, const struct event *e)
{
        struct ms_peer *p = &s->n[e->to].peer;
        if (!e->by_relay && !udp_arrives(s, e))
                return;
        switch (e->msg) {
        case MSG_PING:
                if (e->by_relay)
                        ms_peer_on_relay_ping(p, 1, &e->txid, s->now, &s->out);
                else
                        on_ping(s, e);
                break;
        case MSG_PONG:
                ms_peer_on_pong(p, &e->txid, e->by_relay, 1, s->now, &s->out);
                break;
        case MSG_CALL:
                ms_peer_on_call(p, e->eps, e->count, s->now, &s->out);
                break;
        case MSG_DATA:
        case MSG_ANSWER:
                receive_data(s, e);
                return;
        }
        carry_out(s, e->to, e->msg);
}

static mono_t next_moment(const struct sim *s)
{
        mono_t t = MONO_NEVER;
        for (size_t i = 0; i < s->count; i++)
                t = mono_min(t, s->ev[i].at);
        for (int i = 0; i < 2; i++) {
                t = mono_min(t, ms_peer_deadline(&s->n[i].peer));
                if (mono_is_set(s->n[i].next_data))
                        t = mono_min(t, s->n[i].next_data);
        }
        return t;
}

static void step(struct sim *s)
{
        for (size_t i = 0; i < s->count; i++) {
                if (s->ev[i].at.ns > s->now.ns)
                        continue;
                struct event e = s->ev[i];
                memmove(&s->ev[i], &s->ev[i + 1], (s->count - i - 1) * sizeof(e));
                s->count--;
                receive(s, &e);
                return;
        }
        for (int i = 0; i < 2; i++) {
                struct node *n = &s->n[i];
                if (mono_is_set(n->next_data) && mono_reached(s->now, n->next_data)) {
                        n->next_data = mono_add_ms(s->now, 100);
                        send_data(s, i, MSG_DATA);
                        return;
                }
                if (mono_reached(s->now, ms_peer_deadline(&n->peer))) {
                        ms_peer_expire(&n->peer, s->now, &s->out);
                        if (n->is_reference)
                                strip_additions(&n->peer);
                        carry_out(s, i, MSG_DATA);
                        assert_true(ms_peer_deadline(&n->peer).ns > s->now.ns);
                }
        }
}

static void run_for(struct sim *s, int64_t ms)
{
        mono_t end = mono_add_ms(s->now, ms);
        for (;;) {
                mono_t t = next_moment(s);
                if (t.ns > end.ns)
                        break;
                if (t.ns > s->now.ns)
                        s->now = t;
                step(s);
        }
        s->now = end;
}

static struct sim sim;

/* IPv4 of both kinds; IPv6 is added by have_v6().  Each knows the other's endpoints from the map. */
static void set_up(enum nat a, enum nat b, int64_t udp_ms, int64_t relay_ms)
{
        memset(&sim, 0, sizeof(sim));
        sim.now = (mono_t){NS_PER_SEC};
        sim.udp_ms = udp_ms;
        sim.relay_ms = relay_ms;
        sim.seed = 1;
        const char *const inner[] = {"192.168.1.2:41641", "192.168.2.3:41641"};
        const char *const outer[] = {"203.0.113.1:4000", "198.51.100.2:5000"};
        const enum nat nat[] = {a, b};
        for (int i = 0; i < 2; i++) {
                struct iface *f = &sim.n[i].face[0];
                f->inner = addr(inner[i]);
                f->outer = addr(outer[i]);
                f->nat = nat[i];
                ms_peer_init(&sim.n[i].peer);
        }
        sim.n[A].next_data = sim.now;
}

static void have_v6(void)
{
        const char *const v6[] = {"[2001:db8:1::2]:41641", "[2001:db8:2::3]:41641"};
        for (int i = 0; i < 2; i++) {
                struct iface *f = &sim.n[i].face[1];
                f->inner = f->outer = addr(v6[i]);
                f->nat = NAT_EASY;
        }
}

static void exchange_maps(void)
{
        for (int i = 0; i < 2; i++) {
                struct event e = call_of(&sim.n[!i]);
                ms_peer_on_config(&sim.n[i].peer, true, false, 1, e.eps, e.count, sim.now);
        }
}

static int64_t direct_ms(int i)
{
        return mono_is_set(sim.n[i].direct_since) ? sim.n[i].direct_since.ns / NS_PER_MS - 1000 : -1;
}

static void assert_direct_within(int i, int64_t ms)
{
        if (direct_ms(i) < 0 || direct_ms(i) > ms)
                print_error("node %c direct after %lld ms\n", 'A' + i, (long long)direct_ms(i));
        assert_in_range(direct_ms(i), 0, ms);
}

static int tear_down(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++)
                ms_peer_done(&sim.n[i].peer);
        return 0;
}

/* ---- scenarios ---- */

static void test_easy_easy(void **state)
{
        (void)state;
        set_up(NAT_EASY, NAT_EASY, 20, 20);
        exchange_maps();
        run_for(&sim, 300);
        assert_direct_within(A, 150);
        assert_direct_within(B, 150);
        assert_int_equal(sim.n[A].peer.best.latency_ns, 40 * NS_PER_MS);
        /* Steady: a heartbeat every 3 s, one round a minute, no more calls. */
        run_for(&sim, 1000);
        unsigned pings = sim.n[A].pings, calls = sim.n[A].calls;
        run_for(&sim, 50000);
        assert_in_range(sim.n[A].pings - pings, 15, 19);
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
        /* IPv6 breaks alone: at worst the trust window is lost, then IPv4 carries on. */
        sim.n[A].face[1].nat = sim.n[B].face[1].nat = NAT_BLOCKED;
        run_for(&sim, 15000);
        assert_int_equal(sim.n[A].peer.best.addr.ip.family, IP_V4);
        assert_true(ms_peer_is_direct(&sim.n[A].peer, sim.now));
        assert_true(sim.n[A].longest_gap_ns < 6800 * NS_PER_MS);
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
        /* Lost is what went out while the path was still trusted. */
        assert_true(sim.n[A].longest_gap_ns < 6800 * NS_PER_MS);
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
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
