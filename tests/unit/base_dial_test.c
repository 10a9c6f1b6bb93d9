/* Streams over TCP and TLS: bytes both ways, addresses, failures, proxies. */
#include <curl/curl.h>
#include <dlfcn.h>
#include <netdb.h>

#include "tests/unit/base_dial_client.h"
#include "tests/unit/road.h"

/* --- what the servers do --- */

static void serve_echo(struct server *s, int fd, SSL *ssl)
{
        (void)s;
        static uint8_t buf[65536];
        size_t total = 0;
        ssize_t n;
        while (!atomic_load(&buffers_full))
                usleep(1000);
        while (total < BULK && (n = server_read(fd, ssl, buf, sizeof(buf))) > 0) {
                if (!server_write(fd, ssl, buf, (size_t)n))
                        return;
                total += (size_t)n;
        }
        if (ssl != NULL)
                SSL_shutdown(ssl);
}

/* Speaks first, in one go, and leaves without a TLS goodbye. */
static void serve_greeting(struct server *s, int fd, SSL *ssl)
{
        (void)s;
        uint8_t *all = malloc(GREETING);
        for (size_t i = 0; i < GREETING; i++)
                all[i] = pattern(i);
        server_write(fd, ssl, all, GREETING);
        free(all);
}

static void serve_text(struct server *s, int fd, SSL *ssl)
{
        static const char text[] = "220 this is no TLS\r\n";
        server_write(fd, ssl, text, strlen(text));
        serve_until_close(s, fd, ssl);
}

static uint32_t pattern_sum(size_t n)
{
        uint32_t sum = 0;
        for (size_t i = 0; i < n; i++)
                sum = sum * 31 + pattern(i);
        return sum;
}

/* --- tests --- */

static void check_echo(struct client *c, uint16_t port, enum dial_tls tls, bool insecure)
{
        struct dial_opts opts = loopback(port, tls);
        opts.insecure = insecure;
        c->to_send = BULK;
        atomic_store(&buffers_full, false);
        dial(c, &opts);
        run_while(c, not_ended);
        assert_int_equal(c->connected, 1);
        assert_int_equal(c->end, ERR_CLOSED);
        assert_int_equal(c->received, BULK);
        assert_int_equal(c->sum, pattern_sum(BULK));
        assert_true(c->writable > 0);
}

static void test_plain_echo(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        server_start(&s, 1, serve_echo);
        check_echo(c, s.port, DIAL_PLAIN, false);
        /* At its end the stream is quiet, and says the same for ever. */
        unsigned events = c->readable + c->writable;
        loop_once(c->loop, 20);
        loop_once(c->loop, 0);
        assert_int_equal(c->readable + c->writable, events);
        size_t n = 0;
        uint8_t b = 0;
        assert_int_equal(stream_read(c->stream, &b, 1, &n), ERR_CLOSED);
        assert_int_equal(stream_write(c->stream, &b, 1, &n), ERR_CLOSED);
        assert_string_equal(stream_error(c->stream), "the other side hung up");
        server_stop(&s);
}

static void test_tls_echo(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        server_use_tls(&s, "IP:127.0.0.1", -60, 3600, false);
        server_start(&s, 1, serve_echo);
        check_echo(c, s.port, DIAL_TLS, true);
        server_stop(&s);
}

static void test_addresses(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        server_start(&s, 1, serve_until_close);
        struct dial_opts opts = loopback(s.port, DIAL_PLAIN);
        dial(c, &opts);
        assert_false(addr_is_set(stream_remote_addr(c->stream)));
        size_t n = 0;
        assert_int_equal(stream_read(c->stream, &opts, 1, &n), ERR_STATE);
        run_while(c, connecting);
        struct addr remote = stream_remote_addr(c->stream);
        assert_true(ip_eq(remote.ip, ip_v4(127, 0, 0, 1)));
        assert_int_equal(remote.port, s.port);
        stream_close(c->stream);
        c->stream = NULL;
        server_stop(&s);
}

static void test_way(void **state)
{
        static const enum stream_way ways[] = {STREAM_WAY_SAME, STREAM_WAY_OTHER, STREAM_WAY_NONE};
        struct client *c = *state;
        struct server s = {0};
        server_start(&s, 1, serve_until_close);
        struct dial_opts opts = loopback(s.port, DIAL_PLAIN);
        dial(c, &opts);
        road = STREAM_WAY_OTHER;
        assert_int_equal(stream_way(c->stream), STREAM_WAY_SAME);   /* it has no address yet */
        road = STREAM_WAY_SAME;
        run_while(c, connecting);
        for (size_t i = 0; i < 3; i++) {
                road = ways[i];
                assert_int_equal(stream_way(c->stream), ways[i]);
        }
        road = STREAM_WAY_SAME;
        stream_close(c->stream);
        c->stream = NULL;
        server_stop(&s);
}

