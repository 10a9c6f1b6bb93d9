/* What stands for libipsec-mb in a build without it: it is never chosen, and takes no packet for good should it be called. */
#include "tests/unit/check.h"

#include "base/aead_mb_null.c"

enum { BURST = 3 };

static void test_never_chosen(void **state)
{
        (void)state;
        assert_false(aead_mb_gains());
        assert_false(aead_mb_available());
}

static void test_no_packet_is_good(void **state)
{
        (void)state;
        static const uint8_t key[AEAD_KEY_LEN];
        void (*const work[])(const uint8_t *, struct aead_op *, size_t) = {aead_mb_seal, aead_mb_open};
        for (size_t w = 0; w < 2; w++) {
                uint8_t bytes[BURST + 1][64], before[BURST + 1][64];
                struct aead_op ops[BURST + 1];
                for (size_t i = 0; i <= BURST; i++) {
                        check_count_up(bytes[i], sizeof(bytes[i]), (uint8_t)i);
                        ops[i] = (struct aead_op){.src = bytes[i], .dst = bytes[i], .len = 32, .counter = i, .ok = true};
                }
                memcpy(before, bytes, sizeof(before));
                work[w](key, ops, BURST);
                for (size_t i = 0; i < BURST; i++)
                        assert_false(ops[i].ok);
                assert_true(ops[BURST].ok);   /* not one of them */
                assert_memory_equal(bytes, before, sizeof(before));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_never_chosen),
                cmocka_unit_test(test_no_packet_is_good),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
