/* A map of thirty regions: few packets, not long, and the nearest is home.  The world is a table of round trips, and a clock
 * that jumps to what is next. */
#include "netcheck/netcheck.h"

#include "netcheck/plan.h"
#include "tests/unit/check.h"
#include "tests/unit/stun_answer.h"

enum { REGIONS = 30, NEAR = 22, FLYING_MAX = 256 };

static struct {
        struct netcheck *nc;
        struct derp_node nodes[REGIONS];
        struct derp_region regions[REGIONS];
        struct derpmap map;
        int rtt_ms[REGIONS];         /* 0: it never answers */
        struct nc_start_args args;
        mono_t now;
        struct {
                uint8_t data[STUN_REQUEST_LEN];
                enum ip_family family;
                mono_t at;           /* its answer arrives; MONO_NEVER: it is there */
        } flying[FLYING_MAX];
        size_t sent;                 /* of this report */
        unsigned asked[REGIONS];
} t;

static void count_random(void *out, size_t n)
{
        static uint32_t next;
        memset(out, 0, n);
        next++;
        memcpy(out, &next, n < sizeof(next) ? n : sizeof(next));
}

static int setup(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        for (int i = 0; i < REGIONS; i++) {
                struct derp_node *n = &t.nodes[i];
                t.regions[i] = (struct derp_region){.id = 1 + i, .score = 1, .node_count = 1, .nodes = n};
                snprintf(n->hostname, sizeof(n->hostname), "r%d.example", i);
                snprintf(n->ipv4, sizeof(n->ipv4), "192.0.2.%d", 1 + i);
                snprintf(n->ipv6, sizeof(n->ipv6), "2001:db8::%x", 1 + i);
                n->stun_port = 3478;
                n->derp_port = 443;
                t.rtt_ms[i] = 12 + 11 * ((i * 7 + 3) % REGIONS);   /* 12 to 331, the nearest is region 22 */
        }
        t.map = (struct derpmap){.region_count = REGIONS, .regions = t.regions};
        t.args = (struct nc_start_args){.map = &t.map, .have_v4 = true, .os_has_ipv6 = true};
        t.now = (mono_t){NS_PER_SEC};
        t.nc = nc_new(count_random);
        return t.nc != NULL ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        nc_free(t.nc);
        return 0;
}

static int region_of(struct addr a)
{
        return (a.ip.family == IP_V4 ? a.ip.b[3] : a.ip.b[15]) - 1;
}

static void send_probe(const struct nc_action *a)
{
        int i = region_of(a->addr);
        assert_true(t.sent < FLYING_MAX && i >= 0 && i < REGIONS);
        assert_int_equal(a->region, t.regions[i].id);
        memcpy(t.flying[t.sent].data, a->data, sizeof(a->data));
        t.flying[t.sent].family = a->family;
        t.flying[t.sent++].at = t.rtt_ms[i] > 0 ? mono_add_ms(t.now, t.rtt_ms[i]) : MONO_NEVER;
        t.asked[i]++;
        nc_on_sent(t.nc, a->id, true, t.now);
}

static mono_t next_answer(void)
{
        mono_t at = MONO_NEVER;
        for (size_t i = 0; i < t.sent; i++)
                at = mono_min(at, t.flying[i].at);
        return at;
}

static void deliver(void)
{
        for (size_t i = 0; i < t.sent; i++) {
                uint8_t msg[STUN_ANSWER_MAX];
                struct addr seen = {ip_v4(203, 0, 113, 9), 41641};
                if (!mono_reached(t.now, t.flying[i].at))
                        continue;
                t.flying[i].at = MONO_NEVER;
                if (t.flying[i].family == IP_V6)
                        assert_int_equal(addr_parse("[2001:db8:1::1]:41641", &seen), ERR_NONE);
                (void)nc_on_stun(t.nc, msg, stun_answer(t.flying[i].data, seen, msg), t.now);
        }
}

/* One whole report; returns how long it took. */
static int64_t report(const struct netcheck_report **ret)
{
        struct nc_action a;
        mono_t began = t.now;
        t.sent = 0;
        memset(t.asked, 0, sizeof(t.asked));
        assert_int_equal(nc_start(t.nc, &t.args, t.now), ERR_NONE);
        for (;;) {
                while (nc_next(t.nc, t.now, &a) == NC_SEND)
                        send_probe(&a);
                if (a.kind == NC_DONE)
                        break;
                if (a.kind == NC_FETCH)
                        nc_on_fetched(t.nc, a.id, 0, IP_V4, 1);
                if (a.kind != NC_IDLE)
                        continue;
                t.now = mono_min(nc_deadline(t.nc), next_answer());
                assert_true(t.now.ns != MONO_NEVER.ns);
                deliver();
        }
        *ret = nc_finish(t.nc, t.now, t.now);
        t.args.home = (*ret)->preferred;
        return mono_diff_ms(t.now, began);
}

