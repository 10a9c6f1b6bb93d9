/* The local API's answers after which a connection is no HTTP any more: its two ends, and each moment at which it may
 * stop. */
#include "tests/unit/localapi_client.h"

#define REQUEST "POST /localapi/v0/extra HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: echo\r\n\r\n"

static struct {
        struct lapi_upgraded *u;
        int fd, readied, gone;
        char early[32];
} up;

static void ready(void *arg, struct lapi_upgraded *u, int fd, const void *early, size_t len)
{
        assert_ptr_equal(arg, &up);
        assert_true(len < sizeof(up.early));
        memcpy(up.early, early, len);
        up.early[len] = '\0';
        up.u = u;
        up.fd = fd;
        up.readied++;
}

static void gone(void *arg)
{
        assert_ptr_equal(arg, &up);
        up.gone++;
}

static const struct lapi_upgrade_ops upgrade_ops = {ready, gone};

static void upgrade(struct lapi_req *r)
{
        assert_string_equal(lapi_header(r, "Upgrade"), "echo");
        assert_null(lapi_header(r, "X-Missing"));
        lapi_reply_upgrade(r, "echo", &upgrade_ops, &up);
}

static void headers_only(struct lapi_req *r)
{
        static const char *const headers[][2] = {{"X-One", "1"}, {"X-Two", "2"}};
        lapi_reply_headers(r, 418, headers, 2);
}

static int set_up(void **state)
{
        memset(&up, 0, sizeof(up));
        up.fd = -1;
        int rc = setup(state);
        t.extra = upgrade;
        return rc;
}

/* An upgraded connection: what the client has of it, and the server's end in up. */
static int upgraded(const char *request)
{
        int fd = dial();
        say(fd, request);
        struct answer a = hear(fd, true);
        assert_int_equal(a.status, 101);
        assert_string_equal(head_value(&a, "Upgrade"), "echo");
        assert_string_equal(head_value(&a, "Tailscale-Version"), "1.2.3-test");
        forget(&a);
        turn(5);
        assert_int_equal(up.readied, 1);
        assert_true(up.fd >= 0);
        return fd;
}

static void test_both_ways(void **state)
{
        (void)state;
        char text[16] = "";
        int fd = upgraded(REQUEST "early");
        assert_string_equal(up.early, "early");
        assert_int_equal(send(up.fd, "down", 4, MSG_NOSIGNAL), 4);
        assert_int_equal(recv(fd, text, sizeof(text), 0), 4);
        assert_memory_equal(text, "down", 4);
        assert_int_equal(send(fd, "up", 2, MSG_NOSIGNAL), 2);
        assert_int_equal(recv(up.fd, text, sizeof(text), 0), 2);
        assert_memory_equal(text, "up", 2);
        close(up.fd);
        lapi_upgraded_done(up.u);
        turn(5);
        assert_int_equal(recv(fd, text, sizeof(text), 0), 0);   /* both copies of the socket are closed */
        close(fd);
        assert_int_equal(up.gone, 0);
        still_alive();
}

/* They count among the connections of their user until they are over. */
static void test_server_stops(void **state)
{
        int fd = upgraded(REQUEST);
        lapi_server_free(t.server);
        t.server = NULL;
        assert_int_equal(up.gone, 1);
        close(up.fd);
        close(fd);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(set_up(state), 0);
}

/* The answer is given, but libmicrohttpd has not sent it yet. */
static void test_server_stops_before_it_is_ready(void **state)
{
        t.extra = NULL;   /* not by the endpoint, but late */
        int fd = dial();
        say(fd, "POST /localapi/v0/late HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: echo\r\n\r\n");
        turn(5);
        assert_non_null(t.held);
        lapi_reply_upgrade(t.held, "echo", &upgrade_ops, &up);
        lapi_server_free(t.server);
        t.server = NULL;
        assert_int_equal(up.readied, 0);
        assert_int_equal(up.gone, 1);
        close(fd);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(set_up(state), 0);
}

static void test_client_leaves_before_it_is_ready(void **state)
{
        (void)state;
        int fd = dial();
        say(fd, "POST /localapi/v0/late HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: echo\r\n\r\n");
        turn(5);
        assert_non_null(t.held);
        struct lapi_req *r = t.held;
        lapi_on_gone(r, NULL, NULL);
        lapi_reply_upgrade(r, "echo", &upgrade_ops, &up);
        close(fd);
        turn(20);
        assert_int_equal(up.readied + up.gone, 1);   /* told once, either way */
        if (up.readied) {
                close(up.fd);
                lapi_upgraded_done(up.u);
        }
        turn(5);
        still_alive();
}

static void test_headers_only(void **state)
{
        (void)state;
        t.extra = headers_only;
        struct answer a = ask("POST /localapi/v0/extra HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
        assert_int_equal(a.status, 418);
        assert_string_equal(head_value(&a, "X-One"), "1");
        assert_string_equal(head_value(&a, "X-Two"), "2");
        assert_string_equal(head_value(&a, "X-Frame-Options"), "DENY");
        assert_string_equal(a.body, "");
        forget(&a);
}

int main(void)
{
        quiet();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_both_ways, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_server_stops, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_server_stops_before_it_is_ready, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_client_leaves_before_it_is_ready, set_up, teardown),
                cmocka_unit_test_setup_teardown(test_headers_only, set_up, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