/* libcurl's look-ups in this program come here: below "lost." there is no such name, below "slow." the answer takes
 * longer than anybody waits. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
        int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
        if (strncmp(name, "slow.", 5) == 0)
                usleep(DIAL_LOOKUP_MS * 1000 + 1500000);
        if (strncmp(name, "lost.", 5) == 0 || strncmp(name, "slow.", 5) == 0)
                return EAI_NONAME;
        return real(name, service, hints, ret);
}

/* A server that was reached before is reached without a name server; one that was not, is not. */
static void test_remembered_address(void **state)
{
        struct client *c = *state;
        static const char *const hosts[] = {"lost.example", "slow.example"};
        for (size_t i = 0; i < 2; i++) {
                struct server s = {0};
                struct ip got[LASTGOOD_ADDRS];
                char other[64];
                server_start(&s, 1, serve_until_close);
                struct dial_opts opts = {.host = hosts[i], .port = s.port, .timeout_ms = 60000};
                dialer_remember(c->dialer, hosts[i], ip_v4(127, 0, 0, 1));
                dial(c, &opts);
                run_while(c, connecting);
                assert_int_equal(c->connected, 1);
                stream_remember(c->stream);
                assert_int_equal(dialer_remembered(c->dialer, hosts[i], got), 1);
                stream_close(c->stream);
                c->stream = NULL;
                c->connected = 0;
                server_stop(&s);

                snprintf(other, sizeof(other), "%.5sother.example", hosts[i]);
                opts.host = other;
                dial(c, &opts);
                run_while(c, connecting);
                assert_int_equal(c->failed, 1);
                assert_int_equal(stream_error_code(c->stream), ERR_NOT_FOUND);
                stream_close(c->stream);
                c->stream = NULL;
                c->failed = 0;
        }
}

/* Also where there is less time than a look-up may take, as for one of several relays. */
static void test_remembered_address_in_a_hurry(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        server_start(&s, 1, serve_until_close);
        struct dial_opts opts = {.host = "slow.example", .port = s.port, .timeout_ms = DIAL_LOOKUP_MS - 500};
        dialer_remember(c->dialer, opts.host, ip_v4(127, 0, 0, 1));
        dial(c, &opts);
        run_while(c, connecting);
        assert_int_equal(c->connected, 1);
        stream_close(c->stream);
        c->stream = NULL;
        server_stop(&s);
}

static int adds_left = -1;   /* libcurl takes so many more transfers; -1: all */

CURLMcode curl_multi_add_handle(CURLM *multi, CURL *easy)
{
        CURLMcode (*real)(CURLM *, CURL *);
        *(void **)&real = dlsym(RTLD_NEXT, "curl_multi_add_handle");
        if (adds_left == 0)
                return CURLM_OUT_OF_MEMORY;
        adds_left -= adds_left > 0;
        return real(multi, easy);
}

/* It is taken out to be started over, and cannot be put in again: that is its end, and is told. */
static void test_remembered_address_without_memory(void **state)
{
        struct client *c = *state;
        static const char *const hosts[] = {"lost.example", "slow.example"};
        for (size_t i = 0; i < 2; i++) {
                struct dial_opts opts = {.host = hosts[i], .port = 9, .timeout_ms = 1000};
                dialer_remember(c->dialer, opts.host, ip_v4(127, 0, 0, 1));
                adds_left = 1;
                dial(c, &opts);
                run_while(c, connecting);
                adds_left = -1;
                assert_int_equal(c->failed, 1);
                assert_int_equal(stream_error_code(c->stream), ERR_FULL);
                stream_close(c->stream);
                c->stream = NULL;
                c->failed = 0;
        }
}

/* What a proxy answers for is not taken for the server's address, and nothing goes past the proxy. */
static void test_remembered_address_and_a_proxy(void **state)
{
        struct client *c = *state;
        struct ip got[LASTGOOD_ADDRS];
        struct server s = {0};
        server_start(&s, 1, serve_until_close);
        setenv("all_proxy", "socks5h://127.0.0.1:9", 1);
        struct dial_opts opts = {.host = "lost.example", .port = s.port, .timeout_ms = 60000, .no_proxy = true};
        dialer_remember(c->dialer, "lost.example", ip_v4(127, 0, 0, 1));
        dial(c, &opts);
        run_while(c, connecting);
        assert_int_equal(c->failed, 1);
        stream_close(c->stream);
        c->failed = 0;
        opts.host = "localhost";
        dial(c, &opts);
        run_while(c, connecting);
        assert_int_equal(c->connected, 1);
        stream_remember(c->stream);
        assert_int_equal(dialer_remembered(c->dialer, "localhost", got), 0);
        unsetenv("all_proxy");
        stream_close(c->stream);
        c->stream = NULL;
        server_stop(&s);
}

