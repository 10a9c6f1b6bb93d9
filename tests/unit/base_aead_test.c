/* Every backend seals the same bytes, opens what is right and nothing else; the arithmetic of ours at its edges. */
#include <sodium.h>
#include <stdlib.h>

#include "base/aead.h"
#include "base/chapoly.c"
#include "base/crypto.h"
#include "tests/unit/check.h"

enum { PACKETS = 70, ROOM = 2200, ROUNDS = 300 };

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
                for (int i = 0; i < ROUNDS; i++) {
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

#if defined(__x86_64__)

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
        if (!chapoly_available())
                return;
        for (size_t width = POLY_LANES; width <= GROUP; width += POLY_LANES) {
                for (size_t i = 0; i < width; i++) {
                        poly_init(&many[i], key);
                        data[i] = text;
                }
                if (width == POLY_LANES)
                        poly4_run(many, data, len);
                else
                        poly4_run2(many, data, len);
                for (size_t i = 0; i < width; i++)
                        check_tag(&many[i], key, tag);
        }
}

static void poly1305_at_its_edges(void **state)
{
        (void)state;
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

#endif

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_backend_makes_the_same_bytes),
#if defined(__x86_64__)
                cmocka_unit_test(poly1305_at_its_edges),
                cmocka_unit_test(poly1305_of_large_numbers),
#endif
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
