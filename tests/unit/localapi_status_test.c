/* What status, whois and ping show, against recorded answers of the reference. */
#include <stdlib.h>

#include "base/json.h"
#include "base/timetext.h"
#include "daemon/localapi/status.h"
#include "tests/unit/fixture.h"

static json_t *recorded(const char *path)
{
        size_t len;
        char *text = fixture_read(path, &len);
        json_t *v = json_parse(text, len);
        free(text);
        assert_non_null(v);
        return v;
}

/* Consumes both.  Byte for byte in compact form, so the order of the keys counts. */
static void same(json_t *got, json_t *want)
{
        char *a = json_dumps(got, JSON_COMPACT), *b = json_dumps(want, JSON_COMPACT);
        assert_string_equal(a, b);
        free(a);
        free(b);
        json_decref(got);
        json_decref(want);
}

static struct prefix prefix(const char *s)
{
        struct prefix p;
        assert_int_equal(prefix_parse(s, &p), ERR_NONE);
        return p;
}

static struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static struct node_public key(const char *s)
{
        struct node_public k;
        assert_int_equal(node_public_parse(s, &k), ERR_NONE);
        return k;
}

static int64_t when(const char *s)
{
        int64_t ns;
        assert_int_equal(time_parse(s, &ns), ERR_NONE);
        return ns;
}

struct world {
        struct prefix self_ips[2], beta_ips[2];
        struct addr eps[2];
        struct status_peer beta;
        struct status_user user;
        json_t *health;
        struct status st;
};

static void world_init(struct world *w, json_t *want)
{
        *w = (struct world){
                .self_ips = {prefix("100.64.0.2/32"), prefix("fd7a:115c:a1e0::2/128")},
                .beta_ips = {prefix("100.64.0.1/32"), prefix("fd7a:115c:a1e0::1/128")},
                .eps = {addr("203.0.113.10:41641"), addr("[2001:db8:2::2]:41641")},
                .user = {1, "u", "u", NULL},
                .health = json_incref(json_arr(want, "Health")),
        };
        w->beta = (struct status_peer){
                .id = "1", .node_id = 1, .host_name = "beta", .dns_name = "beta.mesh.example.", .os = "linux",
                .user_id = 1, .addresses = w->beta_ips, .address_count = 2, .allowed = w->beta_ips, .allowed_count = 2,
                .key = key("nodekey:8724233e94713e375c2f0bf7dbbcaf477d67f5cb83563004d0814eea0fd1d311"),
                .endpoints = w->eps, .endpoint_count = 2,   /* a peer's are never shown */
                .relay = "r901", .created_ns = when("2026-11-23T07:08:06.879521777Z"), .online = true,
                .last_seen_ns = when("2026-11-23T07:08:06Z"),   /* nor this while online */
                .peerapi4_port = 58436, .peerapi6_port = 59780, .taildrop = STATUS_TAILDROP_USABLE,
                .in_map = true, .in_magicsock = true,
        };
        w->st = (struct status){
                .version = "1.103.0-dev20260822-tde9ec7ee2", .tun = true, .state = "Running", .have_node_key = true,
                .self = {
                        .id = "2", .node_id = 2, .host_name = "alpha", .dns_name = "alpha.mesh.example.",
                        .os = "linux", .user_id = 1, .addresses = w->self_ips, .address_count = 2,
                        .allowed = w->self_ips, .allowed_count = 2, .endpoints = w->eps, .endpoint_count = 2,
                        .key = key("nodekey:f68cc13efead99cfaf1f18cb64cccf6a969582dc8a337d70172bcdfcf5b81967"),
                        .relay = "r901", .created_ns = when("2026-11-23T07:08:16.296687198Z"), .online = true,
                        .peerapi4_port = 46590, .peerapi6_port = 47166, .in_map = true,
                        /* not in order: what is shown is sorted */
                        .cap_map = "{\"https://tailscale.com/cap/ssh\":[],\"https://tailscale.com/cap/is-admin\":[],"
                                   "\"default-auto-update\":[false],\"https://tailscale.com/cap/file-sharing\":[]}",
                },
                .health = w->health, .have_tailnet = true, .tailnet_name = "10.9.9.9",
                .magic_dns_suffix = "mesh.example", .magic_dns = true,
                .peers = &w->beta, .peer_count = 1, .users = &w->user, .user_count = 1,
        };
}

static void test_recorded(void **state)
{
        (void)state;
        json_t *want = recorded("fixtures/localapi/status.json");
        struct world w;
        world_init(&w, want);
        json_t *got = status_to_json(&w.st);
        json_decref(w.health);
        /* The one thing that is always there with us. */
        json_object_set_new(json_obj(json_obj(want, "User"), "1"), "ProfilePicURL", json_string(""));
        same(got, want);
}

