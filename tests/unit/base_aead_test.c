/* Every backend seals the same bytes, and opens what is right and nothing else. */
#include <stdlib.h>

#include "base/aead.h"
#include "base/crypto.h"
#include "base/reader.h"
#include "tests/unit/check.h"

enum { PACKETS = 70, ROOM = 2200 };

static uint8_t plain[PACKETS][ROOM], sealed[PACKETS][ROOM], want[ROOM], opened[PACKETS][ROOM];

static uint32_t below(uint32_t bound)
{
        return (uint32_t)crypto_random_below(bound);
}

/* Lengths as they come: all alike but the last, or any. */
static void random_burst(struct aead_op *ops, size_t n)
{
        size_t usual = below(3) ? below(200) : below(2100);
        bool alike = below(2);
        for (size_t i = 0; i < n; i++) {
                size_t len = alike && i + 1 < n ? usual : below(below(2) ? 100 : 2100);
                ops[i] = (struct aead_op){.counter = (uint64_t)crypto_random_u32() << 32 | i, .src = plain[i],
                        .dst = sealed[i], .len = len};
        }
}

static void check_round(struct aead *tx, struct aead *rx, const uint8_t key[32])
{
        struct aead_op ops[PACKETS];
        bool spoilt[PACKETS] = {false};
        size_t n = 1 + below(below(2) ? 10 : PACKETS);
        random_burst(ops, n);
        bool in_place = below(2);
        for (size_t i = 0; i < n && in_place; i++) {
                memcpy(sealed[i], plain[i], ops[i].len);
                ops[i].src = sealed[i];
        }
        aead_seal_burst(tx, ops, n);
        for (size_t i = 0; i < n; i++) {
                uint8_t nonce[12] = {0};
                store_le64(nonce + 4, ops[i].counter);
                aead_seal(key, nonce, NULL, 0, plain[i], ops[i].len, want);
                assert_true(ops[i].ok);
                assert_memory_equal(sealed[i], want, ops[i].len + AEAD_TAG_LEN);
                ops[i].src = sealed[i];
                ops[i].dst = in_place ? sealed[i] : opened[i];
                ops[i].len += AEAD_TAG_LEN;
                if (below(6) == 0) {
                        spoilt[i] = true;
                        if (below(8) == 0)
                                ops[i].len = below(AEAD_TAG_LEN);   /* too short for a tag */
                        else if (below(8) == 0)
                                ops[i].counter++;
                        else
                                sealed[i][below((uint32_t)ops[i].len)] ^= (uint8_t)(1u << below(8));
                }
        }
        aead_open_burst(rx, ops, n);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(ops[i].ok, !spoilt[i]);
                if (!spoilt[i])
                        assert_memory_equal(ops[i].dst, plain[i], ops[i].len - AEAD_TAG_LEN);
        }
}

static void every_backend_makes_the_same_bytes(void **state)
{
        (void)state;
        size_t before = aead_backend_chosen(), tried = 0;
        for (size_t i = 0; i < PACKETS; i++)
                crypto_random(plain[i], ROOM);
        for (size_t b = 0; b < aead_backend_count(); b++) {
                if (!aead_backend_works(b)) {
                        print_message("%s: not on this processor\n", aead_backend_name(b));
                        continue;
                }
                tried++;
                aead_backend_choose(b);
                for (unsigned i = check_rounds(300); i > 0; i--) {
                        uint8_t key[32];
                        crypto_random(key, sizeof(key));
                        struct aead *tx = aead_new(key), *rx = aead_new(key);
                        check_round(tx, rx, key);
                        check_round(tx, rx, key);
                        aead_free(tx);
                        aead_free(rx);
                }
        }
        aead_backend_choose(before);
        assert_true(tried >= 2);
}

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_backend_makes_the_same_bytes),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
