/* Two whole instances on the loopback, with a relay and STUN server from tests/fixtures as a process.
 * Skipped where that cannot run. */
#include "tests/unit/check.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "base/loop.h"
#include "magicsock/disco.h"
#include "magicsock/magicsock.h"
#include "magicsock/sock.h"

extern char **environ;

enum { REGION = 7, WG_LEN = 100 };

struct node {
        struct ms *ms;
        struct key_private key;
        struct ms_endpoint eps[MS_ENDPOINTS_MAX];
        size_t ep_count;
        unsigned by_udp, by_relay;
        bool relay_up;
        struct ms_source last_from;
        struct ms_ping_result ping;
        unsigned pings, reports;
        bool udp_worked;
        mono_t first_udp;
        uint8_t room[SOCK_ROOM];
};

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct node n[2];
        struct derp_node relay_node;
        struct derp_region region;
        struct derpmap map;
        pid_t relay;
} w;

/* ---- callbacks ---- */

static bool on_wg(void *arg, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t now)
{
        struct node *node = arg;
        (void)may_keep;
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(pkts[i]->len, WG_LEN);
                assert_int_equal(pkt_data(pkts[i])[0], 4);
                node->by_relay += srcs[i].region != 0;
                node->by_udp += srcs[i].region == 0;
                if (srcs[i].region == 0 && !mono_is_set(node->first_udp))
                        node->first_udp = now;
                node->last_from = srcs[i];
                pkt_release(w.pool, pkts[i]);
        }
        return false;
}

static void on_endpoints(void *arg, const struct ms_endpoint *eps, size_t n, mono_t now)
{
        (void)now;
        struct node *node = arg;
        memcpy(node->eps, eps, n * sizeof(eps[0]));
        node->ep_count = n;
}

static void on_report(void *arg, const struct netcheck_report *r, int announce, mono_t now)
{
        (void)announce;
        (void)now;
        struct node *node = arg;
        node->reports++;
        node->udp_worked = r->udp;
}

static void on_ping(void *arg, const struct ms_ping_result *res, mono_t now)
{
        (void)now;
        struct node *node = arg;
        node->ping = *res;
        node->pings++;
}

static void on_relay_state(void *arg, int region, enum ms_relay_state st, const char *detail, mono_t now)
{
        (void)detail;
        (void)now;
        assert_int_equal(region, REGION);
        ((struct node *)arg)->relay_up = st == MS_RELAY_UP;
}

static const struct ms_callbacks callbacks = {
        .on_wg = on_wg,
        .on_endpoints = on_endpoints,
        .on_report = on_report,
        .on_ping = on_ping,
        .on_relay_state = on_relay_state,
};

/* ---- the relay process ---- */

static uint16_t free_port(int type)
{
        int fd = socket(AF_INET, type, 0);
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t len = sizeof(sa);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        close(fd);
        return ntohs(sa.sin_port);
}

/* False: it did not come up. */
static bool read_ready_line(int fd, char *ret_pin, size_t cap)
{
        char line[4096];
        size_t n = 0;
        while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
                n++;
        line[n] = 0;
        json_t *j = json_loads(line, 0, NULL);
        const char *pin = json_string_value(json_object_get(j, "cert_name"));
        bool ok = pin && snprintf(ret_pin, cap, "%s", pin) < (int)cap;
        json_decref(j);
        return ok;
}

static bool start_relay(void)
{
        const char *dir = getenv("TESTS_DIR");
        char script[4096], tls[64], stun[64];
        uint16_t tls_port = free_port(SOCK_STREAM), stun_port = free_port(SOCK_DGRAM);
        snprintf(script, sizeof(script), "%s/fixtures/relay.py", dir ? dir : "tests");
        snprintf(tls, sizeof(tls), "127.0.0.1:%u", tls_port);
        snprintf(stun, sizeof(stun), "127.0.0.1:%u", stun_port);
        char python[] = "/usr/bin/python3", a1[] = "--tls-listen", a2[] = "--stun", a3[] = "--name",
             name[] = "127.0.0.1";
        char *argv[] = {python, script, a1, tls, a2, stun, a3, name, NULL};
        int out[2];
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        posix_spawn_file_actions_t fa;
        posix_spawn_file_actions_init(&fa);
        posix_spawn_file_actions_adddup2(&fa, out[1], 1);
        bool ok = posix_spawn(&w.relay, python, &fa, NULL, argv, environ) == 0;
        posix_spawn_file_actions_destroy(&fa);
        close(out[1]);

        w.relay_node = (struct derp_node){.stun_port = stun_port, .derp_port = tls_port};
        ok = ok && read_ready_line(out[0], w.relay_node.cert_name, sizeof(w.relay_node.cert_name));
        close(out[0]);
        snprintf(w.relay_node.name, sizeof(w.relay_node.name), "7a");
        snprintf(w.relay_node.hostname, sizeof(w.relay_node.hostname), "127.0.0.1");
        snprintf(w.relay_node.ipv4, sizeof(w.relay_node.ipv4), "127.0.0.1");
        snprintf(w.relay_node.ipv6, sizeof(w.relay_node.ipv6), "none");
        w.region = (struct derp_region){.id = REGION, .code = "lab", .score = 1, .node_count = 1, .nodes = &w.relay_node};
        w.map = (struct derpmap){.region_count = 1, .regions = &w.region};
        return ok;
}

