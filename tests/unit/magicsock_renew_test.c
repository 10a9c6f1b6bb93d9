/* New sockets take over from those in use, and nothing that had come is lost. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "tests/unit/magicsock_open.h"

static unsigned refused;   /* so many descriptors are not watched, as if the user watched too many */

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
        if (op == EPOLL_CTL_ADD && refused > 0) {
                refused--;
                errno = ENOSPC;
                return -1;
        }
        return (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

/* Read by nobody yet when the sockets change; and what comes after that. */
static void test_what_had_come_is_read(void **state)
{
        (void)state;
        uint16_t unused, port = ms_port(t.ms, IP_V4);
        int fd = outsider(&unused);
        for (uint8_t i = 0; i < 10; i++)
                send_to(fd, port, i);
        ms_rebind(t.ms, 0, now());
        assert_int_equal(ms_port(t.ms, IP_V4), port);
        until_got(10);
        send_to(fd, port, 77);
        until_got(11);
        assert_int_equal(t.last, 77);
        close(fd);
}

/* One generation is kept, for a moment. */
static void test_those_before_go_in_their_time(void **state)
{
        (void)state;
        uint16_t unused, port = ms_port(t.ms, IP_V4);
        int fd = outsider(&unused);
        for (int i = 0; i < 3; i++)
                ms_rebind(t.ms, 0, now());
        assert_int_equal(ms_port(t.ms, IP_V4), port);
        assert_true(sock_is_open(&t.ms->retired[0].sock));
        assert_int_not_equal(t.ms->retired[0].sock.fd, t.ms->udp[0].sock.fd);
        while (timer_is_armed(&t.ms->retired_timer))
                loop_once(t.loop, 50);
        assert_false(sock_is_open(&t.ms->retired[0].sock));
        assert_false(sock_is_open(&t.ms->retired[1].sock));
        send_to(fd, port, 5);
        until_got(1);
        close(fd);
}

/* What still comes to a socket of another port says nothing of the path from the one in use. */
static void test_another_port_proves_nothing(void **state)
{
        (void)state;
        static const struct ms_slot slot;
        struct addr src;
        assert_int_equal(addr_parse("192.0.2.1:7", &src), ERR_NONE);
        ms_rebind(t.ms, 0, now());
        struct ms_udp *old = &t.ms->retired[0];
        t.ms->via = old;
        assert_int_equal(old->sock.port, t.ms->udp[0].sock.port);
        assert_true(ms_hn_is_data_by(t.ms, &slot, src));
        old->sock.port ^= 1;
        assert_false(ms_hn_is_data_by(t.ms, &slot, src));
        old->sock.port ^= 1;
        t.ms->via = &t.ms->udp[0];
        assert_true(ms_hn_is_data_by(t.ms, &slot, src));
        t.ms->via = NULL;
}

/* Nobody else gets our port meanwhile or later: only a renewal shares it. */
static void test_the_port_is_ours(void **state)
{
        (void)state;
        ms_rebind(t.ms, 0, now());
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(ms_port(t.ms, IP_V4))};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), -1);
        close(fd);
}

/* What cannot be watched is closed, and the one in use hears as before; the next time renews it. */
static void test_not_watched(void **state)
{
        (void)state;
        uint16_t unused, port = ms_port(t.ms, IP_V4);
        int fd = outsider(&unused), before = t.ms->udp[0].sock.fd;
        refused = 1;
        ms_rebind(t.ms, 0, now());
        assert_int_equal(refused, 0);
        assert_int_equal(t.ms->udp[0].sock.fd, before);
        assert_int_equal(ms_port(t.ms, IP_V4), port);
        assert_false(sock_is_open(&t.ms->retired[0].sock));
        send_to(fd, port, 9);
        until_got(1);
        ms_rebind(t.ms, 0, now());
        assert_int_equal(t.ms->retired[0].sock.fd, before);
        assert_int_equal(ms_port(t.ms, IP_V4), port);
        send_to(fd, port, 10);
        until_got(2);
        close(fd);
}

/* Not even the one in use: it is not left open and deaf, and the next time finds another. */
static void test_none_is_watched(void **state)
{
        (void)state;
        refused = 2;
        ms_rebind(t.ms, 0, now());
        assert_false(sock_is_open(&t.ms->udp[0].sock));
        ms_rebind(t.ms, 0, now());
        assert_true(sock_is_open(&t.ms->udp[0].sock));
        uint16_t unused;
        int fd = outsider(&unused);
        send_to(fd, ms_port(t.ms, IP_V4), 11);
        until_got(1);
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_what_had_come_is_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_those_before_go_in_their_time, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_another_port_proves_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_port_is_ours, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_not_watched, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_none_is_watched, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
