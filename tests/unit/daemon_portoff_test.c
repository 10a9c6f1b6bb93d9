/* Who switches off which way to a port of the router. */
#include "tests/unit/check.h"

#include "daemon/control/netmap.h"
#include "daemon/portoff.h"

static const char *portmapper, *upnp;

static const char *env(const char *name)
{
        if (strcmp(name, "TS_DISABLE_PORTMAPPER") == 0)
                return portmapper;
        return strcmp(name, "TS_DISABLE_UPNP") == 0 ? upnp : NULL;
}

static void test_environment(void **state)
{
        (void)state;
        static const struct {
                const char *portmapper, *upnp;
                unsigned off;
        } rows[] = {
                {NULL, NULL, 0}, {"", "", 0}, {"0", "false", 0}, {"x", "x", 0},
                {"1", NULL, PORTMAP_ALL}, {"true", "0", PORTMAP_ALL},
                {NULL, "1", PORTMAP_BIT(PORTMAP_UPNP)}, {"false", "true", PORTMAP_BIT(PORTMAP_UPNP)},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                portmapper = rows[i].portmapper;
                upnp = rows[i].upnp;
                assert_int_equal(portoff_by_env(env), rows[i].off);
        }
}

static void test_server(void **state)
{
        (void)state;
        struct netmap_node n = {.cap_map = ""};
        assert_int_equal(portoff_by_node(&n), 0);
        n.cap_map = "{\"debug-disable-upnp\":null}";
        assert_int_equal(portoff_by_node(&n), PORTMAP_BIT(PORTMAP_UPNP));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_environment),
                cmocka_unit_test(test_server),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
