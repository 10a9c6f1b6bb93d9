#include "netcheck/captive.h"

#include "tests/unit/check.h"

static struct derp_node nodes[3];
static struct derp_region regions[3];
static const struct derpmap map = {.region_count = 3, .regions = regions};

static int setup(void **state)
{
        (void)state;
        memset(nodes, 0, sizeof(nodes));
        for (int i = 0; i < 3; i++) {
                regions[i] = (struct derp_region){.id = i + 1, .node_count = 1, .nodes = &nodes[i]};
                snprintf(nodes[i].ipv4, sizeof(nodes[i].ipv4), "192.0.2.%d", i + 1);
                snprintf(nodes[i].ipv6, sizeof(nodes[i].ipv6), "2001:db8::%d", i + 1);
                nodes[i].can_port80 = true;
        }
        return 0;
}

static void picks(int home, bool have_v4, bool have_v6, const char *url)
{
        struct nc_captive c = {.url = ""};
        assert_int_equal(nc_captive_pick(&map, home, have_v4, have_v6, 7, &c), url != NULL);
        assert_string_equal(c.url, url != NULL ? url : "");
}

static void test_pick(void **state)
{
        (void)state;
        picks(0, true, true, "http://192.0.2.1/generate_204?t=7");
        picks(2, true, true, "http://192.0.2.2/generate_204?t=7");
        picks(2, false, true, "http://[2001:db8::2]/generate_204?t=7");
        picks(2, false, false, NULL);
        nodes[1].can_port80 = false;
        picks(2, true, true, "http://192.0.2.1/generate_204?t=7");
        regions[0].avoid = true;
        picks(2, true, true, "http://192.0.2.3/generate_204?t=7");
        snprintf(nodes[2].ipv4, sizeof(nodes[2].ipv4), "none");
        picks(2, true, false, NULL);
        picks(2, true, true, "http://[2001:db8::3]/generate_204?t=7");
        nodes[2].ipv6[0] = '\0';   /* only by name: asking would take a look-up */
        picks(9, true, true, NULL);
        picks(1, true, true, "http://192.0.2.1/generate_204?t=7");   /* Avoid does not count for one's own home */
}

static void test_judge(void **state)
{
        (void)state;
        struct nc_captive c;
        assert_true(nc_captive_pick(&map, 3, true, false, 0, &c));
        assert_string_equal(c.challenge, "ts_192.0.2.3");
        assert_false(nc_captive_is_portal(&c, 204, "response ts_192.0.2.3"));
        assert_true(nc_captive_is_portal(&c, 204, ""));
        assert_true(nc_captive_is_portal(&c, 204, "response ts_192.0.2.4"));
        assert_true(nc_captive_is_portal(&c, 302, ""));
        assert_true(nc_captive_is_portal(&c, 200, "response ts_192.0.2.3"));
        assert_true(nc_captive_pick(&map, 3, false, true, 0, &c));
        assert_string_equal(c.challenge, "ts_2001-db8--3");   /* no relay repeats a colon */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_pick, setup),
                cmocka_unit_test_setup(test_judge, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
