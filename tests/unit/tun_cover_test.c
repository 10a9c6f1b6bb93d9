#include "tests/unit/check.h"

#include <stdlib.h>

#include "tun/cover.h"

static unsigned rnd_state = 1;

static unsigned rnd(unsigned n)
{
        rnd_state = rnd_state * 1103515245u + 12345u;
        return (rnd_state >> 16) % n;
}

static int order(const void *a, const void *b)
{
        return cover_prefix_cmp(*(const struct prefix *)a, *(const struct prefix *)b);
}

/* Few distinct bits, so that prefixes nest, touch and repeat; now and then the last address there is. */
static struct ip random_ip(bool four)
{
        struct ip ip = {.family = four ? IP_V4 : IP_V6};
        size_t n = four ? 4 : 16;
        uint8_t fill = rnd(8) == 0 ? 0xff : 0;
        for (size_t i = 0; i < n; i++)
                ip.b[i] = i < 1 || i == n - 1 ? (uint8_t)(fill ? fill : rnd(8)) : fill;
        return ip;
}

static void finds_the_narrowest_and_all_around_it(void **state)
{
        (void)state;
        for (unsigned round = check_rounds(400); round > 0; round--) {
                enum { MAX = 60 };
                struct prefix p[MAX];
                bool four = round % 2;
                size_t n = rnd(MAX);
                for (size_t i = 0; i < n; i++)
                        p[i] = prefix_masked((struct prefix){random_ip(four), (uint8_t)rnd(four ? 33 : 129)});
                qsort(p, n, sizeof(p[0]), order);
                struct cover *c = cover_new(p, n);
                assert_non_null(c);
                for (int k = 0; k < 200; k++) {
                        struct ip ip = random_ip(four);
                        uint32_t node = cover_find(c, ip.b);
                        size_t covering = 0, listed = 0;
                        for (size_t i = 0; i < n; i++)
                                covering += prefix_contains(p[i], ip);
                        int bits = 129;
                        for (; node != COVER_NONE; node = cover_node(c, node)->parent) {
                                const struct cover_node *x = cover_node(c, node);
                                assert_true(x->begin < x->end && x->end <= n);
                                assert_true(p[x->begin].bits < bits); /* ever wider */
                                bits = p[x->begin].bits;
                                for (uint32_t i = x->begin; i < x->end; i++)
                                        listed += prefix_contains(p[i], ip);
                        }
                        assert_int_equal(listed, covering);
                }
                cover_free(c);
        }
}

static void a_range_is_split_exactly(void **state)
{
        (void)state;
        for (unsigned round = check_rounds(4000); round > 0; round--) {
                bool four = round % 2;
                struct ip a = random_ip(four), b = random_ip(four);
                struct prefix p[COVER_SPLIT_MAX];
                if (ip_cmp(a, b) > 0)
                        continue;
                size_t n = cover_split(a, b, p);
                assert_in_range(n, 1, COVER_SPLIT_MAX);
                for (int k = 0; k < 50; k++) {
                        struct ip ip = random_ip(four);
                        size_t in = 0;
                        for (size_t i = 0; i < n; i++)
                                in += prefix_contains(p[i], ip);
                        assert_int_equal(in, ip_cmp(a, ip) <= 0 && ip_cmp(ip, b) <= 0);
                }
        }
        struct prefix p[COVER_SPLIT_MAX];
        struct ip one = ip_v4(0, 0, 0, 1), last = ip_v4(255, 255, 255, 254);
        assert_int_equal(cover_split(one, last, p), 62);
        assert_int_equal(cover_split(ip_v4(0, 0, 0, 0), ip_v4(255, 255, 255, 255), p), 1);
        struct ip six = {.family = IP_V6, .b = {[15] = 1}}, six_last = {.family = IP_V6};
        memset(six_last.b, 0xff, 16);
        six_last.b[15] = 0xfe;
        assert_int_equal(cover_split(six, six_last, p), COVER_SPLIT_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(finds_the_narrowest_and_all_around_it),
                cmocka_unit_test(a_range_is_split_exactly),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
