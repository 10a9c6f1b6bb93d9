/* What a ping says of our NAT, if it comes before any of ours. */
#include "tests/unit/magicsock_door.h"

/* A ping through the NAT proves an open filter, but not from where we may have sent something, nor past the NAT. */
static void test_what_an_unasked_ping_proves(void **state)
{
        (void)state;
        struct netcheck_report r = {.translated = NC_TRUE, .global_v4 = {ip_v4(198, 51, 100, 1), 4}};
        struct derp_node node = {.ipv4 = "203.0.113.9"};
        struct derp_region region = {.id = REGION, .node_count = 1, .nodes = &node};
        struct derpmap map = {.region_count = 1, .regions = &region};
        assert_true(ms_unasked_proves(t.ms, &r, SRC));
        assert_false(ms_unasked_proves(t.ms, &r, (struct addr){ip_v4(192, 168, 1, 7), 4}));
        assert_false(ms_unasked_proves(t.ms, &r, (struct addr){ip_v4(198, 51, 100, 1), 5}));   /* hairpinned */
        t.ms->map = &map;
        assert_false(ms_unasked_proves(t.ms, &r, SRC));
        t.ms->map = NULL;
        r.translated = NC_FALSE;
        assert_false(ms_unasked_proves(t.ms, &r, SRC));
        r.translated = NC_TRUE;
        struct disco_msg m = ping(1);
        uint8_t data[2048];
        by_udp(data, seal_msg(&m, data));
        assert_false(ms_unasked_proves(t.ms, &r, SRC));   /* it has its answer */
        assert_true(ms_unasked_proves(t.ms, &r, (struct addr){ip_v4(203, 0, 113, 10), 4000}));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_what_an_unasked_ping_proves, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
