#include "netcheck/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

enum { FULL_TRIES = 3, REGIONS_MAX = 3 /* of an incremental report, and home */ };

static const int64_t FULL_SPACING = 100 * NS_PER_MS;
static const int64_t UNKNOWN_SPACING = 200 * NS_PER_MS;
static const int64_t EXTRA_SPACING = 50 * NS_PER_MS;

bool nc_is_test_node(const struct derp_node *n)
{
        return n->stun_test_ip[0] != '\0' || strcmp(n->ipv4, "127.0.0.1") == 0;
}

static bool is_literal(const char *s, enum ip_family f)
{
        struct ip ip;
        return ip_parse(s, &ip) == ERR_NONE && ip.family == f;
}

/* The node may be asked in family f: by an address of that family, or by name.  What can have none is not planned,
 * so nobody waits for it. */
static bool usable(const struct derp_node *n, enum ip_family f, bool have)
{
        const char *field = f == IP_V4 ? n->ipv4 : n->ipv6;
        if (strcmp(field, "none") == 0 || n->stun_port == 0)
                return false;
        if (!have && !nc_is_test_node(n))
                return false;
        if (is_literal(n->stun_test_ip, f))
                return true;
        if (field[0] != '\0')
                return is_literal(field, f);
        return !is_literal(n->hostname, f == IP_V4 ? IP_V6 : IP_V4);
}

static void add_probe(struct nc_set *s, const struct derp_region *r, unsigned try, bool have, int64_t delay)
{
        size_t node = try % r->node_count;
        if (!usable(&r->nodes[node], s->family, have))
                return;
        s->probes[s->count++] = (struct nc_probe){.node = (uint8_t)node, .delay_ns = delay};
}

static void add_set(struct nc_plan *plan, const struct nc_set *s)
{
        if (s->count > 0 && plan->count < NC_SETS_MAX)
                plan->sets[plan->count++] = *s;
}

static void plan_full(struct nc_plan *plan, const struct nc_plan_args *a)
{
        for (size_t i = 0; i < a->map->region_count && i < DERPMAP_REGIONS_MAX; i++) {
                const struct derp_region *r = &a->map->regions[i];
                if (r->no_measure_no_home || r->node_count == 0)
                        continue;
                struct nc_set v4 = {.region_index = (uint16_t)i, .family = IP_V4};
                struct nc_set v6 = {.region_index = (uint16_t)i, .family = IP_V6};
                for (unsigned try = 0; try < FULL_TRIES; try++) {
                        add_probe(&v4, r, try, a->have_v4, try * FULL_SPACING);
                        add_probe(&v6, r, try, a->have_v6, try * FULL_SPACING);
                }
                add_set(plan, &v4);
                add_set(plan, &v6);
        }
}

struct candidate {
        uint16_t index;
        int id;
        int64_t ns;   /* INT64_MAX: not measured */
};

static int by_latency(const void *pa, const void *pb)
{
        const struct candidate *a = pa, *b = pb;
        if (a->ns != b->ns)
                return a->ns < b->ns ? -1 : 1;
        return a->id < b->id ? -1 : a->id > b->id;
}

static size_t candidates(const struct nc_plan_args *a, struct candidate out[DERPMAP_REGIONS_MAX])
{
        size_t n = 0;
        for (size_t i = 0; i < a->map->region_count && i < DERPMAP_REGIONS_MAX; i++) {
                const struct derp_region *r = &a->map->regions[i];
                if (r->no_measure_no_home || r->node_count == 0 || (r->avoid && r->id != a->home))
                        continue;
                const struct nc_latency *l = nc_report_latency(a->last, r->id);
                out[n++] = (struct candidate){(uint16_t)i, r->id, l != NULL ? l->any_ns : INT64_MAX};
        }
        qsort(out, n, sizeof(out[0]), by_latency);
        return n;
}

/* What the previous report says about the families. */
struct families {
        bool had_v6, both;
};

static void plan_region(struct nc_plan *plan, const struct nc_plan_args *a, const struct candidate *c, size_t rank,
        struct families fam)
{
        const struct derp_region *r = &a->map->regions[c->index];
        bool home = r->id == a->home, do4 = a->have_v4, do6 = a->have_v6;
        unsigned tries = home ? 4 : rank < 2 ? 2 : 1;
        int64_t base = c->ns == INT64_MAX ? UNKNOWN_SPACING : c->ns * 120 / 100;
        if (!home && rank >= 2) {
                if (fam.both) {
                        do4 = rank % 2 == 0;
                        do6 = !do4;
                }
                do6 = do6 && fam.had_v6;
        }
        struct nc_set v4 = {.region_index = c->index, .family = IP_V4};
        struct nc_set v6 = {.region_index = c->index, .family = IP_V6};
        for (unsigned try = 0; try < tries; try++) {
                int64_t delay = try * base + (try > 1 ? try * EXTRA_SPACING : 0);
                add_probe(&v4, r, try, do4, delay);
                add_probe(&v6, r, try, do6 && (try == 0 || fam.had_v6), delay);
        }
        add_set(plan, &v4);
        add_set(plan, &v6);
}

static void plan_incremental(struct nc_plan *plan, const struct nc_plan_args *a)
{
        struct candidate c[DERPMAP_REGIONS_MAX];
        size_t n = candidates(a, c);
        bool had4 = false, had6 = false, home_done = a->home == 0;
        for (size_t i = 0; i < a->last->latency_count; i++) {
                had4 = had4 || a->last->latency[i].v4_ns != 0;
                had6 = had6 || a->last->latency[i].v6_ns != 0;
        }
        struct families fam = {.had_v6 = had6, .both = a->have_v6 && had4 && had6};
        for (size_t i = 0; i < n && (i < REGIONS_MAX || !home_done); i++) {
                bool home = c[i].id == a->home;
                home_done = home_done || home;
                if (i < REGIONS_MAX || home)
                        plan_region(plan, a, &c[i], i, fam);
        }
}

void nc_plan_make(struct nc_plan *plan, const struct nc_plan_args *args)
{
        plan->count = 0;
        if (args->last == NULL || args->last->latency_count == 0)
                plan_full(plan, args);
        else
                plan_incremental(plan, args);
}
