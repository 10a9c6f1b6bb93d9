/* Who we are to others: the home relay, our endpoints, and changes of network.  No relay answers here, so it is the rules
 * for that which are seen; those with one are in magicsock_loopback_test.c and in the lab. */
#include "tests/unit/check.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/internal.h"
#include "magicsock/localaddr.h"

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct ms *ms;
        struct derp_node nodes[3];
        struct derp_region regions[3];
        struct derpmap map;
        unsigned reports, published;
        mono_t reported;
        size_t endpoints;
} t;

static void on_report(void *arg, const struct netcheck_report *r, int announce, mono_t now)
{
        (void)announce;
        (void)r;
        (void)now;
        assert_ptr_equal(arg, &t);
        t.reports++;
        t.reported = loop_now(t.loop);
}

static void on_endpoints(void *arg, const struct ms_endpoint *eps, size_t n, mono_t now)
{
        (void)now;
        assert_ptr_equal(arg, &t);
        assert_true(n <= MS_ENDPOINTS_MAX);
        for (size_t i = 0; i < n; i++)
                assert_true(eps[i].addr.port != 0);
        t.endpoints = n;
        t.published++;
}

/* A host with an address, whatever the one has that this runs on. */
bool localaddr_list(const char *tun_name, struct localaddrs *ret)
{
        (void)tun_name;
        *ret = (struct localaddrs){.ip = {ip_v4(192, 0, 2, 7)}, .count = 1, .have_v4 = true};
        return true;
}

bool localaddr_os_has_ipv6(void)
{
        return true;
}

/* Regions 1 to n, whose relays are on a port of ours where nobody listens. */
static void make_map(size_t n)
{
        for (size_t i = 0; i < n; i++) {
                t.nodes[i] = (struct derp_node){.hostname = "127.0.0.1", .ipv4 = "127.0.0.1", .ipv6 = "none", .stun_port = 1,
                        .derp_port = 1};
                t.regions[i] = (struct derp_region){.id = (int)i + 1, .code = "x", .score = 1, .node_count = 1,
                        .nodes = &t.nodes[i]};
        }
        t.map = (struct derpmap){.region_count = n, .regions = t.regions};
}

static mono_t now(void)
{
        return loop_now(t.loop);
}

static uint8_t room[SOCK_ROOM];

static void open_ms(bool no_udp)
{
        static const struct ms_callbacks cb = {.on_report = on_report, .on_endpoints = on_endpoints};
        struct key_private us;
        t.ms = ms_new(t.loop, t.pool, t.dialer, &(struct ms_opts){.no_udp = no_udp, .room = room, .cb = &cb, .arg = &t});
        assert_non_null(t.ms);
        key_generate(&us);
        ms_set_keys(t.ms, &us);
}

static int set_up(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.pool = pkt_pool_new(256);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        ms_free(t.ms);
        bool whole = pkt_pool_free_count(t.pool) == 256;
        pkt_pool_free(t.pool);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return whole ? 0 : -1;
}

static void until(const unsigned *counter, unsigned n)
{
        mono_t end = mono_add_ms(mono_now(), 30000);
        while (*counter < n && !mono_reached(mono_now(), end))
                loop_once(t.loop, 20);
        assert_true(*counter >= n);
}

static int until_home(void)
{
        mono_t end = mono_add_ms(mono_now(), 30000);
        while (ms_home(t.ms) == 0 && !mono_reached(mono_now(), end))
                loop_once(t.loop, 20);
        return ms_home(t.ms);
}

static void start(size_t regions)
{
        make_map(regions);
        ms_set_derp_map(t.ms, &t.map, now());
        ms_set_active(t.ms, true, now());
}

/* With one relay in the map there is nothing to find out. */
static void test_only_choice(void **state)
{
        (void)state;
        open_ms(true);
        start(1);
        assert_int_equal(ms_home(t.ms), 1);
}

