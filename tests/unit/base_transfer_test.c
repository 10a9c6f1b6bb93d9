/* What dial and fetch have in common, by itself: failures before the start, and connections that somebody else than the
 * kernel makes. */
#include "base/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct transfer x;
        unsigned done;
        enum err err;
        char error[TRANSFER_ERROR_MAX];
        /* the ways */
        int listener, opened, says;   /* says: the errno of both, or 0 */
        struct addr to;
        unsigned before;
} t;

static void on_done(struct transfer *x, mono_t now)
{
        assert_ptr_equal(x, &t.x);
        assert_true(mono_is_set(now));
        t.done++;
        t.err = x->err;
        snprintf(t.error, sizeof(t.error), "%s", x->error);
        transfer_end(x);   /* which its owner may do from here */
}

static int setup(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.listener = t.opened = -1;
        t.loop = loop_new();
        t.dialer = t.loop != NULL ? dialer_new(t.loop) : NULL;
        return t.dialer == NULL;
}

static int teardown(void **state)
{
        (void)state;
        dialer_free(t.dialer);
        loop_free(t.loop);
        if (t.listener >= 0)
                close(t.listener);
        return 0;
}

static void await_done(void)
{
        mono_t until = mono_add_ms(mono_now(), 60000);
        while (t.done == 0) {
                assert_false(mono_reached(mono_now(), until));
                loop_once(t.loop, 100);
        }
        loop_once(t.loop, 10);
        assert_int_equal(t.done, 1);
}

static void begin(const char *url, uint16_t port)
{
        struct dial_opts o = {.host = "127.0.0.1", .port = port, .no_proxy = true, .timeout_ms = 5000};
        struct transfer_target to = {.url = url, .host = o.host, .port = port};
        assert_true(transfer_init(&t.x, t.dialer, &to, &o, on_done));
}

/* A port of the loopback that nobody listens on. */
static uint16_t closed_port(void)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip_v4(127, 0, 0, 1), 0}, &sa);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
        len = sizeof(sa);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
        close(fd);
        return addr_from_sockaddr((struct sockaddr *)&sa).port;
}

static void refused_by_its_owner(void **state)
{
        (void)state;
        begin("http://127.0.0.1:1/", 1);
        transfer_refuse(&t.x, ERR_FORMAT, "there is no such thing");
        assert_int_equal(t.done, 0);   /* on the next round */
        await_done();
        assert_int_equal(t.err, ERR_FORMAT);
        assert_string_equal(t.error, "there is no such thing");
}

static void refused_by_the_kernel(void **state)
{
        (void)state;
        char url[64];
        uint16_t port = closed_port();
        snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
        begin(url, port);
        transfer_start(&t.x);
        assert_int_equal(t.done, 0);
        await_done();
        assert_int_not_equal(t.err, ERR_NONE);
        assert_non_null(strstr(t.error, "refused"));
}

static void ended_before_it_is_over(void **state)
{
        (void)state;
        for (int started = 0; started < 2; started++) {
                begin("http://127.0.0.1:1/", 1);
                if (started)
                        transfer_start(&t.x);
                else
                        transfer_refuse(&t.x, ERR_FORMAT, "x");
                transfer_end(&t.x);
                for (int i = 0; i < 5; i++)
                        loop_once(t.loop, 10);
                assert_int_equal(t.done, 0);
        }
}

/* ---- ways of others ---- */

static int open_way(void *arg, struct addr to, int type)
{
        int pair[2];
        assert_ptr_equal(arg, &t);
        t.to = to;
        if (t.says != 0) {
                errno = t.says;
                return -1;
        }
        assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
        t.opened = pair[0];
        return pair[1];
}

static int listen_way(void *arg, struct addr to, uint8_t ret_name[DIALER_NAME_LEN])
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        assert_ptr_equal(arg, &t);
        t.to = to;
        if (t.says != 0) {
                errno = t.says;
                return -1;
        }
        memset(ret_name, 't', DIALER_NAME_LEN);
        memcpy(ret_name, &(pid_t){getpid()}, sizeof(pid_t));
        memcpy(sa.sun_path + 1, ret_name, DIALER_NAME_LEN);
        t.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(t.listener, (struct sockaddr *)&sa, offsetof(struct sockaddr_un, sun_path) + 1 + DIALER_NAME_LEN), 0);
        return listen(t.listener, 1);
}

