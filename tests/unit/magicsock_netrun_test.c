/* The plan of netcheck carried out: requests go to a socket that is not there, answers come when the test says so.  Names
 * are looked up and HTTPS is asked in earnest, on the loopback. */
#include "tests/unit/check.h"

#include "base/crypto.h"
#include "magicsock/netrun.h"
#include "tests/unit/stun_answer.h"
#include "tests/unit/tls_server.h"

enum { REGIONS = 5, FIRST = 10, SENT_MAX = 64 };

struct request {
        struct addr to;
        uint8_t data[STUN_REQUEST_LEN];
};

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct netrun *n;
        struct derp_node nodes[REGIONS], with_relay[REGIONS][2];
        struct derp_region regions[REGIONS];
        struct derpmap map;
        struct nc_start_args args;
        struct request sent[SENT_MAX];
        size_t sent_count;
        bool refuse;            /* the kernel takes none */
        bool cancel_on_answer, again_on_done;
        mono_t heard;           /* the home relay, lately */
        unsigned answers, done, asked_home;
        struct netcheck_report so_far, report;
} t;

static mono_t now(void)
{
        return loop_now(t.loop);
}

static bool on_send(void *arg, bool second, struct addr to, const void *data, size_t len)
{
        assert_ptr_equal(arg, &t);
        assert_false(second);
        assert_int_equal(len, STUN_REQUEST_LEN);
        assert_true(stun_is(data, len));
        assert_true(t.sent_count < SENT_MAX);
        struct request *r = &t.sent[t.sent_count++];
        r->to = to;
        memcpy(r->data, data, len);
        return !t.refuse;
}

static void on_answer(void *arg, const struct netcheck_report *so_far, mono_t at)
{
        (void)at;
        assert_ptr_equal(arg, &t);
        assert_true(netrun_running(t.n));
        assert_ptr_equal(so_far, netrun_report(t.n));
        t.so_far = *so_far;
        t.answers++;
        if (t.cancel_on_answer)
                netrun_cancel(t.n);
}

static void on_done(void *arg, const struct netcheck_report *report, mono_t at)
{
        assert_ptr_equal(arg, &t);
        assert_false(netrun_running(t.n));
        assert_ptr_equal(report, netrun_report(t.n));
        t.report = *report;
        t.done++;
        if (t.again_on_done) {
                t.again_on_done = false;
                assert_int_equal(netrun_start(t.n, &t.args, at), ERR_NONE);
        }
}

static mono_t home_heard(void *arg)
{
        assert_ptr_equal(arg, &t);
        t.asked_home++;
        return t.heard;
}

static int set_up(void **state)
{
        (void)state;
        static const struct netrun_callbacks cb = {
                .send = on_send, .on_answer = on_answer, .on_done = on_done, .home_heard = home_heard};
        memset(&t, 0, sizeof(t));
        for (int i = 0; i < REGIONS; i++) {
                struct derp_node *n = &t.nodes[i];
                *n = (struct derp_node){.ipv6 = "none", .stun_port = 3478, .derp_port = 443, .stun_only = true};
                (void)snprintf(n->hostname, sizeof(n->hostname), "r%d.invalid", FIRST + i);
                (void)snprintf(n->ipv4, sizeof(n->ipv4), "192.0.2.%d", FIRST + i);
                t.regions[i] = (struct derp_region){.id = FIRST + i, .score = 1, .node_count = 1, .nodes = n};
        }
        t.map = (struct derpmap){.region_count = 2, .regions = t.regions};
        t.args = (struct nc_start_args){.map = &t.map, .have_v4 = true};
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.n = netrun_new(t.loop, t.dialer, 0, &cb, &t);
        assert_non_null(t.n);
        return 0;
}

