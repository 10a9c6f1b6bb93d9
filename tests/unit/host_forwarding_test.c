#include "tests/unit/check.h"

#include "daemon/host/forwarding.h"

static void the_default_route_names_the_interface(void **state)
{
        (void)state;
        static const char head[] = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        static const struct {
                const char *lines, *want;
        } rows[] = {
                {"", NULL},
                {"eth0\t00AABBCC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", NULL},
                {"wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n", "wlan0"},
                {"a\t00000000\t0101A8C0\t0003\t0\t0\t600\t000000FF\t0\t0\t0\neth1\t00000000\t0\t3\t0\t0\t1\t00000000\t0\t0\t0", "eth1"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char text[1024], name[16];
                snprintf(text, sizeof(text), "%s%s", head, rows[i].lines);
                assert_int_equal(forwarding_default_interface(text, name, sizeof(name)), rows[i].want != NULL);
                if (rows[i].want != NULL)
                        assert_string_equal(name, rows[i].want);
        }
}

static void no_routes_need_no_forwarding(void **state)
{
        (void)state;
        char text[FORWARDING_TEXT_MAX] = "x";
        forwarding_check(NULL, 0, text);
        assert_string_equal(text, "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_default_route_names_the_interface),
                cmocka_unit_test(no_routes_need_no_forwarding),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
