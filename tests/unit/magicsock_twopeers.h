/* tests/unit/magicsock_twopeers.h - two path machines, a relay and two NATs in memory, on a clock of its own.
 *
 *      A -- NAT A --(udp, one way `udp_ms`)-- NAT B -- B
 *      A -------------(relay, `relay_ms`)------------- B
 *
 * A sends a numbered packet every `period_ms`, B answers each.  A node may also behave as the reference does (no ping
 * back, no answering call, no repetition, no doubt), to see what ours achieves against it. */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "magicsock/peer.h"
#include "tests/unit/check.h"

enum nat {
        NAT_OPEN,       /* public, no filter */
        NAT_EASY,       /* one outer port; lets in whom it sent to (a stateful firewall, too) */
        NAT_HARD,       /* an outer port for each destination */
        NAT_BLOCKED,
};
enum { FLOWS_MAX = 256, EVENTS_MAX = 4096, NUMBERS_MAX = 1 << 16, A = 0, B = 1 };
#define NAT_TIMEOUT_NS (30 * NS_PER_SEC)

struct flow {
        struct addr dst;
        uint16_t port;
        mono_t last;
};

struct iface {
        struct addr inner, outer;   /* none: the node has no such family */
        uint16_t told_port;         /* if not 0: what STUN said long ago, and what the node still tells */
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
        uint8_t seen[NUMBERS_MAX];   /* how often each number of the other one's came */
        unsigned lost, doubled;      /* by count_numbers() */
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
        unsigned number;
};

struct sim {
        mono_t now;
        struct node n[2];
        struct event ev[EVENTS_MAX];
        size_t count;
        int64_t udp_ms, relay_ms;
        int64_t period_ms;
        unsigned number;          /* of A's next packet */
        unsigned first;           /* the first one that counts */
        unsigned loss_percent;
        uint32_t seed;
        bool same_lan;
        bool udp_cut, relay_cut;
        bool cut_from[2];         /* UDP of that node alone */
        bool disco_cut;           /* pings and pongs by UDP, and nothing else */
        struct ms_actions out;
};

static inline struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static inline uint32_t sim_random(struct sim *s)
{
        s->seed = s->seed * 1664525 + 1013904223;
        return s->seed >> 8;
}

static inline void post(struct sim *s, struct event e, int64_t delay_ms)
{
        assert_true(s->count < EVENTS_MAX);
        e.at = mono_add_ms(s->now, delay_ms);
        s->ev[s->count++] = e;
}

/* The outer address a packet to dst leaves from; none if it cannot. */
static inline struct addr nat_out(struct sim *s, struct iface *f, struct addr dst)
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

static inline bool nat_in(struct sim *s, const struct iface *f, struct addr dst, struct addr src)
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
static inline void send_udp(struct sim *s, int from, struct addr dst, struct event e)
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
        bool cut = s->udp_cut || s->cut_from[from] || (s->disco_cut && (e.msg == MSG_PING || e.msg == MSG_PONG));
        if (!addr_is_set(e.src) || cut || sim_random(s) % 100 < s->loss_percent)
                return;
        post(s, e, s->udp_ms);
}

static inline bool udp_arrives(struct sim *s, const struct event *e)
{
        struct addr dst = e->eps[3];
        struct iface *f = &s->n[e->to].face[dst.ip.family == IP_V6];
        if (s->same_lan && addr_eq(dst, f->inner))
                return true;
        return addr_is_set(f->outer) && ip_eq(dst.ip, f->outer.ip) && nat_in(s, f, dst, e->src);
}

static inline void send_relay(struct sim *s, int from, struct event e)
{
        e.to = !from;
        e.by_relay = true;
        if (!s->relay_cut)
                post(s, e, s->relay_ms);
}

static inline struct event call_of(const struct node *n)
{
        struct event e = {.msg = MSG_CALL};
        for (int i = 0; i < 2; i++) {
                if (!addr_is_set(n->face[i].inner))
                        continue;
                e.eps[e.count++] = n->face[i].inner;
                if (e.count < 3 && n->face[i].nat != NAT_BLOCKED) {
                        struct addr told = n->face[i].outer;
                        told.port = n->face[i].told_port ? n->face[i].told_port : told.port;
                        e.eps[e.count++] = told;
                }
        }
        return e;
}