static void test_logged_out(void **state)
{
        (void)state;
        json_t *want = recorded("fixtures/localapi/status-logged-out.json");
        struct addr eps[2] = {addr("203.0.113.10:41641"), addr("[2001:db8:2::2]:41641")};
        struct status st = {
                .version = "1.103.0-dev20260822-tde9ec7ee2", .tun = true, .state = "NeedsLogin",
                .health = json_arr(want, "Health"),
                .self = {.host_name = "alpha", .os = "linux", .endpoints = eps, .endpoint_count = 2, .relay = "r901"},
        };
        /* {} where the reference writes null: safer for who iterates. */
        json_object_set_new(want, "Peer", json_object());
        json_object_set_new(want, "User", json_object());
        same(status_to_json(&st), want);
}

static json_t *only_peer(const struct status_peer *p)
{
        struct status st = {.peers = p, .peer_count = 1};
        json_t *all = status_to_json(&st);
        char text[KEY_TEXT_MAX];
        json_t *one = json_incref(json_obj(json_obj(all, "Peer"), node_public_text(&p->key, text)));
        json_decref(all);
        assert_non_null(one);
        return one;
}

static void test_every_member(void **state)
{
        (void)state;
        const struct prefix ips[] = {prefix("100.64.0.9/32"), prefix("10.1.0.5/32")};
        const struct prefix allowed[] = {ips[0], prefix("0.0.0.0/0"), prefix("::/0")};
        const struct prefix primary[] = {prefix("10.0.0.0/8")};
        const char *const tags[] = {"tag:a"}, *const ssh[] = {"ssh-ed25519 AAAA"};
        struct status_peer p = {
                .id = "9", .node_id = 9, .sharer_id = 4, .addresses = ips, .address_count = 2, .allowed = allowed,
                .allowed_count = 3, .tags = tags, .tag_count = 1, .primary = primary, .primary_count = 1,
                .cur_addr = addr("[2001:db8::1]:41641"), .rx_bytes = 9007199254740993, .tx_bytes = 2,
                .last_seen_ns = when("2026-11-23T07:08:06.5Z"), .last_write_ns = when("2026-11-23T07:08:07Z"),
                .last_handshake_ns = when("2026-11-23T07:08:08Z"), .key_expiry_ns = when("2027-01-01T00:00:00.9Z"),
                .exit_node = true, .active = true, .ssh_keys = ssh, .ssh_key_count = 1, .sharee = true,
                .in_engine = true, .expired = true, .location = "{\"City\":\"X\"}", .cap_map = "{\"c\":null}",
                .taildrop = STATUS_TAILDROP_OFFLINE,
        };
        json_t *want = json_loads(
                "{\"ID\":\"9\",\"NodeID\":9,\"PublicKey\":\"nodekey:"
                "0000000000000000000000000000000000000000000000000000000000000000\",\"HostName\":\"\",\"DNSName\":\"\","
                "\"OS\":\"\",\"UserID\":0,\"AltSharerUserID\":4,\"TailscaleIPs\":[\"100.64.0.9\"],"
                "\"AllowedIPs\":[\"100.64.0.9/32\",\"0.0.0.0/0\",\"::/0\"],\"Tags\":[\"tag:a\"],"
                "\"PrimaryRoutes\":[\"10.0.0.0/8\"],\"Addrs\":null,\"CurAddr\":\"[2001:db8::1]:41641\",\"Relay\":\"\","
                "\"PeerRelay\":\"\",\"RxBytes\":9007199254740993,\"TxBytes\":2,\"Created\":\"0001-01-01T00:00:00Z\","
                "\"LastWrite\":\"2026-11-23T07:08:07Z\",\"LastSeen\":\"2026-11-23T07:08:06.5Z\","
                "\"LastHandshake\":\"2026-11-23T07:08:08Z\",\"Online\":false,\"ExitNode\":true,"
                "\"ExitNodeOption\":true,\"Active\":true,\"PeerAPIURL\":null,\"TaildropTarget\":5,"
                "\"NoFileSharingReason\":\"\",\"CapMap\":{\"c\":null},\"sshHostKeys\":[\"ssh-ed25519 AAAA\"],"
                "\"ShareeNode\":true,\"InNetworkMap\":false,\"InMagicSock\":false,\"InEngine\":true,\"Expired\":true,"
                "\"KeyExpiry\":\"2027-01-01T00:00:00Z\",\"Location\":{\"City\":\"X\"}}", 0, NULL);
        assert_non_null(want);
        same(only_peer(&p), want);
        /* No address of the mesh at all is null, and half an exit node is none. */
        p.addresses = ips + 1;
        p.address_count = 1;
        p.allowed_count = 2;
        json_t *got = only_peer(&p);
        assert_true(json_is_null(json_object_get(got, "TailscaleIPs")));
        assert_false(json_bool(got, "ExitNodeOption", true));
        json_decref(got);
        /* What is not JSON is left out, not passed on. */
        p.cap_map = "{\"c\":";
        p.location = "[";
        got = only_peer(&p);
        assert_null(json_object_get(got, "CapMap"));
        assert_null(json_object_get(got, "Location"));
        json_decref(got);
}

