#include "daemon/offload.h"

#include "daemon/control/netmap.h"
#include "tests/unit/check.h"

static const char *name, *value;

static const char *env(const char *n)
{
        return name != NULL && strcmp(n, name) == 0 ? value : NULL;
}

static void each_has_a_switch(void **state)
{
        (void)state;
        static const char *const names[] = {"TS_TUN_DISABLE_TCP_GSO", "TS_TUN_DISABLE_UDP_GSO", "TS_TUN_DISABLE_TCP_GRO",
                "TS_TUN_DISABLE_UDP_GRO", "TS_DEBUG_DISABLE_UDP_GSO", "TS_DEBUG_DISABLE_UDP_GRO"};
        unsigned seen = 0;
        name = NULL;
        assert_int_equal(offload_by_env(env), OFFLOAD_ALL);
        for (size_t i = 0; i < 6; i++) {
                name = names[i];
                value = "0";
                assert_int_equal(offload_by_env(env), OFFLOAD_ALL);
                value = "";
                assert_int_equal(offload_by_env(env), OFFLOAD_ALL);
                value = i % 2 ? "true" : "1";
                unsigned off = OFFLOAD_ALL & ~offload_by_env(env);
                assert_int_equal(off & (off - 1), 0);   /* one bit */
                assert_int_not_equal(off, 0);
                assert_int_equal(seen & off, 0);
                seen |= off;
        }
        assert_int_equal(seen, OFFLOAD_ALL);
}

static void kernels_that_damage_trains_get_none(void **state)
{
        (void)state;
        static const char *const bad[] = {"7.0.0", "7.0.12-generic", "7.1.0-rc3", "7.1.4"};
        static const char *const good[] = {"6.1.0-28-amd64", "6.18.44", "7.1.5", "7.10.1", "8.0.0", "17.0.1", "", "junk"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(offload_by_kernel(bad[i]), OFFLOAD_ALL & ~(unsigned)OFFLOAD_UDP_GSO);
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                assert_int_equal(offload_by_kernel(good[i]), OFFLOAD_ALL);
}

static void the_server_switches_off(void **state)
{
        (void)state;
        static const struct {
                const char *caps;
                unsigned off;
        } cases[] = {
                {"", 0},
                {"{\"funnel\":null}", 0},
                {"{\"disable-tun-tcp-gro\":null}", TUN_TCP_GRO},
                {"{\"disable-tun-udp-gro\":[]}", TUN_UDP_GRO},
                {"{\"disable-udp-gso\":null,\"disable-udp-gro\":null}", OFFLOAD_UDP_GSO | OFFLOAD_UDP_GRO},
                {"{\"never-gso-equal-tail\":null}", OFFLOAD_UDP_GSO},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct netmap_node n = {.cap_map = cases[i].caps};
                assert_int_equal(offload_by_node(&n), OFFLOAD_ALL & ~cases[i].off);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_has_a_switch),
                cmocka_unit_test(kernels_that_damage_trains_get_none),
                cmocka_unit_test(the_server_switches_off),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
