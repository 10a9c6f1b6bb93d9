#include "tests/unit/check.h"

#include <stdbool.h>
#include <stdlib.h>

#include "magicsock/endpoints.h"

static const mono_t t0 = {1000 * NS_PER_SEC};

static struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static struct ip ip(const char *s)
{
        struct ip i;
        assert_int_equal(ip_parse(s, &i), ERR_NONE);
        return i;
}

static void check_list(const struct ms_endpoint *e, size_t n, const struct ms_endpoint *want, size_t want_n)
{
        assert_int_equal(n, want_n);
        for (size_t i = 0; i < n; i++) {
                assert_true(addr_eq(e[i].addr, want[i].addr));
                assert_int_equal(e[i].type, want[i].type);
        }
}

static void test_order_types_and_duplicates(void **state)
{
        (void)state;
        struct endpoint_tracker t = {.count = 0};
        struct addr portmap = addr("203.0.113.1:9"), s4[] = {addr("203.0.113.1:5"), addr("203.0.113.1:6")},
                    s6[] = {addr("[2001:db8::5]:41642")};
        struct ip local[] = {ip("10.0.0.5"), ip("2001:db8::5"), ip("2001:db8::6")};
        struct endpoints_input in = {
                .portmap = &portmap, .stun4 = s4, .stun4_count = 2, .stun6 = s6, .stun6_count = 1,
                .hard_nat = true, .fixed_port = 41641, .local = local, .local_count = 3,
                .port4 = 41641, .port6 = 41642,
        };
        struct ms_endpoint e[MS_ENDPOINTS_MAX];
        const struct ms_endpoint want[] = {
                {portmap, MS_ENDPOINT_PORTMAP}, {s4[0], MS_ENDPOINT_STUN}, {s4[1], MS_ENDPOINT_STUN},
                {s6[0], MS_ENDPOINT_STUN}, {addr("203.0.113.1:41641"), MS_ENDPOINT_STUN4_LOCAL_PORT},
                {addr("10.0.0.5:41641"), MS_ENDPOINT_LOCAL}, {addr("[2001:db8::6]:41642"), MS_ENDPOINT_LOCAL},
        };
        check_list(e, endpoints_build(&t, &in, t0, e), want, 7);

        /* No guess with an easy NAT, or with a port of the kernel's choice; no family, no address. */
        t.count = 0;
        in.portmap = NULL;
        in.hard_nat = false;
        in.port6 = 0;
        const struct ms_endpoint easy[] = {
                want[1], want[2], want[3], want[5],
        };
        check_list(e, endpoints_build(&t, &in, t0, e), easy, 4);
        in.hard_nat = true;
        in.fixed_port = 0;
        t.count = 0;
        check_list(e, endpoints_build(&t, &in, t0, e), easy, 4);
}

/* Behind what was found and before what is only local; never out of sight, however much STUN sees. */
static void test_statics(void **state)
{
        (void)state;
        struct endpoint_tracker t = {.count = 0};
        struct addr stun = addr("203.0.113.1:5"), statics[] = {addr("198.51.100.7:41641"), stun, addr("[2001:db8::7]:4")};
        struct ip local[] = {ip("10.0.0.5"), ip("127.0.0.1")};
        struct endpoints_input in = {.stun4 = &stun, .stun4_count = 1, .local = local, .local_count = 2, .port4 = 41641,
                .statics = statics, .static_count = 3};
        struct ms_endpoint e[MS_ENDPOINTS_MAX];
        const struct ms_endpoint want[] = {{stun, MS_ENDPOINT_STUN}, {statics[0], MS_ENDPOINT_CONFIG},
                {statics[2], MS_ENDPOINT_CONFIG}, {addr("10.0.0.5:41641"), MS_ENDPOINT_LOCAL}};
        check_list(e, endpoints_build(&t, &in, t0, e), want, 4);
        in.stun4_count = in.static_count = 0;
        assert_int_equal(endpoints_build(&t, &in, t0, e), 2);   /* not remembered: stun and 10.0.0.5 */
        in.static_count = 3;
        in.local_count = 1;
        in.stun4_count = 1;
        for (uint16_t i = 0; i < MS_TRACKED_MAX; i++) {
                stun.ip = ip_v4(203, 0, 113, (uint8_t)(10 + i));
                (void)endpoints_build(&t, &in, t0, e);
        }
        size_t n = endpoints_build(&t, &in, t0, e), found = 0;
        for (size_t i = 0; i < n; i++)
                found += e[i].type == MS_ENDPOINT_CONFIG;
        assert_int_equal(found, 3);
}

