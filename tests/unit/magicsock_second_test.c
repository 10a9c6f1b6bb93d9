/* The socket that stands for another host behind our NAT. */
#include "tests/unit/magicsock_open.h"

/* Who sent what came there last; 0 = nothing came. */
static uint16_t sender(int fd)
{
        struct sockaddr_in from;
        socklen_t len = sizeof(from);
        uint8_t data[2000];
        uint16_t port = 0;
        while (recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len) > 0)
                port = ntohs(from.sin_port);
        return port;
}

static void test_a_port_of_its_own(void **state)
{
        (void)state;
        uint16_t port;
        int fd = outsider(&port);
        struct addr to = {ip_v4(127, 0, 0, 1), port};
        assert_false(sock_is_open(&t.ms->second.sock));
        assert_true(ms_second_send(t.ms, to, "one", 3));
        uint16_t first = sender(fd);
        assert_true(first != 0 && first != ms_port(t.ms, IP_V4));
        assert_true(ms_second_send(t.ms, to, "two", 3));
        assert_int_equal(sender(fd), first);             /* one mapping, as long as it is open */
        ms_second_close(t.ms);
        assert_false(sock_is_open(&t.ms->second.sock));
        ms_second_close(t.ms);
        assert_true(ms_second_send(t.ms, to, "new", 3));
        assert_int_not_equal(sender(fd), 0);
        close(fd);
}

/* Nothing that comes there is a peer's. */
static void test_only_stun_is_for_it(void **state)
{
        (void)state;
        uint16_t port;
        int fd = outsider(&port);
        assert_true(ms_second_send(t.ms, (struct addr){ip_v4(127, 0, 0, 1), port}, "one", 3));
        uint16_t second = sender(fd);
        send_to(fd, second, 1);
        send_to(fd, ms_port(t.ms, IP_V4), 2);
        until_got(1);
        for (int i = 0; i < 5; i++)
                loop_once(t.loop, 10);
        assert_int_equal(t.got, 1);
        assert_int_equal(t.last, 2);
        close(fd);
}

/* It is closed with all else. */
static void test_it_ends_with_the_rest(void **state)
{
        (void)state;
        uint16_t port;
        int fd = outsider(&port);
        assert_true(ms_second_send(t.ms, (struct addr){ip_v4(127, 0, 0, 1), port}, "one", 3));
        ms_set_active(t.ms, false, now());
        assert_false(sock_is_open(&t.ms->second.sock));
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_port_of_its_own, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_only_stun_is_for_it, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_it_ends_with_the_rest, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
