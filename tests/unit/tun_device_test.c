#include "tests/unit/check.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "tests/unit/tun_host.h"

static struct pkt *packet(struct pkt_pool *pool, uint8_t fill, size_t len)
{
        struct pkt *p = pkt_get(pool);
        memset(pkt_put(p, len), fill, len);
        return p;
}

static bool readable(const struct tun *t)
{
        struct pollfd pfd = {.fd = tun_fd(t), .events = POLLIN};
        return poll(&pfd, 1, 0) == 1;
}

static void a_pair_carries_packets_both_ways(void **state)
{
        (void)state;
        struct pkt_pool *pool = pkt_pool_new(16);
        struct tun *a, *b;
        assert_int_equal(tun_pair(4, &a, &b), ERR_NONE);
        struct pkt *out[2] = {packet(pool, 1, 100), packet(pool, 2, PKT_DATA_MAX)}, *in[4];
        assert_false(readable(b));
        assert_int_equal(host_write(a, out, 2), 2);
        assert_true(readable(b));
        assert_false(readable(a));
        assert_int_equal(host_read(b, pool, in, 4), 2);
        assert_int_equal(in[0]->len, 100);
        assert_int_equal(pkt_data(in[0])[99], 1);
        assert_int_equal(in[1]->len, PKT_DATA_MAX);
        assert_int_equal(pkt_data(in[1])[PKT_DATA_MAX - 1], 2);
        assert_false(readable(b));
        assert_int_equal(host_read(b, pool, in + 2, 2), 0);
        assert_int_equal(host_write(b, in, 1), 1);
        assert_true(readable(a));
        for (size_t i = 0; i < 2; i++) {
                pkt_release(pool, out[i]);
                pkt_release(pool, in[i]);
        }
        tun_close(a);
        tun_close(b);
        pkt_pool_free(pool);
}

static void a_full_ring_loses_the_oldest(void **state)
{
        (void)state;
        struct pkt_pool *pool = pkt_pool_new(16);
        struct tun *a, *b;
        assert_int_equal(tun_pair(2, &a, &b), ERR_NONE);
        struct pkt *in[4];
        for (uint8_t i = 1; i <= 3; i++) {
                struct pkt *p = packet(pool, i, 40);
                assert_int_equal(host_write(a, &p, 1), 1);
                pkt_release(pool, p);
        }
        assert_int_equal(host_read(b, pool, in, 4), 2);
        assert_int_equal(pkt_data(in[0])[0], 2);
        assert_int_equal(pkt_data(in[1])[0], 3);
        pkt_release(pool, in[0]);
        pkt_release(pool, in[1]);
        tun_close(b);
        tun_close(a);
        pkt_pool_free(pool);
}

static void bad_names_are_refused_with_a_reason(void **state)
{
        (void)state;
        struct tun *t = NULL;
        const char *why = NULL;
        assert_int_equal(tun_open("", &t, &why), ERR_FORMAT);
        assert_non_null(strstr(why, "1 to 15"));
        why = NULL;
        assert_int_equal(tun_open("a-name-much-too-long", &t, &why), ERR_FORMAT);
        assert_non_null(why);
        assert_null(t);
}

/* A name that is taken by something else; loopback is there everywhere. */
static void another_kind_of_interface_is_refused(void **state)
{
        (void)state;
        struct tun *t = NULL;
        const char *why = NULL;
        if (access("/dev/net/tun", R_OK | W_OK) != 0)
                skip();
        assert_int_not_equal(tun_open("lo", &t, &why), ERR_NONE);
        assert_non_null(why);
        assert_null(t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_pair_carries_packets_both_ways),
                cmocka_unit_test(a_full_ring_loses_the_oldest),
                cmocka_unit_test(bad_names_are_refused_with_a_reason),
                cmocka_unit_test(another_kind_of_interface_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