static void test_what_was_seen_is_remembered(void **state)
{
        (void)state;
        struct endpoint_tracker t = {.count = 0};
        struct addr s = addr("203.0.113.1:5");
        struct endpoints_input in = {.stun4 = &s, .stun4_count = 1};
        struct ms_endpoint e[MS_ENDPOINTS_MAX];
        assert_int_equal(endpoints_build(&t, &in, t0, e), 1);
        in.stun4_count = 0;
        assert_int_equal(endpoints_build(&t, &in, mono_add_ms(t0, 310000), e), 1);
        assert_int_equal(e[0].type, MS_ENDPOINT_STUN);
        assert_int_equal(endpoints_build(&t, &in, mono_add_ms(t0, 310001), e), 0);

        /* Six an IP address, the newest ones; many addresses stay within bounds. */
        for (uint16_t i = 0; i < 20; i++) {
                s = (struct addr){ip_v4(203, 0, 113, 1), (uint16_t)(100 + i)};
                in.stun4_count = 1;
                endpoints_build(&t, &in, mono_add_ms(t0, 400000 + i), e);
        }
        in.stun4_count = 0;
        assert_int_equal(endpoints_build(&t, &in, mono_add_ms(t0, 400100), e), MS_TRACKED_PER_IP);
        for (size_t i = 0; i < MS_TRACKED_PER_IP; i++)
                assert_in_range(e[i].addr.port, 114, 119);
        for (unsigned i = 0; i < 200; i++) {
                s = (struct addr){ip_v4(198, 51, 100, (uint8_t)i), 7};
                in.stun4_count = 1;
                endpoints_build(&t, &in, mono_add_ms(t0, 500000 + i), e);
        }
        assert_int_equal(t.count, MS_TRACKED_MAX);
}

/* A port of the router is told as long as we have it, and if STUN sees us at its address. */
static void test_a_port_of_the_router(void **state)
{
        (void)state;
        struct endpoint_tracker t = {.count = 0};
        struct addr s = addr("203.0.113.1:5"), p = addr("203.0.113.1:9");
        struct endpoints_input in = {0};
        struct ms_endpoint e[MS_ENDPOINTS_MAX];
        assert_false(endpoints_seen_at(&t, &in, p.ip));
        in = (struct endpoints_input){.stun4 = &s, .stun4_count = 1};
        assert_true(endpoints_seen_at(&t, &in, p.ip));
        assert_false(endpoints_seen_at(&t, &in, ip("203.0.113.2")));
        in.portmap = &p;
        assert_int_equal(endpoints_build(&t, &in, t0, e), 2);
        in = (struct endpoints_input){0};
        assert_true(endpoints_seen_at(&t, &in, p.ip));    /* lately */
        assert_int_equal(endpoints_build(&t, &in, t0, e), 2);
        endpoints_forget(&t, MS_ENDPOINT_PORTMAP);
        assert_int_equal(endpoints_build(&t, &in, t0, e), 1);
        assert_int_equal(e[0].type, MS_ENDPOINT_STUN);
        endpoints_forget(&t, MS_ENDPOINT_STUN);
        assert_false(endpoints_seen_at(&t, &in, p.ip));
}

static void test_loopback_only_if_nothing_else(void **state)
{
        (void)state;
        struct endpoint_tracker t = {.count = 0};
        struct ip local[] = {ip("127.0.0.1"), ip("::1")};
        struct addr s = addr("203.0.113.1:5");
        struct endpoints_input in = {.local = local, .local_count = 2, .port4 = 1, .port6 = 2};
        struct ms_endpoint e[MS_ENDPOINTS_MAX];
        assert_int_equal(endpoints_build(&t, &in, t0, e), 2);
        in.stun4 = &s;
        in.stun4_count = 1;
        assert_int_equal(endpoints_build(&t, &in, t0, e), 1);
}

