#include "netcheck/report.h"

#include "tests/unit/check.h"

static struct addr at(const char *text)
{
        struct addr a;
        assert_int_equal(addr_parse(text, &a), ERR_NONE);
        return a;
}

static struct ip server(int n)
{
        return ip_v4(198, 51, (uint8_t)(n >> 8), (uint8_t)n);
}

static void test_latency_is_the_least(void **state)
{
        (void)state;
        struct netcheck_report r = {0};
        nc_report_stun(&r, 7, server(7), at("192.0.2.1:1"), 30);
        nc_report_stun(&r, 3, server(3), at("192.0.2.1:1"), 20);
        nc_report_stun(&r, 7, server(7), at("[2001:db8::1]:1"), 10);
        nc_report_stun(&r, 7, server(7), at("192.0.2.1:1"), 40);
        assert_int_equal(r.latency_count, 2);
        assert_int_equal(r.latency[0].region, 3);
        const struct nc_latency *l = nc_report_latency(&r, 7);
        assert_int_equal(l->any_ns, 10);
        assert_int_equal(l->v4_ns, 30);
        assert_int_equal(l->v6_ns, 10);
        assert_null(nc_report_latency(&r, 5));
        assert_true(r.udp && r.ipv4 && r.ipv6);
}

static void test_mapping(void **state)
{
        (void)state;
        struct netcheck_report r = {0};
        nc_report_stun(&r, 1, server(1), at("[2001:db8::1]:1"), 1);
        nc_report_stun(&r, 1, server(1), at("[2001:db8::1]:2"), 1);
        assert_int_equal(r.mapping_varies, NC_UNKNOWN);
        nc_report_stun(&r, 1, server(1), at("192.0.2.1:1"), 1);
        assert_int_equal(r.mapping_varies, NC_UNKNOWN);
        nc_report_stun(&r, 2, server(1), at("192.0.2.1:1"), 1);   /* the same server again */
        assert_int_equal(r.mapping_varies, NC_UNKNOWN);
        nc_report_stun(&r, 2, server(2), at("192.0.2.1:1"), 1);
        assert_int_equal(r.mapping_varies, NC_FALSE);
        nc_report_stun(&r, 3, server(3), at("192.0.2.1:2"), 1);
        assert_int_equal(r.mapping_varies, NC_TRUE);
        nc_report_stun(&r, 1, server(1), at("192.0.2.1:1"), 1);
        assert_int_equal(r.mapping_varies, NC_TRUE);
        assert_true(addr_eq(r.global_v4, at("192.0.2.1:1")));   /* the first */
        assert_true(addr_eq(r.global_v6, at("[2001:db8::1]:2")));   /* the latest */
}

/* A sighting of its own is noise of a hard NAT; the global one is told even so. */
static void test_endpoints(void **state)
{
        (void)state;
        struct netcheck_report r = {0};
        struct addr eps[NC_COUNTERS_MAX];
        assert_int_equal(nc_report_endpoints(&r, IP_V4, eps), 0);
        nc_report_stun(&r, 1, server(1), at("192.0.2.1:1"), 1);
        nc_report_stun(&r, 2, server(2), at("192.0.2.1:2"), 1);
        nc_report_stun(&r, 3, server(3), at("192.0.2.1:3"), 1);
        nc_report_stun(&r, 4, server(4), at("192.0.2.1:3"), 1);
        assert_int_equal(nc_report_endpoints(&r, IP_V4, eps), 2);
        assert_true(addr_eq(eps[0], at("192.0.2.1:1")));
        assert_true(addr_eq(eps[1], at("192.0.2.1:3")));
        assert_int_equal(nc_report_endpoints(&r, IP_V6, eps), 0);
}

static void test_bounds(void **state)
{
        (void)state;
        struct netcheck_report r = {0};
        struct addr eps[NC_COUNTERS_MAX], a = at("192.0.2.1:1");
        for (int i = 0; i < 300; i++) {
                a.port = (uint16_t)(1 + i);
                nc_report_stun(&r, 1 + i, server(1 + i), a, 1);
                nc_report_stun(&r, 1 + i, server(1 + i), a, 1);
        }
        assert_int_equal(r.v4_count, NC_COUNTERS_MAX);
        assert_int_equal(r.latency_count, DERPMAP_REGIONS_MAX);
        assert_int_equal(nc_report_endpoints(&r, IP_V4, eps), NC_COUNTERS_MAX);
}

static void test_https(void **state)
{
        (void)state;
        struct netcheck_report r = {0};
        nc_report_https(&r, 4, IP_V4, 5);
        assert_false(r.udp);
        assert_true(r.ipv4);
        assert_int_equal(nc_report_latency(&r, 4)->any_ns, 5);
        assert_int_equal(nc_report_latency(&r, 4)->v4_ns, 0);
}

static void test_line(void **state)
{
        (void)state;
        struct netcheck_report r = {0};
        char text[256], small[10];
        assert_string_equal(nc_report_line(&r, text, sizeof(text)),
                "udp=false v4=false v6=false v6os=false mapvarydest= portmap=? derp=0");
        nc_report_stun(&r, 1, server(1), at("192.0.2.1:41641"), 10 * NS_PER_MS);
        r.preferred = 1;
        assert_string_equal(nc_report_line(&r, text, sizeof(text)),
                "udp=true v6=false v6os=false mapvarydest= portmap=? v4a=192.0.2.1:41641 derp=1 derpdist=1v4:10ms");
        assert_string_equal(nc_report_line(&r, small, sizeof(small)), "udp=true ");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_latency_is_the_least),
                cmocka_unit_test(test_mapping),
                cmocka_unit_test(test_endpoints),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_https),
                cmocka_unit_test(test_line),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
