/* Datagrams of peers to sockets of the kernel and back; ports of ours in the tailnet. */
#include "daemon/netstack/udp.c"

#include "tests/unit/netstack_net.h"

enum { WAIT_MS = 2000, P = 17 };

static struct {
        struct udp *udp;
        int echo;              /* where everything leads */
        struct addr echo_at;
        bool nowhere;
        unsigned asked, heard;
        struct addr heard_from;
        uint8_t data[2048];
        size_t len;
} t;

static const struct ip peer = {.family = IP_V4, .b = {100, 64, 0, 9}}, host = {.family = IP_V4, .b = {192, 168, 7, 7}};

static bool where(void *arg, struct addr from, struct addr *to)
{
        (void)arg;
        (void)from;
        t.asked++;
        *to = t.echo_at;
        return !t.nowhere;
}

static int set_up(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip_v4(127, 0, 0, 1), 0}, &sa);
        t.echo = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (net_up() != 0 || t.echo < 0 || bind(t.echo, (struct sockaddr *)&sa, len) != 0 ||
                getsockname(t.echo, (struct sockaddr *)&sa, &len) != 0)
                return -1;
        t.echo_at = addr_from_sockaddr((struct sockaddr *)&sa);
        return (t.udp = udp_new(net.loop, where, NULL)) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
        (void)state;
        udp_free(t.udp);
        net_down();
        close(t.echo);
        return 0;
}

static size_t datagram(uint8_t *b, uint16_t from, uint16_t to, const char *text)
{
        size_t n = strlen(text);
        store_be16(b, from);
        store_be16(b + 2, to);
        store_be16(b + 4, (uint16_t)(8 + n));
        store_be16(b + 6, 0);
        memcpy(b + 8, text, n);
        return 8 + n;
}

static void say(struct ip from, uint16_t from_port, struct ip to, uint16_t to_port, const char *text)
{
        uint8_t b[256];
        size_t n = datagram(b, from_port, to_port, text);
        udp_datagram(t.udp, (struct addr){from, 0}, (struct addr){to, 0}, b, n);
}

/* What has come to the echo socket, with its sender; 0: nothing. */
static size_t at_echo(struct sockaddr_storage *sa, socklen_t *sa_len)
{
        *sa_len = sizeof(*sa);
        ssize_t n = recvfrom(t.echo, t.data, sizeof(t.data), 0, (struct sockaddr *)sa, sa_len);
        return n > 0 ? (size_t)n : 0;
}

static void test_there_and_back(void **state)
{
        (void)state;
        struct sockaddr_storage sa;
        socklen_t sa_len;
        say(peer, 4000, host, 99, "anyone?");
        assert_int_equal(at_echo(&sa, &sa_len), 7);
        assert_memory_equal(t.data, "anyone?", 7);
        assert_int_equal(net.sent, 0);
        assert_int_equal(sendto(t.echo, "odd", 3, 0, (struct sockaddr *)&sa, sa_len), 3);
        mono_t end = mono_add_ms(mono_now(), WAIT_MS);
        while (net.sent == 0 && !mono_reached(mono_now(), end))
                loop_once(net.loop, 100);
        const uint8_t *got = net_expect(1, P, host, peer, 8 + 3);   /* from the address that the peer meant */
        assert_int_equal(load_be16(got), 99);
        assert_int_equal(load_be16(got + 2), 4000);
        assert_int_equal(load_be16(got + 4), 11);
        assert_memory_equal(got + 8, "odd", 3);
        say(peer, 4000, host, 99, "again");
        assert_int_equal(t.asked, 1);   /* the same pair of ends, the same socket */
        assert_int_equal(t.udp->flow_count, 1);
        say(peer, 4000, host, 98, "else");
        assert_int_equal(t.asked, 2);
        assert_int_equal(t.udp->flow_count, 2);
}

static void test_an_empty_one(void **state)
{
        (void)state;
        struct sockaddr_storage sa;
        socklen_t sa_len = sizeof(sa);
        say(peer, 4000, host, 99, "");
        assert_int_equal(recvfrom(t.echo, t.data, sizeof(t.data), 0, (struct sockaddr *)&sa, &sa_len), 0);
        assert_int_equal(t.udp->flow_count, 1);
}

static void test_malformed(void **state)
{
        (void)state;
        uint8_t b[64];
        struct addr from = {peer, 0}, to = {host, 0};
        size_t n = datagram(b, 4000, 99, "text");
        for (size_t len = 0; len < n; len++)
                udp_datagram(t.udp, from, to, b, len);
        for (unsigned total = 0; total < 8; total++) {
                store_be16(b + 4, (uint16_t)total);
                udp_datagram(t.udp, from, to, b, n);
        }
        store_be16(b + 4, (uint16_t)(n + 1));
        udp_datagram(t.udp, from, to, b, n);
        say(peer, 0, host, 99, "text");
        say(peer, 4000, host, 0, "text");
        assert_int_equal(t.asked, 0);
        t.nowhere = true;
        say(peer, 4000, host, 99, "text");
        assert_int_equal(t.asked, 1);
        assert_int_equal(t.udp->flow_count, 0);
        t.nowhere = false;
        store_be16(b + 4, (uint16_t)(n - 2));   /* what follows it is padding */
        udp_datagram(t.udp, from, to, b, n);
        struct sockaddr_storage sa;
        socklen_t sa_len;
        assert_int_equal(at_echo(&sa, &sa_len), 2);
}

