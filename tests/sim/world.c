#include "tests/sim/world.h"

#include <stdio.h>
#include <string.h>

#include "tests/sim/draw.h"
#include "tests/sim/faults.h"
#include "tests/sim/flow.h"
#include "tests/sim/oracle.h"
#include "tests/sim/relay.h"
#include "tests/sim/trace.h"

enum {
        ROUNDS_MAX = 100000,
        WATCH_MS = 8000,
        ACTIVE_MS = 90000,    /* the last keepalive after 10 s, then LOOKS_MS */
        LOOKS_MS = 80000,     /* paths are looked after for 45 s, and STUN asked once more, 26 s later, by a report of some seconds */
        DIRECT_MS = 3000,
        CROWD_EVERY = 100,
};

static int flukes;

static bool run_until(mono_t t)
{
        while (clock_step(t)) {
                if (clock_rounds_now() > ROUNDS_MAX) {
                        trace_fail("time does not go on: something re-arms itself for this very moment for ever");
                        return false;
                }
        }
        return true;
}

/* At the end, when nothing has changed for a while: is it direct, if and only if it can be? */
static void judge_path(const struct flow *f)
{
        const struct host *a = f->a->host, *b = f->b->host;
        enum oracle_path can = oracle_path(a, b);
        bool both = f->answered;
        uint64_t direct = f->direct[0] + f->direct[1], relayed = f->relayed[0] + f->relayed[1];
        trace_line("flow %d, %s to %s: %s; %llu directly, %llu by relay", f->id, a->name, b->name, oracle_str(can),
                (unsigned long long)direct, (unsigned long long)relayed);
        flukes += can == ORACLE_FLUKE && direct > 0;
        if (can == ORACLE_NO && direct > 0)
                trace_fail("%s and %s talk directly, which the oracle thinks impossible", a->name, b->name);
        if (!node_knows(f->a, f->b) || !node_knows(f->b, f->a))
                return;   /* the server could not tell them */
        if (can != ORACLE_YES || !net_is_lossless(a) || !net_is_lossless(b))
                return;
        mono_t watched = mono_add_ms(clock_now(), -WATCH_MS);
        if (net_is_starved(a, watched) || net_is_starved(b, watched))
                return;
        /* A path that is doubted for a moment is joined by the relay, and nothing is lost. */
        bool there = f->relayed[0] * 4 <= f->direct[0] && f->direct[0] > 0;
        bool back = !both || (f->relayed[1] * 4 <= f->direct[1] && f->direct[1] > 0);
        if (!there || !back)
                trace_fail("%s and %s have a direct path, but in the end %llu and %llu packets went by relay, %llu and %llu directly",
                        a->name, b->name, (unsigned long long)f->relayed[0], (unsigned long long)f->relayed[1],
                        (unsigned long long)f->direct[0], (unsigned long long)f->direct[1]);
}

/* Where nothing goes wrong a direct path is there soon after the first packet. */
static void judge_speed(const struct flow *f)
{
        const struct host *a = f->a->host, *b = f->b->host;
        if (oracle_path(a, b) != ORACLE_YES || !net_is_lossless(a) || !net_is_lossless(b) || f->count == 0)
                return;
        int64_t took = mono_is_set(f->first_direct) ? mono_diff_ms(f->first_direct, f->from) : INT64_MAX;
        trace_line("flow %d was direct after %lld ms", f->id, (long long)took);
        if (took > DIRECT_MS + f->gap_ns / NS_PER_MS)
                trace_fail("from %s to %s it took %lld ms to a direct path", a->name, b->name, (long long)took);
}

/* By relay two round trips, one of them WireGuard's; and connections to each other's relay, of five round trips at most.
 * Where a trip is longer than WireGuard's first wait, there is a third handshake message to be waited for. */
static int64_t first_answer_ms(const struct host *a, const struct host *b)
{
        int64_t to_a = net_delay_to_core(a), to_b = net_delay_to_core(b), jitter = a->link.jitter_ns + a->site->link.jitter_ns +
                b->link.jitter_ns + b->site->link.jitter_ns;
        return ((2 * 3 + 2 * 5) * (to_a + to_b) + 6 * jitter) / NS_PER_MS + 200;
}