static void stop_relay(void)
{
        if (w.relay > 0) {
                kill(w.relay, SIGTERM);
                waitpid(w.relay, NULL, 0);
        }
        w.relay = 0;
}

/* ---- set-up ---- */

static void run_until(const bool *flag, unsigned ms)
{
        mono_t end = mono_add_ms(mono_now(), ms);
        while (!(flag && *flag) && mono_now().ns < end.ns)
                loop_once(w.loop, 5);
}

/* A condition that must become true in time. */
#define WAIT_FOR(cond, ms) do { \
                mono_t end_ = mono_add_ms(mono_now(), (ms)); \
                while (!(cond) && mono_now().ns < end_.ns) \
                        loop_once(w.loop, 5); \
                assert_true(cond); \
        } while (0)

static void make_node(struct node *n, bool no_udp)
{
        struct ms_opts o = {.room = n->room, .cb = &callbacks, .arg = n, .no_udp = no_udp};
        mono_t now = loop_now(w.loop);
        key_generate(&n->key);
        n->ms = ms_new(w.loop, w.pool, w.dialer, &o);
        assert_non_null(n->ms);
        ms_set_keys(n->ms, &n->key);
        ms_set_map_polling(n->ms, true, now);
        ms_set_derp_map(n->ms, &w.map, now);
        ms_set_active(n->ms, true, now);
}

static int set_up(void **state)
{
        (void)state;
        memset(&w, 0, sizeof(w));
        if (!start_relay()) {
                stop_relay();
                return 0;
        }
        w.loop = loop_new();
        w.dialer = dialer_new(w.loop);
        w.pool = pkt_pool_new(512);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++)
                ms_free(w.n[i].ms);
        stop_relay();
        if (!w.loop)
                return 0;
        dialer_free(w.dialer);
        loop_free(w.loop);
        int leaked = pkt_pool_free_count(w.pool) != 512;
        pkt_pool_free(w.pool);
        return leaked;
}

static void need_relay(void)
{
        if (!w.loop)
                skip_because("the relay of the tests did not start");
}

static void make_both(bool no_udp_a, bool no_udp_b)
{
        need_relay();
        make_node(&w.n[0], no_udp_a);
        make_node(&w.n[1], no_udp_b);
        WAIT_FOR(w.n[0].relay_up && w.n[1].relay_up, 5000);
        WAIT_FOR(w.n[0].reports > 0 && w.n[1].reports > 0, 8000);
}

/* slot 3 of either is the other one. */
static void introduce(int i, bool with_endpoints)
{
        struct node *n = &w.n[i], *other = &w.n[!i];
        struct addr eps[MS_ENDPOINTS_MAX];
        for (size_t k = 0; k < other->ep_count; k++)
                eps[k] = other->eps[k].addr;
        struct ms_peer_config c = {
                .key = key_node_public(&other->key),
                .disco = ms_disco_public(other->ms),
                .home = REGION,
                .endpoints = eps,
                .endpoint_count = with_endpoints ? other->ep_count : 0,
        };
        assert_int_equal(ms_peer_set(n->ms, 3, &c, loop_now(w.loop)), ERR_NONE);
}

static enum err send_one(int i)
{
        struct pkt *p = pkt_get(w.pool);
        assert_non_null(p);
        uint8_t *b = pkt_put(p, WG_LEN);
        memset(b, 0, WG_LEN);
        b[0] = 4;
        p->off = (uint16_t)(p->off - 16);   /* sealed packets have less head room */
        memmove(pkt_data(p), b, WG_LEN);
        return ms_send(w.n[i].ms, 3, &p, 1, loop_now(w.loop));
}