static void test_same_as_sets(void **state)
{
        (void)state;
        struct ms_endpoint a[] = {{addr("1.1.1.1:1"), MS_ENDPOINT_STUN}, {addr("2.2.2.2:2"), MS_ENDPOINT_LOCAL}};
        struct ms_endpoint b[] = {a[1], a[0]};
        assert_true(endpoints_same(a, 2, b, 2));
        assert_false(endpoints_same(a, 2, b, 1));
        b[0].type = MS_ENDPOINT_PORTMAP;
        assert_false(endpoints_same(a, 2, b, 2));
        assert_true(endpoints_same(a, 0, b, 0));
}

static void test_local_filter(void **state)
{
        (void)state;
        const struct local_addr in[] = {
                {ip("127.0.0.1"), 8, "lo"}, {ip("2001:db8::2"), 64, "eth0"}, {ip("2001:db8::3"), 64, "eth0"},
                {ip("2001:db8::4"), 64, "eth0"}, {ip("2001:db8:1::1"), 64, "eth0"}, {ip("fe80::1"), 64, "eth0"},
                {ip("fd00::1"), 64, "eth0"}, {ip("192.168.1.5"), 24, "eth0"}, {ip("169.254.3.3"), 16, "eth0"},
                {ip("100.64.0.9"), 32, "other0"}, {ip("100.115.92.7"), 30, "arc"}, {ip("10.9.9.9"), 24, "ztabc"},
                {ip("10.9.9.8"), 24, "wt0"}, {ip("10.9.9.7"), 24, "tailscale0"},
                {ip("fd7a:115c:a1e0::5"), 128, "other0"}, {ip("2001:db8::9"), 64, "eth1"},
        };
        struct ip got[MS_LOCAL_MAX];
        size_t n = endpoints_filter_local(in, sizeof(in) / sizeof(in[0]), "tailscale0", got);
        const char *const want[] = {"100.115.92.7", "192.168.1.5", "2001:db8::2", "2001:db8::3", "2001:db8::9",
                "2001:db8:1::1"};
        assert_int_equal(n, 6);
        for (size_t i = 0; i < n; i++)
                assert_true(ip_eq(got[i], ip(want[i])));

        /* Without anything regular, what is left serves. */
        const struct local_addr poor[] = {
                {ip("127.0.0.1"), 8, "lo"}, {ip("fd00::1"), 64, "eth0"}, {ip("169.254.3.3"), 16, "eth0"},
        };
        n = endpoints_filter_local(poor, 3, NULL, got);
        assert_int_equal(n, 2);
        assert_true(ip_eq(got[0], ip("169.254.3.3")));
        assert_int_equal(endpoints_filter_local(poor, 1, NULL, got), 1);
        assert_int_equal(endpoints_filter_local(poor, 0, NULL, got), 0);
}

static void test_bounds(void **state)
{
        (void)state;
        struct local_addr in[100];
        for (unsigned i = 0; i < 100; i++)
                in[i] = (struct local_addr){ip_v4(10, 0, 0, (uint8_t)i), 24, "eth0"};
        struct ip got[MS_LOCAL_MAX];
        assert_int_equal(endpoints_filter_local(in, 100, NULL, got), MS_LOCAL_MAX);
        struct addr many[100];
        for (unsigned i = 0; i < 100; i++)
                many[i] = (struct addr){ip_v4(203, 0, 113, (uint8_t)i), 1};
        struct endpoint_tracker t = {.count = 0};
        struct endpoints_input input = {.stun4 = many, .stun4_count = 100, .local = got,
                .local_count = MS_LOCAL_MAX, .port4 = 1};
        struct ms_endpoint e[MS_ENDPOINTS_MAX];
        assert_int_equal(endpoints_build(&t, &input, t0, e), MS_ENDPOINTS_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order_types_and_duplicates),
                cmocka_unit_test(test_statics),
                cmocka_unit_test(test_what_was_seen_is_remembered),
                cmocka_unit_test(test_a_port_of_the_router),
                cmocka_unit_test(test_loopback_only_if_nothing_else),
                cmocka_unit_test(test_same_as_sets),
                cmocka_unit_test(test_local_filter),
                cmocka_unit_test(test_bounds),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
