#include "base/lastgood.h"

#include "tests/unit/check.h"

static struct ip ip4(uint8_t last)
{
        return ip_from_bytes4((const uint8_t[]){192, 0, 2, last});
}

static void test_newest_first(void **state)
{
        (void)state;
        static struct lastgood t;
        struct ip got[LASTGOOD_ADDRS];
        assert_int_equal(lastgood_get(&t, "a.example", got), 0);
        lastgood_put(&t, "a.example", ip4(1));
        lastgood_put(&t, "A.Example", ip4(2));
        lastgood_put(&t, "a.example", ip4(1));
        assert_int_equal(lastgood_get(&t, "a.EXAMPLE", got), 2);
        assert_true(ip_eq(got[0], ip4(1)) && ip_eq(got[1], ip4(2)));
        for (uint8_t i = 3; i < 20; i++)
                lastgood_put(&t, "a.example", ip4(i));
        assert_int_equal(lastgood_get(&t, "a.example", got), LASTGOOD_ADDRS);
        for (uint8_t i = 0; i < LASTGOOD_ADDRS; i++)
                assert_true(ip_eq(got[i], ip4((uint8_t)(19 - i))));
        lastgood_put(&t, "a.example", got[2]);   /* from the middle: nobody is lost, nobody twice */
        assert_int_equal(lastgood_get(&t, "a.example", got), LASTGOOD_ADDRS);
        assert_true(ip_eq(got[0], ip4(17)) && ip_eq(got[1], ip4(19)) && ip_eq(got[2], ip4(18)) && ip_eq(got[3], ip4(16)));
}

static void test_bounded(void **state)
{
        (void)state;
        static struct lastgood t;
        struct ip got[LASTGOOD_ADDRS];
        char host[LASTGOOD_HOST_MAX + 8];
        for (unsigned i = 0; i < 10 * LASTGOOD_HOSTS; i++) {
                snprintf(host, sizeof(host), "h%u.example", i);
                lastgood_put(&t, host, ip4(1));
                lastgood_put(&t, "kept.example", ip4(2));
        }
        assert_int_equal(lastgood_get(&t, "kept.example", got), 1);
        assert_int_equal(lastgood_get(&t, host, got), 1);
        assert_int_equal(lastgood_get(&t, "h0.example", got), 0);
}

static void test_what_is_no_name(void **state)
{
        (void)state;
        static struct lastgood t;
        struct ip got[LASTGOOD_ADDRS];
        char longest[LASTGOOD_HOST_MAX + 1];
        memset(longest, 'x', sizeof(longest));
        longest[LASTGOOD_HOST_MAX] = '\0';
        const char *const hosts[] = {"", "192.0.2.1", "2001:db8::1", longest};
        for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
                lastgood_put(&t, hosts[i], ip4(1));
                assert_int_equal(lastgood_get(&t, hosts[i], got), 0);
        }
        lastgood_put(&t, "a.example", (struct ip){0});
        assert_int_equal(lastgood_get(&t, "a.example", got), 0);
        longest[LASTGOOD_HOST_MAX - 1] = '\0';
        lastgood_put(&t, longest, ip4(1));
        assert_int_equal(lastgood_get(&t, longest, got), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_newest_first),
                cmocka_unit_test(test_bounded),
                cmocka_unit_test(test_what_is_no_name),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
