/* Sites and their IPv4 networks as IPv6 addresses, both ways. */
#include "base/via6.h"

#include "tests/unit/check.h"

static void both_ways(void **state)
{
        (void)state;
        static const struct {
                uint32_t site;
                const char *v4, *via;
        } rows[] = {
                {7, "10.1.1.16", "fd7a:115c:a1e0:b1a:0:7:a01:110"},
                {0, "0.0.0.0", "fd7a:115c:a1e0:b1a::"},
                {65535, "255.255.255.255", "fd7a:115c:a1e0:b1a:0:ffff:ffff:ffff"},
                {0x10000, "192.168.0.1", "fd7a:115c:a1e0:b1a:1:0:c0a8:1"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct ip v4, via;
                char text[IP_STR_MAX];
                assert_int_equal(ip_parse(rows[i].v4, &v4), ERR_NONE);
                assert_int_equal(ip_parse(rows[i].via, &via), ERR_NONE);
                assert_string_equal(ip_str(via6_from_v4(rows[i].site, v4), text), rows[i].via);
                assert_true(via6_is(via));
                assert_int_equal(via6_site(via), rows[i].site);
                assert_true(ip_eq(via6_to_v4(via), v4));
        }
}

static void others(void **state)
{
        (void)state;
        static const char *const rows[] = {"10.0.0.1", "fd7a:115c:a1e0::1", "fd7a:115c:a1e0:b1b::", "::", "fd7a:115c:a1e0:b19:ffff::"};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct ip ip;
                assert_int_equal(ip_parse(rows[i], &ip), ERR_NONE);
                assert_false(via6_is(ip));
        }
        assert_false(via6_is((struct ip){0}));
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(both_ways), cmocka_unit_test(others)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