/* All that was sent arrives, though most of it waited in the library or came with the handshake. */
static void test_tls_greeting_and_rude_end(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        server_use_tls(&s, "IP:127.0.0.1", -60, 3600, false);
        server_start(&s, 1, serve_greeting);
        struct dial_opts opts = loopback(s.port, DIAL_TLS);
        opts.insecure = true;
        dial(c, &opts);
        run_while(c, not_ended);
        assert_int_equal(c->received, GREETING);
        assert_int_equal(c->sum, pattern_sum(GREETING));
        assert_true(c->end == ERR_IO || c->end == ERR_CLOSED);   /* as libcurl's version sees it */
        assert_true(stream_error(c->stream)[0] != '\0');
        server_stop(&s);
}

/* Another connection made meanwhile must not cost one that has unread input. */
static void test_unread_input_survives_other_dials(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        struct server other = {0};
        server_start(&s, 1, serve_greeting);
        server_start(&other, 3, serve_until_close);
        struct dial_opts opts = loopback(s.port, DIAL_PLAIN);
        c->manual = true;
        dial(c, &opts);
        while (c->readable == 0)
                loop_once(c->loop, 100);
        for (int i = 0; i < 3; i++) {
                struct client more = {.loop = c->loop, .dialer = c->dialer};
                opts.port = other.port;
                dial(&more, &opts);
                run_while(&more, connecting);
                assert_int_equal(more.connected, 1);
                stream_close(more.stream);
        }
        c->manual = false;
        run_while(c, not_ended);
        assert_int_equal(c->received, GREETING);
        assert_int_equal(c->end, ERR_CLOSED);
        server_stop(&s);
        server_stop(&other);
}

static void test_close_in_callbacks_and_before(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        server_start(&s, 2, serve_greeting);
        struct dial_opts opts = loopback(s.port, DIAL_PLAIN);
        dial(c, &opts);
        stream_close(c->stream);   /* before anything happened */
        c->stream = NULL;
        for (int i = 0; i < 2; i++) {
                c->close_on_connect = i == 0;
                c->close_on_read = i == 1;
                c->connected = 0;
                c->manual = true;
                dial(c, &opts);
                mono_t until = mono_add_ms(mono_now(), 60000);
                while (c->stream != NULL && !mono_reached(mono_now(), until))
                        loop_once(c->loop, 100);
                assert_null(c->stream);
                loop_once(c->loop, 10);
        }
        server_stop(&s);
        stream_close(NULL);
}

/* --- failures --- */

static void check_failure(struct client *c, const struct dial_opts *opts, enum err err, const char *says)
{
        dial(c, opts);
        run_while(c, connecting);
        assert_int_equal(c->failed, 1);
        if (strstr(stream_error(c->stream), says) == NULL)
                fail_msg("\"%s\" is not in \"%s\"", says, stream_error(c->stream));
        assert_int_equal(stream_error_code(c->stream), err);
        size_t n = 0;
        assert_int_equal(stream_write(c->stream, "x", 1, &n), ERR_STATE);
        loop_once(c->loop, 10);
        assert_int_equal(c->failed, 1);
        stream_close(c->stream);
        c->stream = NULL;
        c->failed = 0;
}

static void test_failures(void **state)
{
        struct client *c = *state;
        uint16_t port;
        int fd = listen_loopback(&port);
        close(fd);
        struct dial_opts opts = loopback(port, DIAL_PLAIN);
        check_failure(c, &opts, ERR_IO, "connection refused");

        opts.connect_ip4 = "none";
        opts.connect_ip6 = "none";
        check_failure(c, &opts, ERR_NOT_FOUND, "no address family");

        opts = loopback(port, DIAL_PLAIN);
        opts.host = "a-label-of-more-than-sixty-three-characters-is-no-name-at-all-in-the-dns.example";
        check_failure(c, &opts, ERR_NOT_FOUND, "name not found");

        static const char *const bad[] = {"", "a b", "a/b", "u@h", "h?x", "h#x", "[::1]", "h\nx", "%41"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                opts.host = bad[i];
                check_failure(c, &opts, ERR_FORMAT, "not a host name");
        }

        fd = listen_loopback(&port);   /* takes the connection, never answers */
        opts = loopback(port, DIAL_TLS);
        opts.timeout_ms = 150;
        mono_t before = mono_now();
        check_failure(c, &opts, ERR_TIMEOUT, "timed out after 150 ms");
        assert_true(mono_diff_ms(mono_now(), before) < 20000);
        close(fd);

        struct server s = {0};
        server_start(&s, 1, serve_text);
        opts = loopback(s.port, DIAL_TLS);
        check_failure(c, &opts, ERR_AUTH, "does not speak TLS");
        server_stop(&s);
}

