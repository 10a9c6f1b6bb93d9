#include "netcheck/plan.h"

#include "tests/unit/check.h"

enum { REGIONS = 6, MS = 1000000 };

/* Regions 1 to 5, region k with k nodes; region 6 is never measured. */
static struct derp_node nodes[REGIONS][REGIONS];
static struct derp_region regions[REGIONS];
static struct derpmap map = {.region_count = REGIONS, .regions = regions};

static int setup(void **state)
{
        (void)state;
        memset(nodes, 0, sizeof(nodes));
        memset(regions, 0, sizeof(regions));
        for (int i = 0; i < REGIONS; i++) {
                regions[i] = (struct derp_region){.id = i + 1, .score = 1, .node_count = (size_t)i + 1,
                        .nodes = nodes[i], .no_measure_no_home = i == 5};
                for (int k = 0; k <= i; k++) {
                        struct derp_node *n = &nodes[i][k];
                        snprintf(n->name, sizeof(n->name), "%d%c", i + 1, 'a' + k);
                        snprintf(n->hostname, sizeof(n->hostname), "%d%c.example", i + 1, 'a' + k);
                        n->stun_port = 3478;
                }
        }
        return 0;
}

/* "1v4 1a@0 1a@12; ..." in the plan's order, in milliseconds. */
static const char *plan_text(const struct nc_plan *p, char *out, size_t cap)
{
        size_t at = 0;
        out[0] = '\0';
        for (size_t i = 0; i < p->count; i++) {
                const struct nc_set *s = &p->sets[i];
                const struct derp_region *r = &map.regions[s->region_index];
                at += (size_t)snprintf(out + at, cap - at, "%s%dv%d", i > 0 ? "; " : "", r->id, s->family);
                for (size_t k = 0; k < s->count; k++)
                        at += (size_t)snprintf(out + at, cap - at, " %s@%d", r->nodes[s->probes[k].node].name + 1,
                                (int)(s->probes[k].delay_ns / MS));
        }
        return out;
}

static struct nc_latency seen(int region, int v4_ms, int v6_ms)
{
        int any = v4_ms != 0 ? v4_ms : v6_ms;
        return (struct nc_latency){region, (int64_t)any * MS, (int64_t)v4_ms * MS, (int64_t)v6_ms * MS};
}

static void expect(const struct netcheck_report *last, bool v4, bool v6, int home, const char *want)
{
        char text[1024];
        struct nc_plan plan;
        nc_plan_make(&plan, &(struct nc_plan_args){&map, last, v4, v6, home});
        assert_string_equal(plan_text(&plan, text, sizeof(text)), want);
}

static void test_full(void **state)
{
        (void)state;
        struct netcheck_report empty = {0};
        expect(NULL, true, true, 0,
                "1v4 a@0 a@100 a@200; 1v6 a@0 a@100 a@200; 2v4 a@0 b@100 a@200; 2v6 a@0 b@100 a@200; "
                "3v4 a@0 b@100 c@200; 3v6 a@0 b@100 c@200; 4v4 a@0 b@100 c@200; 4v6 a@0 b@100 c@200; "
                "5v4 a@0 b@100 c@200; 5v6 a@0 b@100 c@200");
        expect(&empty, true, false, 0,
                "1v4 a@0 a@100 a@200; 2v4 a@0 b@100 a@200; 3v4 a@0 b@100 c@200; 4v4 a@0 b@100 c@200; "
                "5v4 a@0 b@100 c@200");
        expect(NULL, false, true, 0,
                "1v6 a@0 a@100 a@200; 2v6 a@0 b@100 a@200; 3v6 a@0 b@100 c@200; 4v6 a@0 b@100 c@200; "
                "5v6 a@0 b@100 c@200");
        expect(NULL, false, false, 0, "");
}