static void test_some_home_is_better_than_none(void **state)
{
        (void)state;
        open_ms(true);
        start(3);
        assert_int_equal(ms_home(t.ms), 0);
        int first = until_home();
        assert_in_range(first, 1, 3);
        /* Found anew it is the same one, so that peers find us where they last did. */
        ms_set_active(t.ms, false, now());
        ms_set_derp_map(t.ms, NULL, now());
        assert_int_equal(ms_home(t.ms), 0);
        start(3);
        assert_int_equal(until_home(), first);
}

static void test_no_home_where_none_is_wanted(void **state)
{
        (void)state;
        open_ms(true);
        make_map(3);
        t.nodes[0].stun_only = true;
        t.regions[1].avoid = true;
        t.regions[2].no_measure_no_home = true;
        ms_set_derp_map(t.ms, &t.map, now());
        ms_set_active(t.ms, true, now());
        until(&t.reports, 1);
        assert_int_equal(ms_home(t.ms), 0);
}

static void test_map_without_the_home(void **state)
{
        (void)state;
        struct derpmap other;
        open_ms(true);
        start(1);
        assert_int_equal(ms_home(t.ms), 1);
        make_map(2);
        other = (struct derpmap){.region_count = 1, .regions = &t.regions[1]};
        ms_set_derp_map(t.ms, &other, now());
        assert_int_equal(ms_home(t.ms), 2);   /* lost, and the other one taken */
}

static void report(size_t n, int preferred, mono_t at)
{
        static struct netcheck_report r;
        r = (struct netcheck_report){.udp = true, .preferred = preferred, .latency_count = n};
        for (size_t i = 0; i < n; i++)
                r.latency[i] = (struct nc_latency){.region = (int)i + 1, .any_ns = NS_PER_MS * (int64_t)(i + 1)};
        ms_home_on_report(t.ms, &r, at);
}

static void home_is_down_for_long(mono_t at)
{
        struct timer *timer = &t.ms->home_down_timer;
        assert_true(timer_is_armed(timer));
        loop_timer_stop(timer);
        timer->on_expire(timer, at);
}

/* Region 1 answers STUN and takes no connection: twice, and another is home, and stays it for five minutes. */
static void test_home_that_takes_nobody(void **state)
{
        (void)state;
        open_ms(true);
        start(3);
        ms_set_map_polling(t.ms, true, now());
        report(3, 1, now());
        assert_int_equal(ms_home(t.ms), 1);
        report(3, 1, now());
        assert_int_equal(ms_home(t.ms), 1);
        home_is_down_for_long(now());
        report(1, 1, now());   /* nobody else answers: it may be our network */
        assert_int_equal(ms_home(t.ms), 1);
        mono_t moved = now();
        report(3, 1, moved);
        assert_int_equal(ms_home(t.ms), 2);
        report(3, 1, mono_add_ms(moved, 299999));
        assert_int_equal(ms_home(t.ms), 2);
        report(1, 1, moved);   /* better than none */
        assert_int_equal(ms_home(t.ms), 1);
        report(3, 2, moved);
        assert_int_equal(ms_home(t.ms), 2);
        report(3, 1, mono_add_ms(moved, 300000));
        assert_int_equal(ms_home(t.ms), 1);
}

/* Nobody could learn of another while control does not listen: it stays, and is not shunned later. */
static void test_home_while_nobody_listens(void **state)
{
        (void)state;
        open_ms(true);
        start(3);
        ms_set_map_polling(t.ms, true, now());
        report(3, 1, now());
        report(3, 1, now());
        ms_set_map_polling(t.ms, false, now());
        home_is_down_for_long(now());
        report(3, 1, now());
        assert_int_equal(ms_home(t.ms), 1);
        assert_int_equal(t.ms->shunned, 0);
        ms_set_map_polling(t.ms, true, now());
        report(3, 1, now());
        assert_int_equal(ms_home(t.ms), 2);
}

