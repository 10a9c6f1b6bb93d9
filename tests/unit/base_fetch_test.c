#include "base/fetch.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "tests/unit/tls_server.h"

struct got {
        char header[64];
        unsigned calls;
        struct fetch_result res;   /* body and error are copies below */
        char body[512];
        char error[320];
        bool cancel_itself;
};

struct fixture {
        struct loop *loop;
        struct dialer *dialer;
};

static int setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        f->loop = loop_new();
        f->dialer = dialer_new(f->loop);
        *state = f;
        return f->loop == NULL || f->dialer == NULL;
}

static int teardown(void **state)
{
        struct fixture *f = *state;
        dialer_free(f->dialer);
        loop_free(f->loop);
        free(f);
        return 0;
}

static void on_fetched(struct fetch *f, const struct fetch_result *res, void *arg, mono_t now)
{
        struct got *g = arg;
        assert_true(mono_is_set(now));
        assert_int_equal(strlen(res->body), res->body_len);
        g->calls++;
        g->res = *res;
        snprintf(g->body, sizeof(g->body), "%s", res->body);
        snprintf(g->error, sizeof(g->error), "%s", res->error);
        snprintf(g->header, sizeof(g->header), "%s", res->header);
        if (g->cancel_itself)
                fetch_cancel(f);
}

static void run(struct fixture *f, const struct got *g)
{
        mono_t until = mono_add_ms(mono_now(), 60000);
        while (g->calls == 0) {
                assert_false(mono_reached(mono_now(), until));
                loop_once(f->loop, 100);
        }
        loop_once(f->loop, 10);
        assert_int_equal(g->calls, 1);
}

static void get(struct fixture *f, struct got *g, const char *url, const struct dial_opts *opts, size_t max_body)
{
        *g = (struct got){.cancel_itself = g->cancel_itself};
        assert_non_null(fetch_get(f->dialer, url, opts, max_body, on_fetched, g));
        assert_int_equal(g->calls, 0);
        run(f, g);
}

static char request[2048];
static const char *answer;

static void serve_http(struct server *s, int fd, SSL *ssl)
{
        (void)s;
        size_t n = 0;
        while (n + 1 < sizeof(request) && server_read(fd, ssl, request + n, 1) == 1) {
                request[++n] = '\0';
                if (n >= 4 && strcmp(request + n - 4, "\r\n\r\n") == 0)
                        break;
        }
        if (answer == NULL)   /* silent until the client leaves */
                while (server_read(fd, ssl, request, 1) > 0)
                        ;
        else
                server_write(fd, ssl, answer, strlen(answer));
        if (ssl != NULL)
                SSL_shutdown(ssl);
}

#define ANSWER(status, body_len, body) "HTTP/1.1 " status "\r\nContent-Length: " body_len "\r\n\r\n" body

