/* What is shown of the map and the engine. */
#include "daemon/view.h"
#include "tests/unit/daemon_client.h"

static void status_joins_map_and_engine(void **state)
{
        (void)state;
        static struct engine_peer_status rows[2] = {
                {.node_id = 3, .rx_bytes = 5},   /* in no order */
                {.node_id = 2, .rx_bytes = 10, .tx_bytes = 20, .last_handshake_ns = 1, .last_write_ns = 1, .active = true},
        };
        run_node();
        assert_int_equal(addr_parse("203.0.113.9:41641", &rows[1].direct), ERR_NONE);
        assert_int_equal(addr_parse("[2001:db8::1]:5", &fe.status.endpoints[0].addr), ERR_NONE);
        fe.status.endpoint_count = 1;
        fe.status.peers = rows;
        fe.status.peer_count = 2;
        json_t *s = get("status"), *peers = json_obj(s, "Peer");
        assert_int_equal(json_object_size(peers), 2);
        const json_t *two = NULL, *three = NULL, *self = json_obj(s, "Self");
        const char *key;
        json_t *p;
        json_object_foreach(peers, key, p)
        {
                assert_string_equal(key, json_str(p, "PublicKey", ""));
                if (json_int(p, "NodeID", 0) == 2)
                        two = p;
                else
                        three = p;
        }
        assert_string_equal(json_str(two, "CurAddr", ""), "203.0.113.9:41641");
        assert_int_equal(json_int(two, "RxBytes", 0), 10);
        assert_int_equal(json_int(two, "TxBytes", 0), 20);
        assert_true(json_bool(two, "Active", false) && json_bool(two, "InEngine", false) && json_bool(two, "Online", false));
        assert_string_equal(json_str(two, "OS", ""), "linux");
        assert_string_equal(json_string_value(json_array_get(json_arr(two, "PeerAPIURL"), 0)), "http://100.64.0.2:99");
        assert_string_equal(json_str(two, "LastSeen", ""), "0001-01-01T00:00:00Z");
        assert_string_equal(json_str(three, "CurAddr", "x"), "");
        assert_false(json_bool(three, "Active", true) || json_bool(three, "InEngine", true) || json_bool(three, "Online", true));
        assert_string_equal(json_str(three, "LastSeen", ""), "2026-01-01T00:00:00Z");
        assert_int_equal(json_int(three, "RxBytes", 0), 5);
        assert_string_equal(json_str(self, "DNSName", ""), "n1.mesh.example.");
        assert_true(json_bool(self, "Online", false));
        assert_string_equal(json_string_value(json_array_get(json_arr(self, "Addrs"), 0)), "[2001:db8::1]:5");
        assert_string_equal(json_str(json_obj(s, "CurrentTailnet"), "Name", ""), "hs.example");
        assert_true(json_bool(s, "HaveNodeKey", false));
        json_decref(s);
        s = get("status?brief=true");
        assert_int_equal(json_array_size(json_arr(s, "Peers")), 2);
        two = json_array_get(json_arr(s, "Peers"), 0);
        assert_string_equal(json_str(two, "DNSName", ""), "n2.mesh.example.");
        assert_string_equal(json_str(two, "CurAddr", ""), "203.0.113.9:41641");
        assert_false(json_has(two, "ID") || json_has(s, "Peer") || json_has(s, "User"));
        json_decref(s);
        s = get("status?peers=false");
        assert_int_equal(json_object_size(json_obj(s, "Peer")), 0);
        json_decref(s);
}

static void a_netcheck_report_is_shown_whole(void **state)
{
        (void)state;
        struct netcheck_report r = {.udp = true, .ipv4 = true, .os_has_ipv6 = true, .mapping_varies = NC_FALSE, .preferred = 2,
                .latency_count = 1};
        r.latency[0] = (struct nc_latency){.region = 2, .any_ns = 5000000, .v4_ns = 5000000};
        assert_int_equal(addr_parse("203.0.113.9:1", &r.global_v4), ERR_NONE);
        json_t *j = view_netcheck(&r);
        static const char *const order[] = {"Now", "UDP", "IPv6", "IPv4", "IPv6CanSend", "IPv4CanSend", "OSHasIPv6", "ICMPv4",
                "MappingVariesByDestIP", "UPnP", "PMP", "PCP", "PreferredDERP", "RegionLatency", "RegionV4Latency", "RegionV6Latency",
                "GlobalV4Counters", "GlobalV6Counters", "GlobalV4", "GlobalV6", "CaptivePortal", "NAT"};
        size_t i = 0;
        const char *key;
        json_t *v;
        json_object_foreach(j, key, v) assert_string_equal(key, order[i++]);
        assert_int_equal(i, sizeof(order) / sizeof(order[0]));
        assert_true(json_is_false(json_object_get(j, "MappingVariesByDestIP")));
        assert_true(json_is_null(json_object_get(j, "UPnP")));
        assert_true(json_is_null(json_object_get(j, "GlobalV4Counters")));
        assert_int_equal(json_int(json_obj(j, "RegionLatency"), "2", 0), 5000000);
        assert_int_equal(json_object_size(json_obj(j, "RegionV6Latency")), 0);
        assert_string_equal(json_str(j, "GlobalV4", ""), "203.0.113.9:1");
        assert_string_equal(json_str(j, "GlobalV6", "x"), "");
        json_t *nat = json_obj(j, "NAT");
        assert_string_equal(json_str(nat, "Kind", ""), "easy");
        assert_string_equal(json_str(nat, "Mapping", ""), "endpoint-independent");
        assert_true(json_is_null(json_object_get(nat, "Filtering")) && json_is_null(json_object_get(nat, "PortKept")));
        assert_true(json_is_null(json_object_get(nat, "HairPinning")));
        assert_non_null(strstr(json_str(nat, "FilteringWhy", ""), "addresses of this host"));
        assert_string_equal(json_str(nat, "HairPinningWhy", ""), json_str(nat, "FilteringWhy", "x"));
        assert_non_null(strstr(json_str(nat, "Text", ""), "direct paths to most peers"));
        json_decref(j);
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(status_joins_map_and_engine), TEST(a_netcheck_report_is_shown_whole),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