/* While home and all others are out of reach these are looked at again, ever more seldom, and the first that answers is taken. */
static void test_nobody_answers(void **state)
{
        (void)state;
        open_ms(true);
        start(3);
        ms_set_map_polling(t.ms, true, now());
        report(3, 1, now());
        struct timer *timer = &t.ms->home_down_timer;
        loop_timer_stop(timer);
        for (int64_t wait_ms = 5000, looks = 0; looks < 6; looks++) {
                mono_t before = now();
                report(0, 0, now());
                assert_int_equal(ms_home(t.ms), 1);
                assert_true(timer_is_armed(timer));
                int64_t ms = mono_diff_ms(timer->at, before);
                assert_true(ms >= wait_ms && ms < wait_ms + 1000);
                home_is_down_for_long(now());
                wait_ms = wait_ms < 60000 ? wait_ms * 2 : wait_ms;
        }
        report(2, 2, now());
        assert_int_equal(ms_home(t.ms), 2);
}

/* All answer and none lets us in: each has its turn, ever more slowly, until one does. */
static void test_nobody_lets_us_in(void **state)
{
        (void)state;
        static const int64_t wait_ms[] = {3000, 5000, 10000, 20000, 40000, 80000, 80000, 80000};
        open_ms(true);
        start(3);
        ms_set_map_polling(t.ms, true, now());
        report(3, 1, now());
        for (size_t i = 0; i < sizeof(wait_ms) / sizeof(wait_ms[0]); i++) {
                int before = ms_home(t.ms);
                assert_true(timer_is_armed(&t.ms->home_down_timer));
                assert_in_range(mono_diff_ms(t.ms->home_down_timer.at, now()), wait_ms[i] - 1000, wait_ms[i]);
                home_is_down_for_long(now());
                report(3, 1, now());
                assert_int_not_equal(ms_home(t.ms), before);
                assert_false(t.ms->home_doubted);   /* of the new one nothing is known */
        }
        ms_home_on_up(t.ms, ms_home(t.ms));
        report(3, 1, now());
        assert_in_range(mono_diff_ms(t.ms->home_down_timer.at, now()), 2000, 3000);
}

/* The choice of that time is made up for once they can be told, and of one network only. */
static void test_home_moves_when_they_can_be_told(void **state)
{
        (void)state;
        open_ms(true);
        start(3);
        ms_set_map_polling(t.ms, true, now());
        report(3, 1, now());
        ms_set_map_polling(t.ms, false, now());
        loop_timer_stop(&t.ms->home_down_timer);
        for (int i = 0; i < 9; i++)
                report(0, 0, now());
        report(3, 2, now());
        assert_int_equal(ms_home(t.ms), 1);
        ms_set_map_polling(t.ms, true, now());
        assert_int_equal(ms_home(t.ms), 2);
        /* Looks that could change nothing were none. */
        assert_in_range(mono_diff_ms(t.ms->home_down_timer.at, now()), 2000, 3000);
        derp_mgr_set_home(t.ms->derp, 1, now());
        ms_set_map_polling(t.ms, false, now());
        ms_set_map_polling(t.ms, true, now());   /* what was done is not done again */
        assert_int_equal(ms_home(t.ms), 1);
        ms_set_map_polling(t.ms, false, now());
        report(3, 2, now());
        ms_rebind(t.ms, 0, now());
        ms_set_map_polling(t.ms, true, now());
        assert_int_equal(ms_home(t.ms), 1);
}

/* The nearest so far of those that may be. */
static void test_first_answers_make_a_home(void **state)
{
        (void)state;
        struct netcheck_report r = {.latency_count = 2, .latency = {{.region = 1, .any_ns = 1}, {.region = 2, .any_ns = 2}}};
        open_ms(true);
        start(3);
        t.regions[0].avoid = true;
        t.nodes[1].stun_only = true;
        r.latency_count = 1;
        ms_home_on_answer(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 3);   /* the only one that may */
        derp_mgr_set_home(t.ms->derp, 0, now());
        t.nodes[1].stun_only = false;
        ms_home_on_answer(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 0);
        r.latency_count = 2;
        ms_home_on_answer(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 2);
        r.latency[0] = (struct nc_latency){.region = 3, .any_ns = 1};
        ms_home_on_answer(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 2);   /* there is one */
}

