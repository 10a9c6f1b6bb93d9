#include "tests/sim/world.h"

#include <stdio.h>
#include <string.h>

#include "tests/sim/draw.h"
#include "tests/sim/faults.h"
#include "tests/sim/flow.h"
#include "tests/sim/oracle.h"
#include "tests/sim/relay.h"
#include "tests/sim/trace.h"

enum { ROUNDS_MAX = 100000, SETTLE_MS = 25000, WATCH_MS = 8000 };

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

static bool is_lossless(const struct host *h)
{
        return h->link.loss == 0 && h->site->link.loss == 0 && (h->site->up == NULL || h->site->up->link.loss == 0);
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
        if (can == ORACLE_NO && direct > 0)
                trace_fail("%s and %s talk directly, which the oracle thinks impossible", a->name, b->name);
        if (can != ORACLE_YES || !is_lossless(a) || !is_lossless(b))
                return;
        if (relayed > 0 || f->direct[0] == 0 || (both && f->direct[1] == 0))
                trace_fail("%s and %s have a direct path, but in the end %llu and %llu packets went by relay, %llu and %llu directly",
                        a->name, b->name, (unsigned long long)f->relayed[0], (unsigned long long)f->relayed[1],
                        (unsigned long long)f->direct[0], (unsigned long long)f->direct[1]);
}

struct run_result world_run(uint64_t seed, bool verbose)
{
        struct run_result r = {.ok = true};
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
        struct plan plan;
        draw_world(&rng, &plan);
        for (int i = 0; i < flow_count(); i++) {
                struct flow *f = flow_at(i);
                mono_t begin = f->from;
                f->until = mono_add_ms(plan.quiet_from, SETTLE_MS + WATCH_MS - 1000);
                flow_run(f, begin, f->until);
        }
        bool ok = run_until(mono_add_ms(plan.quiet_from, SETTLE_MS));
        flows_watch();
        ok = ok && run_until(mono_add_ms(plan.quiet_from, SETTLE_MS + WATCH_MS));
        if (ok) {
                for (int i = 0; i < flow_count(); i++)
                        judge_path(flow_at(i));
                flows_judge();
        }
        r.nodes = node_count();
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