static void judge_first(const struct flow *f)
{
        const struct host *a = f->a->host, *b = f->b->host;
        if (!f->answered || f->count == 0 || !net_is_lossless(a) || !net_is_lossless(b))
                return;
        int64_t took = mono_is_set(f->sent[0].back) ? mono_diff_ms(f->sent[0].back, f->sent[0].at) : INT64_MAX;
        trace_line("flow %d was answered after %lld of %lld ms", f->id, (long long)took, (long long)first_answer_ms(a, b));
        if (took > first_answer_ms(a, b))
                trace_fail("from %s to %s it took %lld ms to the first answer", a->name, b->name, (long long)took);
}

static bool all_lossless(void)
{
        for (int i = 0; i < node_count(); i++)
                if (!net_is_lossless(node_at(i)->host))
                        return false;
        return true;
}

/* While nobody sends, nobody asks.  A keepalive that a link lost is asked for by a handshake, 15 s later, maybe more than once,
 * which counts as traffic. */
static bool run_idle(const struct plan *p)
{
        if (!mono_is_set(p->idle_from))
                return true;
        mono_t quiet = mono_add_ms(p->idle_from, ACTIVE_MS), end = mono_add_ms(p->idle_until, -1);
        bool ok = run_until(quiet);
        mono_t looked_after = mono_add_ms(net_last_wg, LOOKS_MS), last_wg = net_last_wg;
        if (ok && !all_lossless() && looked_after.ns > quiet.ns)
                ok = run_until(mono_min(looked_after, end));
        if (ok && net_last_wg.ns > last_wg.ns)
                trace_fail("WireGuard does not come to rest while all is idle");
        uint64_t before = flows_sent_at_all();
        ok = ok && run_until(end);
        if (ok && flows_sent_at_all() > before)
                trace_fail("%llu packets left while all was idle", (unsigned long long)(flows_sent_at_all() - before));
        return ok;
}

struct run_result world_run(uint64_t seed, bool verbose)
{
        struct run_result r = {.ok = true};
        flukes = 0;
        trace_begin(verbose);
        clock_reset();
        rng_own_crypto(seed);
        net_reset(rng_of(seed, 2));
        tcp_reset();
        relay_reset();
        nodes_reset();
        flows_reset();
        faults_reset();

        struct rng rng = rng_of(seed, 1);
        struct plan plan = {.calm = true};
        struct rng size = rng_of(seed, 4);
        if (rng_in(&size, 1, CROWD_EVERY) == 1)
                draw_crowd(&rng, &plan);
        else
                draw_world(&rng, &plan);
        int64_t settle_ms = faults_settle_ms();
        flows_slow(mono_add_ms(plan.quiet_from, 5000), mono_add_ms(plan.quiet_from, settle_ms - 10000));
        for (int i = 0; i < flow_count(); i++) {
                struct flow *f = flow_at(i);
                mono_t begin = f->from;
                f->until = mono_add_ms(plan.quiet_from, settle_ms + WATCH_MS - 1000);
                flow_run(f, begin, f->until);
        }
        bool ok = run_idle(&plan) && run_until(mono_add_ms(plan.quiet_from, settle_ms));
        flows_watch();
        ok = ok && run_until(mono_add_ms(plan.quiet_from, settle_ms + WATCH_MS));
        if (ok) {
                for (int i = 0; i < flow_count(); i++) {
                        judge_path(flow_at(i));
                        if (!plan.calm)
                                continue;
                        judge_speed(flow_at(i));
                        judge_first(flow_at(i));
                }
                flows_judge();
        }
        r.nodes = node_count();
        r.flukes = flukes;
        r.seconds = (double)(clock_now().ns - NS_PER_SEC) / 1e9;

        faults_done();
        flows_done();
        nodes_done();
        relay_done();
        tcp_done();
        net_done();
        r.hash = trace_hash();
        if (trace_failure() != NULL) {
                r.ok = false;
                snprintf(r.why, sizeof(r.why), "%s", trace_failure());
        }
        return r;
}
