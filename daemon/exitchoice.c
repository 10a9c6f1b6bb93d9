#include "daemon/exitchoice.h"

#include <string.h>

#include "daemon/netsync.h"

enum { CLEARLY_NS = 10 * NS_PER_MS };   /* and by a third */

static bool is_named(const struct netmap_node *n)
{
        return netmap_node_has_cap(n, "suggest-exit-node");
}

static bool is_usable(const struct netmap_node *n, bool named_only)
{
        return netsync_offers_exit(n) && !n->expired && n->online != NETMAP_NO && (!named_only || is_named(n));
}

static int64_t latency_of(const struct netmap_node *n, const struct netcheck_report *r)
{
        const struct nc_latency *l = r != NULL && n->home_derp > 0 ? nc_report_latency(r, n->home_derp) : NULL;
        return l != NULL && l->any_ns > 0 ? l->any_ns : INT64_MAX;
}

/* One with a relay before one without, then the least latency, then the older node. */
static bool is_better(const struct netmap_node *a, const struct netmap_node *b, const struct netcheck_report *r)
{
        int64_t la = latency_of(a, r), lb = latency_of(b, r);
        if (la != lb)
                return la < lb;
        if ((a->home_derp > 0) != (b->home_derp > 0))
                return a->home_derp > 0;
        return a->id < b->id;
}

static bool clearly_better(int64_t than, int64_t is)
{
        return than != INT64_MAX && is != INT64_MAX && than - is >= CLEARLY_NS && is < than - than / 3;
}

const struct netmap_node *exit_choice(const struct netmap *nm, const struct netcheck_report *r, const char *previous)
{
        const struct netmap_node *best = NULL, *before = NULL;
        bool named = false;
        for (size_t i = 0; i < nm->peer_count && !named; i++)
                named = is_named(nm->peers[i]);
        for (size_t i = 0; i < nm->peer_count; i++) {
                const struct netmap_node *n = nm->peers[i];
                if (!is_usable(n, named))
                        continue;
                if (best == NULL || is_better(n, best, r))
                        best = n;
                if (previous[0] != '\0' && strcmp(n->stable_id, previous) == 0)
                        before = n;
        }
        /* What this report did not measure is no reason to go. */
        if (before != NULL && !clearly_better(latency_of(before, r), latency_of(best, r)))
                return before;
        return best;
}
