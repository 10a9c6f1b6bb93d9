/* The PeerAPI as the backend opens it: when, where, for whom.  The loopback plays the tunnel. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/backend.h"
#include "tests/unit/daemon_fakes.h"

static struct world w;

#define KEY "\"Key\":\"nodekey:000000000000000000000000000000000000000000000000000000000000000"
#define SELF(allowed) "{\"ID\":1,\"StableID\":\"1\",\"Name\":\"n1.mesh.example.\",\"User\":1," KEY "1\"," \
        "\"Addresses\":[\"127.0.0.9/32\"],\"AllowedIPs\":[" allowed "],\"MachineAuthorized\":true}"
#define PEER(id, more) "{\"ID\":" #id ",\"StableID\":\"" #id "\",\"Name\":\"n" #id ".mesh.example.\",\"User\":1," \
        KEY #id "\",\"Addresses\":[\"127.0.0." #id "/32\"]" more "}"
#define PEERS "[" PEER(2, "") "," PEER(3, "") "," PEER(4, ",\"Expired\":true") "]"
#define EXIT "\"127.0.0.9/32\",\"0.0.0.0/0\",\"::/0\""

static int open_world(void **state)
{
        (void)state;
        struct prefs p;
        world_open_on(&w, "lo");
        prefs_init(&p);
        p.want_running = true;
        p.logged_out = false;
        backend_set_str(&p.control_url, "http://a");
        assert_null(backend_start(w.b, &p, "k"));
        prefs_done(&p);
        backend_login_interactive(w.b);
        server_registers("u", 7);
        return 0;
}

static int close_world(void **state)
{
        (void)state;
        world_close(&w);
        return 0;
}

static void edit(const char *masked)
{
        json_t *j = json_parse(masked, strlen(masked));
        assert_null(backend_edit_prefs(w.b, j));
        json_decref(j);
}

/* Peers may go where the rule says; NULL: nowhere. */
static void server_sends_rule(const char *text)
{
        struct netmap_delta d = {.parts = NETMAP_FILTER};
        for (size_t i = 0; i < fc.nm.rule_count; i++)
                free(fc.nm.rules[i]);
        fc.nm.rule_count = 0;
        if (text != NULL) {
                json_t *j = json_parse(text, strlen(text));
                if (fc.nm.rules == NULL)
                        fc.nm.rules = calloc(1, sizeof(*fc.nm.rules));
                assert_int_equal(filter_rule_from_json(j, &fc.nm.rules[0]), ERR_NONE);
                fc.nm.rule_count = 1;
                json_decref(j);
        }
        fc.cb->on_netmap(fc.arg, &fc.nm, &d);
}

/* Status of a query for x.onion, which no upstream is asked for; 0: hung up on, -1: nobody listens. */
static int ask(const char *from)
{
        struct sockaddr_storage sa;
        struct addr a = {.port = 0};
        char text[4096];
        size_t len = 0;
        assert_int_equal(ip_parse(from, &a.ip), ERR_NONE);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, addr_to_sockaddr(a, &sa)), 0);
        a = (struct addr){ip_v4(127, 0, 0, 9), backend_peerapi_port(w.b, IP_V4)};
        socklen_t sa_len = addr_to_sockaddr(a, &sa);
        if (a.port == 0 || connect(fd, (struct sockaddr *)&sa, sa_len) != 0) {
                close(fd);
                return -1;
        }
        snprintf(text, sizeof(text), "GET /dns-query?dns=AAABAAABAAAAAAAAAXgFb25pb24AAAEAAQ HTTP/1.1\r\n"
                "Host: 127.0.0.9:%u\r\n\r\n", a.port);
        (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
        memset(text, 0, sizeof(text));
        for (int i = 0; i < 500 && len == 0; i++) {
                loop_once(w.loop, 1);
                ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        break;
                len = n > 0 ? (size_t)n : 0;
        }
        close(fd);
        loop_once(w.loop, 0);
        return len > 9 ? atoi(text + 9) : 0;
}

