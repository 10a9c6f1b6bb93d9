/* The endpoints over a real socket: what is answered. */
#include "tests/unit/daemon_client.h"

/* A client that has never heard of a preference does not reset it; one that names it does. */
static void start_keeps_what_the_client_does_not_know(void **state)
{
        (void)state;
        run_node();
        expect("PATCH", "prefs", "{\"HardNATSearch\":\"off\",\"HardNATSearchSet\":true,\"ShieldsUp\":true,\"ShieldsUpSet\":true}", 200,
                "");
        assert_true(backend_prefs(w.b)->shields_up);
        expect("POST", "start", "{\"UpdatePrefs\":{\"ControlURL\":\"http://h\",\"WantRunning\":true}}", 204, "");
        assert_false(backend_prefs(w.b)->shields_up);
        assert_string_equal(backend_prefs(w.b)->hard_nat, "off");
        expect("POST", "start", "{\"UpdatePrefs\":{\"ControlURL\":\"http://h\",\"WantRunning\":true,\"HardNATSearch\":\"\"}}", 204, "");
        assert_string_equal(backend_prefs(w.b)->hard_nat, "");
}

static void logged_out_answers(void **state)
{
        (void)state;
        static const struct {
                const char *method, *what, *body;
                int status;
                const char *part;
        } rows[] = {
                {"GET", "status", "", 200, "\"BackendState\": \"NeedsLogin\""},
                {"DELETE", "status", "", 200, "\"BackendState\""},   /* any method */
                {"GET", "prefs", "", 200, "\"LoggedOut\": true"},
                {"POST", "prefs", "{}", 405, ""},
                {"PATCH", "prefs", "[]", 400, "must be a JSON object"},
                {"PATCH", "prefs", "{", 400, "must be a JSON object"},
                {"PATCH", "prefs", "{\"RouteAll\":1,\"RouteAllSet\":true}", 400, "\"Error\""},
                {"PATCH", "prefs", "{\"hostname\":\"h\",\"hostnameset\":true}", 200, "\"Hostname\": \"h\""},
                {"POST", "check-prefs", "{}", 200, "{}"},
                {"POST", "check-prefs", "x", 400, ""},
                {"POST", "check-prefs", "{\"AdvertiseRoutes\":[\"10.0.0.1/8\"]}", 200, "\"Error\""},
                {"GET", "check-prefs", "", 405, ""},
                {"GET", "start", "", 400, ""},
                {"POST", "start", "[]", 400, "must be a JSON object"},
                {"POST", "start", "{\"UpdatePrefs\":7}", 400, "must be a JSON object"},
                {"POST", "start", "{\"UpdatePrefs\":{\"Hostname\":7}}", 400, "Hostname"},
                {"POST", "start", "{\"UpdatePrefs\":{\"ControlURL\":\"x\"}}", 500, "must be a URL"},
                {"GET", "login-interactive", "", 400, ""},
                {"GET", "logout", "", 400, ""},
                {"GET", "whois", "", 400, "invalid 'addr' parameter"},
                {"GET", "whois?addr=name", "", 400, "invalid 'addr' parameter"},
                {"GET", "whois?addr=100.64.0.2", "", 404, "no match"},
                {"GET", "whois?addr=nodekey:00", "", 400, ""},
                {"POST", "ping?ip=100.64.0.2&type=disco", "", 200, "\"Err\":\"no matching peer\""},
                {"POST", "ping?ip=x&type=disco", "", 400, "invalid 'ip'"},
                {"POST", "ping?ip=100.64.0.2", "", 400, "invalid 'type'"},
                {"POST", "ping?ip=100.64.0.2&type=disco&size=70000", "", 400, "invalid 'size'"},
                {"POST", "ping?ip=100.64.0.2&type=disco&size=-1", "", 400, "invalid 'size'"},
                {"GET", "ping?ip=100.64.0.2&type=disco", "", 400, ""},
                {"POST", "netcheck", "", 500, "no relay map yet: log in with"},
                {"GET", "debug-paths?ip=100.64.0.2", "", 404, "no matching peer"},
                {"GET", "debug-paths?ip=x", "", 400, "invalid 'ip'"},
                {"GET", "debug-paths", "", 400, "invalid 'ip'"},
                {"POST", "debug-paths?ip=100.64.0.2", "", 405, ""},
                {"GET", "derpmap", "", 200, "null"},
                {"GET", "usermetrics", "", 200, "\ntailscaled_home_derp_region_id 901\n"},
                {"GET", "metrics", "", 200, "\nroute_no_peer_packets_total 42\n"},
                {"POST", "metrics", "", 405, ""},
                {"POST", "debug?action=current-netmap", "", 400, "no netmap"},
                {"POST", "debug?action=restun", "", 200, "done"},
                {"POST", "debug?action=rebind", "", 200, "done"},
                {"POST", "debug?action=fly", "", 400, "unknown action \"fly\""},
                {"POST", "debug", "", 400, "unknown action \"\""},
                {"GET", "debug?action=current-netmap", "", 405, ""},
                {"GET", "dns-config", "", 503, "no network map"},
                {"GET", "dns-osconfig", "", 200, "{\"Nameservers\":[],\"SearchDomains\":[],\"MatchDomains\":[]}"},
                /* SERVFAIL, as nobody is there to ask: id 1, QR AA RD, no record */
                {"GET", "dns-query?name=x.example&type=A", "", 200, "{\"Bytes\":\"AAGFAgABAAAAAAAA"},
                {"GET", "dns-query?name=x.example&type=FOO", "", 400, "unknown DNS message type: FOO"},
                {"GET", "dns-query?name=x.example", "", 400, "unknown DNS message type: "},
                {"GET", "dns-query?name=a..b&type=A", "", 400, "'name'"},
                {"GET", "dns-query?type=A", "", 400, "'name'"},
                {"POST", "dns-query?name=x.example&type=A", "", 405, ""},
                {"GET", "serve-config", "", 200, "null"},
                {"GET", "tka/status", "", 200, "\"Enabled\": false"},
                {"GET", "watch-ipn-bus?mask=x", "", 400, "invalid 'mask'"},
                {"GET", "watch-ipn-bus?mask=-1", "", 400, "invalid 'mask'"},
                {"GET", "watch-ipn-bus?mask=65536", "", 400, "invalid 'mask'"},
                {"GET", "watch-ipn-bus?mask=4352", "", 400, "invalid 'mask'"},
                {"GET", "profiles/", "", 200, "[]"},
                {"GET", "profiles/current", "", 200, "{\"ID\":\"\""},
                {"GET", "profiles/00aa", "", 404, "profile not found"},
                {"POST", "profiles/00aa", "{}", 500, "profile not found"},
                {"DELETE", "profiles/00aa", "", 204, ""},
                {"POST", "profiles/", "", 405, ""},
                {"PUT", "profiles/", "", 201, ""},
                {"DELETE", "profiles/current", "", 405, ""},
                {"PUT", "profiles/00aa", "", 405, ""},
                {"GET", "nonsense", "", 404, ""},
                {"POST", "logout", "", 204, ""},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                expect(rows[i].method, rows[i].what, rows[i].body, rows[i].status, rows[i].part);
        assert_int_equal(backend_state(w.b), IPN_NEEDS_LOGIN);
}

/* The members in the reference's order, and the filter as it is meant. */
static void the_map_has_every_member(void **state)
{
        (void)state;
        static const char *const members[] = {"Cached", "SelfNode", "AllCaps", "NodeKey", "MachineKey", "Peers", "DNS",
                "PacketFilter", "PacketFilterRules", "SSHPolicy", "CollectServices", "DERPMap", "DisplayMessages", "TKAEnabled",
                "TKAHead", "Domain", "DomainAuditLogID", "UserProfiles"};
        static const char rule[] = "{\"SrcIPs\":[\"*\",\"cap:x\"],\"DstPorts\":[{\"IP\":\"10.0.0.1-10.0.0.3\",\"Ports\":{\"First\":22,\"Last\":23}}],"
                "\"IPProto\":[6],\"CapGrant\":[{\"Dsts\":[\"100.64.0.1/32\"],\"Caps\":[\"old\"],\"CapMap\":{\"new\":[1]}}]}";
        static const char want[] = "[{\"IPProto\":[6],\"Srcs\":[\"0.0.0.0/0\",\"::/0\"],\"SrcCaps\":[\"x\"],\"Dsts\":["
                "{\"Net\":\"10.0.0.1/32\",\"Ports\":{\"First\":22,\"Last\":23}},{\"Net\":\"10.0.0.2/31\",\"Ports\":{\"First\":22,\"Last\":23}}],"
                "\"Caps\":[{\"Dst\":\"100.64.0.1/32\",\"Cap\":\"old\",\"Values\":null},"
                "{\"Dst\":\"100.64.0.1/32\",\"Cap\":\"new\",\"Values\":[1]}]}]";
        run_node();
        json_t *sent = json_parse(rule, sizeof(rule) - 1), *v;
        struct filter_rule *r, *rules[1];
        assert_int_equal(filter_rule_from_json(sent, &r), ERR_NONE);
        rules[0] = r;
        fc.nm.rules = rules;
        fc.nm.rule_count = 1;
        const struct answer *a = ask("POST", "debug?action=current-netmap", "");
        fc.nm.rules = NULL;
        fc.nm.rule_count = 0;
        json_t *j = json_parse(a->body, strlen(a->body));
        const char *key;
        size_t n = 0;
        json_object_foreach(j, key, v)
        {
                assert_true(n < sizeof(members) / sizeof(members[0]));
                assert_string_equal(key, members[n++]);
        }
        assert_int_equal(n, sizeof(members) / sizeof(members[0]));
        char *text = json_dumps(json_object_get(j, "PacketFilter"), JSON_COMPACT);
        assert_string_equal(text, want);
        free(text);
        assert_string_equal(json_str(json_array_get(json_arr(j, "Peers"), 0), "ComputedName", ""), "n2");
        json_decref(j);
        json_decref(sent);
        free(r);
}

static void a_running_node(void **state)
{
        (void)state;
        run_node();
        expect("GET", "whois?addr=100.64.0.2:8000", "", 200, "\"ComputedName\": \"n2\"");
        expect("GET", "whois?addr=100.64.0.1", "", 200, "\"StableID\": \"1\"");
        expect("GET", "whois?addr=100.64.0.9", "", 404, "");
        expect("POST", "debug?action=current-netmap", "", 200, "\"SelfNode\":{\"ID\":1,");
        expect("POST", "debug?action=current-netmap", "", 200, "\"MachineKey\":\"mkey:");
        expect("POST", "ping?ip=100.64.0.1&type=disco", "", 200, "\"Err\":\"100.64.0.1 is local Tailscale IP\"");
        expect("GET", "dns-query?name=N2.mesh.example.&type=a", "", 200,
                "{\"Bytes\":\"AAGFgAABAAEAAAAAAm4yBG1lc2gHZXhhbXBsZQAAAQABwAwAAQABAAAABQAEZEAAAg==\",\"Resolvers\":null}");
        expect("GET", "prefs", "", 200, "\"PrivateNodeKey\": \"privkey:0000000000000000000000000000000000000000000000000000000000000000\"");
        assert_null(strstr(ask("GET", "prefs", "")->text, "07070707"));
        expect("PATCH", "prefs", "{\"WantRunningSet\":true}", 200, "\"WantRunning\": false");
        assert_int_equal(backend_state(w.b), IPN_STOPPED);
        expect("POST", "ping?ip=100.64.0.2&type=disco", "", 200, "Tailscale is stopped");
        expect("POST", "netcheck", "", 500, "Tailscale is stopped");
        char id[16], what[32];
        snprintf(id, sizeof(id), "%s", profiles_current_id(w.profiles));
        snprintf(what, sizeof(what), "profiles/%s", id);
        expect("GET", what, "", 200, id);
        expect("PUT", "profiles/", "", 201, "");
        expect("POST", what, "", 204, "");
        assert_string_equal(profiles_current_id(w.profiles), id);
        expect("DELETE", what, "", 204, "");
        expect("GET", "profiles/", "", 200, "[]");
}

static void pings_are_answered_later_or_not_at_all(void **state)
{
        (void)state;
        run_node();
        struct answer a = {0};
        int fd = say("POST", "ping?ip=100.64.0.2&type=disco&size=1000", "");
        hear(fd, &a, 20);
        assert_int_equal(a.status, 0);
        assert_non_null(fe.ping_fn);
        assert_int_equal(fe.ping_node, 2);
        assert_int_equal(fe.ping_size, 1000);
        struct engine_ping_result res = {.latency_ns = 12345678, .relay_region = 9};
        fe.ping_fn(fe.ping_arg, &res);
        hear(fd, &a, 200);
        assert_non_null(strstr(a.body, "\"NodeIP\":\"100.64.0.2\",\"NodeName\":\"n2\",\"Err\":\"\",\"LatencySeconds\":0.012345678,"
                "\"Endpoint\":\"\",\"PeerRelay\":\"\",\"DERPRegionID\":9"));
        close(fd);
        /* The client leaves first: the answer goes nowhere. */
        fd = say("POST", "ping?ip=100.64.0.2&type=disco", "");
        hear(fd, &a, 20);
        close(fd);
        for (int i = 0; i < 20; i++)
                loop_once(w.loop, 1);
        assert_int_equal(addr_parse("203.0.113.9:41641", &res.direct), ERR_NONE);
        fe.ping_fn(fe.ping_arg, &res);
        expect("GET", "status?peers=false", "", 200, "Running");
}

static void from_where_a_look_is_taken(void **state)
{
        (void)state;
        static const char *const ports[] = {"x", "-1", "65536", "1x", "99999999999999999999"};
        for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
                char what[96];
                snprintf(what, sizeof(what), "netcheck?bind_address=192.0.2.1&bind_port=%s", ports[i]);
                expect("POST", what, "", 400, "invalid 'bind_port' parameter: want 0 to 65535");
        }
        expect("POST", "netcheck?bind_address=x&bind_port=1", "", 400, "invalid 'bind_address' parameter");
        expect("POST", "netcheck?bind_address=192.0.2.1", "", 500, "no relay map yet");
        expect("POST", "netcheck?bind_port=0", "", 500, "no relay map yet");
        expect("POST", "netcheck?bind_port=1023", "", 500, "no relay map yet");
        if (geteuid() != 0)
                return;
        assert_int_equal(seteuid(65533), 0);
        int fds[] = {say("POST", "netcheck?bind_port=1023", ""), say("POST", "netcheck?bind_port=1024", "")};
        assert_int_equal(seteuid(0), 0);
        static const int want[] = {403, 500};
        for (size_t i = 0; i < 2; i++) {
                struct answer a = {0};
                hear(fds[i], &a, 200);
                close(fds[i]);
                assert_int_equal(a.status, want[i]);
        }
}

