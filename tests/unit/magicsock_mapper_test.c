/* Talk with a router over real sockets: one that speaks NAT-PMP stands on the loopback. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/reader.h"
#include "base/writer.h"
#include "magicsock/mapper.h"
#include "portmap/pxp.h"
#include "tests/unit/check.h"

enum { OURS = 41641, THEIRS = 5000, LEASE_S = 7200 };

/* An address of the loopback for this test alone: the port is fixed. */
static const struct ip router = {.family = IP_V4, .b = {127, 53, 51, 1}};
static const struct ip outside = {.family = IP_V4, .b = {5, 0, 0, 1}};

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct mapper *m;
        int fd;             /* the router's */
        unsigned found, changed, asked, maps, given_back, lines;
        bool is_mute, from_elsewhere;
} t;

static void on_found(void *arg, mono_t now)
{
        (void)now;
        assert_ptr_equal(arg, &t);
        t.found++;
}

static void on_changed(void *arg, mono_t now)
{
        (void)now;
        assert_ptr_equal(arg, &t);
        t.changed++;
}

static void on_trace(void *arg, const char *line)
{
        assert_ptr_equal(arg, &t);
        assert_true(strncmp(line, "-> ", 3) == 0 || strncmp(line, "<- ", 3) == 0);
        t.lines++;
}

static int listen_at(struct ip ip, uint16_t port)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr((struct addr){ip, port}, &sa);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
        return fd;
}

static int set_up(void **state)
{
        (void)state;
        static const struct mapper_callbacks cb = {.on_found = on_found, .on_changed = on_changed, .on_trace = on_trace};
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.fd = listen_at(router, PXP_PORT);
        t.m = mapper_new(t.loop, t.dialer, 0, &cb, &t);
        assert_non_null(t.m);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        mapper_free(t.m);
        close(t.fd);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return 0;
}

/* RFC 6886 3.2, 3.3 and 3.4. */
static size_t answer(const uint8_t *q, size_t len, uint8_t out[16])
{
        struct wr w = wr_init(out, 16);
        if (len < 2 || q[0] != 0 || t.is_mute)
                return 0;
        wr_u8(&w, 0);
        wr_u8(&w, q[1] | 0x80);
        wr_be16(&w, 0);
        wr_be32(&w, 1000);
        if (q[1] == 0) {
                t.asked++;
                wr_copy(&w, outside.b, 4);
        } else {
                uint32_t lifetime = load_be32(q + 8);
                assert_int_equal(len, 12);
                assert_int_equal(load_be16(q + 4), OURS);
                *(lifetime > 0 ? &t.maps : &t.given_back) += 1;
                wr_be16(&w, OURS);
                wr_be16(&w, lifetime > 0 ? THEIRS : 0);
                wr_be32(&w, lifetime > 0 ? LEASE_S : 0);
        }
        return w.len;
}

static void serve(void)
{
        uint8_t q[1500], a[16];
        struct sockaddr_storage from;
        socklen_t from_len = sizeof(from);
        ssize_t n = recvfrom(t.fd, q, sizeof(q), 0, (struct sockaddr *)&from, &from_len);
        size_t len = n > 0 ? answer(q, (size_t)n, a) : 0;
        struct ip other = {.family = IP_V4, .b = {127, 53, 51, 2}};
        int fd = t.from_elsewhere && len > 0 ? listen_at(other, PXP_PORT) : -1;
        if (len > 0)
                assert_int_equal(sendto(fd >= 0 ? fd : t.fd, a, len, 0, (struct sockaddr *)&from, from_len), len);
        if (fd >= 0)
                close(fd);
}

#define UNTIL(cond) do { \
                mono_t end = mono_add_ms(mono_now(), 20000); \
                while (!(cond) && !mono_reached(mono_now(), end)) { \
                        loop_once(t.loop, 5); \
                        serve(); \
                } \
                assert_true(cond); \
        } while (0)

/* The lowest descriptor that is free: the same before and after says that none stayed open. */
static int free_fd(void)
{
        int fd = dup(t.fd);
        close(fd);
        return fd;
}

static bool look(void)
{
        const struct portmap_net net = {.router = router, .self = ip_v4(127, 0, 0, 1), .port = OURS};
        return mapper_look_in(t.m, &net, true, loop_now(t.loop));
}

static void test_a_port_is_asked_for_and_given_back(void **state)
{
        (void)state;
        struct nc_portmap r = mapper_report(t.m, loop_now(t.loop));
        assert_int_equal(r.pmp, NC_UNKNOWN);
        assert_true(mapper_is_quiet(t.m));
        assert_true(look());
        assert_false(mapper_is_quiet(t.m));
        UNTIL(t.changed == 1 && t.found == 1);
        const struct addr *at = mapper_mapping(t.m);
        assert_non_null(at);
        assert_true(addr_eq(*at, (struct addr){outside, THEIRS}));
        assert_true(t.asked > 0 && t.maps == 1 && t.lines >= 4);
        r = mapper_report(t.m, loop_now(t.loop));
        assert_int_equal(r.pmp, NC_TRUE);
        assert_int_equal(r.upnp, NC_FALSE);
        mapper_stop(t.m, loop_now(t.loop));
        assert_null(mapper_mapping(t.m));
        UNTIL(t.given_back > 0 && mapper_is_quiet(t.m));
}

/* Nobody but the router is believed. */
static void test_a_stranger_answers(void **state)
{
        (void)state;
        t.from_elsewhere = true;
        assert_true(look());
        UNTIL(t.found == 1);
        assert_true(t.asked > 0);
        assert_null(mapper_mapping(t.m));
        assert_int_equal(mapper_report(t.m, loop_now(t.loop)).pmp, NC_FALSE);
        assert_true(mapper_state(t.m)->counts.strangers > 0);
}

static void test_a_router_that_says_nothing(void **state)
{
        (void)state;
        int fd = free_fd();
        t.is_mute = true;
        assert_true(look());
        assert_int_not_equal(free_fd(), fd);
        UNTIL(t.found == 1);
        assert_int_equal(t.changed, 0);
        assert_int_equal(mapper_report(t.m, loop_now(t.loop)).pmp, NC_FALSE);
        UNTIL(mapper_is_quiet(t.m));
        assert_int_equal(free_fd(), fd);
}

/* What is said to be under way ends in on_found, also where the look is over and its timer has not run yet. */
static void test_a_look_that_is_over_already(void **state)
{
        (void)state;
        const struct portmap_net net = {.router = router, .self = ip_v4(127, 0, 0, 1), .port = OURS};
        mono_t then = loop_now(t.loop);
        assert_true(look());
        assert_true(mapper_look_in(t.m, &net, true, then));
        then = mono_add_ms(then, 10000);
        assert_false(mapper_look_in(t.m, &net, true, then));
        assert_int_equal(t.found, 1);
}

static void test_ways_that_are_off(void **state)
{
        (void)state;
        mapper_set_off(t.m, PORTMAP_ALL, loop_now(t.loop));
        assert_false(mapper_look(t.m, OURS, true, loop_now(t.loop)));
        assert_true(mapper_is_quiet(t.m));
        mapper_set_off(t.m, PORTMAP_BIT(PORTMAP_PCP) | PORTMAP_BIT(PORTMAP_UPNP), loop_now(t.loop));
        assert_true(look());
        UNTIL(t.changed == 1);
        mapper_set_off(t.m, PORTMAP_ALL, loop_now(t.loop));
        assert_null(mapper_mapping(t.m));
        UNTIL(t.given_back > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_port_is_asked_for_and_given_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_stranger_answers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_router_that_says_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_look_that_is_over_already, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_ways_that_are_off, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
