/* The two threads together: a real engine on a TUN in memory, asked and told from this thread. */
#include "tests/unit/check.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/log.h"
#include "daemon/counters.h"
#include "daemon/dpmsg.h"
#include "daemon/engine.h"
#include "daemon/sizes.h"
#include "magicsock/explain.h"
#include "tests/unit/stun_answer.h"
#include "tun/device.h"
#include "tun/filter.h"
#include "wg/device.h"

static const struct sizes sizes = {.packets = 256, .socket_bytes = 64 * 1024, .service_bytes = 256 * 1024};

struct fixture {
        struct loop *loop;
        struct tun *ours, *theirs;
        struct engine *engine;
        int statuses, pings, netchecks, counters, paths, no_paths;
        uint64_t refused;
        uint64_t packets_free, handshakes;
        size_t rows;
        uint16_t port;
        int sessions, reports;
        size_t regions;         /* of the report asked for */
        mono_t began;           /* it, too */
        char error[128];
        bool empty_report;
        int tuns_gone;
};

static void on_endpoints(void *arg, const struct engine_endpoint *eps, size_t n)
{
        (void)arg;
        (void)eps;
        assert_true(n <= ENGINE_ENDPOINTS_MAX);
}

static void on_tun_gone(void *arg)
{
        struct fixture *f = arg;
        f->tuns_gone++;
}

static void on_live(void *arg, int sessions, int relays)
{
        struct fixture *f = arg;
        (void)relays;
        f->sessions = sessions;
}

static void on_report(void *arg, const struct netcheck_report *report, int announce)
{
        struct fixture *f = arg;
        assert_int_equal(announce, 0);   /* no relay lets us in here */
        assert_true(mono_is_set(report->at));
        f->reports++;
}

static void on_port(void *arg, uint16_t port)
{
        struct fixture *f = arg;
        f->port = port;
}

static const struct engine_callbacks callbacks = {
        .on_endpoints = on_endpoints, .on_tun_gone = on_tun_gone, .on_live = on_live, .on_port = on_port,
        .on_report = on_report};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        assert_int_equal(crypto_init(), ERR_NONE);
        f->loop = loop_new();
        assert_int_equal(tun_pair(64, &f->ours, &f->theirs), ERR_NONE);
        struct engine_opts o = {.tun = f->ours, .tun_name = "mem0", .sizes = &sizes};
        f->engine = engine_new(f->loop, &o, &callbacks, f);
        assert_non_null(f->engine);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        engine_free(f->engine);
        tun_close(f->ours);
        tun_close(f->theirs);
        loop_free(f->loop);
        free(f);
        return 0;
}

static void on_counters(void *arg, const struct counters *c)
{
        struct fixture *f = arg;
        f->counters++;
        f->packets_free = c->packets_free;
        f->refused = c->service_refused;
        f->handshakes = c->handshakes;
}

static void on_status(void *arg, const struct engine_status *st)
{
        struct fixture *f = arg;
        f->statuses++;
        f->rows = st->peer_count;
}

static void on_ping(void *arg, const struct engine_ping_result *res)
{
        struct fixture *f = arg;
        f->pings++;
        snprintf(f->error, sizeof(f->error), "%s", res->error != NULL ? res->error : "");
}

static void on_paths(void *arg, const struct ms_explain *x)
{
        struct fixture *f = arg;
        f->paths += x != NULL && x->home == 1 && x->has_disco && x->route.kind == MS_ROUTE_RELAY && !x->awake;
        f->no_paths += x == NULL;
}

static void on_netcheck(void *arg, const struct netcheck_report *report)
{
        struct fixture *f = arg;
        f->netchecks++;
        f->regions = report->latency_count;
        f->began = report->began;
        f->empty_report = !mono_is_set(report->at);
}

/* Rounds of our loop until *count has come to want; bounded. */
static void wait_for(struct fixture *f, const int *count, int want)
{
        for (int i = 0; i < 500 && *count < want; i++)
                loop_once(f->loop, 20);
        assert_int_equal(*count, want);
}

static struct engine_peer peer(int64_t id, struct prefix *allowed)
{
        struct engine_peer p = {.node_id = id, .home_region = 1, .allowed = allowed, .allowed_count = 1};
        struct key_private k;
        key_generate(&k);
        p.key = key_node_public(&k);
        key_generate(&k);
        p.disco = key_disco_public(&k);
        *allowed = prefix_of(ip_v4(100, 64, (uint8_t)(id >> 8), (uint8_t)id));
        return p;
}

static void answers_status_from_the_other_thread(void **state)
{
        struct fixture *f = *state;
        engine_status(f->engine, on_status, f);
        wait_for(f, &f->statuses, 1);
        assert_int_equal(f->rows, 0);
}

