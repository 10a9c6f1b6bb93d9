/* Echo requests of peers: answered here, by the kernel, or by other means. */
#include "daemon/netstack/ping.c"

#include <sched.h>
#include <stdio.h>

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "tests/unit/netstack_net.h"

enum { WAIT_MS = 2000 };

static struct {
        struct ping *ping;
        enum ping_way way;
        struct ip leads;
        unsigned asked;
        uint16_t number;
        struct ip asked_for;
} t;

static const struct ip peer = {.family = IP_V4, .b = {100, 64, 0, 9}}, host = {.family = IP_V4, .b = {192, 168, 7, 7}};

static enum ping_way where(void *arg, struct ip *to)
{
        (void)arg;
        if (t.way == PING_KERNEL)
                *to = t.leads;
        return t.way;
}

static void by_program(void *arg, uint16_t number, struct ip to)
{
        (void)arg;
        t.asked++;
        t.number = number;
        t.asked_for = to;
}

static const struct ping_ops test_ops = {where, by_program};

static int set_up(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.way = PING_HERE;
        t.leads = ip_v4(127, 0, 0, 1);
        return net_up() == 0 && (t.ping = ping_new(net.loop, &test_ops, NULL)) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
        (void)state;
        ping_free(t.ping);
        net_down();
        return 0;
}

static void ask_for(struct ip from, struct ip to, uint8_t seq)
{
        uint8_t b[15] = {to.family == IP_V4 ? ECHO4 : ECHO6, 0, 0, 0, 0xab, 0xcd, 0, seq, 'p', 'a', 'y', 'l', 'o', 'a', 'd'};
        ping_datagram(t.ping, from, to, b, sizeof(b));
}

static void expect_answer(unsigned sent, struct ip from, struct ip to, uint8_t seq)
{
        bool v4 = from.family == IP_V4;
        const uint8_t *got = net_expect(sent, v4 ? P_ICMP : P_ICMP6, from, to, 15);
        const uint8_t want[] = {v4 ? ECHO4_REPLY : ECHO6_REPLY, 0, got[2], got[3], 0xab, 0xcd, 0, seq};
        assert_memory_equal(got, want, sizeof(want));
        assert_memory_equal(got + 8, "payload", 7);
}

static void test_here(void **state)
{
        (void)state;
        ask_for(peer, host, 1);
        expect_answer(1, host, peer, 1);
        struct ip a, b;
        assert_int_equal(ip_parse("fd7a:115c:a1e0::1", &a), ERR_NONE);
        assert_int_equal(ip_parse("fd7a:115c:a1e0::9", &b), ERR_NONE);
        ask_for(b, a, 2);
        expect_answer(2, a, b, 2);
        t.way = PING_NOWHERE;
        ask_for(peer, host, 3);
        assert_int_equal(net.sent, 2);
}

static void test_malformed(void **state)
{
        (void)state;
        uint8_t b[12] = {ECHO4, 0, 0, 0, 1, 2, 3, 4};
        for (size_t n = 0; n < 8; n++)
                ping_datagram(t.ping, peer, host, b, n);
        for (unsigned type = 0; type < 256; type++) {
                b[0] = (uint8_t)type;
                if (type != ECHO4)
                        ping_datagram(t.ping, peer, host, b, sizeof(b));
        }
        b[0] = ECHO4;
        b[1] = 1;
        ping_datagram(t.ping, peer, host, b, sizeof(b));
        assert_int_equal(net.sent, 0);
        b[1] = 0;
        ping_datagram(t.ping, peer, host, b, 8);
        (void)net_expect(1, P_ICMP, host, peer, 8);
}

/* As if the kernel let us ask nobody. */
static void test_by_the_program(void **state)
{
        (void)state;
        t.ping->doors[0].tried = true;
        t.way = PING_KERNEL;
        ask_for(peer, host, 1);
        assert_int_equal(t.asked, 1);
        assert_true(ip_eq(t.asked_for, t.leads));
        assert_int_equal(net.sent, 0);
        ping_answered(t.ping, (uint16_t)(t.number + 1));
        assert_int_equal(net.sent, 0);
        ping_answered(t.ping, t.number);
        expect_answer(1, host, peer, 1);
        ping_answered(t.ping, t.number);   /* once */
        assert_int_equal(net.sent, 1);
        ask_for(peer, host, 2);
        t.ping->waiting[t.number % PING_WAITING].until = loop_now(net.loop);   /* too late */
        ping_answered(t.ping, t.number);
        assert_int_equal(net.sent, 1);
        uint16_t first = (uint16_t)(t.number + 1);
        for (unsigned i = 0; i <= PING_WAITING; i++)
                ask_for(peer, host, (uint8_t)i);
        t.ping->waiting[first % PING_WAITING].id_and_number[3] = 77;   /* the place of the first is another's now */
        ping_answered(t.ping, t.number);
        expect_answer(2, host, peer, 77);
}

/* Loopback answers in a network of our own, where we may ask. */
static bool may_ask(void)
{
        if (unshare(CLONE_NEWNET) != 0)
                return false;
        struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING};
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
        bool ok = s >= 0 && fd >= 0 && ioctl(s, SIOCSIFFLAGS, &r) == 0 && write(fd, "0 2147483647", 12) == 12;
        close(s);
        close(fd);
        return ok;
}

static void wait_for_answer(unsigned sent)
{
        mono_t end = mono_add_ms(mono_now(), WAIT_MS);
        while (net.sent < sent && !mono_reached(mono_now(), end))
                loop_once(net.loop, 100);
}

static void test_by_the_kernel(void **state)
{
        (void)state;
        if (!may_ask())
                skip_because("the kernel lets this user ask by no ping socket");
        t.way = PING_KERNEL;
        ask_for(peer, host, 1);
        wait_for_answer(1);
        expect_answer(1, host, peer, 1);
        assert_int_equal(t.asked, 0);
        /* An answer from elsewhere than was asked is none. */
        ask_for(peer, host, 2);
        t.ping->waiting[(t.ping->next - 1) % PING_WAITING].asked = ip_v4(127, 0, 0, 2);
        ask_for(peer, host, 3);
        wait_for_answer(2);
        expect_answer(2, host, peer, 3);
        loop_once(net.loop, 50);
        assert_int_equal(net.sent, 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {T(test_here), T(test_malformed), T(test_by_the_program), T(test_by_the_kernel)};
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
