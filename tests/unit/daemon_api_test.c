/* The endpoints over a real socket, on a backend without server and network: what is answered, what is shown of the
 * map and the engine (view.c), and who hears what on the bus (notify.c).  Server and client share one thread. */
#include "daemon/api.h"
#include "daemon/api_paths.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/crypto.h"
#include "daemon/view.h"
#include "tests/unit/daemon_fakes.h"

static struct world w;
static struct api api;
static struct lapi_server *server;
static char path[64];

static int setup(void **state)
{
        (void)state;
        static int number;
        static struct lapi_ops ops = {.endpoints = api_endpoints, .operator_user = api_operator_user, .version = "1.2.3",
                .cap_version = 138};
        const char *why = "";
        world_open(&w);
        api = (struct api){.backend = w.b, .notify = w.notify, .profiles = w.profiles, .loop = w.loop};
        snprintf(path, sizeof(path), "/tmp/api-test-%d-%d.sock", (int)getpid(), number++);
        return lapi_server_new(w.loop, path, &ops, &api, &server, &why) == ERR_NONE ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        lapi_server_free(server);
        world_close(&w);
        return 0;
}

/* ---- a client ---- */

struct answer {
        int status;
        char text[65536];   /* what came so far */
        const char *body;
};

static int say(const char *method, const char *what, const char *body)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        char request[4096];
        snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        int n = snprintf(request, sizeof(request), "%s /localapi/v0/%s HTTP/1.1\r\nHost: local-tailscaled.sock\r\n"
                "Connection: close\r\nContent-Length: %zu\r\n\r\n%s", method, what, strlen(body), body);
        assert_int_equal(send(fd, request, (size_t)n, MSG_NOSIGNAL), n);
        return fd;
}

/* More of what comes, for some rounds of the loop or until the server hangs up. */
static void hear(int fd, struct answer *a, int rounds)
{
        size_t len = strlen(a->text);
        while (rounds-- > 0) {
                loop_once(w.loop, 1);
                ssize_t n = recv(fd, a->text + len, sizeof(a->text) - 1 - len, 0);
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        break;
                if (n > 0)
                        len += (size_t)n;
                a->text[len] = '\0';
        }
        const char *end = strstr(a->text, "\r\n\r\n");
        a->status = strlen(a->text) > 9 ? atoi(a->text + 9) : 0;
        a->body = end != NULL ? end + 4 : "";
}

/* An answer that was made while it was sent comes in pieces. */
static void join_chunks(struct answer *a)
{
        char *to = (char *)(uintptr_t)a->body;
        const char *chunked = strstr(a->text, "Transfer-Encoding: chunked"), *at = to;
        unsigned long n;
        if (chunked == NULL || chunked > a->body)
                return;
        while ((n = strtoul(at, NULL, 16)) > 0 && strlen(at) > n) {
                at = strstr(at, "\r\n") + 2;
                memmove(to, at, n);
                to += n;
                at += n + 2;
        }
        *to = '\0';
}

static const struct answer *ask(const char *method, const char *what, const char *body)
{
        static struct answer a;
        memset(&a, 0, sizeof(a));
        int fd = say(method, what, body);
        hear(fd, &a, 200);
        join_chunks(&a);
        close(fd);
        loop_once(w.loop, 0);
        return &a;
}

static void expect(const char *method, const char *what, const char *body, int status, const char *part)
{
        const struct answer *a = ask(method, what, body);
        if (a->status != status || strstr(a->body, part) == NULL)
                fail_msg("%s %s: %s", method, what, a->text);
}

static json_t *get(const char *what)
{
        const struct answer *a = ask("GET", what, "");
        assert_int_equal(a->status, 200);
        json_t *j = json_parse(a->body, strlen(a->body));
        assert_non_null(j);
        return j;
}

#define PEERS "[" NODE(2, ",\"Online\":true,\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"two\",\"Services\":" \
        "[{\"Proto\":\"peerapi4\",\"Port\":99}]}") "," NODE(3, ",\"Online\":false,\"LastSeen\":\"2026-01-01T00:00:00Z\"," \
        "\"Tags\":[\"tag:x\"]") "]"

static void run_node(void)
{
        expect("POST", "start", "{\"AuthKey\":\"k\",\"UpdatePrefs\":{\"ControlURL\":\"http://h\",\"WantRunning\":true}}", 204, "");
        expect("POST", "login-interactive", "{}", 204, "");
        server_registers("u", 7);
        server_sends_map(NODE(1, ""), PEERS);
        assert_int_equal(backend_state(w.b), IPN_RUNNING);
}

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

/* ---- endpoints ---- */

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
                {"POST", "netcheck", "", 500, "no relay map yet"},
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

/* ---- api_paths.c ---- */

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

/* ---- view.c ---- */

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

/* ---- the bus ---- */

struct watcher {
        int fd;
        struct answer a;
};

