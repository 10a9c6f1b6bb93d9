/* A NAT that gives out ports, and a peer that pings all it is told to, around the search through a hard NAT. */
#pragma once

#include <string.h>

#include "base/crypto.h"
#include "magicsock/hardnat.h"
#include "tests/unit/check.h"

enum { PORTS = 65536, STUN = 1, PEER = 2 };

enum nat_kind {
        NAT_RANDOM,      /* of all ports */
        NAT_BLOCK,       /* of 1000 */
        NAT_SEQUENCE,    /* the next free one */
        NAT_KEEPS,       /* the socket's own: not a hard one */
        NAT_SHUT,        /* nothing comes back in */
};

static const mono_t t0 = {100 * NS_PER_SEC};
static const struct hn_totals no_totals;

/* What is outside of the machine. */
struct world {
        struct hardnat h;
        struct hn_peer p, q;
        struct hn_actions out;
        mono_t now;
        enum nat_kind nat;
        uint16_t next_port;
        uint16_t stun_port[HN_SOCKETS], peer_port[HN_SOCKETS];
        int at_port[PORTS];          /* socket + 1 that is open there towards the peer */
        bool stun_lost, probes_lost;
        unsigned socket_limit;
        int64_t delay_ns;            /* from a call to the ping it causes */
        unsigned asks, opens, pings, calls, plain_calls, guesses, pins, unpins, closes, probes, most_at_once;
        unsigned hit_socket;
        bool hit_waits;
        mono_t hit_at, first_call, last_call, first_ping, last_ping;
        struct addr target;
};