static bool is_direct(int i)
{
        struct ms_peer_status st;
        assert_true(ms_peer_status(w.n[i].ms, 3, &st, mono_now()));
        assert_string_equal(st.relay_code, "lab");
        return addr_is_set(st.cur_addr);
}

/* ---- tests ---- */

static void test_relay_then_direct(void **state)
{
        (void)state;
        make_both(false, false);
        assert_int_equal(ms_home(w.n[0].ms), REGION);
        assert_true(w.n[0].udp_worked);
        assert_true(w.n[0].ep_count > 0);
        assert_int_equal(w.n[0].eps[0].type, MS_ENDPOINT_STUN);
        assert_int_equal(w.n[0].eps[0].addr.port, ms_port(w.n[0].ms, IP_V4));
        introduce(0, true);
        introduce(1, true);

        mono_t start = mono_now();
        assert_int_equal(send_one(0), ERR_NONE);
        WAIT_FOR(w.n[1].by_relay == 1, 1000);   /* the first packet does not wait for a path */
        assert_int_equal(w.n[1].last_from.slot, 3);
        struct node_public a = key_node_public(&w.n[0].key);
        assert_true(node_public_eq(&w.n[1].last_from.key, &a));
        WAIT_FOR(is_direct(0) && is_direct(1), 1000);
        print_message("direct after %lld ms\n", (long long)mono_diff_ms(mono_now(), start));

        for (int i = 0; i < 100; i++)
                assert_int_equal(send_one(i % 2), ERR_NONE);
        WAIT_FOR(w.n[0].by_udp == 50 && w.n[1].by_udp == 50, 1000);
        assert_int_equal(w.n[0].by_relay, 0);

        assert_int_equal(ms_ping(w.n[0].ms, 3, 42, 0, loop_now(w.loop)), ERR_NONE);
        WAIT_FOR(w.n[0].pings == 1, 1000);
        assert_int_equal(w.n[0].ping.err, ERR_NONE);
        assert_int_equal(w.n[0].ping.cookie, 42);
        assert_true(addr_is_set(w.n[0].ping.addr));
        assert_in_range(w.n[0].ping.latency_ns, 1, 500 * NS_PER_MS);

        /* The relay is no part of it any more. */
        stop_relay();
        run_until(NULL, 50);
        assert_int_equal(send_one(0), ERR_NONE);
        WAIT_FOR(w.n[1].by_udp == 51, 1000);
}

/* The map names no endpoints: call-me-maybe does. */
static void test_endpoints_by_call(void **state)
{
        (void)state;
        make_both(false, false);
        introduce(0, true);
        introduce(1, false);
        assert_int_equal(send_one(0), ERR_NONE);
        WAIT_FOR(is_direct(0), 1000);
        assert_int_equal(send_one(1), ERR_NONE);
        WAIT_FOR(is_direct(1), 1000);
}

static void test_relay_only(void **state)
{
        (void)state;
        make_both(true, false);
        assert_false(w.n[0].udp_worked);
        assert_int_equal(ms_port(w.n[0].ms, IP_V4), 0);
        introduce(0, true);
        introduce(1, true);
        for (int i = 0; i < 20; i++)
                assert_int_equal(send_one(i % 2), ERR_NONE);
        WAIT_FOR(w.n[0].by_relay == 10 && w.n[1].by_relay == 10, 2000);
        assert_int_equal(ms_ping(w.n[1].ms, 3, 1, 0, loop_now(w.loop)), ERR_NONE);
        WAIT_FOR(w.n[1].pings == 1, 1000);
        assert_int_equal(w.n[1].ping.err, ERR_NONE);
        assert_int_equal(w.n[1].ping.region, REGION);
        assert_string_equal(w.n[1].ping.region_code, "lab");
        assert_false(is_direct(0));
}

