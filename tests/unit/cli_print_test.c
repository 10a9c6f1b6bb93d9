/* What the commands print for what a daemon said: recorded pairs of JSON and text, and the cases they lack. */
#include "base/json.h"
#include "base/mono.h"
#include "cli/command.h"
#include "cli/table.h"
#include "tests/unit/fixture.h"

static FILE *out;
static char *text;
static size_t text_len;

static void begin(void)
{
        out = open_memstream(&text, &text_len);
        assert_non_null(out);
}

static void printed(const char *want)
{
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, want);
        free(text);
}

static bool has_arg(const json_t *c, const char *name)
{
        const json_t *a = json_arr(c, "args");
        for (size_t i = 0; i < json_array_size(a); i++)
                if (strcmp(json_string_value(json_array_get(a, i)), name) == 0)
                        return true;
        return false;
}

static void print_case(const json_t *c)
{
        const char *kind = json_str(c, "kind", "");
        const json_t *j = json_obj(c, "json");
        if (strcmp(kind, "status") == 0) {
                struct status_view v = {.peers = !has_arg(c, "nopeers"), .self = !has_arg(c, "noself"),
                        .active = has_arg(c, "active"), .header = has_arg(c, "header")};
                bool runs = strcmp(json_str(j, "BackendState", ""), "Running") == 0;
                assert_int_equal(status_print(&(struct brief){.status = json_obj(c, "json")}, &v, 0, out), runs ? 0 : 1);
        } else if (strcmp(kind, "ip") == 0) {
                assert_int_equal(ip_print(json_arr(j, "TailscaleIPs"), false, false, false, out), 0);
        } else if (strcmp(kind, "whois") == 0) {
                whois_print(j, out);
        } else if (strcmp(kind, "ping") == 0) {
                (void)ping_print(json_str(j, "IP", ""), "disco", j, out);
        } else if (strcmp(kind, "netcheck") == 0) {
                netcheck_print(json_obj(j, "report"), json_obj(j, "map"), false, out);
        } else if (strcmp(kind, "switch") == 0) {
                switch_print_list(json_arr(j, "list"), json_str(json_obj(j, "current"), "ID", ""), out);
        } else {
                fail_msg("unknown kind %s", kind);
        }
}

static void recorded(void **state)
{
        (void)state;
        size_t len;
        char *file = fixture_read("fixtures/cli/recorded.json", &len);
        json_t *all = json_parse(file, len);
        assert_true(json_array_size(all) > 20);
        for (size_t i = 0; i < json_array_size(all); i++) {
                const json_t *c = json_array_get(all, i);
                begin();
                print_case(c);
                printed(json_str(c, "text", ""));
        }
        json_decref(all);
        free(file);
}

/* ---- status: one row, as it changes with one member ---- */

static void status_texts(void **state)
{
        (void)state;
        static const struct {
                const char *peer, *want;
        } rows[] = {
                {"{\"Online\":true}", "-"},
                {"{\"Online\":true,\"RxBytes\":5}", "idle, tx 0 rx 5"},
                {"{\"Online\":false}", "offline"},
                {"{\"LastSeen\":\"1970-01-02T00:00:00Z\"}", "offline, last seen 2d ago"},
                {"{\"LastSeen\":\"1970-01-03T23:00:01Z\"}", "offline, last seen 59m ago"},
                {"{\"LastSeen\":\"1970-01-03T23:59:59Z\"}", "offline, last seen 1m ago"},
                {"{\"LastSeen\":\"1970-01-03T23:00:00Z\"}", "offline, last seen 1h ago"},
                {"{\"LastSeen\":\"1970-01-03T00:00:01Z\"}", "offline, last seen 23h ago"},
                {"{\"LastSeen\":\"0001-01-01T00:00:00Z\"}", "offline"},
                {"{\"LastSeen\":\"nonsense\"}", "offline"},
                {"{\"Online\":true,\"ExitNodeOption\":true}", "idle; offers exit node"},
                {"{\"ExitNodeOption\":true}", "idle; offers exit node; offline"},
                {"{\"Online\":true,\"ExitNode\":true,\"TxBytes\":1}", "idle; exit node, tx 1 rx 0"},
                {"{\"Online\":true,\"Active\":true,\"Relay\":\"fra\"}", "active; relay \"fra\""},
                {"{\"Online\":true,\"Active\":true,\"CurAddr\":\"[::1]:9\",\"Relay\":\"fra\"}", "active; direct [::1]:9"},
                {"{\"Online\":true,\"Active\":true,\"PeerRelay\":\"1.2.3.4:5:vni:6\"}", "active; peer-relay 1.2.3.4:5:vni:6"},
                {"{\"Online\":true,\"Active\":true,\"ExitNode\":true,\"CurAddr\":\"1.2.3.4:5\"}",
                        "active; exit node; direct 1.2.3.4:5"},
                {"{\"Active\":true,\"ExitNodeOption\":true,\"Relay\":\"r\",\"TxBytes\":7}",
                        "active; offers exit node; relay \"r\"; offline, tx 7 rx 0"},
        };
        const struct status_view only_self = {.self = true};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                json_t *peer = json_parse(rows[i].peer, strlen(rows[i].peer));
                json_t *s = json_pack("{s:s, s:o}", "BackendState", "Running", "Self", peer);
                char want[200];
                json_object_set_new(peer, "HostName", json_string("h"));
                snprintf(want, sizeof(want), "  (\"h\")  -    %s  \n", rows[i].want);
                begin();
                assert_int_equal(status_print(&(struct brief){.status = s}, &only_self, 3 * 24 * 3600 * NS_PER_SEC, out), 0);
                printed(want);
                json_decref(s);
        }
}