static bool has_flow(struct ip from, uint16_t port)
{
        return find(t.udp, (struct addr){from, port}, (struct addr){host, 99}) != NULL;
}

static void test_bounds(void **state)
{
        (void)state;
        struct ip other = ip_v4(100, 64, 0, 10), third = ip_v4(100, 64, 0, 11);
        for (uint16_t i = 0; i < UDP_FLOWS_EACH; i++)
                say(peer, (uint16_t)(1000 + i), host, 99, "x");
        say(peer, 1000, host, 99, "x");   /* the first one is busy again */
        assert_int_equal(t.udp->flow_count, UDP_FLOWS_EACH);
        say(peer, 5000, host, 99, "x");
        assert_int_equal(t.udp->flow_count, UDP_FLOWS_EACH);
        assert_true(has_flow(peer, 1000) && has_flow(peer, 5000) && !has_flow(peer, 1001));
        for (uint16_t i = 0; i < UDP_FLOWS_MAX - UDP_FLOWS_EACH; i++)
                say(other, (uint16_t)(1000 + i), host, 99, "x");
        assert_int_equal(t.udp->flow_count, UDP_FLOWS_MAX);
        assert_true(has_flow(peer, 1002));
        say(third, 1000, host, 99, "x");
        assert_int_equal(t.udp->flow_count, UDP_FLOWS_MAX);
        assert_true(has_flow(third, 1000) && !has_flow(peer, 1002));
}

static void test_silence(void **state)
{
        (void)state;
        say(peer, 1000, host, 99, "x");
        say(peer, 1000, host, 53, "x");
        struct flow *dns = t.udp->flows, *f = dns->next;
        assert_int_equal(mono_diff_ms(f->idle.at, loop_now(net.loop)), UDP_IDLE_MS);
        assert_int_equal(mono_diff_ms(dns->idle.at, loop_now(net.loop)), UDP_IDLE_DNS_MS);
        loop_timer_stop(&f->idle);
        f->idle.on_expire(&f->idle, loop_now(net.loop));
        assert_int_equal(t.udp->flow_count, 1);
        assert_ptr_equal(t.udp->flows, dns);
}

static void on_port(void *arg, struct addr from, const uint8_t *data, size_t len)
{
        assert_ptr_equal(arg, &t);
        t.heard++;
        t.heard_from = from;
        t.len = len;
        memcpy(t.data, data, len);
}

static void test_ports(void **state)
{
        (void)state;
        struct ip ours = ip_v4(100, 64, 0, 1);
        struct udp_port *a = udp_port_open(t.udp, ours, on_port, &t), *b = udp_port_open(t.udp, ours, on_port, &t);
        assert_non_null(a);
        assert_non_null(b);
        assert_int_not_equal(a->at.port, b->at.port);
        assert_true(a->at.port >= PORT_FIRST);
        udp_port_send(a, (struct addr){peer, 53}, (const uint8_t *)"who", 3);
        const uint8_t *got = net_expect(1, P, ours, peer, 8 + 3);
        assert_int_equal(load_be16(got), a->at.port);
        assert_int_equal(load_be16(got + 2), 53);
        assert_memory_equal(got + 8, "who", 3);
        say(peer, 53, ours, a->at.port, "me");
        assert_int_equal(t.heard, 1);
        assert_true(addr_eq(t.heard_from, (struct addr){peer, 53}));
        assert_int_equal(t.len, 2);
        assert_memory_equal(t.data, "me", 2);
        static const uint8_t big[UDP_DATA_MAX + 1];
        udp_port_send(a, (struct addr){peer, 53}, big, sizeof(big));
        assert_int_equal(net.sent, 1);
        uint16_t port = a->at.port;
        udp_port_close(a);
        t.nowhere = true;
        say(peer, 53, ours, port, "late");
        assert_int_equal(t.heard, 1);
        udp_port_close(b);
        struct udp_port *all[UDP_PORTS_MAX];
        for (size_t i = 0; i < UDP_PORTS_MAX; i++)
                assert_non_null(all[i] = udp_port_open(t.udp, ours, on_port, &t));
        assert_null(udp_port_open(t.udp, ours, on_port, &t));
        for (size_t i = 0; i < UDP_PORTS_MAX; i++)
                udp_port_close(all[i]);
}

static void test_v6(void **state)
{
        (void)state;
        struct ip ours, theirs;
        assert_int_equal(ip_parse("fd7a:115c:a1e0::1", &ours), ERR_NONE);
        assert_int_equal(ip_parse("fd7a:115c:a1e0::9", &theirs), ERR_NONE);
        struct udp_port *p = udp_port_open(t.udp, ours, on_port, &t);
        udp_port_send(p, (struct addr){theirs, 53}, (const uint8_t *)"abcde", 5);
        assert_memory_equal(net_expect(1, P, ours, theirs, 8 + 5) + 8, "abcde", 5);
        udp_port_close(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(test_there_and_back), T(test_an_empty_one), T(test_malformed), T(test_bounds), T(test_silence), T(test_ports),
                T(test_v6),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