/* What goes to a relay that has let us in needs no packet of the pool. */
static void test_relay_without_buffers(void **state)
{
        (void)state;
        enum { BURST = 5 };
        static uint8_t bytes[BURST][WG_LEN];
        struct pkt view[BURST], *pkts[BURST], *hoard = NULL;
        struct ms_traffic in[MS_WAYS], out[MS_WAYS];
        make_both(true, false);
        introduce(0, true);
        introduce(1, true);
        struct ms *ms = w.n[0].ms;
        uint64_t lost = ms_drops(ms, MS_DROP_NO_PATH);
        for (size_t i = 0; i < BURST; i++) {
                bytes[i][0] = 4;
                pkt_view(pkts[i] = &view[i], bytes[i], WG_LEN, 0, WG_LEN);
        }
        for (struct pkt *p; (p = pkt_get(w.pool)) != NULL;) {
                p->next = hoard;
                hoard = p;
        }
        assert_int_equal(ms_send(ms, 3, pkts, BURST, loop_now(w.loop)), ERR_NONE);
        for (struct pkt *p; (p = hoard) != NULL;) {
                hoard = p->next;
                pkt_release(w.pool, p);
        }
        WAIT_FOR(w.n[1].by_relay == BURST, 2000);
        ms_traffic(ms, in, out);
        assert_int_equal(out[MS_WAY_RELAY].packets, BURST);
        assert_int_equal(out[MS_WAY_RELAY].bytes, BURST * WG_LEN);
        assert_int_equal(ms_drops(ms, MS_DROP_NO_PATH) - lost, 0);
}

static void test_down_and_removed(void **state)
{
        (void)state;
        make_both(false, false);
        introduce(0, true);
        introduce(1, true);
        assert_int_equal(ms_ping(w.n[0].ms, 3, 5, 0, loop_now(w.loop)), ERR_NONE);
        ms_set_active(w.n[0].ms, false, loop_now(w.loop));
        assert_int_equal(w.n[0].pings, 1);
        assert_int_equal(w.n[0].ping.err, ERR_STATE);
        assert_int_equal(send_one(0), ERR_STATE);
        assert_int_equal(ms_ping(w.n[0].ms, 3, 6, 0, loop_now(w.loop)), ERR_STATE);

        ms_set_active(w.n[0].ms, true, loop_now(w.loop));
        WAIT_FOR(w.n[0].relay_up, 3000);
        assert_int_equal(send_one(0), ERR_NONE);
        WAIT_FOR(is_direct(0), 1000);

        ms_rebind(w.n[0].ms, 0, loop_now(w.loop));
        assert_false(is_direct(0));
        WAIT_FOR(is_direct(0), 1000);

        ms_peer_remove(w.n[0].ms, 3, loop_now(w.loop));
        assert_int_equal(send_one(0), ERR_NOT_FOUND);
        struct ms_peer_status st;
        assert_false(ms_peer_status(w.n[0].ms, 3, &st, mono_now()));
        run_until(NULL, 50);
}

static void throw_at(uint16_t port, const uint8_t *b, size_t n)
{
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        struct sockaddr_in sa = {
                .sin_family = AF_INET,
                .sin_port = htons(port),
                .sin_addr = {htonl(INADDR_LOOPBACK)},
        };
        assert_int_equal(sendto(fd, b, n, 0, (struct sockaddr *)&sa, sizeof(sa)), n);
        close(fd);
}

static void test_strangers(void **state)
{
        (void)state;
        make_both(false, false);
        introduce(0, true);
        struct ms *ms = w.n[0].ms;
        uint8_t b[124] = {0};
        memcpy(b, disco_magic, DISCO_MAGIC_LEN);
        throw_at(ms_port(ms, IP_V4), b, sizeof(b));
        WAIT_FOR(ms_drops(ms, MS_DROP_DISCO_STRANGER) == 1, 1000);
        /* A known key, forged. */
        struct disco_public k = ms_disco_public(w.n[1].ms);
        memcpy(b + DISCO_MAGIC_LEN, k.b, sizeof(k.b));
        throw_at(ms_port(ms, IP_V4), b, sizeof(b));
        WAIT_FOR(ms_drops(ms, MS_DROP_DISCO_AUTH) == 1, 1000);
        throw_at(ms_port(ms, IP_V4), b, 3);
        throw_at(ms_port(ms, IP_V4), b, 0);
        static uint8_t big[9000];
        throw_at(ms_port(ms, IP_V4), big, sizeof(big));
        WAIT_FOR(ms_drops(ms, MS_DROP_SHORT) == 2 && ms_drops(ms, MS_DROP_LARGE) == 1, 1000);
        /* B does not know A: what A sends by relay ends there. */
        assert_int_equal(send_one(0), ERR_NONE);
        WAIT_FOR(ms_drops(w.n[1].ms, MS_DROP_RELAY_STRANGER) > 0, 1000);
        assert_int_equal(w.n[1].by_relay + w.n[1].by_udp, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_relay_then_direct, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_endpoints_by_call, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_relay_only, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_relay_without_buffers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_down_and_removed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_strangers, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
