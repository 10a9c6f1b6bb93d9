#include "tests/unit/check.h"

#include "daemon/slots.h"

static void a_node_keeps_its_slot(void **state)
{
        (void)state;
        struct slots *s = slots_new();
        uint32_t a, b, gen, again;
        assert_int_equal(slots_take(s, 7, &a, &gen), ERR_NONE);
        assert_int_equal(slots_take(s, 9, &b, &gen), ERR_NONE);
        assert_int_not_equal(a, b);
        assert_int_equal(slots_take(s, 7, &again, &gen), ERR_NONE);
        assert_int_equal(again, a);
        assert_int_equal(slots_node(s, a, gen), 7);
        assert_true(slots_find(s, 9, &again));
        assert_int_equal(again, b);
        assert_false(slots_find(s, 8, &again));
        slots_free(s);
}

static void a_late_answer_is_recognised(void **state)
{
        (void)state;
        struct slots *s = slots_new();
        uint32_t slot, old, now;
        assert_int_equal(slots_take(s, 7, &slot, &old), ERR_NONE);
        assert_true(slots_release(s, 7, &slot));
        assert_int_equal(slots_node(s, slot, old), 0);
        assert_false(slots_release(s, 7, &slot));
        assert_int_equal(slots_take(s, 8, &slot, &now), ERR_NONE);
        assert_int_equal(slots_node(s, slot, old), 0);
        assert_int_equal(slots_node(s, slot, now), 8);
        slots_free(s);
}

static void ids_must_be_positive(void **state)
{
        (void)state;
        struct slots *s = slots_new();
        uint32_t slot, gen;
        assert_int_equal(slots_take(s, 0, &slot, &gen), ERR_FORMAT);
        assert_int_equal(slots_take(s, -1, &slot, &gen), ERR_FORMAT);
        slots_free(s);
}

static void fills_up_and_empties(void **state)
{
        (void)state;
        struct slots *s = slots_new();
        uint32_t slot, gen;
        for (int64_t id = 1; id <= SLOTS_MAX; id++)
                assert_int_equal(slots_take(s, id * 3, &slot, &gen), ERR_NONE);
        assert_int_equal(slots_take(s, 2, &slot, &gen), ERR_FULL);
        assert_true(slots_release(s, 3 * 77, &slot));
        assert_int_equal(slots_take(s, 2, &slot, &gen), ERR_NONE);
        assert_int_equal(slots_node(s, slot, gen), 2);
        for (int64_t id = 1; id <= SLOTS_MAX; id++)
                assert_int_equal(slots_release(s, id * 3, &slot), id != 77);
        assert_int_equal(slots_any(s), 2);
        assert_true(slots_release(s, 2, &slot));
        assert_int_equal(slots_any(s), 0);
        /* One after the other, as a change of server does; a place before the ones still taken is found, too. */
        for (int64_t id = 1; id <= SLOTS_MAX; id++)
                assert_int_equal(slots_take(s, id, &slot, &gen), ERR_NONE);
        for (int64_t id, n = 0; n < SLOTS_MAX; n++) {
                assert_true((id = slots_any(s)) != 0 && slots_release(s, id, &slot));
                if (n % 1000 == 0) {
                        assert_int_equal(slots_take(s, SLOTS_MAX + n + 1, &slot, &gen), ERR_NONE);
                        assert_true(slots_any(s) != 0 && slots_release(s, SLOTS_MAX + n + 1, &slot));
                }
        }
        assert_int_equal(slots_any(s), 0);
        slots_free(s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_node_keeps_its_slot),
                cmocka_unit_test(a_late_answer_is_recognised),
                cmocka_unit_test(ids_must_be_positive),
                cmocka_unit_test(fills_up_and_empties),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
