#include "tests/unit/check.h"

#include <stdlib.h>

#include "magicsock/keymap.h"

enum { KEYS = 400 };

/* Few distinct bytes, so that keys resemble each other. */
static void make_key(uint8_t key[32], unsigned i)
{
        memset(key, 7, 32);
        key[5] = (uint8_t)(i & 0xff);
        key[29] = (uint8_t)(i >> 8);
}

enum { STEPS = 20000 };
static uint8_t key_at[STEPS][32];   /* of the slot of that number */

static const uint8_t *key_of(const void *arg, uint32_t slot)
{
        (void)arg;
        return key_at[slot];
}

static void test_random_changes(void **state)
{
        (void)state;
        struct keymap m;
        static uint32_t want[KEYS];
        uint32_t seed = 12345;
        keymap_init(&m, 99, key_of, NULL);
        memset(want, 0xff, sizeof(want));
        for (unsigned step = 0; step < STEPS; step++) {
                seed = seed * 1664525 + 1013904223;
                unsigned i = (seed >> 8) % KEYS;
                uint8_t key[32];
                make_key(key, i);
                if (seed >> 31) {
                        memcpy(key_at[step], key, 32);
                        size_t cap = m.cap;
                        assert_int_equal(keymap_set(&m, key, step), ERR_NONE);
                        assert_true(m.cap == cap || want[i] == KEYMAP_NONE);   /* one that is there takes no memory */
                        want[i] = step;
                } else {
                        keymap_remove(&m, key);
                        want[i] = KEYMAP_NONE;
                }
                i = (i * 31 + step) % KEYS;
                make_key(key, i);
                assert_int_equal(keymap_get(&m, key), want[i]);
        }
        size_t count = 0;
        for (unsigned i = 0; i < KEYS; i++) {
                uint8_t key[32];
                make_key(key, i);
                assert_int_equal(keymap_get(&m, key), want[i]);
                count += want[i] != KEYMAP_NONE;
        }
        assert_int_equal(m.count, count);
        keymap_done(&m);
}

static void test_empty(void **state)
{
        (void)state;
        struct keymap m;
        uint8_t key[32] = {0};
        memset(key_at[0], 0, 32);
        keymap_init(&m, 0, key_of, NULL);
        assert_int_equal(keymap_get(&m, key), KEYMAP_NONE);
        keymap_remove(&m, key);
        assert_int_equal(keymap_set(&m, key, 0), ERR_NONE);
        assert_int_equal(keymap_get(&m, key), 0);
        keymap_done(&m);
        assert_int_equal(keymap_get(&m, key), KEYMAP_NONE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_changes), cmocka_unit_test(test_empty)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