/* One that is shunned is home at the end of a report at the earliest, if nobody else answers. */
static void test_the_first_answer_is_of_one_that_is_shunned(void **state)
{
        (void)state;
        struct netcheck_report r = {.preferred = 1, .latency_count = 1, .latency = {{.region = 1, .any_ns = 1}, {.region = 2, .any_ns = 2}}};
        open_ms(true);
        start(3);
        t.ms->shunned = 1;
        t.ms->shunned_until = mono_add_ms(now(), 300 * 1000);
        ms_home_on_answer(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 0);
        r.latency_count = 2;
        ms_home_on_answer(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 2);
        derp_mgr_set_home(t.ms->derp, 0, now());
        r.latency_count = 1;
        ms_home_on_report(t.ms, &r, now());
        assert_int_equal(ms_home(t.ms), 1);
}

static int64_t report_after(mono_t at)
{
        return timer_is_armed(&t.ms->restun_timer) ? mono_diff_ms(t.ms->restun_timer.at, at) : -1;
}

/* Another port of the router is told at once, and one that changes its mind each time it is asked does not keep us at it. */
static void test_a_router_that_changes_its_mind(void **state)
{
        (void)state;
        open_ms(true);
        start(1);
        mono_t at = now();
        ms_reach_portmap_changed(t.ms, at);
        assert_int_equal(report_after(at), 0);
        loop_timer_stop(&t.ms->restun_timer);   /* a report began, whatever for */
        ms_reach_portmap_changed(t.ms, mono_add_ms(at, 3000));
        assert_int_equal(report_after(at), 10000);
        loop_timer_stop(&t.ms->restun_timer);
        ms_reach_portmap_changed(t.ms, mono_add_ms(at, 4000));   /* that report may not know of this one */
        assert_int_equal(report_after(at), 10000);
        loop_timer_at(t.loop, &t.ms->restun_timer, mono_add_ms(at, 6000));
        ms_reach_portmap_changed(t.ms, mono_add_ms(at, 5000));   /* what comes sooner does */
        assert_int_equal(report_after(at), 6000);
        loop_timer_stop(&t.ms->restun_timer);
        ms_reach_portmap_changed(t.ms, mono_add_ms(at, 10000));
        assert_int_equal(report_after(at), 20000);
        loop_timer_stop(&t.ms->restun_timer);
        ms_reach_portmap_changed(t.ms, mono_add_ms(at, 30000));
        assert_int_equal(report_after(at), 30000);
}

static void test_nobody_else_is_there(void **state)
{
        (void)state;
        open_ms(true);
        start(1);
        ms_set_map_polling(t.ms, true, now());
        report(1, 1, now());
        report(0, 0, now());
        assert_int_equal(ms_home(t.ms), 1);
        assert_false(timer_is_armed(&t.ms->home_down_timer));
}

/* One that let us in is not doubted. */
static void test_home_that_is_up_in_time(void **state)
{
        (void)state;
        open_ms(true);
        start(2);
        ms_set_map_polling(t.ms, true, now());
        report(2, 1, now());
        report(2, 1, now());
        assert_true(timer_is_armed(&t.ms->home_down_timer));
        ms_home_on_up(t.ms, 2);
        assert_true(timer_is_armed(&t.ms->home_down_timer));
        ms_home_on_up(t.ms, 1);
        assert_false(timer_is_armed(&t.ms->home_down_timer));
        report(2, 1, now());
        assert_int_equal(ms_home(t.ms), 1);
}

