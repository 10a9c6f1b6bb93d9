/* The PeerAPI over real sockets on the loopback, whose many addresses play the peers: who is heard, what is answered,
 * limits, late answers, hostile clients.  Server and client share one thread: reading an answer turns the loop. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "daemon/peerapi/listen.h"
#include "daemon/peerapi/server.h"
#include "tests/unit/check.h"

static const uint8_t query[] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1};
#define QUERY64 "AAABAAABAAAAAAAAAWEAAAEAAQ"
#define SELF "127.0.0.9"
#define GUEST "127.0.0.3"       /* a peer, but without access to DNS */
#define STRANGER "127.0.0.4"

static struct {
        struct loop *loop;
        struct peerapi *p;
        uint16_t port;
        int asked, cancelled;
        bool late, map_is_empty;
        struct peerapi_req *held;
        uint8_t msg[PEERAPI_QUERY_MAX];
        size_t len;
} t;

static bool src_is(struct ip src, const char *text)
{
        struct ip ip;
        return ip_parse(text, &ip) == ERR_NONE && ip_eq(src, ip);
}

static bool is_peer(void *arg, struct ip src)
{
        assert_ptr_equal(arg, &t);
        return !src_is(src, STRANGER) && !t.map_is_empty;
}

static bool may_resolve(void *arg, struct ip src)
{
        assert_ptr_equal(arg, &t);
        return !src_is(src, GUEST);
}

static void *resolve(void *arg, struct peerapi_req *r, const uint8_t *msg, size_t len)
{
        assert_ptr_equal(arg, &t);
        t.asked++;
        assert_true(len <= sizeof(t.msg));
        memcpy(t.msg, msg, len);
        t.len = len;
        if (t.late) {
                t.held = r;
                return &t;
        }
        peerapi_answer(r, (const uint8_t *)"an\0swer", len == 1 ? 0 : 7);
        return NULL;
}

static void cancel(void *arg, void *q)
{
        assert_ptr_equal(arg, &t);
        assert_ptr_equal(q, &t);
        t.cancelled++;
        t.held = NULL;
}

static const struct peerapi_ops ops = {is_peer, may_resolve, resolve, cancel};

static struct ip ip_of(const char *text)
{
        struct ip ip;
        assert_int_equal(ip_parse(text, &ip), ERR_NONE);
        return ip;
}

static int setup(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.p = t.loop != NULL ? peerapi_new(t.loop, &ops, &t) : NULL;
        return t.p == NULL || peerapi_listen(t.p, ip_of(SELF), NULL, &t.port) != ERR_NONE ? -1 : 0;
}

static int teardown(void **state)
{
        (void)state;
        peerapi_free(t.p);
        loop_free(t.loop);
        return 0;
}

/* ---- a client ---- */

/* -1: refused. */
static int dial(const char *from, const char *to, uint16_t port)
{
        struct sockaddr_storage sa;
        struct addr a = {ip_of(from), 0};
        socklen_t len = addr_to_sockaddr(a, &sa);
        int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
        len = addr_to_sockaddr((struct addr){ip_of(to), port}, &sa);
        if (connect(fd, (struct sockaddr *)&sa, len) == 0)
                return fd;
        close(fd);
        return -1;
}

static void say(int fd, const char *text, size_t len)
{
        while (len > 0) {
                ssize_t n = send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
                loop_once(t.loop, 0);
                if (n < 0 && errno != EAGAIN)
                        return;
                text += n > 0 ? n : 0;
                len -= n > 0 ? (size_t)n : 0;
        }
}

struct answer {
        int status;      /* 0: hung up on */
        size_t len;
        char text[8192];
        size_t body;     /* where in text */
};

/* The body is whole by its length, or it is of a HEAD. */
static bool whole(struct answer *a, bool head)
{
        const char *end = strstr(a->text, "\r\n\r\n");
        const char *length = strstr(a->text, "Content-Length: ");
        if (end == NULL || length == NULL)
                return false;
        a->body = (size_t)(end + 4 - a->text);
        a->status = atoi(a->text + strlen("HTTP/1.1 "));
        return head || a->len - a->body >= (size_t)atoi(length + strlen("Content-Length: "));
}

