#include "base/mono.h"

#include "tests/unit/check.h"

static void test_arithmetic(void **state)
{
        (void)state;
        mono_t t = {5 * NS_PER_SEC};
        assert_int_equal(mono_add_ms(t, 1500).ns, 6500 * NS_PER_MS);
        assert_int_equal(mono_add_ns(t, -NS_PER_SEC).ns, 4 * NS_PER_SEC);
        assert_int_equal(mono_diff_ms(mono_add_ms(t, 250), t), 250);
        assert_int_equal(mono_diff_ns(t, mono_add_ms(t, 1)), -NS_PER_MS);
        assert_int_equal(mono_min(t, mono_add_ms(t, 1)).ns, t.ns);
        assert_true(mono_reached(t, t));
        assert_false(mono_reached(t, mono_add_ns(t, 1)));
        assert_false(mono_is_set((mono_t){0}));
}

static void test_never_saturates(void **state)
{
        (void)state;
        mono_t t = {5 * NS_PER_SEC};
        assert_int_equal(mono_add_ns(t, INT64_MAX).ns, INT64_MAX);
        assert_int_equal(mono_add_ms(t, INT64_MAX).ns, INT64_MAX);
        assert_int_equal(mono_add_ms(t, INT64_MAX / NS_PER_MS).ns, INT64_MAX);
        assert_int_equal(mono_add_ms(MONO_NEVER, 1).ns, INT64_MAX);
        assert_false(mono_reached(t, MONO_NEVER));
}

static void test_clocks(void **state)
{
        (void)state;
        mono_t a = mono_now(), b = mono_now();
        assert_true(mono_is_set(a));
        assert_true(mono_reached(b, a));
        assert_true(wall_now_ns() > INT64_C(1700000000) * NS_PER_SEC);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arithmetic),
                cmocka_unit_test(test_never_saturates),
                cmocka_unit_test(test_clocks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
