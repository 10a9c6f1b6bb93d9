/* The search against a NAT of this file's: it gives out ports, and a peer that pings all it is told to. */
#include "tests/unit/check.h"

#include <string.h>

#include "base/crypto.h"
#include "magicsock/hardnat.h"

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

static struct addr addr_of(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static uint16_t own_port(unsigned socket)
{
        return (uint16_t)(30000 + socket);
}

static uint16_t new_port(struct world *w, unsigned socket)
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

static void start_world(struct world *w, enum nat_kind nat)
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

static void end_world(struct world *w)
{
        hn_forget(&w->h, &w->p, w->now, &w->out);
        hn_forget(&w->h, &w->q, w->now, &w->out);
        assert_null(w->h.first);
        assert_null(w->h.last);
        hn_done(&w->h);
}

static struct hn_facts facts(const struct world *w)
{
        return (struct hn_facts){
                .targets = {w->target}, .target_count = 1, .ours = addr_of("203.0.113.9:1").ip, .has_stun = true};
}

static void take_call(struct world *w, const struct hn_action *a)
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

static void open_socket(struct world *w, unsigned i)
{
        if (i >= w->socket_limit) {
                hn_on_open_failed(&w->h, i);
                return;
        }
        w->opens++;
}

static void carry_out(struct world *w)
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
static void run_until(struct world *w, mono_t until)
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

static void traffic(struct world *w, struct hn_peer *p)
{
        hn_on_relayed(&w->h, p, w->now, &w->out);
        carry_out(w);
}

/* With traffic each second for so many seconds. */
static void run_for(struct world *w, int seconds)
{
        for (int i = 0; i < seconds; i++) {
                if (!mono_is_set(w->p.found_at))
                        traffic(w, &w->p);
                run_until(w, mono_add_ns(w->now, NS_PER_SEC));
        }
}

/* The peer answers each question. */
static void says(struct world *w, struct hn_peer *p, uint8_t hello)
{
        hn_on_hello(p, true, hello, w->now);
}

static void start_try(struct world *w, enum nat_kind nat)
{
        start_world(w, nat);
        traffic(w, &w->p);
        says(w, &w->p, HN_HELLO_EASY);
}

/* ---- the search ---- */

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

static void test_no_address(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_RANDOM);
        w.now = mono_add_ns(w.now, HN_FIRST_NS);
        struct hn_facts f = facts(&w);
        f.target_count = 0;
        assert_ptr_equal(hn_due(&w.h, w.now), &w.p);
        hn_start(&w.h, &w.p, &f, w.now, &w.out);
        assert_int_equal(w.out.count, 0);
        assert_null(hn_due(&w.h, w.now));
        struct hn_status s;
        hn_peer_status(&w.h, &w.p, w.now, &s);
        assert_int_equal(s.why, HN_WHY_NO_ADDRESS);
        assert_int_equal(s.tries, 0);
        run_for(&w, 8);
        assert_int_equal(w.p.status.tries, 1);
        end_world(&w);
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

static void test_unpins_what_is_lost(void **state)
{
        (void)state;
        struct world w;
        start_try(&w, NAT_BLOCK);
        run_for(&w, 3);
        assert_true(w.p.status.pinned);
        w.nat = NAT_SHUT;
        w.p.found_at = (mono_t){0};
        mono_t lost = w.now;
        while (w.unpins == 0 && mono_diff_ns(w.now, lost) < 300 * NS_PER_SEC)
                run_for(&w, 1);
        assert_in_range(mono_diff_ms(w.now, lost), 119000, 122000);
        assert_false(w.p.status.pinned);
        end_world(&w);
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

/* ---- aim ---- */

static void test_aim(void **state)
{
        (void)state;
        static const struct {
                uint16_t seen[6];
                size_t n;
                uint16_t low, high;
        } rows[] = {
                {{0}, 0, 1024, 65535},
                {{40000, 40001, 40002}, 3, 1024, 65535},
                {{40000, 40001, 40002, 40003}, 4, 39998, 40005},
                {{40003, 40000, 40002, 40001}, 4, 39998, 40005},
                {{40000, 40000, 40000, 40000}, 4, 40000, 40000},
                {{1030, 1100, 1200, 1229}, 4, 1024, 1329},
                {{100, 200, 300, 299}, 4, 1, 400},
                {{65535, 65435, 65500, 65501}, 4, 65385, 65535},
                {{2000, 60000, 30000, 20000, 50000, 40000}, 6, 1024, 65535},
        };
        static struct hn_aim a;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                hn_aim_init(&a);
                for (size_t j = 0; j < rows[i].n; j++)
                        hn_aim_seen(&a, (struct addr){addr_of("1.2.3.4:1").ip, rows[i].seen[j]});
                hn_aim_fix(&a);
                if (a.low != rows[i].low || a.high != rows[i].high)
                        print_error("row %zu: %u-%u\n", i, a.low, a.high);
                assert_int_equal(a.low, rows[i].low);
                assert_int_equal(a.high, rows[i].high);
        }
}

/* Every port once; the range first, then all others; then nothing. */
static void test_aim_exhausts(void **state)
{
        (void)state;
        static struct hn_aim a;
        static uint8_t count[PORTS];
        uint16_t ports[100];
        memset(count, 0, sizeof(count));
        hn_aim_init(&a);
        for (uint16_t i = 0; i < 5; i++)
                hn_aim_seen(&a, (struct addr){addr_of("1.2.3.4:1").ip, (uint16_t)(5000 + 10 * i)});
        hn_aim_fix(&a);
        size_t total = 0, n;
        while ((n = hn_aim_pick(&a, ports, 100)) > 0) {
                for (size_t i = 0; i < n; i++, total++) {
                        count[ports[i]]++;
                        if (total < 81)
                                assert_in_range(ports[i], 4980, 5060);
                        else
                                assert_false(ports[i] >= 4980 && ports[i] <= 5060);
                }
        }
        assert_int_equal(total, 64512);
        for (int p = 0; p < PORTS; p++)
                assert_int_equal(count[p], p >= 1024);
}

static void test_aim_ip(void **state)
{
        (void)state;
        static struct hn_aim a;
        hn_aim_init(&a);
        assert_false(ip_is_set(hn_aim_ip(&a)));
        static const char *seen[] = {"1.1.1.1:5", "2.2.2.2:6", "3.3.3.3:7", "2.2.2.2:8"};
        for (size_t i = 0; i < 4; i++)
                hn_aim_seen(&a, addr_of(seen[i]));
        assert_true(ip_eq(hn_aim_ip(&a), addr_of("2.2.2.2:1").ip));
        for (int i = 0; i < 100; i++)
                hn_aim_seen(&a, addr_of("9.9.9.9:5"));
        assert_int_equal(a.seen_count, HN_SAMPLES_MAX);
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
                cmocka_unit_test(test_who),
                cmocka_unit_test(test_silent_peer),
                cmocka_unit_test(test_rests_after_misses),
                cmocka_unit_test(test_new_traffic),
                cmocka_unit_test(test_one_peer_at_a_time),
                cmocka_unit_test(test_no_address),
                cmocka_unit_test(test_another_way_is_found),
                cmocka_unit_test(test_stops),
                cmocka_unit_test(test_peer_restarts),
                cmocka_unit_test(test_paths_that_do_not_hold),
                cmocka_unit_test(test_unpins_what_is_lost),
                cmocka_unit_test(test_idle_costs_nothing),
                cmocka_unit_test(test_aim),
                cmocka_unit_test(test_aim_exhausts),
                cmocka_unit_test(test_aim_ip),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
