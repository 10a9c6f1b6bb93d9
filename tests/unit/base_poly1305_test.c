/* Poly1305 at its edges and of large numbers: one text, four and eight side by side, and one way gone on with by the other. */
#include "base/poly1305.h"

#include <sodium.h>

#include "base/chapoly.h"
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
        uint8_t got[POLY_TAG];
        poly_tag(p, key, got);
        assert_memory_equal(got, tag, POLY_TAG);
}

/* One by one, four and eight side by side: of whole blocks. */
static void check_poly(const uint8_t key[32], const uint8_t *text, size_t len, const uint8_t *tag)
{
        struct poly one, many[2 * POLY_LANES];
        const uint8_t *data[2 * POLY_LANES];
        poly_init(&one, key);
        poly_data(&one, text, len);
        check_tag(&one, key, tag);
        for (size_t width = POLY_LANES; width <= 2 * POLY_LANES; width += POLY_LANES) {
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
        uint8_t key[32], text[64], tag[POLY_TAG];
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
        uint8_t key[32], tag[POLY_TAG];
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

/* What is over 2^130 comes back and carries through all 128 bits below, which no number drawn by chance does; three blocks
 * later it shows in the tag. */
static void a_carry_goes_through(void **state)
{
        (void)state;
        if (!chapoly_available())
                skip_because("this processor has no AVX2 or BMI2");
        static const uint8_t key[32] = {1};
        uint8_t text[7 * POLY_BLOCK] = {0}, tag[POLY_TAG];
        memset(text + 3 * POLY_BLOCK, 0xff, POLY_BLOCK);
        crypto_onetimeauth_poly1305(tag, text, sizeof(text), key);
        for (int i = 0; i < 100; i++)   /* from one way to the other at each block */
                check_poly(key, text, sizeof(text), tag);
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
                cmocka_unit_test(a_carry_goes_through),
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