static void peers_come_and_go(void **state)
{
        struct fixture *f = *state;
        struct key_private k;
        key_generate(&k);
        engine_set_key(f->engine, &k);
        engine_set_up(f->engine, true);
        for (int64_t id = 1; id <= 3000; id++) {   /* more than the ring holds */
                struct prefix allowed;
                struct engine_peer p = peer(id, &allowed);
                engine_peer_set(f->engine, &p);
        }
        for (int64_t id = 1; id <= 3000; id += 2)
                engine_peer_remove(f->engine, id);
        engine_set_filter(f->engine, filter_new(NULL, 0, NULL, 0, false));
        engine_set_filter(f->engine, NULL);
        engine_ping(f->engine, 1, 0, on_ping, f);   /* removed */
        engine_ping_inside(f->engine, 1, MESHPING_TSMP, ip_v4(100, 64, 0, 9), ip_v4(100, 64, 0, 1), on_ping, f);
        assert_int_equal(f->pings, 2);
        assert_string_equal(f->error, "unknown peer");
        engine_paths(f->engine, 1, on_paths, f);
        assert_int_equal(f->no_paths, 1);
        engine_paths(f->engine, 2, on_paths, f);
        wait_for(f, &f->paths, 1);
        engine_peers_clear(f->engine);
        engine_status(f->engine, on_status, f);
        wait_for(f, &f->statuses, 1);
        assert_int_equal(f->rows, 0);
}

static void every_request_is_answered_once(void **state)
{
        struct fixture *f = *state;
        for (int i = 0; i < 100; i++)
                engine_status(f->engine, on_status, f);
        engine_counters(f->engine, on_counters, f);
        engine_netcheck(f->engine, on_netcheck, f);   /* no relay map: an empty report at once */
        wait_for(f, &f->netchecks, 1);
        wait_for(f, &f->counters, 1);
        assert_true(f->packets_free > 0 && f->packets_free <= sizes.packets);
        assert_true(f->empty_report);
        wait_for(f, &f->statuses, 100);
}

/* More answers than the ring holds, while nobody takes them out: the rest must not wait for chance to wake the thread. */
static void answers_wait_for_room(void **state)
{
        struct fixture *f = *state;
        for (int i = 0; i < 2 * DP_RING; i++)
                engine_status(f->engine, on_status, f);
        usleep(50000);
        wait_for(f, &f->statuses, 2 * DP_RING);
}

static void packets_beyond_the_queue_are_refused_and_counted(void **state)
{
        struct fixture *f = *state;
        static const uint8_t pkt[1000];
        uint64_t refused = 0;
        for (int i = 0; i < 2 * (int)sizes.service_bytes / 1000; i++)   /* the other thread is woken by the loop, which rests */
                refused += !engine_service_send(f->engine, pkt, sizeof(pkt));
        assert_true(refused > 200 && refused < 400);
        engine_counters(f->engine, on_counters, f);
        wait_for(f, &f->counters, 1);
        assert_int_equal(f->refused, refused);
}

static void what_is_pending_is_answered_at_the_end(void **state)
{
        struct fixture *f = *state;
        struct prefix allowed;
        struct engine_peer p = peer(5, &allowed);
        engine_peer_set(f->engine, &p);
        engine_ping(f->engine, 5, 0, on_ping, f);
        engine_status(f->engine, on_status, f);
        engine_netcheck(f->engine, on_netcheck, f);
        engine_counters(f->engine, on_counters, f);
        engine_paths(f->engine, 5, on_paths, f);
        engine_free(f->engine);
        f->engine = NULL;
        assert_int_equal(f->counters, 1);
        assert_int_equal(f->paths + f->no_paths, 1);
        assert_int_equal(f->pings, 1);
        assert_int_equal(f->statuses, 1);
        assert_int_equal(f->netchecks, 1);
}

static uint64_t count_handshakes(struct fixture *f)
{
        f->counters = 0;
        engine_counters(f->engine, on_counters, f);
        wait_for(f, &f->counters, 1);
        return f->handshakes;
}

/* An initiation of that device to its peer in slot 0, by UDP. */
static void initiate(struct wg *wg, struct pkt_pool *pool, uint16_t port, mono_t now)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip_v4(127, 0, 0, 1), port}, &sa);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct pkt *p = pkt_get(pool);
        struct wg_out out;
        assert_non_null(pkt_put(p, 20));
        assert_int_equal(wg_seal(wg, 0, &p, 1, now), 0);
        wg_expire(wg, now, wall_now_ns());
        assert_true(wg_next_out(wg, &out));
        assert_int_equal(sendto(fd, pkt_data(out.p), out.p->len, 0, (struct sockaddr *)&sa, len), out.p->len);
        pkt_release(pool, out.p);
        close(fd);
}