/* The regions have a relay each as well, one without STUN, and nobody at its port. */
static void with_relays(void)
{
        for (int i = 0; i < REGIONS; i++) {
                t.with_relay[i][0] = t.nodes[i];
                t.with_relay[i][1] = (struct derp_node){.hostname = "127.0.0.1", .ipv4 = "127.0.0.1", .ipv6 = "none", .derp_port = 9};
                t.regions[i].nodes = t.with_relay[i];
                t.regions[i].node_count = 2;
        }
}

static int tear_down(void **state)
{
        (void)state;
        netrun_free(t.n);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return 0;
}

static void start(void)
{
        t.sent_count = 0;
        assert_int_equal(netrun_start(t.n, &t.args, now()), ERR_NONE);
}

static void until_done(unsigned n)
{
        mono_t end = mono_add_ms(mono_now(), 60000);
        while (t.done < n && !mono_reached(mono_now(), end))
                loop_once(t.loop, 20);
        assert_int_equal(t.done, n);
}

static void run_ms(int ms)
{
        mono_t end = mono_add_ms(mono_now(), ms);
        while (!mono_reached(mono_now(), end))
                loop_once(t.loop, 5);
}

/* The request that went to the i-th region's relay; NULL: none. */
static const struct request *request_to(unsigned i)
{
        for (size_t k = 0; k < t.sent_count; k++)
                if (addr_eq(t.sent[k].to, (struct addr){ip_v4(192, 0, 2, (uint8_t)(FIRST + i)), 3478}))
                        return &t.sent[k];
        return NULL;
}

static void answer(const struct request *r, uint16_t port, int64_t after_ms)
{
        uint8_t msg[STUN_ANSWER_MAX];
        struct addr seen = {ip_v4(203, 0, 113, 9), port};
        assert_non_null(r);
        size_t n = stun_answer(r->data, seen, msg);
        netrun_on_stun(t.n, msg, n, mono_add_ms(now(), after_ms));
}

static void test_refused(void **state)
{
        (void)state;
        struct nc_start_args none = t.args;
        none.map = NULL;
        assert_null(netrun_report(t.n));
        assert_int_equal(netrun_start(t.n, &none, now()), ERR_NOT_FOUND);
        assert_false(netrun_running(t.n));
        start();
        assert_int_equal(netrun_start(t.n, &t.args, now()), ERR_STATE);
        assert_int_equal(netrun_start(t.n, &none, now()), ERR_STATE);
        assert_true(netrun_running(t.n));
        assert_int_equal(t.sent_count, 2);
}

static void test_two_regions(void **state)
{
        (void)state;
        with_relays();
        start();
        assert_int_equal(t.sent_count, 2);   /* at once, one each */
        answer(request_to(0), 4001, 40);
        assert_int_equal(t.answers, 1);
        assert_true(t.so_far.udp && !mono_is_set(t.so_far.at));
        assert_int_equal(t.so_far.latency[0].region, FIRST);
        assert_int_equal(t.done, 0);
        answer(request_to(1), 4001, 15);
        assert_int_equal(t.answers, 2);
        assert_int_equal(t.done, 1);   /* nobody is left to wait for */
        assert_int_equal(t.asked_home, 1);
        assert_int_equal(t.report.preferred, FIRST + 1);
        assert_int_equal(t.report.latency_count, 2);
        assert_int_equal(t.report.latency[0].v4_ns, 40 * NS_PER_MS);
        assert_int_equal(t.report.latency[1].v4_ns, 15 * NS_PER_MS);
        assert_int_equal(t.report.global_v4.port, 4001);
        assert_int_equal(t.report.mapping_varies, NC_FALSE);
        /* It is over: neither another answer nor time makes it so again. */
        answer(request_to(1), 4002, 16);
        run_ms(250);
        assert_int_equal(t.answers, 2);
        assert_int_equal(t.done, 1);
        assert_int_equal(t.sent_count, 2);
}

