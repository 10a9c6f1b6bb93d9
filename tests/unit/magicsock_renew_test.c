/* New sockets take over from those in use, and nothing that had come is lost. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/internal.h"
#include "tests/unit/check.h"

enum { WG_LEN = 100, POOL = 256 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct ms *ms;
        unsigned got;
        uint8_t last;
} t;

static bool on_wg(void *arg, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t now)
{
        (void)may_keep;
        (void)now;
        assert_ptr_equal(arg, &t);
        for (size_t i = 0; i < n; i++) {
                assert_true(addr_is_set(srcs[i].addr));
                t.last = pkt_cdata(pkts[i])[8];
                t.got++;
                pkt_release(t.pool, pkts[i]);
        }
        return false;
}

static mono_t now(void)
{
        return loop_now(t.loop);
}

static int set_up(void **state)
{
        (void)state;
        static uint8_t room[SOCK_ROOM];
        static const struct ms_callbacks cb = {.on_wg = on_wg};
        struct key_private us;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.pool = pkt_pool_new(POOL);
        t.ms = ms_new(t.loop, t.pool, t.dialer, &(struct ms_opts){.room = room, .cb = &cb, .arg = &t});
        assert_non_null(t.ms);
        key_generate(&us);
        ms_set_keys(t.ms, &us);
        ms_set_active(t.ms, true, now());
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        ms_free(t.ms);
        bool whole = pkt_pool_free_count(t.pool) == POOL;
        pkt_pool_free(t.pool);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return whole ? 0 : -1;
}

/* A socket of somebody else's, and its port. */
static int outsider(uint16_t *ret_port)
{
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(at);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
        *ret_port = ntohs(at.sin_port);
        return fd;
}

/* What looks like WireGuard, with a number in it. */
static void send_to(int fd, uint16_t port, uint8_t number)
{
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        uint8_t data[WG_LEN] = {4, [8] = number};
        assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)), WG_LEN);
}

static void until_got(unsigned n)
{
        mono_t end = mono_add_ms(mono_now(), 20000);
        while (t.got < n && !mono_reached(mono_now(), end))
                loop_once(t.loop, 20);
        assert_int_equal(t.got, n);
}

/* Read by nobody yet when the sockets change; and what comes after that. */
static void test_what_had_come_is_read(void **state)
{
        (void)state;
        uint16_t unused, port = ms_port(t.ms, IP_V4);
        int fd = outsider(&unused);
        for (uint8_t i = 0; i < 10; i++)
                send_to(fd, port, i);
        ms_rebind(t.ms, now());
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
                ms_rebind(t.ms, now());
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

/* Nobody else gets our port meanwhile or later: only a renewal shares it. */
static void test_the_port_is_ours(void **state)
{
        (void)state;
        ms_rebind(t.ms, now());
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(ms_port(t.ms, IP_V4))};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), -1);
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_what_had_come_is_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_those_before_go_in_their_time, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_port_is_ours, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