/* --- proxies --- */

static char asked[512];   /* the request line the proxy saw */
static const char *proxy_answer;

static void serve_proxy(struct server *s, int fd, SSL *ssl)
{
        char req[2048];
        size_t n = 0;
        while (n + 1 < sizeof(req) && server_read(fd, ssl, req + n, 1) == 1) {
                req[++n] = '\0';
                if (n >= 4 && strcmp(req + n - 4, "\r\n\r\n") == 0)
                        break;
        }
        snprintf(asked, sizeof(asked), "%.*s", (int)strcspn(req, "\r"), req);
        server_write(fd, ssl, proxy_answer, strlen(proxy_answer));
        serve_until_close(s, fd, ssl);
}

static void test_proxy(void **state)
{
        struct client *c = *state;
        struct server s = {0};
        char url[64];
        server_start(&s, 3, serve_proxy);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u", s.port);
        setenv("HTTP_PROXY", url, 1);
        c->manual = true;

        /* The proxy is asked for the name, whatever address the map gave; bytes behind its answer are ours. */
        proxy_answer = "HTTP/1.1 200 fine\r\nX: y\r\n\r\nhello";
        struct dial_opts opts = {.host = "relay.example", .port = 8080, .connect_ip4 = "192.0.2.1", .timeout_ms = 5000};
        dial(c, &opts);
        while (c->failed + c->readable == 0)
                loop_once(c->loop, 100);
        assert_int_equal(c->connected, 1);
        assert_string_equal(asked, "CONNECT relay.example:8080 HTTP/1.1");
        char buf[16];
        size_t n = 0;
        assert_int_equal(stream_read(c->stream, buf, sizeof(buf), &n), ERR_NONE);
        assert_int_equal(n, 5);
        assert_memory_equal(buf, "hello", 5);
        stream_close(c->stream);

        /* And for an address in the place of a name. */
        struct dial_opts literal = {.host = "192.0.2.1", .port = 8080, .timeout_ms = 5000};
        c->connected = c->readable = 0;
        dial(c, &literal);
        while (c->failed + c->readable == 0)
                loop_once(c->loop, 100);
        assert_int_equal(c->connected, 1);
        assert_string_equal(asked, "CONNECT 192.0.2.1:8080 HTTP/1.1");
        stream_close(c->stream);

        proxy_answer = "HTTP/1.1 403 no\r\nContent-Length: 3\r\n\r\nno\n";
        c->connected = 0;
        check_failure(c, &opts, ERR_IO, "403");

        /* Loopback goes past it, and so does all when told. */
        struct server direct = {0};
        server_start(&direct, 2, serve_until_close);
        opts = loopback(direct.port, DIAL_PLAIN);
        dial(c, &opts);
        run_while(c, connecting);
        assert_int_equal(c->connected, 1);
        stream_close(c->stream);
        c->connected = 0;
        opts.host = "relay.example";
        opts.connect_ip4 = "127.0.0.1";
        opts.connect_ip6 = "none";
        opts.no_proxy = true;
        dial(c, &opts);
        run_while(c, connecting);
        assert_int_equal(c->connected, 1);
        stream_close(c->stream);
        c->stream = NULL;
        unsetenv("HTTP_PROXY");
        server_stop(&s);
        server_stop(&direct);
}

int main(void)
{
        forget_environment();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_plain_echo, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tls_echo, setup, teardown),
                cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
                cmocka_unit_test_setup_teardown(test_way, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remembered_address, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remembered_address_in_a_hurry, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remembered_address_without_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_remembered_address_and_a_proxy, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tls_greeting_and_rude_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unread_input_survives_other_dials, setup, teardown),
                cmocka_unit_test_setup_teardown(test_close_in_callbacks_and_before, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                cmocka_unit_test_setup_teardown(test_proxy, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