/* Whatever is missing or of another type, a row is printed. */
static void status_of_anything(void **state)
{
        (void)state;
        static const char *const odd[] = {"{\"BackendState\":\"Running\"}",
                "{\"BackendState\":\"Running\",\"Self\":7,\"Peer\":[],\"User\":null,\"Health\":[1,null,\"x\"]}",
                "{\"BackendState\":\"Running\",\"Self\":{\"TailscaleIPs\":[3],\"UserID\":\"x\"},\"Peer\":{\"k\":null,\"l\":{}}}"};
        const struct status_view all = {.peers = true, .self = true};
        for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
                json_t *s = json_parse(odd[i], strlen(odd[i]));
                assert_non_null(s);
                begin();
                assert_int_equal(status_print(&(struct brief){.status = s}, &all, 0, out), 0);
                fclose(out);
                assert_true(text_len > 0);
                free(text);
                json_decref(s);
        }
}

/* Some commands print no more of a status than why they cannot go on: that as well is other people's text. */
static void why_not_is_clean(void **state)
{
        (void)state;
        static const char *const rows[][2] = {
                {"{\"BackendState\":\"NoState\",\"Health\":[\"a\\u001b[31mb\",\"c\\u009bd\"]}",
                        "# Health check:\n#     - a?[31mb\n#     - c?d\n\nunexpected state: NoState\n"},
                {"{\"BackendState\":\"x\\u001by\"}", "unexpected state: x?y\n"},
                {"{\"BackendState\":\"NeedsLogin\",\"AuthURL\":\"http://h/\\u001b\"}", "Logged out.\nLog in at: http://h/?\n"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                json_t *s = json_parse(rows[i][0], strlen(rows[i][0]));
                assert_non_null(s);
                begin();
                assert_false(status_is_running(s, out));
                printed(rows[i][1]);
                json_decref(s);
        }
}

/* ---- the others ---- */

static void ip_selectors(void **state)
{
        (void)state;
        json_t *ips = json_pack("[s, s]", "100.64.0.1", "fd7a::1");
        static const struct {
                bool first, v4, v6;
                const char *want;
        } rows[] = {{false, false, false, "100.64.0.1\nfd7a::1\n"}, {true, false, false, "100.64.0.1\n"},
                {false, true, false, "100.64.0.1\n"}, {false, false, true, "fd7a::1\n"}};
        for (size_t i = 0; i < 4; i++) {
                begin();
                assert_int_equal(ip_print(ips, rows[i].first, rows[i].v4, rows[i].v6, out), 0);
                printed(rows[i].want);
        }
        json_array_remove(ips, 1);
        begin();
        assert_int_equal(ip_print(ips, false, false, true, out), 1);
        printed("");
        json_decref(ips);
}

static void pongs(void **state)
{
        (void)state;
        static const struct {
                const char *json, *want;
                enum ping_outcome outcome;
        } rows[] = {
                {"{\"Err\":\"100.64.0.1 is local Tailscale IP\",\"IsLocalIP\":true}", "100.64.0.1 is local Tailscale IP\n",
                        PING_SELF},
                {"{\"Err\":\"timed out\"}", "ping \"100.64.0.1\" timed out\n", PING_LOST},
                {"{\"Err\":\"no matching peer\"}", "", PING_FATAL},
                {"{\"NodeName\":\"b\",\"NodeIP\":\"100.64.0.2\",\"LatencySeconds\":1.2044,\"Endpoint\":\"[2001:db8::1]:9\"}",
                        "pong from b (100.64.0.2) via [2001:db8::1]:9 in 1.204s\n", PING_DIRECT},
                {"{\"NodeName\":\"b\",\"NodeIP\":\"100.64.0.2\",\"LatencySeconds\":0.0235,\"DERPRegionID\":9,\"DERPRegionCode\":\"fra\"}",
                        "pong from b (100.64.0.2) via DERP(fra) in 24ms\n", PING_RELAY},
                {"{\"NodeName\":\"b\",\"NodeIP\":\"100.64.0.2\",\"LatencySeconds\":0.002,\"PeerAPIPort\":4242}",
                        "pong from b (100.64.0.2, 4242) via TSMP in 2ms\n", PING_INSIDE},
                {"{\"NodeName\":\"b\",\"NodeIP\":\"100.64.0.2\",\"LatencySeconds\":0.002,\"PeerAPIURL\":\"http://100.64.0.2:42\"}",
                        "hit peerapi of 100.64.0.2 (b) at http://100.64.0.2:42 in 2ms\n", PING_INSIDE},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                json_t *j = json_parse(rows[i].json, strlen(rows[i].json));
                begin();
                assert_int_equal(ping_print("100.64.0.1", "TSMP", j, out), rows[i].outcome);
                printed(rows[i].want);
                json_decref(j);
        }
}

static void whois_of_a_tagged_node(void **state)
{
        (void)state;
        json_t *w = json_pack("{s:{s:s, s:s, s:[s], s:[s,s,s,s], s:[s,s]}, s:{s:n, s:[i]}}", "Node", "Name", "db.x.", "StableID",
                "4", "Addresses", "100.64.0.4/32", "AllowedIPs", "100.64.0.4/32", "fd7a::4/128", "10.0.0.0/8", "::/0", "Tags",
                "tag:a", "tag:b", "CapMap", "cap/one", "cap/two", 1);
        begin();
        whois_print(w, out);
        printed("Machine:\n  Name:          db.x\n  ID:            4\n  Addresses:     [100.64.0.4/32]\n"
                "  AllowedIPs:    [10.0.0.0/8 ::/0]\n  Tags:          [tag:a tag:b]\n"
                "Capabilities:\n  - cap/one\n  - cap/two\n");
        json_decref(w);
}

static void netcheck_variants(void **state)
{
        (void)state;
        json_t *map = json_pack("{s:{s:{s:s,s:s},s:{s:s,s:s},s:{s:s,s:s}}}", "Regions", "1", "RegionCode", "fra", "RegionName",
                "Frankfurt", "20", "RegionCode", "a", "RegionName", "A", "3", "RegionCode", "hs9", "RegionName", "Own");
        json_t *r = json_pack("{s:s, s:b, s:b, s:b, s:s, s:s, s:b, s:b, s:n, s:b, s:i, s:{s:i, s:i}}", "Now",
                "2026-08-03T10:11:12.5Z", "UDP", 1, "IPv4", 1, "IPv6", 1, "GlobalV4", "203.0.113.9:1", "GlobalV6", "[2001:db8::1]:2",
                "MappingVariesByDestIP", 1, "UPnP", 1, "PMP", "PCP", 1, "PreferredDERP", 1, "RegionLatency", "1", 11800000, "20",
                9040000);
        begin();
        netcheck_print(r, map, true, out);
        printed("\nReport:\n\t* Time: 2026-08-03 10:11:12.5Z\n\t* UDP: true\n\t* IPv4: yes, 203.0.113.9:1\n"
                "\t* IPv6: yes, [2001:db8::1]:2\n\t* MappingVariesByDestIP: true\n\t* PortMapping: UPnP, PCP\n"
                "\t* Nearest DERP: Frankfurt\n\t* DERP latency:\n\t\t-   a: 9ms     (derp20, A)\n"
                "\t\t- fra: 11.8ms  (derp1, Frankfurt)\n\t\t- hs9:         (derp3, Own)\n");
        json_object_clear(json_obj(r, "RegionLatency"));
        json_object_set_new(r, "IPv6", json_false());
        json_object_set_new(r, "UPnP", json_null());
        json_object_set_new(r, "PCP", json_null());
        begin();
        netcheck_print(r, map, false, out);
        printed("\nReport:\n\t* Time: 2026-08-03 10:11:12.5Z\n\t* UDP: true\n\t* IPv4: yes, 203.0.113.9:1\n"
                "\t* IPv6: no, unavailable in OS\n\t* MappingVariesByDestIP: true\n\t* PortMapping: not checked\n"
                "\t* Nearest DERP: unknown (no response to latency probes)\n");
        json_object_set_new(r, "NAT", json_pack("{s:s, s:n, s:b, s:s}", "Text", "easy: words", "Filtering", "HairPinning", 0,
                "HairPinningWhy", "the reason"));
        begin();
        netcheck_print(r, map, false, out);
        printed("\nReport:\n\t* Time: 2026-08-03 10:11:12.5Z\n\t* UDP: true\n\t* IPv4: yes, 203.0.113.9:1\n"
                "\t* IPv6: no, unavailable in OS\n\t* MappingVariesByDestIP: true\n\t* PortMapping: not checked\n"
                "\t* NAT: easy: words\n\t* Filtering: not known\n\t* HairPinning: false (the reason)\n"
                "\t* Nearest DERP: unknown (no response to latency probes)\n");
        json_decref(r);
        json_decref(map);
}

static void print_paths(const char *json, bool whole)
{
        json_t *p = json_parse(json, strlen(json));
        assert_non_null(p);
        begin();
        paths_print(p, whole, out);
        json_decref(p);
}

static void paths_variants(void **state)
{
        (void)state;
        print_paths("{\"NodeName\":\"db\",\"NodeIP\":\"100.64.0.4\",\"State\":\"direct\",\"Addr\":\"203.0.113.9:1\","
                    "\"LatencySeconds\":0.0123,\"TrustedFor\":4.25,\"Relay\":\"fra\",\"RelayFrom\":\"map\",\"SentAgo\":0.25,\"HeardAgo\":1.5,"
                    "\"SearchAgo\":70,\"CallAgo\":null,\"PingInAgo\":2,\"TxDirect\":10,\"TxRelay\":20,\"Candidates\":["
                    "{\"Addr\":\"203.0.113.9:1\",\"From\":[\"map\",\"call\"],\"Pings\":3,\"LastPingAgo\":2.12,\"LatencySeconds\":0.0123,"
                    "\"HeardAgo\":0.3},{\"Addr\":\"192.168.1.2:1\",\"From\":[\"ping\"],\"Pings\":0,\"LastPingAgo\":null,"
                    "\"LatencySeconds\":null,\"HeardAgo\":null}],\"NotDirect\":[],\"History\":[{\"When\":\"2026-08-03T10:11:12.5Z\","
                    "\"What\":\"relay\",\"Text\":\"by relay 9\",\"Times\":1,\"LastAgo\":9},{\"When\":\"2026-08-03T10:11:13Z\","
                    "\"Text\":\"pinged by UDP\",\"Times\":4,\"LastAgo\":3.5}]}", true);
        printed("db (100.64.0.4): direct by 203.0.113.9:1 in 12.3ms, trusted for 4.3s\nRelay: fra, the peer's home\n"
                "Data: sent 250ms ago, received 1.5s ago; 10 bytes sent directly, 20 by relay\n"
                "Search: begun 1m10s ago, call sent never, last ping of the peer by UDP 2s ago\nCandidates:\n"
                "ADDRESS        FROM       PINGS  LAST PING  ROUND TRIP  LAST HEARD\n"
                "203.0.113.9:1  map, call  3      2.1s ago   12.3ms      300ms ago\n"
                "192.168.1.2:1  ping       0      never      no answer   never\n"
                "History:\n2026-08-03T10:11:12.5Z  by relay 9\n"
                "2026-08-03T10:11:13Z  pinged by UDP (4 times, last 3.5s ago)\n");
        print_paths("{\"NodeName\":\"db\",\"NodeIP\":\"100.64.0.4\",\"State\":\"doubt\",\"Addr\":\"203.0.113.9:1\",\"Relay\":\"fra\","
                    "\"NotDirect\":[{\"Why\":\"silent\",\"Text\":\"it is silent\"}],\"History\":[{\"Text\":\"x\"}]}", false);
        printed("db (100.64.0.4): by 203.0.113.9:1, which is in doubt, and by DERP(fra)\nCandidates: none\n"
                "Not direct, because:\n- it is silent\n");
        print_paths("{\"NodeName\":\"db\",\"NodeIP\":\"100.64.0.4\",\"State\":\"relay\",\"Relay\":\"fra\",\"Own\":{\"NAT\":\"hard\"},"
                    "\"HardNAT\":{\"Outcome\":\"missed\",\"WhyNot\":\"it was tried lately\",\"Tries\":2,\"Found\":1,\"StartedAgo\":4.5,"
                    "\"TookSeconds\":2.9,\"Sockets\":256,\"Guesses\":1152}}", false);
        printed("db (100.64.0.4): by DERP(fra)\nCandidates: none\nHard NAT: tried 2 times, found a path 1 times; last 4.5s ago, "
                "missed after 2.9s with 256 sockets and 1152 guesses\nHard NAT: not searched now, because it was tried lately\n");
        print_paths("{\"State\":7,\"Candidates\":[null,7],\"NotDirect\":[null],\"History\":[null],\"From\":3}", true);
        assert_int_equal(fclose(out), 0);
        free(text);
}

static void switch_finds_by_id_domain_name(void **state)
{
        (void)state;
        json_t *list = json_pack("[{s:s,s:s,s:{s:s,s:s}},{s:s,s:s,s:{s:s,s:s},s:{s:s}}]", "ID", "00aa", "Name", "u",
                "NetworkProfile", "DomainName", "a.example", "DisplayName", "Shown", "ID", "00bb", "Name", "00aa",
                "NetworkProfile", "DomainName", "b.example", "DisplayName", "", "UserProfile", "LoginName", "bob");
        assert_string_equal(switch_find(list, "00aa"), "00aa");   /* an id before a name */
        assert_string_equal(switch_find(list, "u"), "00aa");
        assert_string_equal(switch_find(list, "b.example"), "00bb");
        assert_string_equal(switch_find(list, "Shown"), "00aa");
        assert_null(switch_find(list, "bob"));
        assert_null(switch_find(list, ""));
        assert_null(switch_find(NULL, "u"));
        json_t *a = switch_list_json(list, "00bb");
        char *compact = json_dumps(a, JSON_COMPACT);
        assert_string_equal(compact, "[{\"id\":\"00aa\",\"nickname\":\"u\",\"tailnet\":\"Shown\",\"account\":\"\",\"selected\":false},"
                "{\"id\":\"00bb\",\"nickname\":\"00aa\",\"tailnet\":\"b.example\",\"account\":\"bob\",\"selected\":true}]");
        free(compact);
        json_decref(a);
        json_decref(list);
}

static void table_pads_by_character(void **state)
{
        (void)state;
        struct table t;
        table_init(&t, 2, 1);
        table_add(&t, "\xc3\xa9\xc3\xa9");
        table_end_row(&t);
        table_add(&t, "abcd");
        table_add(&t, "x");
        begin();
        table_print(&t, out);
        printed("\xc3\xa9\xc3\xa9     \nabcd x \n");
        t.bare_last = true;
        begin();
        table_print(&t, out);
        printed("\xc3\xa9\xc3\xa9   \nabcd x\n");
        table_done(&t);
}

/* ---- names ---- */

static void names_are_resolved(void **state)
{
        (void)state;
        json_t *s = json_pack("{s:s, s:{s:s, s:s, s:[s]}, s:{s:{s:s, s:s, s:[s,s]}, s:{s:s, s:s, s:[]}}}", "MagicDNSSuffix",
                "mesh.example", "Self", "DNSName", "me.mesh.example.", "HostName", "me", "TailscaleIPs", "100.64.0.1", "Peer", "k1",
                "DNSName", "db.mesh.example.", "HostName", "Database", "TailscaleIPs", "100.64.0.2", "fd7a::2", "k2", "DNSName",
                "bare.other.", "HostName", "bare", "TailscaleIPs");
        static const struct {
                const char *word, *ip;
        } rows[] = {{"db", "100.64.0.2"}, {"DB", "100.64.0.2"}, {"db.mesh.example", "100.64.0.2"},
                {"db.mesh.example.", "100.64.0.2"}, {"database", "100.64.0.2"}, {"me", "100.64.0.1"},
                {"10.1.2.3", "10.1.2.3"}, {"fd7a::9", "fd7a::9"}, {"d", NULL}, {"", NULL}, {"bare", NULL}, {"mesh.example", NULL}};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char ip[64] = "";
                assert_int_equal(status_resolve(&(struct brief){.status = s}, rows[i].word, ip, sizeof(ip)), rows[i].ip != NULL);
                assert_string_equal(ip, rows[i].ip != NULL ? rows[i].ip : "");
        }
        json_decref(s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(recorded), cmocka_unit_test(status_texts), cmocka_unit_test(status_of_anything), cmocka_unit_test(why_not_is_clean),
                cmocka_unit_test(ip_selectors), cmocka_unit_test(pongs), cmocka_unit_test(whois_of_a_tagged_node),
                cmocka_unit_test(netcheck_variants), cmocka_unit_test(paths_variants), cmocka_unit_test(switch_finds_by_id_domain_name),
                cmocka_unit_test(table_pads_by_character), cmocka_unit_test(names_are_resolved),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