/* Each time that we are up the first handshake is a sign of life; as a count it goes on. */
static void handshakes_are_counted_over_down_and_up(void **state)
{
        struct fixture *f = *state;
        struct key_private us, them;
        struct pkt_pool *pool = pkt_pool_new(16);
        struct wg *wg = wg_new(pool, 1);
        mono_t at = mono_now();
        key_generate(&us);
        key_generate(&them);
        struct node_public our_pub = key_node_public(&us);
        wg_set_identity(wg, &them);
        assert_int_equal(wg_peer_set(wg, 0, &our_pub, NULL, 0), ERR_NONE);
        struct prefix allowed;
        struct engine_peer p = peer(7, &allowed);
        p.key = key_node_public(&them);
        engine_set_key(f->engine, &us);
        engine_peer_set(f->engine, &p);
        for (uint64_t i = 1; i <= 3; i++) {
                engine_set_up(f->engine, true);
                f->sessions = 0;
                (void)count_handshakes(f);   /* it is up */
                assert_int_not_equal(f->port, 0);
                initiate(wg, pool, f->port, at);
                wait_for(f, &f->sessions, 1);
                assert_int_equal(count_handshakes(f), i);
                engine_set_up(f->engine, false);
                assert_int_equal(count_handshakes(f), i);
                at = mono_add_ms(at, 6000);
                usleep(30000);   /* initiations nearer to each other are a flood */
        }
        wg_free(wg);
        pkt_pool_free(pool);
}

enum { REGIONS = 5 };

/* Says to whoever asks what it was seen as, until *count has come to want. */
static void answer_until(struct fixture *f, int fd, const int *count, int want)
{
        for (int i = 0; i < 2000 && *count < want; i++) {
                struct sockaddr_storage sa;
                socklen_t len = sizeof(sa);
                uint8_t ask[STUN_REQUEST_LEN], say[STUN_ANSWER_MAX];
                loop_once(f->loop, 5);
                while (recvfrom(fd, ask, sizeof(ask), MSG_DONTWAIT, (struct sockaddr *)&sa, &len) == sizeof(ask)) {
                        size_t n = stun_answer(ask, addr_from_sockaddr((struct sockaddr *)&sa), say);
                        assert_int_equal(sendto(fd, say, n, 0, (struct sockaddr *)&sa, len), n);
                }
        }
        assert_int_equal(*count, want);
}

/* Who asks is told of all regions, also while a report of a few is under way. */
static void a_netcheck_is_of_all_regions(void **state)
{
        struct fixture *f = *state;
        struct derp_node nodes[REGIONS];
        struct derp_region regions[REGIONS];
        struct derpmap map = {.region_count = REGIONS, .regions = regions};
        struct key_private k;
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip_v4(127, 0, 0, 1), 0}, &sa);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        for (int i = 0; i < REGIONS; i++) {
                nodes[i] = (struct derp_node){.name = "x", .hostname = "127.0.0.1", .ipv4 = "127.0.0.1", .ipv6 = "none",
                        .stun_port = addr_from_sockaddr((struct sockaddr *)&sa).port, .derp_port = 1};
                regions[i] = (struct derp_region){.id = i + 1, .score = 1, .node_count = 1, .nodes = &nodes[i]};
        }
        key_generate(&k);
        engine_set_key(f->engine, &k);
        engine_set_derpmap(f->engine, &map);
        engine_set_up(f->engine, true);
        answer_until(f, fd, &f->reports, 1);
        engine_restun(f->engine);
        engine_netcheck(f->engine, on_netcheck, f);
        answer_until(f, fd, &f->netchecks, 1);
        assert_int_equal(f->regions, REGIONS);
        /* What was seen before a question is no answer to it. */
        uint8_t old[STUN_REQUEST_LEN];
        while (recv(fd, old, sizeof(old), MSG_DONTWAIT) > 0) {
        }
        engine_netcheck(f->engine, on_netcheck, f);
        struct pollfd asks = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&asks, 1, 5000), 1);
        usleep(20000);   /* its loop has another time by then */
        mono_t asked = mono_add_ms(mono_now(), -10);
        engine_netcheck(f->engine, on_netcheck, f);
        answer_until(f, fd, &f->netchecks, 3);
        assert_true(f->began.ns >= asked.ns);
        close(fd);
}

/* The descriptor of a deleted interface is readable for ever: it must not keep the thread busy. */
static void a_deleted_interface_is_told_once(void **state)
{
        struct fixture *f = *state;
        tun_close(f->theirs);
        f->theirs = NULL;
        wait_for(f, &f->tuns_gone, 1);
        engine_status(f->engine, on_status, f);
        wait_for(f, &f->statuses, 1);
        assert_int_equal(f->tuns_gone, 1);
}

int main(void)
{
        log_init(0);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(answers_status_from_the_other_thread, setup, teardown),
                cmocka_unit_test_setup_teardown(peers_come_and_go, setup, teardown),
                cmocka_unit_test_setup_teardown(every_request_is_answered_once, setup, teardown),
                cmocka_unit_test_setup_teardown(answers_wait_for_room, setup, teardown),
                cmocka_unit_test_setup_teardown(packets_beyond_the_queue_are_refused_and_counted, setup, teardown),
                cmocka_unit_test_setup_teardown(handshakes_are_counted_over_down_and_up, setup, teardown),
                cmocka_unit_test_setup_teardown(a_netcheck_is_of_all_regions, setup, teardown),
                cmocka_unit_test_setup_teardown(a_deleted_interface_is_told_once, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_pending_is_answered_at_the_end, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