/* What the router offers is waited for, whatever else is known. */
static void test_held(void **state)
{
        (void)state;
        with_relays();
        struct nc_portmap found = {.pmp = NC_TRUE, .pcp = NC_FALSE, .upnp = NC_FALSE, .have = true};
        netrun_release(t.n, now());
        netrun_hold(t.n);
        start();
        answer(request_to(0), 4001, 40);
        answer(request_to(1), 4001, 15);
        run_ms(200);
        assert_int_equal(t.done, 0);
        assert_true(netrun_running(t.n));
        netrun_set_portmap(t.n, &found);
        netrun_release(t.n, now());
        assert_int_equal(t.done, 1);
        assert_true(t.report.pmp == NC_TRUE && t.report.pcp == NC_FALSE && t.report.upnp == NC_FALSE && t.report.have_portmap);
        assert_int_equal(t.report.preferred, FIRST + 1);
        /* One that is released early goes on as usual, one that is cancelled holds nobody. */
        netrun_hold(t.n);
        start();
        netrun_release(t.n, now());
        assert_int_equal(t.done, 1);
        netrun_cancel(t.n);
        netrun_hold(t.n);
        start();
        netrun_cancel(t.n);
        start();
        answer(request_to(0), 4001, 40);
        answer(request_to(1), 4001, 15);
        assert_int_equal(t.done, 2);
}

/* What answers nothing of ours is not news: another's, one cut short, one said twice. */
static void test_not_our_answers(void **state)
{
        (void)state;
        uint8_t msg[STUN_ANSWER_MAX];
        start();
        struct request other = *request_to(0);
        size_t n = stun_answer(other.data, (struct addr){ip_v4(203, 0, 113, 9), 1}, msg);
        for (size_t i = 0; i < n; i++)
                netrun_on_stun(t.n, msg, i, now());
        other.data[8] ^= 1;
        answer(&other, 4001, 1);
        assert_int_equal(t.answers, 0);
        answer(request_to(0), 4001, 1);
        answer(request_to(0), 4001, 2);
        assert_int_equal(t.answers, 1);
        assert_true(netrun_running(t.n));
}

/* Each relay is asked again by the timer, and in the end it is settled without them; what comes then is too late. */
static void test_no_answer(void **state)
{
        (void)state;
        mono_t began = mono_now();
        start();
        until_done(1);
        assert_in_range(mono_diff_ms(mono_now(), began), 2900, 60000);
        assert_int_equal(t.sent_count, 6);
        assert_int_equal(t.answers, 0);
        assert_false(t.report.udp);
        assert_true(t.report.ipv4_can_send);
        assert_int_equal(t.report.latency_count, 0);
        assert_int_equal(t.report.preferred, 0);
        answer(request_to(0), 4001, 1);
        assert_int_equal(t.answers, 0);
        assert_int_equal(netrun_report(t.n)->latency_count, 0);
}

static void test_kernel_refuses(void **state)
{
        (void)state;
        t.refuse = true;
        start();
        until_done(1);
        assert_int_equal(t.sent_count, 6);
        assert_false(t.report.ipv4_can_send);
}

static void test_home_was_heard(void **state)
{
        (void)state;
        with_relays();
        t.args.home = FIRST;
        for (int heard = 0; heard < 2; heard++) {
                t.heard = heard ? mono_add_ms(now(), 1) : (mono_t){0};
                netrun_forget(t.n);
                t.refuse = heard;
                start();
                if (!heard)
                        answer(request_to(1), 4001, 15);
                until_done((unsigned)heard + 1);
                assert_int_equal(t.report.preferred, heard ? FIRST : FIRST + 1);
                assert_int_equal(t.asked_home, heard + 1);
        }
}