static inline struct addr addr_of(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static inline uint16_t own_port(unsigned socket)
{
        return (uint16_t)(30000 + socket);
}

static inline uint16_t new_port(struct world *w, unsigned socket)
{
        uint32_t p;
        switch (w->nat) {
        case NAT_KEEPS:
                return own_port(socket);
        case NAT_SEQUENCE:
                return w->next_port++;
        case NAT_BLOCK:
                do
                        p = 40000 + (uint32_t)crypto_random_below(1000);
                while (w->at_port[p]);
                return (uint16_t)p;
        case NAT_RANDOM:
        case NAT_SHUT:
                break;
        }
        do
                p = 1024 + (uint32_t)crypto_random_below(64512);
        while (w->at_port[p]);
        return (uint16_t)p;
}

static inline void start_world(struct world *w, enum nat_kind nat)
{
        memset(w, 0, sizeof(*w));
        hn_init(&w->h);
        hn_set_nat(&w->h, NC_TRUE);
        w->now = t0;
        w->nat = nat;
        w->next_port = 50000;
        w->socket_limit = HN_SOCKETS;
        w->delay_ns = 40 * NS_PER_MS;
        w->target = addr_of("198.51.100.7:41641");
}

static inline void end_world(struct world *w)
{
        hn_forget(&w->h, &w->p, w->now, &w->out);
        hn_forget(&w->h, &w->q, w->now, &w->out);
        assert_null(w->h.first);
        assert_null(w->h.last);
        hn_done(&w->h);
}

static inline struct hn_facts facts(const struct world *w)
{
        return (struct hn_facts){
                .targets = {w->target}, .target_count = 1, .ours = addr_of("203.0.113.9:1").ip, .has_stun = true,
                .can_call = true};
}

static inline void take_call(struct world *w, const struct hn_action *a)
{
        if (a->count == 0) {
                w->plain_calls++;
                return;
        }
        assert_true(a->count <= HN_GUESSES);
        assert_true(ip_eq(a->ip, addr_of("203.0.113.9:1").ip));
        assert_int_equal(w->pings, w->opens);
        if (w->calls++ == 0)
                w->first_call = w->now;
        else
                assert_true(mono_diff_ns(w->now, w->last_call) >= HN_CALL_GAP_NS);
        w->last_call = w->now;
        for (size_t i = 0; i < a->count; i++) {
                w->guesses++;
                int s = w->at_port[w->h.ports[i]];
                if (s && !w->hit_waits && w->nat != NAT_SHUT) {
                        w->hit_waits = true;
                        w->hit_socket = (unsigned)s - 1;
                        w->hit_at = mono_add_ns(w->now, w->delay_ns);
                }
        }
}

static inline void open_socket(struct world *w, unsigned i)
{
        if (i >= w->socket_limit) {
                hn_on_open_failed(&w->h, i);
                return;
        }
        w->opens++;
}

static inline void carry_out(struct world *w)
{
        unsigned pings = 0;
        for (size_t i = 0; i < w->out.count; i++) {
                const struct hn_action *a = &w->out.a[i];
                switch (a->kind) {
                case HN_ACT_ASK:
                        w->asks++;
                        break;
                case HN_ACT_OPEN:
                        open_socket(w, a->socket);
                        break;
                case HN_ACT_STUN:
                        w->stun_port[a->socket] = new_port(w, a->socket);
                        if (!w->stun_lost)
                                hn_on_stun(&w->h,
                                           (struct addr){addr_of("203.0.113.9:1").ip, w->stun_port[a->socket]},
                                           own_port(a->socket), w->now);
                        break;
                case HN_ACT_PING:
                        assert_true(addr_eq(a->addr, w->target));
                        if (a->socket >= w->socket_limit)
                                break;
                        w->peer_port[a->socket] = new_port(w, a->socket);
                        w->at_port[w->peer_port[a->socket]] = (int)a->socket + 1;
                        if (w->pings++ == 0)
                                w->first_ping = w->now;
                        w->last_ping = w->now;
                        pings++;
                        break;
                case HN_ACT_CALL:
                        take_call(w, a);
                        break;
                case HN_ACT_PIN:
                        w->pins++;
                        assert_true(addr_eq(a->addr, w->target));
                        assert_int_equal(a->socket, w->hit_socket);
                        break;
                case HN_ACT_PROBE:
                        w->probes++;
                        break;
                case HN_ACT_UNPIN:
                        w->unpins++;
                        break;
                case HN_ACT_CLOSE:
                        w->closes++;
                        break;
                }
        }
        w->most_at_once = pings > w->most_at_once ? pings : w->most_at_once;
        w->out.count = 0;
}

/* As the owner would, until `until`; keeps both peers' traffic going. */
static inline void run_until(struct world *w, mono_t until)
{
        while (w->now.ns < until.ns) {
                mono_t next = mono_min(until, hn_deadline(&w->h, w->now));
                if (w->hit_waits)
                        next = mono_min(next, w->hit_at);
                w->now = next.ns > w->now.ns ? next : mono_add_ns(w->now, 1);
                struct hn_peer *due = hn_due(&w->h, w->now);
                struct hn_facts f = facts(w);
                if (due)
                        hn_start(&w->h, due, &f, w->now, &w->out);
                else
                        hn_expire(&w->h, w->now, &w->out);
                carry_out(w);
                if (w->hit_waits && mono_reached(w->now, w->hit_at)) {
                        struct hn_peer *p = w->h.peer;
                        w->hit_waits = false;
                        if (!p)
                                continue;
                        hn_on_hit(&w->h, p, w->hit_socket, w->target, w->now, &w->out);
                        carry_out(w);
                        if (!w->probes_lost)
                                hn_on_direct(&w->h, p, w->target, w->now, &w->out);
                        carry_out(w);
                }
        }
}

static inline void traffic(struct world *w, struct hn_peer *p)
{
        hn_on_relayed(&w->h, p, w->now, &w->out);
        carry_out(w);
}

/* With traffic each second for so many seconds. */
static inline void run_for(struct world *w, int seconds)
{
        for (int i = 0; i < seconds; i++) {
                if (!mono_is_set(w->p.found_at))
                        traffic(w, &w->p);
                run_until(w, mono_add_ns(w->now, NS_PER_SEC));
        }
}

/* The peer answers each question. */
static inline void says(struct world *w, struct hn_peer *p, uint8_t hello)
{
        hn_on_hello(p, true, hello, w->now);
}

static inline void start_try(struct world *w, enum nat_kind nat)
{
        start_world(w, nat);
        traffic(w, &w->p);
        says(w, &w->p, HN_HELLO_EASY);
}