static struct answer hear(int fd, bool head)
{
        struct answer a = {0};
        for (int idle = 0; idle < 500;) {
                loop_once(t.loop, 1);
                ssize_t n = recv(fd, a.text + a.len, sizeof(a.text) - 1 - a.len, MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        break;
                idle = n > 0 ? 0 : idle + 1;
                a.len += n > 0 ? (size_t)n : 0;
                if (whole(&a, head))
                        break;
        }
        return a;
}

static struct answer ask_from(const char *from, const char *request, const char *body, size_t len)
{
        struct answer a = {0};
        int fd = dial(from, SELF, t.port);
        assert_true(fd >= 0);
        say(fd, request, strlen(request));
        say(fd, body, len);
        a = hear(fd, strncmp(request, "HEAD", 4) == 0);
        close(fd);
        loop_once(t.loop, 0);
        return a;
}

/* A request with the right Host, and more header lines. */
static int status_of(const char *from, const char *line, const char *more, const char *body, size_t len)
{
        char text[8192];
        snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: " SELF ":%u\r\n%s\r\n", line, t.port, more);
        return ask_from(from, text, body, len).status;
}

static int get(const char *path)
{
        char line[7000];
        snprintf(line, sizeof(line), "GET %s", path);
        return status_of("127.0.0.2", line, "", "", 0);
}

static int post(const char *type, const void *body, size_t len)
{
        char more[256];
        snprintf(more, sizeof(more), "Content-Type: %s\r\nContent-Length: %zu\r\n", type, len);
        return status_of("127.0.0.2", "POST /dns-query", more, body, len);
}

/* ---- the port ---- */

/* As the reference computes it, from its recorded maps. */
static void test_port(void **state)
{
        (void)state;
        assert_int_equal(peerapi_port(ip_of("100.64.0.2"), 0), 46590);
        assert_int_equal(peerapi_port(ip_of("fd7a:115c:a1e0::2"), 0), 47166);
        assert_int_equal(peerapi_port(ip_of("100.64.0.3"), 0), 34152);
        assert_int_equal(peerapi_port(ip_of("fd7a:115c:a1e0::3"), 0), 34984);
        assert_int_equal(peerapi_port(ip_of("100.64.0.1"), 2), peerapi_port(ip_of("100.66.0.1"), 0));
}

static void test_taken_ports(void **state)
{
        (void)state;
        int fds[PEERAPI_TRIES + 1];
        uint16_t port;
        struct ip ip = ip_of("127.0.0.77");
        for (uint8_t i = 0; i <= PEERAPI_TRIES; i++) {
                assert_int_equal(peerapi_socket(ip, NULL, &fds[i], &port), ERR_NONE);
                if (i < PEERAPI_TRIES)
                        assert_int_equal(port, peerapi_port(ip, i));
                else
                        assert_true(port != 0);
        }
        for (size_t i = 0; i <= PEERAPI_TRIES; i++)
                close(fds[i]);
}

static void test_only_at_our_address(void **state)
{
        (void)state;
        uint16_t port;
        assert_int_equal(dial("127.0.0.2", "127.0.0.8", t.port), -1);
        assert_int_equal(peerapi_listen(t.p, ip_of("127.0.0.7"), NULL, &port), ERR_FULL);
        assert_int_equal(get("/"), 200);
        peerapi_free(t.p);
        t.p = NULL;
        assert_int_equal(dial("127.0.0.2", SELF, t.port), -1);
}

/* ---- who is heard ---- */

static void test_strangers_are_hung_up_on(void **state)
{
        (void)state;
        assert_int_equal(status_of(STRANGER, "GET /", "", "", 0), 0);
        assert_int_equal(status_of(STRANGER, "GET /dns-query?dns=" QUERY64, "", "", 0), 0);
        assert_int_equal(status_of("127.0.0.2", "GET /", "", "", 0), 200);
        assert_int_equal(t.asked, 0);
}

static void test_no_web_page(void **state)
{
        (void)state;
        char text[512], right[64], other_port[64];
        snprintf(right, sizeof(right), SELF ":%u", t.port);
        snprintf(other_port, sizeof(other_port), SELF ":%u", t.port ^ 1);
        const char *const hosts[] = {SELF, "127.0.0.2:80", "peer", "evil.example", "localhost", "", other_port,
                "0x7f.0.0.9:80", "127.0.0.9:", "[::1]:80"};
        for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
                snprintf(text, sizeof(text), "GET /dns-query?dns=" QUERY64 " HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[i]);
                assert_in_range(ask_from("127.0.0.2", text, "", 0).status, 400, 403);
        }
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: evil.example\r\nHost: %s\r\n\r\n", right);
        assert_in_range(ask_from("127.0.0.2", text, "", 0).status, 400, 403);
        assert_int_equal(ask_from("127.0.0.2", "GET / HTTP/1.0\r\n\r\n", "", 0).status, 403);
        assert_int_equal(status_of("127.0.0.2", "GET /", "Origin: http://" SELF "\r\n", "", 0), 403);
        assert_int_equal(status_of("127.0.0.2", "GET /", "Referer: http://evil.example/\r\n", "", 0), 403);
        assert_int_equal(status_of("127.0.0.2", "GET /", "Origin: null\r\n", "", 0), 403);
        assert_int_equal(t.asked, 0);
        assert_int_equal(status_of("127.0.0.2", "GET /", "", "", 0), 200);
}

static void test_headers_are_no_identity(void **state)
{
        (void)state;
        const char *claim = "X-Forwarded-For: 127.0.0.2\r\nForwarded: for=127.0.0.2\r\nTailscale-User-Login: root\r\n";
        assert_int_equal(status_of(GUEST, "GET /dns-query?dns=" QUERY64, claim, "", 0), 403);
        assert_int_equal(t.asked, 0);
        assert_int_equal(status_of(GUEST, "GET /", "", "", 0), 200);
}

/* ---- what is answered ---- */

static void test_queries(void **state)
{
        (void)state;
        assert_int_equal(get("/dns-query?dns=" QUERY64), 200);
        assert_int_equal(t.len, sizeof(query));
        assert_memory_equal(t.msg, query, sizeof(query));
        memset(t.msg, 0, sizeof(t.msg));
        assert_int_equal(post("application/dns-message", query, sizeof(query)), 200);
        assert_memory_equal(t.msg, query, sizeof(query));
        assert_int_equal(t.asked, 2);
        char text[512];
        snprintf(text, sizeof(text), "GET /dns-query?dns=" QUERY64 " HTTP/1.1\r\nHost: " SELF ":%u\r\n\r\n", t.port);
        struct answer a = ask_from("127.0.0.2", text, "", 0);
        assert_memory_equal(a.text + a.body, "an\0swer", 7);
        assert_non_null(strstr(a.text, "Content-Type: application/dns-message\r\n"));
}

static void test_bad_queries(void **state)
{
        (void)state;
        static char big[8192];
        const char *const bad[] = {"/dns-query", "/dns-query?dns=", "/dns-query?dns=%00", "/dns-query?dns=a+b/",
                "/dns-query?dns=" QUERY64 "=", "/dns-query?q=example.com", "/dns-query?dns=A"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(get(bad[i]), 400);
        assert_int_equal(post("text/plain", query, sizeof(query)), 400);
        assert_int_equal(post("application/dns-message", "", 0), 400);
        assert_int_equal(status_of("127.0.0.2", "POST /dns-query", "Content-Length: 1\r\n", "x", 1), 400);
        assert_int_equal(t.asked, 0);
        assert_int_equal(post("application/dns-message", big, PEERAPI_QUERY_MAX), 200);
        assert_int_equal(post("application/dns-message", big, PEERAPI_QUERY_MAX + 1), 413);
        snprintf(big, sizeof(big), "/dns-query?dns=%0*d", PEERAPI_QUERY_MAX / 3 * 4 + 8, 0);
        assert_int_equal(get(big), 400);
        assert_int_equal(post("application/dns-message", "x", 1), 400);   /* the resolver says it is none */
        assert_int_equal(t.asked, 2);
}

static void test_nothing_else(void **state)
{
        (void)state;
        const char *const lines[] = {"GET /dns-query/", "GET /v0/env", "GET /v0/goroutines", "GET /v0/metrics",
                "PUT /v0/put/x", "GET /localapi/v0/status", "DELETE /", "POST /", "PUT /dns-query", "OPTIONS *", "GET *",
                "CONNECT 1.2.3.4:5", "GET //", "GET /../", ("HEAD /dns-query?dns=" QUERY64)};
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
                assert_int_equal(status_of("127.0.0.2", lines[i], "", "", 0), 404);
        assert_int_equal(t.asked, 0);
        assert_int_equal(status_of("127.0.0.2", "HEAD /", "", "", 0), 200);
}

/* The page says what any peer knows already. */
static void test_page_tells_nothing(void **state)
{
        (void)state;
        char text[256];
        setenv("PLANTED_SECRET", "zzsecretzz", 1);
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: " SELF ":%u\r\n\r\n", t.port);
        struct answer a = ask_from("127.0.0.2", text, "", 0);
        assert_int_equal(a.status, 200);
        assert_null(strstr(a.text, "zzsecretzz"));
        assert_null(strstr(a.text, "127.0.0.2"));
        assert_string_equal(a.text + a.body, "<html><body><h1>tailscaled</h1>This is a node of your tailnet.</body></html>\n");
        assert_non_null(strstr(a.text, "nosniff"));
}

/* ---- late answers ---- */

static void test_late_answer(void **state)
{
        (void)state;
        char text[512];
        t.late = true;
        snprintf(text, sizeof(text), "GET /dns-query?dns=" QUERY64 " HTTP/1.1\r\nHost: " SELF ":%u\r\n\r\n", t.port);
        int fd = dial("127.0.0.2", SELF, t.port);
        for (int i = 0; i < 2; i++) {   /* on one connection */
                say(fd, text, strlen(text));
                for (int k = 0; k < 50 && t.held == NULL; k++)
                        loop_once(t.loop, 1);
                assert_non_null(t.held);
                peerapi_answer(t.held, (const uint8_t *)"later", 5);
                t.held = NULL;
                assert_int_equal(hear(fd, false).status, 200);
        }
        close(fd);
        assert_int_equal(t.cancelled, 0);
}

/* A connection that stays does not outlive the peer. */
static void test_no_longer_a_peer(void **state)
{
        (void)state;
        char text[256];
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: " SELF ":%u\r\n\r\n", t.port);
        int fd = dial("127.0.0.2", SELF, t.port);
        for (int i = 0; i < 2; i++) {
                say(fd, text, strlen(text));
                assert_int_equal(hear(fd, false).status, i == 0 ? 200 : 403);
                t.map_is_empty = true;
        }
        close(fd);
}

static void test_closed_while_asking(void **state)
{
        (void)state;
        char text[512];
        t.late = true;
        snprintf(text, sizeof(text), "GET /dns-query?dns=" QUERY64 " HTTP/1.1\r\nHost: " SELF ":%u\r\n\r\n", t.port);
        int fd = dial("127.0.0.2", SELF, t.port);
        say(fd, text, strlen(text));
        for (int k = 0; k < 50 && t.held == NULL; k++)
                loop_once(t.loop, 1);
        assert_non_null(t.held);
        peerapi_free(t.p);
        t.p = NULL;
        assert_int_equal(t.cancelled, 1);
        close(fd);
}

/* Queries that are in the sockets when it closes are not taken up any more: nobody would answer them. */
static void test_closed_with_unread(void **state)
{
        (void)state;
        char text[512];
        int fds[4];
        t.late = true;
        snprintf(text, sizeof(text), "GET /dns-query?dns=" QUERY64 " HTTP/1.1\r\nHost: " SELF ":%u\r\n\r\n", t.port);
        for (size_t i = 0; i < 4; i++)
                fds[i] = dial("127.0.0.2", SELF, t.port);
        for (int i = 0; i < 10; i++)   /* let in */
                loop_once(t.loop, 1);
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(send(fds[i], text, strlen(text), MSG_NOSIGNAL), strlen(text));
        peerapi_free(t.p);
        t.p = NULL;
        assert_int_equal(t.asked, 0);
        for (size_t i = 0; i < 4; i++)
                close(fds[i]);
}

/* ---- hostile clients ---- */

static void test_many_connections(void **state)
{
        (void)state;
        int fds[PEERAPI_CONNECTIONS_EACH + 20];
        size_t n = sizeof(fds) / sizeof(fds[0]), open = 0;
        char c;
        for (size_t i = 0; i < n; i++) {
                fds[i] = dial("127.0.0.2", SELF, t.port);
                assert_true(fds[i] >= 0);
                loop_once(t.loop, 0);
        }
        for (int i = 0; i < 20; i++)
                loop_once(t.loop, 1);
        for (size_t i = 0; i < n; i++)
                open += recv(fds[i], &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
        assert_int_equal(open, PEERAPI_CONNECTIONS_EACH);
        assert_int_equal(status_of("127.0.0.5", "GET /", "", "", 0), 200);   /* another one is served all the same */
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
        for (int i = 0; i < 20; i++)
                loop_once(t.loop, 1);
        assert_int_equal(get("/"), 200);
}

static void test_every_cut(void **state)
{
        (void)state;
        char text[512];
        int len = snprintf(text, sizeof(text), "POST /dns-query HTTP/1.1\r\nHost: " SELF ":%u\r\n"
                "Content-Type: application/dns-message\r\nContent-Length: 3\r\n\r\nabc", t.port);
        for (int cut = 0; cut < len; cut++) {
                int fd = dial("127.0.0.2", SELF, t.port);
                say(fd, text, (size_t)cut);
                close(fd);
                for (int i = 0; i < 3; i++)
                        loop_once(t.loop, 0);
        }
        assert_int_equal(t.asked, 0);
        assert_int_equal(get("/"), 200);
}

/* After each strange request the loop comes to rest: nothing is due at once, again and again. */
static void test_rest_after_garbage(void **state)
{
        (void)state;
        const char *const all[] = {"GET *\r\n\r\n", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\n", "GET",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                int fd = dial("127.0.0.2", SELF, t.port);
                say(fd, all[i], strlen(all[i]));
                for (int k = 0; k < 30; k++)
                        loop_once(t.loop, 1);
                mono_t before = mono_now();
                for (int k = 0; k < 20; k++)
                        loop_once(t.loop, 5);
                assert_true(mono_diff_ms(mono_now(), before) >= 50);
                close(fd);
        }
        assert_int_equal(get("/"), 200);
}

/* Out of descriptors nobody is let in for a moment, which the loop spends at rest; who knocked meanwhile is served then. */
static void test_out_of_descriptors(void **state)
{
        (void)state;
        char request[100];
        struct rlimit was, now;
        int fd = dial("127.0.0.2", SELF, t.port), next = dup(fd);
        assert_true(fd >= 0 && next >= 0);
        close(next);
        snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: " SELF ":%u\r\n\r\n", t.port);
        assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
        now = was;
        now.rlim_cur = (rlim_t)next;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
        int rounds = 0;
        for (mono_t end = mono_add_ms(mono_now(), 150); mono_now().ns < end.ns; rounds++)
                loop_once(t.loop, 10);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
        assert_true(rounds < 100);
        struct answer a = hear(fd, false);
        /* Valgrind keeps the limit by itself: the kernel accepts, and it hangs up. */
        assert_int_equal(a.status, check_is_valgrind() ? 0 : 200);
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_port),
                cmocka_unit_test(test_taken_ports),
                cmocka_unit_test_setup_teardown(test_only_at_our_address, setup, teardown),
                cmocka_unit_test_setup_teardown(test_strangers_are_hung_up_on, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_web_page, setup, teardown),
                cmocka_unit_test_setup_teardown(test_headers_are_no_identity, setup, teardown),
                cmocka_unit_test_setup_teardown(test_queries, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_queries, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_else, setup, teardown),
                cmocka_unit_test_setup_teardown(test_page_tells_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_late_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_longer_a_peer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_closed_while_asking, setup, teardown),
                cmocka_unit_test_setup_teardown(test_closed_with_unread, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_connections, setup, teardown),
                cmocka_unit_test_setup_teardown(test_every_cut, setup, teardown),
                cmocka_unit_test_setup_teardown(test_rest_after_garbage, setup, teardown),
                cmocka_unit_test_setup_teardown(test_out_of_descriptors, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
