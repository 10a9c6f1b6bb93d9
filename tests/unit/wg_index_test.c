/* The index table against a plain list, through growth and removal. */
#include "base/crypto.h"
#include "tests/unit/check.h"
#include "wg/index.h"

enum { MANY = 3000 };

static void test_add_find_remove(void **state)
{
        struct index_table t = {0};
        uint32_t index[MANY];
        (void)state;
        assert_int_equal(index_find(&t, 1), INDEX_NONE);
        index_remove(&t, 1);
        for (uint32_t i = 0; i < MANY; i++)
                assert_int_equal(index_add(&t, i, &index[i]), ERR_NONE);
        for (uint32_t i = 0; i < MANY; i++)
                assert_int_equal(index_find(&t, index[i]), i);
        for (uint32_t i = 0; i < MANY; i += 3)
                index_remove(&t, index[i]);
        for (uint32_t i = 0; i < MANY; i++)
                assert_int_equal(index_find(&t, index[i]), i % 3 == 0 ? INDEX_NONE : i);
        assert_int_equal(t.count, MANY - MANY / 3);
        assert_int_equal(index_find(&t, 0), INDEX_NONE);
        index_done(&t);
}

/* Crowded runs: remove must not cut off what was pushed along. */
static void test_small_and_busy(void **state)
{
        struct index_table t = {0};
        uint32_t index[30];
        uint32_t random = 5;
        (void)state;
        for (uint32_t i = 0; i < 30; i++)
                assert_int_equal(index_add(&t, i, &index[i]), ERR_NONE);
        for (int round = 0; round < 20000; round++) {
                random = random * 1664525u + 1013904223u;
                uint32_t i = (random >> 8) % 30;
                index_remove(&t, index[i]);
                assert_int_equal(index_find(&t, index[i]), INDEX_NONE);
                assert_int_equal(index_add(&t, i, &index[i]), ERR_NONE);
                for (uint32_t k = 0; k < 30; k++)
                        assert_int_equal(index_find(&t, index[k]), k);
        }
        assert_int_equal(t.cap, 64);
        index_done(&t);
}

/* Not a series: consecutive draws share no prefix and go both up and down. */
static void test_random(void **state)
{
        struct index_table t = {0};
        uint32_t index[256], upper[256], falls = 0, same = 0;
        (void)state;
        for (uint32_t i = 0; i < 256; i++) {
                assert_int_equal(index_add(&t, 0, &index[i]), ERR_NONE);
                upper[i] = index[i] >> 24;
                falls += i > 0 && index[i] < index[i - 1];
                same += i > 0 && upper[i] == upper[i - 1];
        }
        assert_true(falls > 80 && falls < 176);
        assert_true(same < 12);
        index_done(&t);
}

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_add_find_remove),
                cmocka_unit_test(test_small_and_busy),
                cmocka_unit_test(test_random),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