/* ---- the reference's rules, as far as the race depends on them ---- */

/* It asks nobody whether the path is alive, but sends both ways when trust has run out. */
static inline void strip_additions(struct ms_peer *p, mono_t now)
{
        p->live.in_doubt = now.ns > p->trust_until.ns;
        p->live.asked = (mono_t){1};
        p->live.next = MONO_NEVER;
        p->burst_at = p->call_again_at = p->probe_at = p->knock_at = (mono_t){0};
}

/* The reference does not ping back, so the gate of that address stays as it was. */
static inline void on_ping(struct sim *s, const struct event *e)
{
        struct node *n = &s->n[e->to];
        struct path *c = path_find(&n->peer.paths, e->src);
        mono_t pinged = c ? c->pinged : (mono_t){0};
        ms_peer_on_ping(&n->peer, e->src, &e->txid, true, s->now, &s->out);
        if (n->is_reference && (c = path_find(&n->peer.paths, e->src)) != NULL)
                c->pinged = pinged;
}

/* Whom a call named and the next one does not, the reference forgets, in use or not. */
static inline void on_call(struct sim *s, const struct event *e)
{
        struct ms_peer *p = &s->n[e->to].peer;
        struct path *c = path_find(&p->paths, p->best.addr);
        bool named = c && (c->origin & PATH_FROM_CALL);
        ms_peer_on_call(p, e->eps, e->count, s->now, &s->out);
        c = path_find(&p->paths, p->best.addr);
        if (s->n[e->to].is_reference && named && !(c && (c->origin & PATH_FROM_CALL)))
                p->best = (struct path_best){.latency_ns = 0};
}

/* Ours, with what it does beyond the reference taken away again. */
static inline void reference_filter(struct sim *s, struct node *n, enum msg what)
{
        struct ms_actions *out = &s->out;
        size_t kept = 0;
        for (size_t i = 0; i < out->count; i++) {
                bool drop = (what == MSG_PING && out->a[i].kind == MS_ACT_PING) ||
                        (what == MSG_CALL && out->a[i].kind == MS_ACT_CALL) || out->a[i].kind == MS_ACT_WITHDRAW;
                if (!drop)
                        out->a[kept++] = out->a[i];
        }
        out->count = kept;
        strip_additions(&n->peer, s->now);
}

/* ---- one step ---- */

static inline void carry_out(struct sim *s, int i, enum msg cause)
{
        struct node *n = &s->n[i];
        if (n->is_reference)
                reference_filter(s, n, cause);
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
                case MS_ACT_WITHDRAW:
                        send_relay(s, i, (struct event){.msg = MSG_CALL});
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

static inline void send_data(struct sim *s, int i, enum msg msg, unsigned number)
{
        if (s->n[i].is_reference)
                strip_additions(&s->n[i].peer, s->now);
        struct ms_route r = ms_peer_on_send(&s->n[i].peer, s->now, &s->out);
        carry_out(s, i, MSG_DATA);
        if (r.kind == MS_ROUTE_DIRECT || r.kind == MS_ROUTE_BOTH)
                send_udp(s, i, r.addr, (struct event){.msg = msg, .number = number});
        if (r.kind == MS_ROUTE_RELAY || r.kind == MS_ROUTE_BOTH)
                send_relay(s, i, (struct event){.msg = msg, .number = number});
}

static inline void receive_data(struct sim *s, const struct event *e)
{
        struct node *n = &s->n[e->to];
        bool counts = e->number >= s->first && e->number - s->first < NUMBERS_MAX;
        bool again = counts && n->seen[e->number - s->first]++ > 0;
        if (n->received++ > 0 && mono_diff_ns(s->now, n->last_received) > n->longest_gap_ns) {
                n->longest_gap_ns = mono_diff_ns(s->now, n->last_received);
                n->longest_gap_from = n->last_received;
        }
        n->last_received = s->now;
        if (!e->by_relay && !n->is_reference)
                ms_peer_on_proof(&n->peer, e->src, s->now);
        if (e->by_relay && !n->is_reference)
                ms_peer_on_heard(&n->peer, 1, s->now, &s->out);
        carry_out(s, e->to, MSG_DATA);
        if (e->msg == MSG_DATA && !n->is_silent && !again)      /* the replay window drops the second */
                send_data(s, e->to, MSG_ANSWER, e->number);
}

static inline void receive(struct sim *s, const struct event *e)
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
                on_call(s, e);
                break;
        case MSG_DATA:
        case MSG_ANSWER:
                receive_data(s, e);
                return;
        }
        carry_out(s, e->to, e->msg);
}

