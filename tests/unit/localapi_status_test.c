/* What status, whois and ping show, against recorded answers of the reference. */
#include <stdlib.h>

#include "base/json.h"
#include "base/mono.h"
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

/* All of a status, as it is written in one line, and as the parser reads it. */
static json_t *written(const struct status *st, const struct status_peer *peers, size_t peer_count,
        const struct status_user *users, size_t user_count, bool brief)
{
        struct buf b;
        struct jtext j;
        buf_init(&b, 1 << 20);
        jtext_init(&j, &b, false);
        status_write_head(&j, st, brief);
        for (size_t i = 0; i < peer_count; i++)
                status_write_peer(&j, &peers[i], brief);
        if (!brief)
                status_write_users(&j);
        for (size_t i = 0; i < user_count; i++)
                status_write_user(&j, &users[i]);
        status_write_end(&j, brief);
        json_t *v = json_parse(b.data, b.len);
        assert_non_null(v);
        buf_done(&b);
        return v;
}

static json_t *head_of(const struct status *st)
{
        return written(st, NULL, 0, NULL, 0, false);
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
                        .cap_map = "{\"default-auto-update\":[false],\"https://tailscale.com/cap/file-sharing\":[],"
                                   "\"https://tailscale.com/cap/is-admin\":[],\"https://tailscale.com/cap/ssh\":[]}",
                },
                .health = w->health, .have_tailnet = true, .tailnet_name = "10.9.9.9",
                .magic_dns_suffix = "mesh.example", .magic_dns = true,
        };
}

static void test_recorded(void **state)
{
        (void)state;
        json_t *want = recorded("fixtures/localapi/status.json");
        struct world w;
        world_init(&w, want);
        json_t *got = written(&w.st, &w.beta, 1, &w.user, 1, false);
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
        same(head_of(&st), want);
}

static json_t *only_peer(const struct status_peer *p, bool brief)
{
        static const struct status none;
        json_t *all = written(&none, p, 1, NULL, 0, brief);
        char text[KEY_TEXT_MAX];
        json_t *one = brief ? json_incref(json_array_get(json_arr(all, "Peers"), 0))
                            : json_incref(json_obj(json_obj(all, "Peer"), node_public_text(&p->key, text)));
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
        same(only_peer(&p, false), want);
        /* No address of the mesh at all is null, and half an exit node is none. */
        p.addresses = ips + 1;
        p.address_count = 1;
        p.allowed_count = 2;
        json_t *got = only_peer(&p, false);
        assert_true(json_is_null(json_object_get(got, "TailscaleIPs")));
        assert_false(json_bool(got, "ExitNodeOption", true));
        json_decref(got);
}

static void test_brief(void **state)
{
        (void)state;
        const struct prefix ips[] = {prefix("100.64.0.9/32"), prefix("fd7a:115c:a1e0::9/128")};
        const struct prefix exit[] = {prefix("0.0.0.0/0"), prefix("::/0")};
        struct status_peer p = {
                .id = "9", .node_id = 9, .host_name = "h", .dns_name = "h.x.y.", .os = "linux", .user_id = 3,
                .addresses = ips, .address_count = 2, .relay = "r", .online = true, .last_seen_ns = NS_PER_SEC,
                .cap_map = "{\"c\":null}", .in_map = true,
        };
        json_t *want = json_loads("{\"HostName\":\"h\",\"DNSName\":\"h.x.y.\",\"OS\":\"linux\",\"UserID\":3,"
                "\"TailscaleIPs\":[\"100.64.0.9\"],\"Online\":true}", 0, NULL);
        same(only_peer(&p, true), want);
        p.allowed = exit;
        p.allowed_count = 2;
        p.online = false;
        p.exit_node = p.active = p.sharee = true;
        p.rx_bytes = 5;
        p.cur_addr = addr("192.0.2.1:2");
        want = json_loads("{\"HostName\":\"h\",\"DNSName\":\"h.x.y.\",\"OS\":\"linux\",\"UserID\":3,"
                "\"TailscaleIPs\":[\"100.64.0.9\"],\"CurAddr\":\"192.0.2.1:2\",\"Relay\":\"r\",\"RxBytes\":5,\"TxBytes\":0,"
                "\"LastSeen\":\"1970-01-01T00:00:01Z\",\"ExitNode\":true,\"ExitNodeOption\":true,\"Active\":true,"
                "\"ShareeNode\":true}", 0, NULL);
        same(only_peer(&p, true), want);
        p.login_name = "me@x";
        const struct status st = {.state = "Running", .self = p, .magic_dns_suffix = "x.y"};
        json_t *got = written(&st, &p, 1, NULL, 0, true);
        assert_string_equal(json_str(got, "BackendState", ""), "Running");
        assert_string_equal(json_str(json_array_get(json_arr(got, "Peers"), 0), "LoginName", ""), "me@x");
        assert_string_equal(json_str(json_obj(got, "Self"), "DNSName", ""), "h.x.y.");
        assert_string_equal(json_str(got, "MagicDNSSuffix", ""), "x.y");
        json_decref(got);
}

static void test_exit_node(void **state)
{
        (void)state;
        const struct prefix ips[] = {prefix("100.64.0.5/32")};
        struct status_peer x = {.id = "5", .addresses = ips, .address_count = 1, .online = true};
        struct status st = {.exit_node = &x};
        json_t *got = head_of(&st);
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
                cmocka_unit_test(test_every_member), cmocka_unit_test(test_brief),
                cmocka_unit_test(test_exit_node), cmocka_unit_test(test_whois_recorded),
                cmocka_unit_test(test_names), cmocka_unit_test(test_ping),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