/* Nobody takes all descriptors of the daemon: a few looks go on at a time, and whoever leaves makes room. */
static void looks_at_a_time(void **state)
{
        (void)state;
        static const char what[] = "netcheck?bind_address=127.0.0.1";
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(sa);
        int relay = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[5];   /* takes connections and says nothing */
        char text[256];
        assert_int_equal(bind(relay, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(listen(relay, 8), 0);
        assert_int_equal(getsockname(relay, (struct sockaddr *)&sa, &len), 0);
        run_node();
        snprintf(text, sizeof(text), "{\"Regions\":{\"1\":{\"RegionID\":1,\"RegionCode\":\"x\",\"Nodes\":[{\"Name\":\"1a\",\"RegionID\":1,"
                 "\"HostName\":\"127.0.0.1\",\"IPv4\":\"127.0.0.1\",\"STUNPort\":-1,\"DERPPort\":%u}]}}}", ntohs(sa.sin_port));
        json_t *map = json_parse(text, strlen(text));
        assert_int_equal(derpmap_from_json(map, &fc.nm.derpmap), ERR_NONE);
        json_decref(map);
        api.dialer = dialer_new(w.loop);
        for (size_t i = 0; i < 5; i++) {
                struct answer a = {0};
                fds[i] = say("POST", what, "");
                hear(fds[i], &a, i < 4 ? 20 : 200);
                assert_int_equal(a.status, i < 4 ? 0 : 500);
                assert_true(i < 4 || strstr(a.body, "try again in a few seconds") != NULL);
        }
        assert_int_equal(api.looks, 4);
        for (size_t i = 0; i < 5; i++)
                close(fds[i]);
        for (int i = 0; i < 2000 && api.looks > 0; i++)
                loop_once(w.loop, 1);
        assert_int_equal(api.looks, 0);
        struct answer a = {0};
        fds[0] = say("POST", what, "");
        hear(fds[0], &a, 20);
        assert_int_equal(a.status, 0);
        assert_int_equal(api.looks, 1);
        close(fds[0]);
        for (int i = 0; i < 2000 && api.looks > 0; i++)
                loop_once(w.loop, 1);
        dialer_free(api.dialer);
        close(relay);
}

/* A router that speaks NAT-PMP, on an address of the loopback. */
struct router {
        struct watch watch;
        int fd;
        unsigned maps, released;
};

static void on_router(struct watch *x, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct router *r = container_of(x, struct router, watch);
        struct sockaddr_in from;
        socklen_t len = sizeof(from);
        uint8_t ask[64], reply[16] = {0, 0x80, 0, 0, 0, 0, 0, 9, 203, 0, 113, 9};
        ssize_t n = recvfrom(r->fd, ask, sizeof(ask), 0, (struct sockaddr *)&from, &len);
        if (n < 2 || ask[0] != 0)
                return;
        if (ask[1] == 1) {
                static const uint8_t lease[] = {0, 0, 0x1c, 0x20};
                bool is_release = memcmp(ask + 8, "\0\0\0\0", 4) == 0;
                r->released += is_release;
                r->maps += !is_release;
                reply[1] = 0x81;
                memcpy(reply + 8, ask + 4, 2);
                memcpy(reply + 10, "\x13\x88", 2);
                memcpy(reply + 12, is_release ? ask + 8 : lease, 4);
        }
        (void)sendto(r->fd, reply, ask[1] == 1 ? 16 : 12, 0, (struct sockaddr *)&from, len);
}

static void router_open(struct router *r)
{
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(5351), .sin_addr.s_addr = htonl(0x7f050333)};
        *r = (struct router){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        assert_int_equal(bind(r->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        watch_init(&r->watch, on_router);
        assert_int_equal(loop_watch(w.loop, &r->watch, r->fd, LOOP_READ), ERR_NONE);
}

static void router_close(struct router *r)
{
        loop_unwatch(&r->watch);
        close(r->fd);
}

static void a_port_of_the_router_is_asked_for(void **state)
{
        (void)state;
        static const char where[] = "debug-portmap?duration=20s&type=pmp&gateway_and_self=127.5.3.51%2F127.0.0.1";
        struct router router;
        expect("GET", "debug-portmap", "", 400, "invalid 'duration' parameter: want 2m at most, such as 5s");
        expect("GET", "debug-portmap?duration=3m", "", 400, "invalid 'duration'");
        expect("GET", "debug-portmap?duration=0s", "", 400, "invalid 'duration'");
        expect("GET", "debug-portmap?duration=1s&type=x", "", 400, "unknown portmap debug type");
        static const char *const pairs[] = {"x", "127.0.0.1", "127.0.0.1/", "/127.0.0.1", "::1/127.0.0.1", "127.0.0.1/::1", "127.0.0.1/1.1"};
        for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
                char what[96];
                snprintf(what, sizeof(what), "debug-portmap?duration=1s&gateway_and_self=%s", pairs[i]);
                expect("GET", what, "", 400, "invalid 'gateway_and_self' parameter: want two IPv4 addresses");
        }
        router_open(&router);
        struct answer a = {0};
        int fd = say("GET", where, "");
        hear(fd, &a, 2000);
        close(fd);
        assert_int_equal(a.status, 200);
        assert_ptr_equal(strstr(a.body, "gw=127.5.3.51; self=127.0.0.1\n"), a.body);
        assert_non_null(strstr(a.body, "\nProbe: {PCP:false PMP:true UPnP:false}\nmapping: 203.0.113.9:5000 (NAT-PMP), for 7200 s; it is "
                                       "given back now\n"));
        assert_true(router.maps == 1 && router.released == 1);
        /* The client leaves in the middle of it: what was asked for by then is given back. */
        a = (struct answer){0};
        fd = say("GET", where, "");
        while (router.maps < 2)
                hear(fd, &a, 1);
        close(fd);
        for (int i = 0; i < 2000 && router.released < 2; i++)
                loop_once(w.loop, 1);
        assert_int_equal(router.released, 2);
        router_close(&router);
        a = (struct answer){0};
        fd = say("GET", where, "");
        hear(fd, &a, 2000);
        close(fd);
        assert_non_null(strstr(a.body, "\nno portmapping services available\n"));
}

static void pings_through_the_tunnel(void **state)
{
        (void)state;
        static const struct {
                const char *type;
                enum meshping_kind kind;
        } rows[] = {{"TSMP", MESHPING_TSMP}, {"ICMP", MESHPING_ICMP}};
        run_node();
        for (size_t i = 0; i < 2; i++) {
                char ask[64];
                struct answer a = {0};
                snprintf(ask, sizeof(ask), "ping?ip=100.64.0.2&type=%s", rows[i].type);
                int fd = say("POST", ask, "");
                hear(fd, &a, 20);
                assert_int_equal(fe.inside.kind, rows[i].kind);
                assert_true(ip_eq(fe.inside.src, ip_v4(100, 64, 0, 1)) && ip_eq(fe.inside.dst, ip_v4(100, 64, 0, 2)));
                fe.ping_fn(fe.ping_arg, &(struct engine_ping_result){.latency_ns = 5, .service_port = 77});
                hear(fd, &a, 200);
                assert_non_null(strstr(a.body, "\"DERPRegionID\":0,\"DERPRegionCode\":\"\",\"PeerAPIPort\":77}"));
                close(fd);
        }
        expect("POST", "ping?ip=100.64.0.2&type=tsmp", "", 400, "want disco, TSMP, ICMP or peerapi");
        expect("POST", "ping?ip=100.64.0.3&type=peerapi", "", 200, "\"Err\":\"the peer has no PeerAPI at that address\"");
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(logged_out_answers), TEST(start_keeps_what_the_client_does_not_know), TEST(a_running_node), TEST(the_map_has_every_member),
                TEST(pings_are_answered_later_or_not_at_all), TEST(pings_through_the_tunnel), TEST(a_port_of_the_router_is_asked_for),
                TEST(looks_at_a_time), TEST(from_where_a_look_is_taken),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