static void open_while_configured(void **state)
{
        (void)state;
        assert_int_equal(fc.service_count, 0);
        assert_int_equal(ask("127.0.0.2"), -1);
        int filters = fe.filters;
        server_sends_map(SELF("\"127.0.0.9/32\""), PEERS);
        assert_int_equal(backend_state(w.b), IPN_RUNNING);
        assert_int_equal(fc.service_count, 2);
        assert_string_equal(fc.services[0].proto, "peerapi4");
        assert_int_equal(fc.services[0].port, backend_peerapi_port(w.b, IP_V4));
        assert_string_equal(fc.services[1].proto, "peerapi-dns-proxy");
        assert_int_equal(fc.services[1].port, 1);
        assert_int_equal(backend_peerapi_port(w.b, IP_V6), 0);
        assert_true(fe.filters > filters);
        assert_int_equal(ask("127.0.0.2"), 403);
        uint16_t port = backend_peerapi_port(w.b, IP_V4);
        server_sends_map(SELF("\"127.0.0.9/32\""), PEERS);
        assert_int_equal(backend_peerapi_port(w.b, IP_V4), port);
        edit("{\"WantRunning\":false,\"WantRunningSet\":true}");
        assert_int_equal(fc.service_count, 0);
        assert_int_equal(ask("127.0.0.2"), -1);
        edit("{\"WantRunning\":true,\"WantRunningSet\":true}");
        assert_int_equal(ask("127.0.0.2"), 403);
}

/* Offered, approved, allowed by the filter: all three, and a peer of the map that has not expired. */
static void names_for_those_who_may_go_out(void **state)
{
        (void)state;
        static const char *const only_two = "{\"SrcIPs\":[\"127.0.0.2\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":"
                "{\"First\":0,\"Last\":65535}}]}";
        server_sends_map(SELF(EXIT), PEERS);
        server_sends_rule(only_two);
        assert_int_equal(ask("127.0.0.2"), 403);   /* not offered */
        edit("{\"AdvertiseRoutes\":[\"0.0.0.0/0\",\"::/0\"],\"AdvertiseRoutesSet\":true}");
        assert_int_equal(ask("127.0.0.2"), 200);
        assert_int_equal(ask("127.0.0.3"), 403);
        assert_int_equal(ask("127.0.0.4"), 0);     /* expired */
        assert_int_equal(ask("127.0.0.5"), 0);     /* in no map */
        assert_int_equal(ask("127.0.0.9"), 0);     /* ourselves */
        edit("{\"ShieldsUp\":true,\"ShieldsUpSet\":true}");
        assert_int_equal(ask("127.0.0.2"), 403);
        edit("{\"ShieldsUp\":false,\"ShieldsUpSet\":true}");
        assert_int_equal(ask("127.0.0.2"), 200);
        server_sends_rule(NULL);
        assert_int_equal(ask("127.0.0.2"), 403);
        server_sends_rule(only_two);
        assert_int_equal(ask("127.0.0.2"), 200);
        server_sends_map(SELF("\"127.0.0.9/32\""), PEERS);
        server_sends_rule(only_two);
        assert_int_equal(ask("127.0.0.2"), 403);   /* no longer approved */
        server_sends_map(SELF(EXIT), "[" PEER(3, "") "]");
        server_sends_rule(only_two);
        assert_int_equal(ask("127.0.0.2"), 0);     /* no longer a peer */
        assert_int_equal(dns_service_counters(backend_dns(w.b)).local, 0);   /* this host's resolver was not asked */
}

/* Another login: nothing of the one before answers any more. */
static void another_login_closes_it(void **state)
{
        (void)state;
        server_sends_map(SELF("\"127.0.0.9/32\""), PEERS);
        assert_int_equal(ask("127.0.0.2"), 403);
        assert_null(backend_new_profile(w.b));
        assert_int_equal(ask("127.0.0.2"), -1);
        assert_int_equal(fc.service_count, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(open_while_configured, open_world, close_world),
                cmocka_unit_test_setup_teardown(names_for_those_who_may_go_out, open_world, close_world),
                cmocka_unit_test_setup_teardown(another_login_closes_it, open_world, close_world),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