static const struct dialer_ways ways = {open_way, listen_way};

static void note_before(int fd, int family)
{
        assert_true(fd >= 0);
        assert_int_equal(family, AF_INET);
        t.before++;
}

/* libcurl is led to the listener that was named, and says there what it would have said to the address. */
static void a_transfer_by_another_way(void **state)
{
        (void)state;
        char text[512] = "";
        struct addr want = {ip_v4(127, 0, 0, 1), 7};
        dialer_set_ways(t.dialer, &ways, &t);
        begin("http://127.0.0.1:7/there", 7);
        transfer_start(&t.x);
        for (int i = 0; i < 500 && t.listener < 0; i++)
                loop_once(t.loop, 10);
        assert_true(t.listener >= 0);
        assert_true(addr_eq(t.to, want));
        int fd = accept4(t.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        assert_true(fd >= 0);
        for (int i = 0; i < 500 && recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) <= 0; i++)
                loop_once(t.loop, 10);
        assert_int_equal(strncmp(text, "GET /there HTTP/1.1\r\nHost: 127.0.0.1:7\r\n", 40), 0);
        static const char answer[] = "HTTP/1.1 204 X\r\n\r\n";
        assert_int_equal(send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL), sizeof(answer) - 1);
        await_done();
        assert_int_equal(t.err, ERR_NONE);
        close(fd);
}

/* No way of theirs: the kernel's.  No way at all: a failure, and the kernel is not asked behind their back. */
static void ways_that_decline(void **state)
{
        (void)state;
        static const int reasons[] = {ENOTSUP, ENETUNREACH};
        for (size_t i = 0; i < 2; i++) {
                char url[64];
                uint16_t port = closed_port();
                snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
                t.says = reasons[i];
                t.done = 0;
                dialer_set_ways(t.dialer, &ways, &t);
                begin(url, port);
                transfer_start(&t.x);
                await_done();
                assert_int_not_equal(t.err, ERR_NONE);
                assert_int_equal(strstr(t.error, "refused") != NULL, reasons[i] == ENOTSUP);
        }
}

static void sockets(void **state)
{
        (void)state;
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip_v4(127, 0, 0, 1), 0}, &sa);
        int server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(server, (struct sockaddr *)&sa, len), 0);
        len = sizeof(sa);
        assert_int_equal(getsockname(server, (struct sockaddr *)&sa, &len), 0);
        struct addr at = addr_from_sockaddr((struct sockaddr *)&sa);
        char text[4] = "";
        for (int way = 0; way < 2; way++) {   /* none is set; one that says it is the kernel's */
                if (way == 1)
                        dialer_set_ways(t.dialer, &ways, &t);
                t.says = ENOTSUP;
                int fd = dialer_socket(t.dialer, at, SOCK_DGRAM, note_before);
                assert_true(fd >= 0 && fcntl(fd, F_GETFL) & O_NONBLOCK);
                assert_int_equal(send(fd, "abc", 3, 0), 3);
                assert_int_equal(recv(server, text, sizeof(text), 0), 3);
                assert_int_equal(t.before, way + 1);
                close(fd);
        }
        t.says = ENETUNREACH;
        assert_int_equal(dialer_socket(t.dialer, at, SOCK_DGRAM, note_before), -1);
        assert_int_equal(errno, ENETUNREACH);
        t.says = 0;
        int fd = dialer_socket(t.dialer, at, SOCK_DGRAM, note_before);
        assert_true(fd >= 0 && t.opened >= 0);
        assert_true(addr_eq(t.to, at));
        assert_int_equal(send(fd, "abc", 3, 0), 3);
        assert_int_equal(recv(t.opened, text, sizeof(text), 0), 3);
        assert_int_equal(t.before, 2);   /* it is about the kernel's */
        close(fd);
        close(t.opened);
        close(server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(refused_by_its_owner), TEST(refused_by_the_kernel), TEST(ended_before_it_is_over),
                TEST(a_transfer_by_another_way), TEST(ways_that_decline), TEST(sockets),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