static void test_peers_sorted(void **state)
{
        (void)state;
        struct status_peer p[3] = {{.id = "c"}, {.id = "a"}, {.id = "b"}};
        p[0].key.b[0] = 3;
        p[1].key.b[0] = 1;
        p[2].key.b[0] = 2;
        struct status st = {.peers = p, .peer_count = 3};
        json_t *got = status_to_json(&st), *one;
        const char *k;
        char order[4] = "";
        size_t n = 0;
        json_object_foreach(json_obj(got, "Peer"), k, one) order[n++] = *json_str(one, "ID", "?");
        assert_string_equal(order, "abc");
        json_decref(got);
}

static void test_exit_node(void **state)
{
        (void)state;
        const struct prefix ips[] = {prefix("100.64.0.5/32")};
        struct status_peer x = {.id = "5", .addresses = ips, .address_count = 1, .online = true};
        struct status st = {.exit_node = &x};
        json_t *got = status_to_json(&st);
        same(json_incref(json_obj(got, "ExitNodeStatus")),
                json_loads("{\"ID\":\"5\",\"Online\":true,\"TailscaleIPs\":[\"100.64.0.5/32\"]}", 0, NULL));
        json_decref(got);
}

static void test_whois_recorded(void **state)
{
        (void)state;
        json_t *want = recorded("fixtures/localapi/whois.json");
        json_t *node = json_deep_copy(json_obj(want, "Node"));
        json_object_del(node, "ComputedName");
        json_object_del(node, "ComputedNameWithHost");
        struct status_user u = {1, "u", "u", NULL};
        json_object_set_new(json_obj(want, "UserProfile"), "ProfilePicURL", json_string(""));
        same(status_whois_json(node, &u, NULL, "mesh.example"), want);
        assert_null(status_whois_json(NULL, &u, json_object(), "mesh.example"));
}

static void named(const char *node, const char *suffix, const char *name, const char *with_host)
{
        json_t *n = json_loads(node, 0, NULL);
        assert_non_null(n);
        status_name_node(n, suffix);
        assert_string_equal(json_str(n, "ComputedName", NULL), name);
        assert_string_equal(json_str(n, "ComputedNameWithHost", NULL), with_host);
        json_decref(n);
}

static void test_names(void **state)
{
        (void)state;
        named("{\"Name\":\"a.x.y.\",\"Hostinfo\":{\"Hostname\":\"a\"}}", "x.y", "a", "a");
        named("{\"Name\":\"a.x.y.\",\"Hostinfo\":{\"Hostname\":\"A.local\"}}", "x.y", "a", "a");
        named("{\"Name\":\"a-1.x.y.\",\"Hostinfo\":{\"Hostname\":\"Bob's Mac\"}}", "x.y", "a-1", "a-1 (bobs-mac)");
        named("{\"Name\":\"a.x.y.\",\"Hostinfo\":{\"Hostname\":\"--\"}}", "x.y", "a", "a");
        named("{\"Name\":\"a.other.net.\"}", "x.y", "a.other.net", "a.other.net");
        named("{\"Name\":\"ax.y.\"}", "x.y", "ax.y", "ax.y");
        named("{\"Name\":\"x.y.\"}", "x.y", "x.y", "x.y");
        named("{\"Name\":\"\",\"Key\":\"nodekey:00\",\"Hostinfo\":{\"Hostname\":\"h\"}}", "x.y", "h", "h");
        named("{\"Name\":\"\",\"Key\":\"nodekey:00\"}", "", "nodekey:00", "nodekey:00");
        named("{}", NULL, "", "");
}

static void test_ping(void **state)
{
        (void)state;
        struct status_ping p = {
                .ip = prefix("100.64.0.2/32").ip, .node_ip = prefix("100.64.0.2/32").ip, .node_name = "beta3",
                .latency_ns = 500000000, .endpoint = addr("[2001:db8:3::2]:41641"),
        };
        same(status_ping_json(&p), json_loads("{\"IP\":\"100.64.0.2\",\"NodeIP\":\"100.64.0.2\",\"NodeName\":\"beta3\","
                "\"Err\":\"\",\"LatencySeconds\":0.5,\"Endpoint\":\"[2001:db8:3::2]:41641\",\"PeerRelay\":\"\","
                "\"DERPRegionID\":0,\"DERPRegionCode\":\"\"}", 0, NULL));
        struct status_ping lost = {.ip = p.ip, .error = "no matching peer", .region_id = 901, .region_code = "r",
                .is_local = true};
        same(status_ping_json(&lost), json_loads("{\"IP\":\"100.64.0.2\",\"NodeIP\":\"\",\"NodeName\":\"\","
                "\"Err\":\"no matching peer\",\"LatencySeconds\":0,\"Endpoint\":\"\",\"PeerRelay\":\"\","
                "\"DERPRegionID\":901,\"DERPRegionCode\":\"r\",\"IsLocalIP\":true}", 0, NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_recorded), cmocka_unit_test(test_logged_out),
                cmocka_unit_test(test_every_member), cmocka_unit_test(test_peers_sorted),
                cmocka_unit_test(test_exit_node), cmocka_unit_test(test_whois_recorded),
                cmocka_unit_test(test_names), cmocka_unit_test(test_ping),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
