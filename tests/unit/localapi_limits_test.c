/* The local API and hostile clients: bodies, heads, connections without end, garbage. */
#include "tests/unit/localapi_client.h"

static void test_body_limit(void **state)
{
        (void)state;
        enum { BIG = LAPI_BODY_MAX + 1 };
        char *big = malloc(BIG);
        assert_non_null(big);
        memset(big, 'x', BIG);
        char head[128];
        int fd = dial();
        snprintf(head, sizeof(head), "PUT /localapi/v0/plain HTTP/1.1\r\n" HOST "Content-Length: %d\r\n\r\n", BIG - 1);
        say(fd, head);
        assert_true(say_bytes(fd, big, BIG - 1));
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, 200);
        assert_int_equal(t.body_len, LAPI_BODY_MAX);
        assert_int_equal(t.calls, 1);
        forget(&a);
        close(fd);
        /* One more: by announcement, and in chunks that do not say. */
        for (int chunked = 0; chunked < 2; chunked++) {
                fd = dial();
                if (chunked)
                        snprintf(head, sizeof(head), "PUT /localapi/v0/plain HTTP/1.1\r\n" HOST
                                "Transfer-Encoding: chunked\r\n\r\n%x\r\n", BIG);
                else
                        snprintf(head, sizeof(head), "PUT /localapi/v0/plain HTTP/1.1\r\n" HOST
                                "Content-Length: %d\r\n\r\n", BIG);
                say(fd, head);
                (void)say_bytes(fd, big, BIG);
                if (chunked)
                        say(fd, "\r\n0\r\n\r\n");
                a = hear(fd, false);
                assert_int_equal(a.status, 413);
                forget(&a);
                close(fd);
        }
        assert_int_equal(t.calls, 1);
        free(big);
        still_alive();
}

static void test_garbage(void **state)
{
        (void)state;
        static const char *const junk[] = {
                "\r\n\r\n\r\n", "GET\r\n\r\n", "GET \r\n\r\n", "GET * HTTP/1.1\r\n" HOST "\r\n",
                "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "GET /localapi/v0/echo HTTP/9.9\r\n" HOST "\r\n", "GET /localapi/v0/echo\r\n\r\n",
                "GET /localapi/v0/echo?k=%zz%0 HTTP/1.1\r\n" HOST "\r\n",
                "GET /localapi/v0/echo?k=%00x HTTP/1.1\r\n" HOST "\r\n",
                "GET /localapi/v0/echo?&&=&=k&k HTTP/1.1\r\n" HOST "\r\n",
                "GET http://evil.example/localapi/v0/echo HTTP/1.1\r\n" HOST "\r\n",
                "GET /localapi/v0/echo HTTP/1.1\r\n" HOST ": x\r\n nothing\r\n\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
                "POST /localapi/v0/echo HTTP/1.1\r\n" HOST "Content-Type: application/x-www-form-urlencoded\r\n"
                "Content-Length: 9\r\n\r\nk&=&k=%&%",
        };
        for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
                int fd = dial();
                say(fd, junk[i]);
                turn(5);
                close(fd);
                turn(5);
        }
        still_alive();
        /* A head that never ends, and a path longer than any. */
        char *big = malloc(200001);
        assert_non_null(big);
        memset(big, 'a', 200000);
        big[200000] = '\0';
        for (int i = 0; i < 2; i++) {
                int fd = dial();
                say(fd, i == 0 ? "GET /localapi/v0/echo HTTP/1.1\r\nX: " : "GET /localapi/v0/");
                (void)say_bytes(fd, big, 200000);
                struct answer a = hear(fd, false);
                assert_true(a.closed || a.status >= 400);
                forget(&a);
                close(fd);
        }
        free(big);
        still_alive();
        assert_int_equal(t.gone, 0);
}

/* "GET *" once spun another program's CPU: the loop must come to rest. */
static void test_rest_after_star(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET * HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, 404);
        forget(&a);
        turn(20);
        mono_t before = mono_now();
        for (int i = 0; i < 5; i++)
                loop_once(t.loop, 20);   /* each sleeps its full time */
        assert_true(mono_diff_ms(mono_now(), before) >= 80);
        close(fd);
}

static void test_every_cut(void **state)
{
        (void)state;
        static const char req[] = "POST /localapi/v0/echo?k=v HTTP/1.1\r\n" HOST
                                  "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\nk=b";
        for (size_t n = 0; n < strlen(req); n++) {
                int fd = dial();
                (void)say_bytes(fd, req, n);
                turn(1);
                assert_int_equal(t.calls, 0);
                close(fd);
                turn(1);
        }
        still_alive();
        assert_int_equal(t.calls, 1);
}

static void test_slow_client(void **state)
{
        (void)state;
        static const char req[] = "GET /localapi/v0/echo?k=v HTTP/1.1\r\n" HOST "\r\n";
        int fd = dial();
        for (size_t n = 0; n < strlen(req); n++) {
                (void)say_bytes(fd, req + n, 1);
                if (n % 16 == 0)
                        still_alive();
        }
        struct answer a = hear(fd, false);
        assert_int_equal(a.status, 200);
        forget(&a);
        close(fd);
}

static void test_many_clients(void **state)
{
        (void)state;
        int fds[LAPI_CONNECTIONS_MAX + 20];
        size_t n = sizeof(fds) / sizeof(fds[0]);
        for (size_t i = 0; i < n; i++) {
                fds[i] = dial();
                turn(1);
        }
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
        turn(20);
        still_alive();
}

/* One user's watchers, however many, leave room for root.  The kernel keeps who connected: seteuid() does for that. */
static void test_one_user_among_others(void **state)
{
        (void)state;
        if (geteuid() != 0)
                skip_because("needs root");
        int fds[LAPI_CONNECTIONS_MAX + 20];
        size_t n = sizeof(fds) / sizeof(fds[0]), watching = 0, refused = 0;
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(seteuid(65533), 0);
                fds[i] = dial();
                assert_int_equal(seteuid(0), 0);
                if (i % 2 == 0)   /* before the server has seen it, and behind */
                        turn(3);
                say(fds[i], "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
                struct answer a = hear(fds[i], true);
                watching += a.status == 200;
                refused += a.status == 503;
                if (a.status == 503)
                        assert_string_equal(a.body, "too many connections are open\n");
                forget(&a);
        }
        assert_int_equal(watching, LAPI_USER_MAX);
        assert_int_equal(refused, n - LAPI_USER_MAX);
        assert_int_equal(t.calls, LAPI_USER_MAX);
        still_alive();
        close(fds[0]);
        turn(20);
        assert_int_equal(seteuid(65533), 0);
        fds[0] = dial();
        assert_int_equal(seteuid(0), 0);
        say(fds[0], "GET /localapi/v0/who HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fds[0], false);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.body, "uid=65533 "));
        forget(&a);
        for (size_t i = 0; i < n; i++)
                close(fds[i]);
        turn(20);
}

int main(void)
{
        quiet();
        const struct CMUnitTest tests[] = {
                CASE(test_body_limit), CASE(test_garbage), CASE(test_rest_after_star), CASE(test_every_cut),
                CASE(test_slow_client), CASE(test_many_clients), CASE(test_one_user_among_others),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
