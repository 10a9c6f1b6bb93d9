/* The paths to a peer as the LocalAPI tells them. */
#include "daemon/api_paths.h"
#include "tests/unit/daemon_client.h"

static void paths_to_a_peer_are_shown(void **state)
{
        (void)state;
        static struct ms_explain x = {.now = {100 * NS_PER_SEC}, .has_disco = true, .awake = true, .active = true, .knows_us = true,
                .route = {.kind = MS_ROUTE_RELAY, .region = 9}, .home = 9, .last_send = {98 * NS_PER_SEC}, .udp4 = true,
                .own_endpoints = 1, .nat = NC_NAT_HARD, .path_count = 1,
                .hard_nat = {.outcome = HN_MISSED, .why = HN_WHY_BOTH_HARD, .tries = 1, .guesses = 1152}};
        run_node();
        expect("GET", "debug-paths?ip=100.64.0.1", "", 404, "an address of this node");
        expect("GET", "debug-paths?ip=100.64.0.2", "", 404, "no matching peer");   /* gone meanwhile */
        x.paths[0] = (struct path){.addr = {ip_v4(203, 0, 113, 9), 7}, .origin = PATH_FROM_CALL | PATH_FROM_PING, .tried = 3};
        history_add(&x.history, HISTORY_RELAY, (struct addr){.port = 0}, 9, (mono_t){40 * NS_PER_SEC});
        history_add(&x.history, HISTORY_PING_IN, x.paths[0].addr, 0, (mono_t){50 * NS_PER_SEC});
        history_add(&x.history, HISTORY_PING_IN, x.paths[0].addr, 0, (mono_t){60 * NS_PER_SEC});
        fe.paths = &x;
        json_t *j = get("debug-paths?ip=100.64.0.2");
        assert_int_equal(fe.paths_node, 2);
        assert_string_equal(json_str(j, "NodeName", ""), "n2");
        assert_string_equal(json_str(j, "State", ""), "relay");
        assert_int_equal(json_int(j, "RelayID", 0), 9);
        assert_string_equal(json_str(j, "RelayFrom", ""), "map");
        assert_true(json_num(j, "SentAgo", 0) > 1.99 && json_num(j, "SentAgo", 0) < 2.01);
        assert_true(json_is_null(json_object_get(j, "HeardAgo")) && json_is_null(json_object_get(j, "LatencySeconds")));
        const json_t *c = json_array_get(json_object_get(j, "Candidates"), 0);
        assert_string_equal(json_str(c, "Addr", ""), "203.0.113.9:7");
        assert_int_equal(json_int(c, "Pings", 0), 3);
        assert_string_equal(json_string_value(json_array_get(json_object_get(c, "From"), 0)), "call");
        assert_int_equal(json_array_size(json_object_get(c, "From")), 2);
        const json_t *why = json_object_get(j, "NotDirect");
        assert_int_equal(json_array_size(why), 2);
        assert_string_equal(json_str(json_array_get(why, 1), "Why", ""), "own-nat-hard");
        const json_t *h = json_object_get(j, "History");
        assert_int_equal(json_array_size(h), 2);
        assert_string_equal(json_str(json_array_get(h, 1), "What", ""), "ping-in");
        assert_int_equal(json_int(json_array_get(h, 1), "Times", 0), 2);
        assert_true(json_num(json_array_get(h, 1), "LastAgo", 0) > 39.9 && json_num(json_array_get(h, 1), "LastAgo", 0) < 40.1);
        assert_string_equal(json_str(json_obj(j, "Own"), "NAT", ""), "hard");
        const json_t *hard = json_obj(j, "HardNAT");
        assert_string_equal(json_str(hard, "Outcome", ""), "missed");
        assert_non_null(strstr(json_str(hard, "WhyNot", ""), "hard as well"));
        assert_int_equal(json_int(hard, "Guesses", 0), 1152);
        json_decref(j);
        x.route = (struct ms_route){.kind = MS_ROUTE_DIRECT, .addr = x.paths[0].addr, .region = 9};
        x.latency_ns = 20 * NS_PER_MS;
        x.trust_until = (mono_t){103 * NS_PER_SEC};
        j = paths_json(&x, NULL, 0);
        assert_string_equal(json_str(j, "State", ""), "direct");
        assert_string_equal(json_str(j, "Addr", ""), "203.0.113.9:7");
        assert_true(json_num(j, "LatencySeconds", 0) == 0.02 && json_num(j, "TrustedFor", 0) == 3.0);
        assert_int_equal(json_array_size(json_object_get(j, "NotDirect")), 0);
        json_decref(j);
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(paths_to_a_peer_are_shown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