static void test_incremental(void **state)
{
        (void)state;
        struct netcheck_report last = {.latency_count = 4,
                .latency = {seen(1, 10, 0), seen(2, 20, 0), seen(3, 30, 0), seen(4, 40, 0)}};
        expect(&last, true, false, 0, "1v4 a@0 a@12; 2v4 a@0 b@24; 3v4 a@0");
        expect(&last, true, true, 0, "1v4 a@0 a@12; 1v6 a@0; 2v4 a@0 b@24; 2v6 a@0; 3v4 a@0");
        struct netcheck_report both = {.latency_count = 4,
                .latency = {seen(1, 10, 0), seen(2, 20, 0), seen(3, 0, 30), seen(4, 0, 40)}};
        expect(&both, true, true, 0,
                "1v4 a@0 a@12; 1v6 a@0 a@12; 2v4 a@0 b@24; 2v6 a@0 b@24; 3v4 a@0");
        expect(&both, true, true, 1,
                "1v4 a@0 a@12 a@124 a@186; 1v6 a@0 a@12 a@124 a@186; 2v4 a@0 b@24; 2v6 a@0 b@24; 3v4 a@0");
        struct netcheck_report far_home = {.latency_count = 4,
                .latency = {seen(1, 50, 50), seen(2, 20, 20), seen(3, 30, 30), seen(4, 40, 40)}};
        expect(&far_home, true, true, 1,
                "2v4 a@0 b@24; 2v6 a@0 b@24; 3v4 a@0 b@36; 3v6 a@0 b@36; 4v4 a@0; "
                "1v4 a@0 a@60 a@220 a@330; 1v6 a@0 a@60 a@220 a@330");
}

/* What a region cannot have is never planned, so nobody waits for it. */
static void test_families_of_a_node(void **state)
{
        (void)state;
        map.region_count = 1;
        snprintf(nodes[0][0].ipv6, sizeof(nodes[0][0].ipv6), "none");
        expect(NULL, true, true, 0, "1v4 a@0 a@100 a@200");
        nodes[0][0].ipv6[0] = '\0';
        snprintf(nodes[0][0].hostname, sizeof(nodes[0][0].hostname), "192.0.2.7");
        expect(NULL, true, true, 0, "1v4 a@0 a@100 a@200");
        snprintf(nodes[0][0].ipv4, sizeof(nodes[0][0].ipv4), "2001:db8::1");
        expect(NULL, true, true, 0, "");
        snprintf(nodes[0][0].ipv4, sizeof(nodes[0][0].ipv4), "127.0.0.1");
        assert_true(nc_is_test_node(&nodes[0][0]));
        expect(NULL, false, false, 0, "1v4 a@0 a@100 a@200");
        snprintf(nodes[0][0].hostname, sizeof(nodes[0][0].hostname), "relay.example");
        expect(NULL, false, false, 0, "1v4 a@0 a@100 a@200; 1v6 a@0 a@100 a@200");
        snprintf(nodes[0][0].ipv4, sizeof(nodes[0][0].ipv4), "192.0.2.1");
        snprintf(nodes[0][0].stun_test_ip, sizeof(nodes[0][0].stun_test_ip), "2001:db8::2");
        snprintf(nodes[0][0].ipv6, sizeof(nodes[0][0].ipv6), "192.0.2.9");
        expect(NULL, false, false, 0, "1v4 a@0 a@100 a@200; 1v6 a@0 a@100 a@200");
        nodes[0][0].stun_port = 0;
        expect(NULL, true, true, 0, "");
        map.region_count = REGIONS;
}

static void test_avoid(void **state)
{
        (void)state;
        struct netcheck_report last = {.latency_count = 2, .latency = {seen(1, 10, 0), seen(2, 20, 0)}};
        map.region_count = 2;
        regions[0].avoid = true;
        expect(&last, true, false, 0, "2v4 a@0 b@24");
        expect(&last, true, false, 1, "1v4 a@0 a@12 a@124 a@186; 2v4 a@0 b@24");
        map.region_count = REGIONS;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_full, setup),
                cmocka_unit_test_setup(test_incremental, setup),
                cmocka_unit_test_setup(test_families_of_a_node, setup),
                cmocka_unit_test_setup(test_avoid, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