/* Asked for while one runs: another follows, and not two at a time. */
static void test_reports_follow_each_other(void **state)
{
        (void)state;
        open_ms(true);
        start(1);
        assert_true(netrun_running(t.ms->netrun));
        ms_restun(t.ms, false, now());
        ms_restun(t.ms, true, now());
        until(&t.reports, 2);
}

static void add_peer(void)
{
        struct ms_peer_config c = {.home = 1};
        crypto_random(&c.key, sizeof(c.key));
        assert_int_equal(ms_peer_set(t.ms, 0, &c, now()), ERR_NONE);
}

/* One more report, with the last traffic so long ago; how long after it the next one is due, -1: none is. */
static int64_t next_after(int64_t idle_ms)
{
        unsigned n = t.reports;
        t.ms->last_traffic = mono_add_ms(now(), -idle_ms);
        ms_restun(t.ms, false, now());
        until(&t.reports, n + 1);
        return timer_is_armed(&t.ms->restun_timer) ? mono_diff_ms(t.ms->restun_timer.at, t.reported) : -1;
}

/* While there is traffic 20 to 26 s lie between two looks at the network, never the same; none is made for nobody. */
static void test_cadence(void **state)
{
        (void)state;
        open_ms(true);
        start(1);
        until(&t.reports, 1);
        assert_int_equal(next_after(0), -1);   /* no peers, no need */
        add_peer();
        int64_t least = 30000, most = 0;
        for (int i = 0; i < 60; i++) {
                int64_t ms = next_after(i * 700);
                assert_in_range(ms, 20000, 25999);
                least = ms < least ? ms : least;
                most = ms > most ? ms : most;
        }
        assert_true(most - least > 1000);
        assert_int_equal(next_after(46000), -1);
        assert_int_equal(next_after(600000), -1);
        /* Traffic wakes it, and more of it does not put it off. */
        ms_reach_traffic(t.ms, now());
        mono_t due = t.ms->restun_timer.at;
        assert_in_range(mono_diff_ms(due, now()), 20000, 25999);
        ms_reach_traffic(t.ms, mono_add_ms(now(), 5000));
        assert_int_equal(t.ms->restun_timer.at.ns, due.ns);
}

/* A peer is about to be told our endpoints: older than 27 s, they are looked up first. */
static void test_fresh_for_a_call(void **state)
{
        (void)state;
        open_ms(true);
        start(1);
        until(&t.reports, 1);
        mono_t built = t.ms->eps_at;
        ms_reach_check_fresh(t.ms, mono_add_ms(built, 26999));
        assert_false(timer_is_armed(&t.ms->restun_timer));
        mono_t late = mono_add_ms(built, 27000);
        ms_reach_check_fresh(t.ms, late);
        assert_true(timer_is_armed(&t.ms->restun_timer));
        assert_int_equal(t.ms->restun_timer.at.ns, late.ns);
}

/* A relay that the map names without an address: STUN finds it by its name. */
static void test_names_are_looked_up(void **state)
{
        (void)state;
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t len = sizeof(sa);
        uint8_t request[64];
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        open_ms(false);
        make_map(1);
        (void)snprintf(t.nodes[0].hostname, sizeof(t.nodes[0].hostname), "localhost");
        t.nodes[0].ipv4[0] = '\0';
        t.nodes[0].stun_port = ntohs(sa.sin_port);
        ms_set_derp_map(t.ms, &t.map, now());
        ms_set_active(t.ms, true, now());
        until(&t.reports, 1);
        assert_true(recv(fd, request, sizeof(request), 0) >= 20);
        assert_int_equal(request[0] << 8 | request[1], 1);   /* a binding request */
        close(fd);
}

