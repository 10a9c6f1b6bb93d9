/* A HEAD to where the server says: what is asked, of whom, and of whom not.  Server and client share one loop. */
#include "daemon/control/headping.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/check.h"

static struct {
        struct loop *loop;
        struct dialer *dialer;
        int listener;
        unsigned port;
        struct headpings pings;
} t;

static int set_up(void **state)
{
        (void)state;
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t len = sizeof(sa);
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (bind(t.listener, (struct sockaddr *)&sa, len) != 0 || listen(t.listener, 64) != 0 ||
                getsockname(t.listener, (struct sockaddr *)&sa, &len) != 0)
                return -1;
        t.port = ntohs(sa.sin_port);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        close(t.listener);
        headpings_stop(&t.pings);
        assert_int_equal(t.pings.count, 0);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return 0;
}

static void turn(int ms)
{
        for (mono_t end = mono_add_ms(mono_now(), ms); mono_now().ns < end.ns;)
                loop_once(t.loop, 5);
}

/* Who comes within ms; -1: nobody. */
static int accepted(int ms)
{
        for (mono_t end = mono_add_ms(mono_now(), ms); mono_now().ns < end.ns;) {
                int fd = accept4(t.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd >= 0)
                        return fd;
                loop_once(t.loop, 5);
        }
        return -1;
}

/* What is asked, to the end of its head. */
static void hears(int fd, const char *want)
{
        char got[8192] = "";
        size_t n = 0;
        for (mono_t end = mono_add_ms(mono_now(), 20000); mono_now().ns < end.ns && strstr(got, "\r\n\r\n") == NULL;) {
                loop_once(t.loop, 5);
                ssize_t r = recv(fd, got + n, sizeof(got) - 1 - n, 0);
                n += r > 0 ? (size_t)r : 0;
                got[n] = '\0';
        }
        assert_string_equal(got, want);
}

static void send_to(const char *tail)
{
        char url[5000];
        snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", t.port, tail);
        headping_send(&t.pings, t.loop, t.dialer, url);
}

static void asks_for_the_url(void **state)
{
        (void)state;
        static const char *const rows[][2] = {
                {"/ping?id=7&x=%20y", "/ping?id=7&x=%20y"}, {"", "/"}, {"/", "/"}, {"?q", "/?q"}, {"/a#part", "/a"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char want[200];
                send_to(rows[i][0]);
                int fd = accepted(20000);
                assert_true(fd >= 0);
                snprintf(want, sizeof(want), "HEAD %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n\r\n", rows[i][1],
                        t.port);
                hears(fd, want);
                /* The answer is read away, whatever it is, until the server hangs up. */
                static const char answer[] = "HTTP/1.1 200 OK\r\n\r\nand more than was asked for";
                assert_int_equal(send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL), sizeof(answer) - 1);
                turn(20);
                shutdown(fd, SHUT_WR);
                turn(20);
                char c;
                assert_int_equal(recv(fd, &c, 1, 0), 0);   /* and then so do we */
                close(fd);
        }
}

/* Nothing but a whole http(s) URL leads anywhere; above all none that smuggles lines into the head. */
static void nobody_is_asked(void **state)
{
        (void)state;
        char longer[4800];
        memset(longer, 'a', sizeof(longer));
        longer[0] = '/';
        longer[sizeof(longer) - 1] = '\0';
        send_to("/a b");
        send_to("/a\r\nX: y");
        send_to("/a\tb");
        send_to(longer);
        longer[1] = '?';
        send_to(longer);
        headping_send(&t.pings, t.loop, t.dialer, "");
        headping_send(&t.pings, t.loop, t.dialer, "file:///etc/passwd");
        headping_send(&t.pings, t.loop, t.dialer, "http://");
        headping_send(&t.pings, t.loop, t.dialer, "127.0.0.1/ping");
        headping_send(&t.pings, t.loop, t.dialer, "127.0.0.1/ping?x=http://127.0.0.1");
        headping_send(&t.pings, t.loop, t.dialer, "?://");
        assert_int_equal(accepted(200), -1);
}

/* It is nobody's loss when there is nobody, or when whoever is there hangs up. */
static void not_answered(void **state)
{
        (void)state;
        headping_send(&t.pings, t.loop, t.dialer, "http://127.0.0.1:1/ping");
        turn(50);
        send_to("/ping");
        int fd = accepted(20000);
        assert_true(fd >= 0);
        close(fd);
        turn(50);
        assert_int_equal(accepted(50), -1);   /* once is all */
}

/* A server that asks for ever more of them gets no more, and the descriptors of others stay theirs. */
static void so_many_at_a_time(void **state)
{
        (void)state;
        int fd[HEADPINGS_MAX];
        for (int i = 0; i < 4 * HEADPINGS_MAX; i++)
                send_to("/ping");
        for (int i = 0; i < HEADPINGS_MAX; i++)
                assert_true((fd[i] = accepted(20000)) >= 0);
        assert_int_equal(accepted(100), -1);
        close(fd[0]);   /* one has its answer, and makes room */
        turn(50);
        send_to("/ping");
        assert_true((fd[0] = accepted(20000)) >= 0);
        headpings_stop(&t.pings);
        turn(20);
        for (int i = 0; i < HEADPINGS_MAX; i++) {
                char c[512];
                while (recv(fd[i], c, sizeof(c), 0) > 0)
                        ;
                assert_int_equal(recv(fd[i], c, 1, 0), 0);
                close(fd[i]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(asks_for_the_url, set_up, tear_down),
                cmocka_unit_test_setup_teardown(nobody_is_asked, set_up, tear_down),
                cmocka_unit_test_setup_teardown(not_answered, set_up, tear_down),
                cmocka_unit_test_setup_teardown(so_many_at_a_time, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
