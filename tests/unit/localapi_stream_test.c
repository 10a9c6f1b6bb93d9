/* The local API's endless answers: what a watcher gets, and one that does not read. */
#include "tests/unit/localapi_client.h"

static bool send_line(const char *text)
{
        json_t *v = json_pack("{s:s}", "Text", text);
        char *line = lapi_stream_line(v);
        assert_non_null(line);
        bool ok = lapi_stream_send(t.stream, line);
        free(line);
        json_decref(v);
        return ok;
}

static void test_stream(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        struct answer a = hear(fd, true);   /* before anything was sent on it */
        assert_int_equal(a.status, 200);
        assert_string_equal(head_value(&a, "Transfer-Encoding"), "chunked");
        assert_string_equal(head_value(&a, "Content-Type"), "application/json");
        assert_string_equal(a.body, "");
        forget(&a);
        static const char *const words[] = {"one", "two", "three"};
        for (size_t i = 0; i < 3; i++) {
                char want[64], got[256] = "";
                assert_true(send_line(words[i]));
                turn(20);
                assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
                int len = snprintf(want, sizeof(want), "{\"Text\":\"%s\"}\n", words[i]);
                char chunk[96];
                snprintf(chunk, sizeof(chunk), "%X\r\n%s\r\n", (unsigned)len, want);
                assert_string_equal(got, chunk);
        }
        still_alive();
        assert_int_equal(t.gone, 0);
        close(fd);
        turn(20);
        assert_int_equal(t.gone, 1);
        still_alive();
}

/* What is sent before the headers are out comes too, and in order. */
static void test_stream_burst(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        for (int i = 0; i < 50 && t.stream == NULL; i++)
                turn(1);
        assert_non_null(t.stream);
        for (int i = 0; i < 100; i++) {
                char n[16];
                snprintf(n, sizeof(n), "%d", i);
                assert_true(send_line(n));
        }
        char *got = calloc(1, 65536);
        assert_non_null(got);
        size_t len = 0;
        for (int idle = 0; idle < 50; idle++) {
                turn(1);
                ssize_t n = recv(fd, got + len, 65535 - len, 0);
                if (n > 0)
                        len += (size_t)n;
        }
        const char *at = got;
        for (int i = 0; i < 100; i++) {
                char n[32];
                snprintf(n, sizeof(n), "{\"Text\":\"%d\"}\n", i);
                at = strstr(at, n);
                assert_non_null(at);
        }
        free(got);
        close(fd);
        turn(10);
        assert_int_equal(t.gone, 1);
}

static void test_slow_watcher(void **state)
{
        (void)state;
        char *big = calloc(1, 8193), *got = calloc(1, 8 << 20);
        assert_true(big != NULL && got != NULL);
        memset(big, 'x', 8192);
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        turn(20);
        assert_non_null(t.stream);
        unsigned sent = 0;
        while (t.stream != NULL && send_line(big)) {
                assert_true(++sent < 4 * LAPI_STREAM_QUEUE);
                turn(1);
        }
        assert_true(sent >= LAPI_STREAM_QUEUE);
        assert_non_null(t.stream);
        assert_false(send_line("more"));   /* and it stays refused */
        size_t len = 0;
        bool closed = false;
        for (int idle = 0; idle < 300 && !closed; idle++) {
                turn(1);
                ssize_t n = recv(fd, got + len, (8u << 20) - 1 - len, 0);
                if (n > 0) {
                        len += (size_t)n;
                        idle = 0;
                }
                closed = n == 0 || (n >= 5 && memcmp(got + len - 5, "0\r\n\r\n", 5) == 0);
        }
        assert_true(closed);
        const char *last = strstr(got, "{\"ErrMessage\":");
        assert_non_null(last);
        assert_null(strstr(last, "{\"Text\""));
        assert_null(strstr(last + 1, "{\"ErrMessage\""));
        turn(20);
        assert_int_equal(t.gone, 1);
        close(fd);
        free(big);
        free(got);
        still_alive();
}

/* Anybody may watch: what is kept for one who does not read is bounded in bytes, too. */
static void test_slow_watcher_of_much(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "GET /localapi/v0/bus HTTP/1.1\r\n" HOST "\r\n");
        turn(20);
        assert_non_null(t.stream);
        static char big[1 << 20];
        memset(big, 'x', sizeof(big) - 1);
        size_t taken = 0;
        while (taken < LAPI_STREAM_QUEUE && lapi_stream_send(t.stream, big))
                taken++;
        assert_int_equal(taken, LAPI_STREAM_BYTES >> 20);
        close(fd);
}

int main(void)
{
        quiet();
        const struct CMUnitTest tests[] = {
                CASE(test_stream), CASE(test_stream_burst), CASE(test_slow_watcher), CASE(test_slow_watcher_of_much),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