static void test_cancel(void **state)
{
        (void)state;
        start();
        struct request late = *request_to(0), late2 = *request_to(1);
        answer(&late2, 4001, 5);
        netrun_cancel(t.n);
        assert_false(netrun_running(t.n));
        answer(&late, 4001, 10);
        run_ms(250);
        assert_int_equal(t.answers, 1);
        assert_int_equal(t.done, 0);
        assert_int_equal(t.sent_count, 2);   /* no second try of what is cancelled */
        assert_null(netrun_report(t.n));
        /* The next one begins anew, and knows its own answers. */
        start();
        answer(&late, 4001, 10);
        assert_int_equal(t.answers, 1);
        answer(request_to(0), 4001, 10);
        answer(request_to(1), 4001, 10);
        assert_int_equal(t.answers, 3);
        assert_int_equal(t.done, 1);
        netrun_cancel(t.n);   /* none runs: nothing */
        assert_int_equal(netrun_report(t.n)->latency_count, 2);
}

static void test_cancel_by_callback(void **state)
{
        (void)state;
        t.map.region_count = 1;   /* the answer would be the last */
        t.cancel_on_answer = true;
        start();
        answer(request_to(0), 4001, 10);
        run_ms(250);
        assert_int_equal(t.answers, 1);
        assert_int_equal(t.done, 0);
        assert_int_equal(t.sent_count, 1);
        assert_false(netrun_running(t.n));
}

/* The callback starts the next one, whose timer must not be lost with the old one's. */
static void test_next_from_callback(void **state)
{
        (void)state;
        t.map.region_count = 1;
        t.again_on_done = true;
        start();
        answer(request_to(0), 4001, 10);
        assert_int_equal(t.done, 1);
        assert_true(netrun_running(t.n));
        assert_int_equal(t.sent_count, 2);
        until_done(2);
        assert_true(t.sent_count > 2);
}

/* A full report asks all, the next one the nearest; another network makes it full again. */
static void test_forget(void **state)
{
        (void)state;
        with_relays();
        t.map.region_count = REGIONS;
        for (unsigned round = 0; round < 3; round++) {
                if (round == 2)
                        netrun_forget(t.n);
                start();
                assert_int_equal(t.sent_count, round == 1 ? 3 : REGIONS);
                for (unsigned i = 0; i < REGIONS; i++)
                        if (request_to(i) != NULL)
                                answer(request_to(i), 4001, 10 * (i + 1));
                until_done(round + 1);
                assert_int_equal(t.report.preferred, FIRST);
        }
}

/* ---- names ---- */

static void name(unsigned i, const char *host)
{
        (void)snprintf(t.nodes[i].hostname, sizeof(t.nodes[i].hostname), "%s", host);
        t.nodes[i].ipv4[0] = '\0';
}

static void test_names(void **state)
{
        (void)state;
        t.nodes[0].stun_port = 3480;
        name(0, "localhost");
        name(1, "no..name");   /* none, and nobody has to be asked for it */
        with_relays();
        start();
        assert_int_equal(t.sent_count, 0);
        mono_t end = mono_add_ms(mono_now(), 30000);
        while (t.sent_count == 0 && !mono_reached(mono_now(), end))
                loop_once(t.loop, 20);
        assert_true(t.sent_count > 0);
        assert_true(addr_eq(t.sent[0].to, (struct addr){ip_v4(127, 0, 0, 1), 3480}));
        answer(&t.sent[0], 4001, 10);
        until_done(1);
        assert_int_equal(t.report.latency_count, 1);
        assert_int_equal(t.report.preferred, FIRST);
        for (size_t i = 0; i < t.sent_count; i++)
                assert_true(addr_eq(t.sent[i].to, t.sent[0].to));
}