static void watch(struct watcher *x, const char *mask)
{
        char what[64];
        memset(&x->a, 0, sizeof(x->a));
        snprintf(what, sizeof(what), "watch-ipn-bus?mask=%s", mask);
        x->fd = say("GET", what, "");
        hear(x->fd, &x->a, 20);
        assert_int_equal(x->a.status, 200);   /* the headers come at once */
}

/* Did an event with that member come?  Forgets what came. */
static bool heard(struct watcher *x, const char *member)
{
        hear(x->fd, &x->a, 20);
        bool found = false;
        for (char *line = (char *)(uintptr_t)x->a.body, *nl; (nl = strchr(line, '\n')) != NULL; line = nl + 1) {
                json_t *j = json_parse(line, (size_t)(nl - line));
                if (!json_is_object(j)) {   /* the size of a chunk */
                        json_decref(j);
                        continue;
                }
                assert_true(json_has(j, "Version") && json_object_get(j, "ErrMessage") != NULL && json_object_get(j, "Prefs") != NULL);
                found |= json_has(j, member);
                json_decref(j);
        }
        memcpy(x->a.text, "HTTP/1.1 200\r\n\r\n", 17);
        return found;
}

static void each_watcher_hears_what_it_asked_for(void **state)
{
        (void)state;
        static struct watcher none, initial, engine, no_map, peers, status;
        run_node();
        watch(&none, "0");
        assert_string_equal(none.a.body, "");
        watch(&initial, "14");
        watch(&engine, "1");
        watch(&no_map, "8192");
        watch(&peers, "4096");
        watch(&status, "16384");
        assert_non_null(strstr(initial.a.body, "\"SessionID\":\""));
        assert_non_null(strstr(initial.a.body, "\"State\":6"));
        assert_non_null(strstr(initial.a.body, "\"SelfNode\""));
        assert_non_null(strstr(initial.a.body, "\"ControlURL\":\"http://h\""));
        assert_null(strstr(initial.a.body, "07070707"));
        assert_non_null(strstr(status.a.body, "\"InitialStatus\":{\"Version\":\"1.2.3\""));
        struct watcher *all[] = {&none, &initial, &engine, &no_map, &peers, &status};
        for (size_t i = 0; i < 6; i++)
                (void)heard(all[i], "");
        static const struct {
                const char *event;
                bool hears[6];   /* in the order of all[] */
        } rows[] = {
                {"State", {true, true, true, true, true, true}},
                {"Prefs", {true, true, true, true, true, true}},
                {"ErrMessage", {true, true, true, true, true, true}},
                {"NetMap", {true, true, true, false, true, true}},
                {"Engine", {false, false, true, false, false, false}},
                {"PeersChanged", {false, false, false, false, true, false}},
                {"PeersRemoved", {false, false, false, false, true, false}},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                notify_post(w.notify, rows[i].event, json_string("x"));
                assert_true(notify_wanted(w.notify, rows[i].event));
                for (size_t k = 0; k < 6; k++)
                        if (heard(all[k], rows[i].event) != rows[i].hears[k])
                                fail_msg("%s, watcher %zu", rows[i].event, k);
        }
        /* Real events, in order: down is State, then Prefs. */
        expect("PATCH", "prefs", "{\"WantRunningSet\":true}", 200, "");
        hear(none.fd, &none.a, 20);
        const char *st = strstr(none.a.body, "\"State\":4"), *pr = strstr(none.a.body, "\"WantRunning\":false");
        assert_true(st != NULL && pr != NULL && st < pr);
        close(peers.fd);
        close(engine.fd);
        for (int i = 0; i < 20; i++)
                loop_once(w.loop, 1);
        assert_false(notify_wanted(w.notify, "PeersChanged") || notify_wanted(w.notify, "Engine"));
        assert_true(notify_wanted(w.notify, "State"));
        close(none.fd);
        close(initial.fd);
        close(no_map.fd);
        close(status.fd);
        for (int i = 0; i < 20; i++)
                loop_once(w.loop, 1);
        assert_false(notify_wanted(w.notify, "State"));
}

static void masks(void **state)
{
        (void)state;
        static const struct {
                uint64_t mask;
                bool ok;
        } rows[] = {{0, true}, {4095, true}, {256, true}, {65536, false}, {256 | 4096, false}, {256 | 8192, false},
                {256 | 16384, false}, {256 | 32768, false}, {4096 | 8192 | 16384 | 32768, true}, {1ull << 40, true}};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                assert_int_equal(notify_mask_ok(rows[i].mask), rows[i].ok);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(logged_out_answers), TEST(start_keeps_what_the_client_does_not_know), TEST(a_running_node), TEST(the_map_has_every_member), TEST(pings_are_answered_later_or_not_at_all), TEST(pings_through_the_tunnel),
                TEST(paths_to_a_peer_are_shown), TEST(a_port_of_the_router_is_asked_for), TEST(looks_at_a_time), TEST(from_where_a_look_is_taken),
                TEST(status_joins_map_and_engine), TEST(a_netcheck_report_is_shown_whole),
                TEST(each_watcher_hears_what_it_asked_for), cmocka_unit_test(masks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
