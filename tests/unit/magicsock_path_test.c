#include "tests/unit/check.h"

#include <stdbool.h>

#include "magicsock/path.h"

static struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static const struct addr none = {.port = 0};
static const mono_t t0 = {NS_PER_SEC};

static void test_better(void **state)
{
        (void)state;
        static const struct {
                const char *a;
                int64_t a_ms;
                const char *b;
                int64_t b_ms;
                bool want;
        } rows[] = {
                {"", 0, "", 0, false},
                {"1.2.3.4:5", 5, "", 0, true},
                {"", 0, "1.2.3.4:5", 5, false},
                {"1.2.3.4:5", 5, "5.6.7.8:9", 10, true},
                {"1.2.3.4:5", 5, "1.2.3.4:5", 10, false},
                {"1.2.3.4:5", 100, "5.6.7.8:9", 100, false},
                {"1.2.3.4:5", 100, "5.6.7.8:9", 101, false},
                {"1.2.3.4:5", 100, "5.6.7.8:9", 103, true},
                {"1.2.3.4:5", 0, "5.6.7.8:9", 0, false},
                {"10.0.0.2:5", 100, "1.2.3.4:5", 91, true},
                {"1.2.3.4:5", 91, "10.0.0.2:5", 100, false},
                {"10.0.0.2:5", 100, "1.2.3.4:5", 30, false},
                {"1.2.3.4:5", 30, "10.0.0.2:5", 100, true},
                {"[2001::5]:5", 100, "1.2.3.4:5", 91, true},
                {"1.2.3.4:5", 91, "[2001::5]:5", 100, false},
                {"[2001::5]:5", 100, "1.2.3.4:5", 30, false},
                {"1.2.3.4:5", 30, "[2001::5]:5", 100, true},
                {"192.168.0.1:5", 100, "[2001::5]:5", 101, true},
                {"[2001::5]:5", 101, "192.168.0.1:5", 100, false},
                {"[fe80::1]:5", 101, "[fd89::1]:5", 100, true},
                {"[fe80::1]:5", 101, "[::1]:5", 100, false},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct path_best a = {.latency_ns = rows[i].a_ms * NS_PER_MS};
                struct path_best b = {.latency_ns = rows[i].b_ms * NS_PER_MS};
                if (rows[i].a[0])
                        a.addr = addr(rows[i].a);
                if (rows[i].b[0])
                        b.addr = addr(rows[i].b);
                if (path_better(&a, &b) != rows[i].want)
                        print_error("row %zu: %s %s\n", i, rows[i].a, rows[i].b);
                assert_int_equal(path_better(&a, &b), rows[i].want);
        }
}

static void test_usable(void **state)
{
        (void)state;
        static const char *const bad[] = {
                "0.0.0.0:5", "[::]:5", "224.0.0.1:5", "[ff02::1]:5", "[fe80::1]:5", "1.2.3.4:0", "127.3.3.40:7",
                "255.255.255.255:5",
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_false(path_addr_usable(addr(bad[i])));
        assert_false(path_addr_usable(none));
        assert_true(path_addr_usable(addr("1.2.3.4:5")));
        assert_true(path_addr_usable(addr("[fd00::1]:5")));
        assert_true(path_addr_usable(addr("127.0.0.1:5")));
}

/* Three origins, independent: a candidate lives until the last one lets go. */
static void test_origins(void **state)
{
        (void)state;
        struct path_set s = {.count = 0};
        struct addr a = addr("1.2.3.4:5");
        path_add(&s, a, PATH_FROM_MAP, none, t0);
        path_add(&s, a, PATH_FROM_CALL, none, t0);
        path_add(&s, a, PATH_FROM_PING, none, t0);
        assert_int_equal(s.count, 1);

        path_forget_origin(&s, PATH_FROM_CALL);
        path_prune(&s, none, t0);
        assert_non_null(path_find(&s, a));
        path_forget_origin(&s, PATH_FROM_MAP);
        path_prune(&s, none, mono_add_ms(t0, 45000));
        assert_non_null(path_find(&s, a));
        path_prune(&s, a, mono_add_ms(t0, 45001));   /* in use: stays */
        assert_non_null(path_find(&s, a));
        path_prune(&s, none, mono_add_ms(t0, 45001));
        assert_null(path_find(&s, a));
        path_set_done(&s);
}

static void test_bounded(void **state)
{
        (void)state;
        struct path_set s = {.count = 0};
        struct addr a = addr("1.2.3.4:1000"), in_use = addr("1.2.3.4:1500");
        for (unsigned i = 0; i < 64; i++, a.port++)
                assert_non_null(path_add(&s, a, PATH_FROM_MAP, in_use, t0));
        a.port = 1500;
        for (unsigned i = 0; i < 1000; i++, a.port++)
                assert_non_null(path_add(&s, a, PATH_FROM_PING, in_use, mono_add_ms(t0, i)));
        assert_int_equal(s.count, PATH_CANDIDATES_MAX);
        /* The map's and the one in use are all there, and of the others the newest. */
        a.port = 1000;
        for (unsigned i = 0; i < 64; i++, a.port++)
                assert_non_null(path_find(&s, a));
        assert_non_null(path_find(&s, in_use));
        a.port = 2499;
        assert_non_null(path_find(&s, a));
        a.port = 1501;
        assert_null(path_find(&s, a));
        path_set_done(&s);

        for (unsigned i = 0; i < PATH_CANDIDATES_MAX; i++, a.port++)
                assert_non_null(path_add(&s, a, PATH_FROM_MAP, none, t0));
        assert_null(path_add(&s, a, PATH_FROM_PING, none, t0));   /* nobody gives way */
        path_set_done(&s);
}

/* What is left of a difference after 5 % and 0.2 ms. */
static void test_worth_a_move(void **state)
{
        (void)state;
        static const struct {
                const char *a;
                int64_t a_us;
                const char *b;
                int64_t b_us;
                bool worth;
        } t[] = {
                {"203.0.113.1:1", 19100, "203.0.113.2:1", 20000, false},
                {"203.0.113.1:1", 18000, "203.0.113.2:1", 20000, true},
                {"203.0.113.1:1", 300, "203.0.113.2:1", 450, false},
                {"203.0.113.1:1", 300, "203.0.113.2:1", 900, true},
                {"10.0.0.1:1", 100000, "203.0.113.2:1", 91000, true},
                {"[2001:db8::1]:1", 20000, "203.0.113.2:1", 20000, true},
                {"[2001:db8::1]:1", 21500, "203.0.113.2:1", 20000, false},
                {"203.0.113.2:1", 20000, "[2001:db8::1]:1", 21500, false},
        };
        for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
                struct path_best a = {addr(t[i].a), t[i].a_us * NS_PER_US}, b = {addr(t[i].b), t[i].b_us * NS_PER_US};
                assert_int_equal(path_worth_a_move(&a, &b), t[i].worth);
                assert_false(path_worth_a_move(&b, &a) && t[i].worth);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_worth_a_move),
                cmocka_unit_test(test_better),
                cmocka_unit_test(test_usable),
                cmocka_unit_test(test_origins),
                cmocka_unit_test(test_bounded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