static void test_full_report(void **state)
{
        (void)state;
        const struct netcheck_report *r;
        int64_t ms = report(&r);
        assert_int_equal(r->preferred, NEAR);
        assert_true(r->latency_count >= 3 && r->mapping_varies == NC_FALSE);
        /* Who answers before the retry is asked once, nobody more than three times; three near ones are enough to end it. */
        for (int i = 0; i < REGIONS; i++)
                assert_true(t.asked[i] >= 1 && t.asked[i] <= (t.rtt_ms[i] < 100 ? 1U : 3U));
        assert_in_range(t.sent, REGIONS, 3 * REGIONS);
        assert_true(ms < 150);
        printf("30 regions, IPv4: %zu packets in %lld ms\n", t.sent, (long long)ms);
        /* Both families: twice that. */
        nc_forget(t.nc);
        t.args.have_v6 = true;
        ms = report(&r);
        assert_int_equal(r->preferred, NEAR);
        assert_in_range(t.sent, 2 * REGIONS, 6 * REGIONS);
        assert_true(ms < 150);
        printf("30 regions, both families: %zu packets in %lld ms\n", t.sent, (long long)ms);
}

/* All are far away, or lose packets: the report takes its time, and no more than that. */
static void test_few_answer(void **state)
{
        (void)state;
        const struct netcheck_report *r;
        for (int i = 0; i < REGIONS; i++)
                t.rtt_ms[i] = i == 4 ? 400 : i == 20 ? 700 : 0;
        int64_t ms = report(&r);
        assert_int_equal(r->preferred, 5);
        assert_int_equal(r->latency_count, 2);
        assert_in_range(ms, 2900, 3100);
        assert_int_equal(t.sent, 3 * REGIONS);
        t.rtt_ms[4] = t.rtt_ms[20] = 0;
        t.args.home = 0;
        nc_forget(t.nc);
        ms = report(&r);
        assert_true(ms <= 5000 && !r->udp && r->latency_count == 0 && r->preferred == 0);
        assert_int_equal(t.sent, 3 * REGIONS);
}

/* UDP is blocked, and one relay answers by HTTPS: it is found, wherever it stands in the map; home is asked first. */
static void test_only_one_by_https(void **state)
{
        (void)state;
        for (int only = 1; only <= REGIONS; only += REGIONS - 1) {
                struct nc_action a;
                uint32_t waiting[REGIONS];
                mono_t until[REGIONS], began = t.now;
                size_t asked = 0, flying = 0;
                nc_forget(t.nc);
                t.args.home = 7;
                t.args.no_udp = true;
                assert_int_equal(nc_start(t.nc, &t.args, t.now), ERR_NONE);
                while (nc_next(t.nc, t.now, &a) != NC_DONE) {
                        if (a.kind == NC_FETCH) {
                                assert_true(asked < REGIONS);
                                assert_int_equal(a.timeout_ms, a.region == 7 ? 5000 : 2500);
                                assert_true(asked > 0 || a.region == 7);
                                waiting[asked] = a.id;
                                until[asked++] = a.region == only ? MONO_NEVER : mono_add_ms(t.now, a.timeout_ms);
                                assert_in_range(++flying, 1, 16);
                                if (a.region == only) {
                                        nc_on_fetched(t.nc, a.id, 200, IP_V4, NS_PER_MS);
                                        flying--;
                                }
                        } else if (a.kind == NC_IDLE) {   /* none of them answers */
                                assert_true(asked == REGIONS || flying == 16);
                                t.now = mono_add_ms(t.now, 2500);
                                for (size_t i = 0; i < asked; i++) {
                                        if (!mono_reached(t.now, until[i]))
                                                continue;
                                        nc_on_fetched(t.nc, waiting[i], 0, IP_NONE, 0);
                                        until[i] = MONO_NEVER;
                                        flying--;
                                }
                        }
                }
                assert_int_equal(asked, REGIONS);
                assert_int_equal(flying, 0);
                assert_int_equal(mono_diff_ms(t.now, began), 5000);
                assert_int_equal(nc_finish(t.nc, (mono_t){0}, t.now)->preferred, only);
        }
}