static void test_answers(void **state)
{
        struct fixture *f = *state;
        static const struct {
                const char *answer;
                size_t max;
                enum err err;
                long status;
                const char *body;
        } cases[] = {
                {ANSWER("200 OK", "5", "hello"), 5, ERR_NONE, 200, "hello"},
                {ANSWER("200 OK", "5", "hello"), 4, ERR_FULL, 200, "hell"},
                {ANSWER("200 OK", "5", "hello"), 0, ERR_FULL, 200, ""},
                {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", 64, ERR_NONE, 200,
                        "abcdef"},
                {"HTTP/1.1 204 No Content\r\n\r\n", 64, ERR_NONE, 204, ""},
                {ANSWER("404 Not Found", "4", "gone"), 64, ERR_NONE, 404, "gone"},
                {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 64, ERR_NONE, 302, ""},
                {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", 64, ERR_IO, 200, "short"},
                {"rubbish\r\n\r\n", 64, ERR_IO, 0, ""},
                {"", 64, ERR_IO, 0, ""},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct server s = {0};
                struct got g = {.cancel_itself = i % 2 == 0};
                char url[64];
                struct dial_opts opts = {.timeout_ms = 30000};
                answer = cases[i].answer;
                server_start(&s, 1, serve_http);
                snprintf(url, sizeof(url), "http://127.0.0.1:%u/key?v=%zu", s.port, i);
                get(f, &g, url, &opts, cases[i].max);
                server_stop(&s);
                assert_int_equal(g.res.err, cases[i].err);
                assert_int_equal(g.res.status, cases[i].status);
                assert_string_equal(g.body, cases[i].body);
                assert_int_equal(g.error[0] == '\0', cases[i].err == ERR_NONE);
                snprintf(url, sizeof(url), "GET /key?v=%zu HTTP/1.1\r\n", i);
                assert_int_equal(strncmp(request, url, strlen(url)), 0);
                assert_true(g.res.connect_ns > 0);
                if (cases[i].err == ERR_NONE)
                        assert_true(g.res.first_byte_ns >= g.res.connect_ns);
        }
}

static void test_tls_is_checked_as_in_dial(void **state)
{
        struct fixture *f = *state;
        for (int pinned = 0; pinned < 2; pinned++) {
                struct server s = {0};
                struct got g = {0};
                char url[64];
                char pin[80];
                answer = ANSWER("200 OK", "2", "ok");
                server_use_tls(&s, "DNS:relay.example", -60, 3600, true);
                server_pin(&s, pin);
                server_start(&s, 1, serve_http);
                snprintf(url, sizeof(url), "https://relay.example:%u/", s.port);
                struct dial_opts opts = {.connect_ip4 = "127.0.0.1", .connect_ip6 = "none",
                        .cert_name = pinned ? pin : NULL, .timeout_ms = 30000};
                get(f, &g, url, &opts, 64);
                server_stop(&s);
                assert_int_equal(g.res.err, pinned ? ERR_NONE : ERR_AUTH);
                assert_string_equal(g.body, pinned ? "ok" : "");
                if (!pinned)
                        assert_non_null(strstr(g.error, "certificate is not trusted"));
        }
}

/* Lines of our own in the head, one of the answer's in the result, and who answered. */
static void test_heads(void **state)
{
        struct fixture *f = *state;
        static const char *const names[] = {"X-One", "X-Two"}, *const values[] = {"1", "ts_a.b"};
        static const struct {
                const char *answer, *want, *header;
        } cases[] = {
                {"HTTP/1.1 204 No Content\r\nX-Said: response ts_a.b\r\n\r\n", "x-said", "response ts_a.b"},
                {"HTTP/1.1 204 No Content\r\nX-Other: 7\r\n\r\n", "X-Said", ""},
        };
        for (size_t i = 0; i < 2; i++) {
                struct server s = {0};
                struct got g = {0};
                char url[64];
                struct dial_opts opts = {.timeout_ms = 30000};
                struct fetch_head head = {.names = names, .values = values, .count = 2, .want = cases[i].want};
                answer = cases[i].answer;
                server_start(&s, 1, serve_http);
                snprintf(url, sizeof(url), "http://127.0.0.1:%u/", s.port);
                assert_non_null(fetch_get_with(f->dialer, url, &opts, &head, 64, on_fetched, &g));
                run(f, &g);
                server_stop(&s);
                assert_int_equal(g.res.status, 204);
                assert_string_equal(g.header, cases[i].header);
                assert_true(addr_eq(g.res.remote, (struct addr){ip_v4(127, 0, 0, 1), s.port}));
                assert_non_null(strstr(request, "\r\nX-One: 1\r\nX-Two: ts_a.b\r\n"));
        }
}

static void test_failures(void **state)
{
        struct fixture *f = *state;
        struct got g = {0};
        struct dial_opts opts = {.timeout_ms = 30000};
        static const char *const bad[] = {"", "nonsense", "ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http://[::1",
                "http://h:99999/"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                get(f, &g, bad[i], &opts, 64);
                assert_int_equal(g.res.err, ERR_FORMAT);
                assert_string_equal(g.error, "not an http or https URL");
        }
        uint16_t port;
        char url[64];
        int fd = listen_loopback(&port);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
        opts.timeout_ms = 150;
        get(f, &g, url, &opts, 64);   /* connected, and then silence */
        assert_int_equal(g.res.err, ERR_TIMEOUT);
        assert_string_equal(g.error, "timed out after 150 ms");
        close(fd);
        get(f, &g, url, &opts, 64);
        assert_int_equal(g.res.err, ERR_IO);
        assert_string_equal(g.error, "connection refused");
}

static void test_cancel(void **state)
{
        struct fixture *f = *state;
        struct server s = {0};
        struct got g = {0};
        char url[64];
        struct dial_opts opts = {.timeout_ms = 30000};
        answer = NULL;
        server_start(&s, 1, serve_http);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u/", s.port);
        fetch_cancel(fetch_get(f->dialer, url, &opts, 64, on_fetched, &g));
        struct fetch *mid = fetch_get(f->dialer, url, &opts, 64, on_fetched, &g);
        for (int i = 0; i < 5; i++)
                loop_once(f->loop, 20);
        fetch_cancel(mid);
        fetch_cancel(NULL);
        loop_once(f->loop, 20);
        assert_int_equal(g.calls, 0);
        server_stop(&s);
}

/* ---- kept connections ---- */

static atomic_uint connections;

/* Answers until the client leaves, or hangs up after the first answer. */
static void serve_many(int fd, SSL *ssl, bool once)
{
        size_t n = 0;
        char in[2048];
        atomic_fetch_add(&connections, 1);
        while (n < sizeof(in) && server_read(fd, ssl, in + n, 1) == 1) {
                n++;
                if (n < 4 || memcmp(in + n - 4, "\r\n\r\n", 4) != 0)
                        continue;
                n = 0;
                server_write(fd, ssl, answer, strlen(answer));
                if (once)
                        break;
        }
}

static void serve_on(struct server *s, int fd, SSL *ssl)
{
        (void)s;
        serve_many(fd, ssl, false);
}

static void serve_once(struct server *s, int fd, SSL *ssl)
{
        (void)s;
        serve_many(fd, ssl, true);
}

struct site {
        struct server s;
        char ca[64], url[64];
};

/* A server that is trusted. */
static void site_start(struct site *w, void (*serve)(struct server *, int, SSL *))
{
        *w = (struct site){.ca = "/tmp/fetch-ca-XXXXXX"};
        atomic_store(&connections, 0);
        answer = ANSWER("200 OK", "2", "ok");
        server_use_tls(&w->s, "DNS:dns.example", -60, 3600, false);
        int fd = mkstemp(w->ca);
        BIO *out = BIO_new_fd(fd, BIO_CLOSE);
        assert_int_equal(PEM_write_bio_X509(out, w->s.cert), 1);
        BIO_free(out);
        setenv("SSL_CERT_FILE", w->ca, 1);
        server_start(&w->s, 8, serve);
        snprintf(w->url, sizeof(w->url), "https://dns.example:%u/", w->s.port);
}

static void site_stop(struct site *w)
{
        server_stop(&w->s);
        unsetenv("SSL_CERT_FILE");
        unlink(w->ca);
}

static unsigned connections_of(struct fixture *f, struct site *w, const struct dial_opts *opts, int requests)
{
        struct got g = {0};
        unsigned before = atomic_load(&connections);
        for (int i = 0; i < requests; i++) {
                get(f, &g, w->url, opts, 64);
                assert_int_equal(g.res.err, ERR_NONE);
                assert_string_equal(g.body, "ok");
        }
        return atomic_load(&connections) - before;
}

static const struct dial_opts at_site = {.connect_ip4 = "127.0.0.1", .connect_ip6 = "none", .timeout_ms = 30000};

static void test_connections_are_kept(void **state)
{
        struct fixture *f = *state;
        struct site w;
        site_start(&w, serve_on);
        assert_int_equal(connections_of(f, &w, &at_site, 3), 3);   /* unless somebody asks for it */
        dialer_keep(f->dialer);
        assert_int_equal(connections_of(f, &w, &at_site, 5), 1);
        dialer_flush(f->dialer);
        assert_int_equal(connections_of(f, &w, &at_site, 2), 1);
        dialer_flush(f->dialer);
        dialer_flush(f->dialer);
        site_stop(&w);
}

/* The other side may hang up on a kept one at any time: nobody notices. */
static void test_a_kept_connection_is_gone(void **state)
{
        struct fixture *f = *state;
        struct site w;
        site_start(&w, serve_once);
        dialer_keep(f->dialer);
        assert_int_equal(connections_of(f, &w, &at_site, 4), 4);
        dialer_flush(f->dialer);
        site_stop(&w);
}

/* A certificate of one's own choice is looked at for each request. */
static void test_pinned_ones_are_not_kept(void **state)
{
        struct fixture *f = *state;
        struct site w;
        char pin[80];
        site_start(&w, serve_on);
        server_pin(&w.s, pin);
        struct dial_opts pinned = at_site, unchecked = at_site;
        pinned.cert_name = pin;
        unchecked.insecure = true;
        dialer_keep(f->dialer);
        assert_int_equal(connections_of(f, &w, &pinned, 2), 2);
        assert_int_equal(connections_of(f, &w, &unchecked, 2), 2);
        assert_int_equal(connections_of(f, &w, &at_site, 2), 1);
        dialer_flush(f->dialer);
        site_stop(&w);
}

/* Flushed while one is on its way: it comes to its end, and what is next does not use its connection. */
static void test_flush_in_the_middle(void **state)
{
        struct fixture *f = *state;
        struct site w;
        struct got g = {0};
        site_start(&w, serve_on);
        dialer_keep(f->dialer);
        assert_non_null(fetch_get(f->dialer, w.url, &at_site, 64, on_fetched, &g));
        dialer_flush(f->dialer);
        run(f, &g);
        assert_int_equal(g.res.err, ERR_NONE);
        assert_int_equal(connections_of(f, &w, &at_site, 1), 1);
        fetch_cancel(fetch_get(f->dialer, w.url, &at_site, 64, on_fetched, &g));
        assert_int_equal(g.calls, 1);
        dialer_flush(f->dialer);
        site_stop(&w);
}

/* The last one: from then on this process has a network of its own, of loopback alone. */
static bool leave_the_network(void)
{
        struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
        if (unshare(CLONE_NEWNET) != 0)
                return false;
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        bool up = ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
        close(fd);
        return up;
}

/* The map says IPv4, which leads nowhere here: the name's address of IPv6 is taken, as a DNS64 would make it. */
static void test_no_route_by_ipv4(void **state)
{
        struct fixture *f = *state;
        struct got g = {0};
        struct server s = {.accepts = 1, .serve = serve_http};
        struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        socklen_t len = sizeof(at);
        char url[64];
        if (!leave_the_network())
                skip_because("a network of its own needs root");
        s.fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(s.fd, (struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(listen(s.fd, 4), 0);
        assert_int_equal(getsockname(s.fd, (struct sockaddr *)&at, &len), 0);
        s.port = ntohs(at.sin6_port);
        answer = ANSWER("200 OK", "2", "ok");
        assert_int_equal(pthread_create(&s.thread, NULL, server_main, &s), 0);
        snprintf(url, sizeof(url), "http://localhost:%u/", s.port);
        get(f, &g, url, &(struct dial_opts){.connect_ip4 = "192.0.2.1", .timeout_ms = 30000}, 64);
        assert_int_equal(g.res.status, 200);
        assert_int_equal(g.res.remote.ip.family, IP_V6);
        server_stop(&s);
        /* Where the map has no IPv6, it means it. */
        get(f, &g, url, &(struct dial_opts){.connect_ip4 = "192.0.2.1", .connect_ip6 = "none", .timeout_ms = 30000}, 64);
        assert_int_equal(g.res.err, ERR_IO);
}

int main(void)
{
        static const char *const env[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy",
                "ALL_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"};
        for (size_t i = 0; i < sizeof(env) / sizeof(env[0]); i++)
                unsetenv(env[i]);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tls_is_checked_as_in_dial, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                cmocka_unit_test_setup_teardown(test_heads, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_connections_are_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_kept_connection_is_gone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pinned_ones_are_not_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_flush_in_the_middle, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_route_by_ipv4, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
