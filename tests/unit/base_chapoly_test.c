/* Our ChaCha20-Poly1305 for AVX2: its arithmetic at the edges, and whole bursts against libsodium. */
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

/* RFC 8439, appendix A.3, 7 to 13: the key's first half, its second, the text, the tag. */
static const char *const edges[][4] = {
        {"02000000000000000000000000000000", "00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff",
                "03000000000000000000000000000000"},
        {"02000000000000000000000000000000", "ffffffffffffffffffffffffffffffff", "02000000000000000000000000000000",
                "03000000000000000000000000000000"},
        {"01000000000000000000000000000000", "00000000000000000000000000000000",
                "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000000000000000",
                "05000000000000000000000000000000"},
        {"01000000000000000000000000000000", "00000000000000000000000000000000",
                "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101010101010101",
                "00000000000000000000000000000000"},
        {"02000000000000000000000000000000", "00000000000000000000000000000000", "fdffffffffffffffffffffffffffffff",
                "faffffffffffffffffffffffffffffff"},
        {"01000000000000000400000000000000", "00000000000000000000000000000000",
                "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000000000000000000000000000000000001"
                "000000000000000000000000000000",
                "14000000000000005500000000000000"},
        {"01000000000000000400000000000000", "00000000000000000000000000000000",
                "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
                "13000000000000000000000000000000"},
};

static void check_tag(const struct poly *p, const uint8_t key[32], const uint8_t *tag)
{
        uint8_t got[AEAD_TAG_LEN];
        poly_tag(p, key, got);
        assert_memory_equal(got, tag, AEAD_TAG_LEN);
}

/* One by one, four and eight side by side: of whole blocks. */
static void check_poly(const uint8_t key[32], const uint8_t *text, size_t len, const uint8_t *tag)
{
        struct poly one, many[GROUP];
        const uint8_t *data[GROUP];
        poly_init(&one, key);
        poly_data(&one, text, len);
        check_tag(&one, key, tag);
        for (size_t width = POLY_LANES; width <= GROUP; width += POLY_LANES) {
                size_t first = POLY_BLOCK * below((uint32_t)(len / POLY_BLOCK + 1));   /* so much was done one by one */
                for (size_t i = 0; i < width; i++) {
                        poly_init(&many[i], key);
                        poly_data(&many[i], text, first);
                        data[i] = text + first;
                }
                if (width == POLY_LANES)
                        poly4_run(many, data, len - first);
                else
                        poly4_run2(many, data, len - first);
                for (size_t i = 0; i < width; i++)
                        check_tag(&many[i], key, tag);
        }
}

static void poly1305_at_its_edges(void **state)
{
        (void)state;
        if (!chapoly_available())
                skip_because("this processor has no AVX2 or BMI2");
        uint8_t key[32], text[64], tag[AEAD_TAG_LEN];
        for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
                check_unhex(edges[i][0], key, 16);
                check_unhex(edges[i][1], key + 16, 16);
                size_t len = check_unhex(edges[i][2], text, sizeof(text));
                check_unhex(edges[i][3], tag, sizeof(tag));
                check_poly(key, text, len, tag);
        }
}

/* The largest of everything, where a carry would be lost first. */
static void poly1305_of_large_numbers(void **state)
{
        (void)state;
        if (!chapoly_available())
                skip_because("this processor has no AVX2 or BMI2");
        static uint8_t text[2048];
        uint8_t key[32], tag[AEAD_TAG_LEN];
        for (int round = 0; round < 400; round++) {
                crypto_random(key, sizeof(key));
                memset(text, round % 2 ? 0xff : 0, sizeof(text));
                if (round % 4 < 2)
                        memset(key, 0xff, 16);
                if (round % 8 > 5)
                        crypto_random(text, sizeof(text));
                size_t len = 16 * (size_t)below(sizeof(text) / 16 + 1);
                crypto_onetimeauth_poly1305(tag, text, len, key);
                check_poly(key, text, len, tag);
        }
}

/* ---- bursts ---- */

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

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(poly1305_at_its_edges),
                cmocka_unit_test(poly1305_of_large_numbers),
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