/* Where the first nodes time out, second ones are not asked before the first of each region has been. */
static void test_first_nodes_come_first(void **state)
{
        (void)state;
        static struct derp_node three[REGIONS][3];
        size_t asked[REGIONS] = {0}, firsts = 0, turn;
        for (int i = 0; i < REGIONS; i++) {
                three[i][0] = three[i][1] = three[i][2] = t.nodes[i];
                t.regions[i].nodes = three[i];
                t.regions[i].node_count = 3;
        }
        t.args.home = 7;
        t.args.no_udp = true;
        assert_int_equal(nc_start(t.nc, &t.args, t.now), ERR_NONE);
        do {
                struct nc_action a;
                uint32_t out[REGIONS];
                turn = 0;
                while (nc_next(t.nc, t.now, &a) == NC_FETCH || a.kind == NC_PING) {
                        if (a.kind == NC_PING)
                                continue;
                        int i = a.region - 1;
                        assert_true(turn < REGIONS && asked[i] < 3 && a.node == &three[i][asked[i]]);
                        firsts += asked[i] == 0;
                        assert_true(asked[i]++ == 0 || firsts == REGIONS);
                        out[turn++] = a.id;
                }
                for (size_t i = 0; i < turn; i++)   /* refused */
                        nc_on_fetched(t.nc, out[i], 0, IP_NONE, 0);
        } while (turn > 0);
        for (int i = 0; i < REGIONS; i++)
                assert_int_equal(asked[i], 3);
        nc_cancel(t.nc);
}

/* The later ones ask a handful, whoever is home. */
static void test_incremental_reports(void **state)
{
        (void)state;
        const struct netcheck_report *r;
        size_t most = 0;
        for (unsigned families = 1; families <= 2; families++) {
                nc_forget(t.nc);
                t.args.home = 0;
                t.args.have_v6 = families == 2;
                (void)report(&r);
                for (int i = 0; i < 11; i++) {
                        t.now = mono_add_ms(t.now, 23000);
                        (void)report(&r);
                        assert_int_equal(r->preferred, NEAR);
                        size_t asked = 0;
                        for (int k = 0; k < REGIONS; k++)
                                asked += t.asked[k] > 0;
                        assert_true(asked <= 4 && t.asked[NEAR - 1] >= 1);
                        most = t.sent > most ? t.sent : most;
                        assert_true(t.sent <= families * 9);
                }
        }
        printf("30 regions, a report every 23 s: at most %zu packets\n", most);
}

/* The home relay becomes slow, then silent: another of the near ones is home. */
static void test_home_moves_to_the_next(void **state)
{
        (void)state;
        const struct netcheck_report *r;
        (void)report(&r);
        assert_int_equal(r->preferred, NEAR);
        t.rtt_ms[NEAR - 1] = 300;
        for (int i = 0; i < 20; i++) {
                t.now = mono_add_ms(t.now, 23000);
                (void)report(&r);
        }
        int home = r->preferred;
        assert_int_not_equal(home, NEAR);
        for (int i = 0; i < REGIONS; i++)
                assert_true(t.rtt_ms[home - 1] <= t.rtt_ms[i] + 33);   /* the nearest, or as good as that */
}

/* Every map and every history keeps the plan small. */
static void test_the_plan_is_bounded(void **state)
{
        (void)state;
        static struct nc_plan plan;
        static struct netcheck_report last;
        for (unsigned seed = 0; seed < 2000; seed++) {
                unsigned x = seed * 2654435761U;
                bool had6 = seed % 3 != 0;
                memset(&last, 0, sizeof(last));
                for (int i = 0; i < REGIONS; i++) {
                        x = x * 1664525U + 1013904223U;
                        int64_t ns = (1 + (x >> 16) % 300) * NS_PER_MS;
                        if (x >> 28 == 0)
                                continue;   /* not measured */
                        last.latency[last.latency_count++] = (struct nc_latency){.region = 1 + i, .any_ns = ns, .v4_ns = ns,
                                .v6_ns = had6 ? ns : 0};
                }
                int home = (int)(seed % (REGIONS + 1));
                nc_plan_make(&plan, &(struct nc_plan_args){.map = &t.map, .last = &last, .have_v4 = true, .have_v6 = true, .home = home});
                size_t probes = 0, homes = 0;
                int64_t latest = 0;
                for (size_t i = 0; i < plan.count; i++) {
                        probes += plan.sets[i].count;
                        homes += t.regions[plan.sets[i].region_index].id == home;
                        for (size_t k = 0; k < plan.sets[i].count; k++)
                                latest = plan.sets[i].probes[k].delay_ns > latest ? plan.sets[i].probes[k].delay_ns : latest;
                }
                assert_true(plan.count <= 8 && probes <= 17 && probes >= 5);
                assert_int_equal(homes, home == 0 ? 0 : 2);
                assert_true(latest < 3 * NS_PER_SEC);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_full_report, setup, teardown),
                cmocka_unit_test_setup_teardown(test_few_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_only_one_by_https, setup, teardown),
                cmocka_unit_test_setup_teardown(test_first_nodes_come_first, setup, teardown),
                cmocka_unit_test_setup_teardown(test_incremental_reports, setup, teardown),
                cmocka_unit_test_setup_teardown(test_home_moves_to_the_next, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_plan_is_bounded, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