static inline mono_t next_moment(const struct sim *s)
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

static inline void step(struct sim *s)
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
                        n->next_data = mono_add_ms(s->now, s->period_ms);
                        send_data(s, i, MSG_DATA, s->number++);
                        return;
                }
                if (mono_reached(s->now, ms_peer_deadline(&n->peer))) {
                        if (n->is_reference)
                                strip_additions(&n->peer, s->now);
                        ms_peer_expire(&n->peer, s->now, &s->out);
                        carry_out(s, i, MSG_DATA);
                        assert_true(ms_peer_deadline(&n->peer).ns > s->now.ns);
                }
        }
}

static inline void run_for(struct sim *s, int64_t ms)
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
static inline void set_up(enum nat a, enum nat b, int64_t udp_ms, int64_t relay_ms)
{
        memset(&sim, 0, sizeof(sim));
        sim.now = (mono_t){NS_PER_SEC};
        sim.udp_ms = udp_ms;
        sim.relay_ms = relay_ms;
        sim.period_ms = 100;
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

static inline void have_v6(void)
{
        const char *const v6[] = {"[2001:db8:1::2]:41641", "[2001:db8:2::3]:41641"};
        for (int i = 0; i < 2; i++) {
                struct iface *f = &sim.n[i].face[1];
                f->inner = f->outer = addr(v6[i]);
                f->nat = NAT_EASY;
        }
}

static inline void exchange_maps(void)
{
        for (int i = 0; i < 2; i++) {
                struct event e = call_of(&sim.n[!i]);
                ms_peer_on_config(&sim.n[i].peer, true, false, 1, e.eps, e.count, sim.now);
        }
}

static inline int64_t direct_ms(int i)
{
        return mono_is_set(sim.n[i].direct_since) ? sim.n[i].direct_since.ns / NS_PER_MS - 1000 : -1;
}

static inline void assert_direct_within(int i, int64_t ms)
{
        if (direct_ms(i) < 0 || direct_ms(i) > ms)
                print_error("node %c direct after %lld ms\n", 'A' + i, (long long)direct_ms(i));
        assert_in_range(direct_ms(i), 0, ms);
}

static inline int tear_down(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++)
                ms_peer_done(&sim.n[i].peer);
        return 0;
}

/* From now on, as if the flow had just begun. */
static inline void forget_numbers(void)
{
        for (int i = 0; i < 2; i++) {
                sim.n[i].longest_gap_ns = 0;
                sim.n[i].last_received = sim.now;
                memset(sim.n[i].seen, 0, sizeof(sim.n[i].seen));
        }
        sim.first = sim.number;
}

/* Of the numbers that A has sent: how many never came, and came twice, there (B) and back (A). */
static inline void count_numbers(void)
{
        unsigned sent = sim.number - sim.first;
        assert_true(sent <= NUMBERS_MAX);
        for (int i = 0; i < 2; i++) {
                sim.n[i].lost = sim.n[i].doubled = 0;
                for (unsigned k = 0; k < sent; k++) {
                        sim.n[i].lost += sim.n[i].seen[k] == 0;
                        sim.n[i].doubled += sim.n[i].seen[k] > 1;
                }
        }
}
