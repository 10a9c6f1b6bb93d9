#include "netcheck/home.h"

#include <stdlib.h>
#include <string.h>

static const int64_t HISTORY_NS = 305 * NS_PER_SEC;
static const int64_t HEARD_NOW_NS = 8 * NS_PER_SEC;      /* heard so lately: it works */
static const int64_t HEARD_LATELY_NS = 120 * NS_PER_SEC; /* two keepalives */
static const int64_t MARGIN_NS = 10 * NS_PER_MS;

static void drop_oldest(struct nc_home *h)
{
        free(h->h[0].samples);
        h->count--;
        memmove(&h->h[0], &h->h[1], h->count * sizeof(h->h[0]));
}

void nc_home_done(struct nc_home *h)
{
        while (h->count > 0)
                drop_oldest(h);
}

/* Out of memory: this report is not remembered, which costs a little calm and nothing else. */
static void remember(struct nc_home *h, const struct netcheck_report *r, mono_t now)
{
        while (h->count > 0 && mono_diff_ns(now, h->h[0].at) > HISTORY_NS)
                drop_oldest(h);
        if (h->count == NC_HISTORY_MAX)
                drop_oldest(h);
        struct nc_sample *s = calloc(r->latency_count > 0 ? r->latency_count : 1, sizeof(*s));
        if (s == NULL)
                return;
        for (size_t i = 0; i < r->latency_count; i++)
                s[i] = (struct nc_sample){r->latency[i].region, r->latency[i].any_ns};
        h->h[h->count].at = now;
        h->h[h->count].count = r->latency_count;
        h->h[h->count].samples = s;
        h->count++;
}

static int64_t best_of(const struct nc_home *h, int region, int64_t present)
{
        int64_t best = present;
        for (size_t i = 0; i < h->count; i++)
                for (size_t j = 0; j < h->h[i].count; j++)
                        if (h->h[i].samples[j].region == region && h->h[i].samples[j].ns < best)
                                best = h->h[i].samples[j].ns;
        return best;
}

/* The operator's factor for the region; one that is not positive says nothing. */
static double scaled(const struct derpmap *map, int region, int64_t ns)
{
        const struct derp_region *r = derpmap_region(map, region);
        return (double)ns * (r != NULL && r->score > 0 ? r->score : 1);
}

static bool heard_within(mono_t heard, mono_t now, int64_t ns)
{
        return mono_is_set(heard) && mono_diff_ns(now, heard) <= ns;
}

/* Where nobody would reach us is no home, and the one that we have may go on being one whatever is thought of it. */
static bool may_be_home(const struct derp_region *r, int home)
{
        return r != NULL && (r->id == home ? derp_region_has_relay(r) : derp_region_may_be_home(r));
}

int nc_home_choose(struct nc_home *h, const struct nc_home_args *args, mono_t now)
{
        const struct netcheck_report *r = args->report;
        int candidate = 0;
        double best = 0, current = 0;
        remember(h, r, now);
        for (size_t i = 0; i < r->latency_count; i++) {
                int id = r->latency[i].region;
                if (!may_be_home(derpmap_region(args->map, id), args->home))
                        continue;
                double ns = scaled(args->map, id, best_of(h, id, r->latency[i].any_ns));
                if (id == args->home)
                        current = scaled(args->map, id, r->latency[i].any_ns);
                if (candidate == 0 || ns < best) {
                        candidate = id;
                        best = ns;
                }
        }
        if (args->home == 0 || !may_be_home(derpmap_region(args->map, args->home), args->home))
                return candidate;
        if (candidate == 0)
                return heard_within(args->home_heard, now, HEARD_LATELY_NS) ? args->home : 0;
        bool alive = current > 0 || heard_within(args->home_heard, now, HEARD_NOW_NS)
                || (mono_is_set(args->home_heard) && args->home_heard.ns >= args->started.ns);
        if (alive && (current - best < (double)MARGIN_NS || best > current / 3 * 2))
                return args->home;
        return candidate;
}