/* The answer of the name comes after all: to nobody, and to another report. */
static void test_late_names(void **state)
{
        (void)state;
        name(0, "localhost");
        name(1, "localhost");
        start();
        netrun_cancel(t.n);
        run_ms(100);
        assert_int_equal(t.sent_count, 0);
        start();
        netrun_cancel(t.n);
        (void)snprintf(t.nodes[0].ipv4, sizeof(t.nodes[0].ipv4), "192.0.2.%d", FIRST);
        t.map.region_count = 1;
        start();
        run_ms(50);
        for (size_t i = 0; i < t.sent_count; i++)
                assert_true(addr_eq(t.sent[i].to, request_to(0)->to));
        answer(request_to(0), 4001, 60);
        assert_int_equal(t.done, 1);
        name(0, "localhost");
        start();   /* and is freed with the answer on its way */
        assert_int_equal(t.sent_count, 0);
}

/* ---- HTTPS ---- */

static void serve_ok(struct server *s, int fd, SSL *ssl)
{
        static const char OK[] = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        char head[2048] = "";
        size_t n = 0;
        (void)s;
        while (n < sizeof(head) - 1 && strstr(head, "\r\n\r\n") == NULL) {
                ssize_t got = server_read(fd, ssl, head + n, sizeof(head) - 1 - n);
                if (got <= 0)
                        return;
                n += (size_t)got;
        }
        bool asked = strncmp(head, "GET /derp/latency-check ", 24) == 0;
        (void)server_write(fd, ssl, OK, asked ? sizeof(OK) - 1 : 0);
}

static void by_https(unsigned i, uint16_t port)
{
        struct derp_node *n = &t.nodes[i];
        (void)snprintf(n->hostname, sizeof(n->hostname), "127.0.0.1");
        (void)snprintf(n->ipv4, sizeof(n->ipv4), "127.0.0.1");
        n->derp_port = port;
        n->stun_only = false;
        n->insecure = true;
        t.args.no_udp = true;
}

/* One relay answers, at the other's port there is nobody. */
static void test_https(void **state)
{
        (void)state;
        struct server s = {0};
        server_use_tls(&s, NULL, -60, 3600, false);
        server_start(&s, 1, serve_ok);
        by_https(0, s.port);
        by_https(1, 1);
        start();
        until_done(1);
        server_stop(&s);
        assert_int_equal(t.sent_count, 0);
        assert_int_equal(t.report.latency_count, 1);
        assert_int_equal(t.report.latency[0].region, FIRST);
        assert_true(t.report.latency[0].any_ns > 0);
        assert_int_equal(t.report.latency[0].v4_ns, 0);
        assert_true(t.report.ipv4 && !t.report.ipv6 && !t.report.udp);
        assert_int_equal(t.report.preferred, FIRST);
}

/* Not believed without its certificate. */
static void test_https_untrusted(void **state)
{
        (void)state;
        struct server s = {0};
        server_use_tls(&s, NULL, -60, 3600, false);
        server_start(&s, 1, serve_ok);
        by_https(0, s.port);
        t.nodes[0].insecure = false;
        t.map.region_count = 1;
        start();
        until_done(1);
        server_stop(&s);
        assert_int_equal(t.report.latency_count, 0);
}

/* A relay that takes the connection and says nothing: given up when the report's time is over, and when cancelled. */
static void test_https_silence(void **state)
{
        (void)state;
        uint16_t port;
        int fd = listen_loopback(&port);
        by_https(0, port);
        by_https(1, port);
        start();
        run_ms(100);
        netrun_cancel(t.n);
        run_ms(100);
        assert_int_equal(t.done, 0);
        mono_t began = mono_now();
        start();
        until_done(1);
        assert_in_range(mono_diff_ms(mono_now(), began), 4900, 60000);
        assert_int_equal(t.report.latency_count, 0);
        start();   /* and is freed in the middle of it */
        run_ms(50);
        close(fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(test_refused), T(test_two_regions), T(test_held), T(test_not_our_answers), T(test_no_answer), T(test_kernel_refuses),
                T(test_home_was_heard), T(test_cancel), T(test_cancel_by_callback), T(test_next_from_callback),
                T(test_forget), T(test_names), T(test_late_names), T(test_https), T(test_https_untrusted),
                T(test_https_silence),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
