/* Our ChaCha20-Poly1305 for AVX2: whole bursts against libsodium, and which way they go. */
#include <sodium.h>
#include <stdlib.h>

#include "base/chapoly.c"
#include "base/crypto.h"
#include "tests/unit/check.h"

#if defined(__x86_64__)

static uint32_t below(uint32_t bound)
{
        return (uint32_t)crypto_random_below(bound);
}

enum { ROOM = 2100, BURST = 19 };

static uint8_t plain[BURST][ROOM], got[BURST][ROOM + 17], want[ROOM + 16];

static void libsodium_seals(const uint8_t key[32], const struct aead_op *op, const uint8_t *text)
{
        uint8_t nonce[12] = {0};
        unsigned long long n;
        store_le64(nonce + 4, op->counter);
        crypto_aead_chacha20poly1305_ietf_encrypt(want, &n, text, op->len, NULL, 0, NULL, nonce, key);
        assert_int_equal(n, op->len + AEAD_TAG_LEN);
}

/* Sealed here as there, at each length, in its place or not; the byte behind stays as it is; what is spoilt, by any bit of
 * tag, text or counter, is refused, and what stands beside it is not. */
static void check_burst(size_t n, size_t first_len, bool in_place)
{
        struct aead_op ops[BURST];
        uint8_t key[32];
        crypto_random(key, sizeof(key));
        for (size_t i = 0; i < n; i++) {
                crypto_random(plain[i], ROOM);
                ops[i] = (struct aead_op){.counter = i % 3 == 0 ? UINT64_MAX - i : (uint64_t)i << 31, .src = plain[i], .dst = got[i],
                        .len = (first_len + 37 * i) % (ROOM + 1)};
                if (in_place) {
                        memcpy(got[i], plain[i], ops[i].len);
                        ops[i].src = got[i];
                }
                got[i][ops[i].len + AEAD_TAG_LEN] = 0xa5;
        }
        chapoly_seal(key, ops, n);
        for (size_t i = 0; i < n; i++) {
                assert_true(ops[i].ok);
                libsodium_seals(key, &ops[i], plain[i]);
                assert_memory_equal(got[i], want, ops[i].len + AEAD_TAG_LEN);
                assert_int_equal(got[i][ops[i].len + AEAD_TAG_LEN], 0xa5);
                ops[i].src = got[i];
                ops[i].len += AEAD_TAG_LEN;
        }
        size_t spoilt = below((uint32_t)n);
        if (below(4) == 0)
                ops[spoilt].counter ^= UINT64_C(1) << below(64);
        else
                got[spoilt][below((uint32_t)ops[spoilt].len)] ^= (uint8_t)(1u << below(8));
        chapoly_open(key, ops, n);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(ops[i].ok, i != spoilt);
                if (i != spoilt)
                        assert_memory_equal(got[i], plain[i], ops[i].len - AEAD_TAG_LEN);
        }
}

static void bursts_of_every_length(void **state)
{
        (void)state;
        if (!chapoly_available())
                skip_because("this processor has no AVX2 or BMI2");
        for (size_t len = 0; len <= ROOM; len++)
                check_burst(1 + len % BURST, len, len % 2 == 0);
        chapoly_seal(plain[0], NULL, 0);
        chapoly_open(plain[0], NULL, 0);
}

/* As much of a group's texts as there are stretches of both of a pair, as far as the other group has passes. */
static void sums_are_made_beside_the_key_stream(void **state)
{
        (void)state;
        if (!chapoly_available())
                skip_because("this processor has no AVX2 or BMI2");
        static const uint32_t key[8] = {1};
        struct pass pass = {.count = 0};
        struct macs first, second;
        struct aead_op ops[GROUP];
        for (size_t i = 0; i < GROUP; i++)
                ops[i] = (struct aead_op){.src = plain[i], .dst = got[i], .len = i == 3 ? STRETCH - 1 : 4 * STRETCH + 15};
        seal_group(&pass, key, ops, &first, GROUP - 1);
        pass.beside = &first;
        seal_group(&pass, key, ops, &second, GROUP);
        assert_int_equal(first.done[0], 4 * STRETCH);
        assert_int_equal(first.done[1], 0);             /* one of the two is too short */
        assert_int_equal(first.done[2], 4 * STRETCH);
        assert_int_equal(first.done[3], 0);             /* the last is alone */
}

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sums_are_made_beside_the_key_stream),
                cmocka_unit_test(bursts_of_every_length),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}

#else

int main(void)
{
        puts("only for x86-64");
        return 77;
}

#endif