static void test_endpoints_and_changes(void **state)
{
        (void)state;
        const struct ms_endpoint *eps;
        open_ms(false);
        uint16_t port = ms_port(t.ms, IP_V4);
        assert_true(port != 0);
        start(1);
        until(&t.reports, 1);
        size_t n = ms_endpoints(t.ms, &eps);
        assert_int_equal(n, t.endpoints);
        for (size_t i = 0; i < n; i++)
                if (eps[i].type == MS_ENDPOINT_LOCAL && eps[i].addr.ip.family == IP_V4)
                        assert_int_equal(eps[i].addr.port, port);
        /* A small change makes the endpoints anew, a great one the sockets too, on the same port. */
        unsigned published = t.published;
        ms_restun(t.ms, false, now());
        until(&t.reports, 2);
        assert_int_equal(t.published, published);   /* and the same ones are no news */
        ms_rebind(t.ms, 0, now());
        until(&t.reports, 3);
        assert_int_equal(ms_port(t.ms, IP_V4), port);
        assert_int_equal(t.published, published);
}

/* A socket that the kernel took away is opened anew, but not with every packet. */
static void test_dead_socket(void **state)
{
        (void)state;
        open_ms(false);
        start(1);
        int fd = t.ms->udp[0].sock.fd;
        assert_true(fd >= 0);
        ms_reach_socket_error(t.ms, mono_add_ms(now(), 100000));
        mono_t first = t.ms->rebound;
        assert_true(sock_is_open(&t.ms->udp[0].sock));
        ms_reach_socket_error(t.ms, mono_add_ms(now(), 101000));
        assert_int_equal(t.ms->rebound.ns, first.ns);
        ms_reach_socket_error(t.ms, mono_add_ms(now(), 105001));
        assert_true(t.ms->rebound.ns > first.ns);
        assert_true(sock_is_open(&t.ms->udp[0].sock));
}

/* By the next report, once one has sent nothing. */
static bool is_opened_anew(void)
{
        until(&t.reports, 1);
        assert_false(netrun_last(t.ms->netrun)->ipv4_can_send);
        assert_false(mono_is_set(t.ms->rebound));
        ms_restun(t.ms, true, now());
        return mono_is_set(t.ms->rebound);
}

/* What takes nothing is dead, unless it is that the host has no way there. */
static void test_socket_that_takes_nothing(void **state)
{
        static const int on = 1;
        for (int is_dead = 0; is_dead < 2; is_dead++) {
                tear_down(state);
                set_up(state);
                open_ms(false);
                make_map(1);
                (void)snprintf(t.nodes[0].stun_test_ip, sizeof(t.nodes[0].stun_test_ip), "%s", is_dead ? "127.0.0.1" : "203.0.113.77");
                ms_set_derp_map(t.ms, &t.map, now());
                int fd = t.ms->udp[0].sock.fd;
                if (is_dead)
                        (void)shutdown(fd, SHUT_WR);   /* it is not connected, and takes nothing any more all the same */
                else
                        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_DONTROUTE, &on, sizeof(on)), 0);
                ms_set_active(t.ms, true, now());
                assert_int_equal(is_opened_anew(), is_dead);
        }
}

/* A map without STUN says nothing of the socket. */
static void test_nothing_to_send_is_no_dead_socket(void **state)
{
        (void)state;
        open_ms(false);
        make_map(1);
        t.nodes[0].stun_port = 0;
        ms_set_derp_map(t.ms, &t.map, now());
        ms_set_active(t.ms, true, now());
        assert_false(is_opened_anew());
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_only_choice, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_some_home_is_better_than_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_home_where_none_is_wanted, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_map_without_the_home, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_home_that_takes_nobody, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_home_while_nobody_listens, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nobody_answers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nobody_lets_us_in, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_home_moves_when_they_can_be_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_first_answers_make_a_home, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_first_answer_is_of_one_that_is_shunned, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_router_that_changes_its_mind, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nobody_else_is_there, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_home_that_is_up_in_time, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_reports_follow_each_other, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cadence, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_fresh_for_a_call, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_names_are_looked_up, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_endpoints_and_changes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_dead_socket, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_socket_that_takes_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nothing_to_send_is_no_dead_socket, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
