#include "daemon/host/router.h"

#include "tests/unit/check.h"

static void test_what_is_a_lan(void **state)
{
        (void)state;
        static const struct {
                const char *prefix;
                bool lan;
        } rows[] = {
                {"192.168.1.7/24", true},
                {"192.168.0.0/16", true},
                {"192.168.0.1/15", false},   /* beyond the private block */
                {"10.1.2.3/8", true},
                {"10.1.2.3/7", false},
                {"172.16.0.1/12", true},
                {"172.32.0.1/12", false},
                {"169.254.9.9/16", true},
                {"203.0.113.7/24", true},
                {"198.18.0.1/16", true},
                {"198.18.0.1/15", false},
                {"100.0.0.1/8", false},
                {"10.1.2.3/1", false},       /* half the internet, from an address that looks private */
                {"10.1.2.3/0", false},
                {"200.0.0.1/1", false},
                {"fd12::1/64", true},
                {"fd12::1/7", true},
                {"fd12::1/6", false},
                {"fe80::1/64", true},
                {"2001:db8:1:2::3/64", true},
                {"2001:db8:1::3/48", true},
                {"2001:db8::3/47", false},
                {"2001:db8::3/1", false},
                {"::1:2/0", false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct prefix p;
                assert_int_equal(prefix_parse(rows[i].prefix, &p), ERR_NONE);
                if (router_is_lan(p) != rows[i].lan)
                        fail_msg("%s", rows[i].prefix);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_a_lan)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
