/* The internet checksum against one that adds byte by byte, at every length and alignment. */
#include "base/checksum.h"

#include <stdlib.h>

#include "tests/unit/check.h"

/* RFC 1071, section 4.1, as a person would write it; the result as it is stored. */
static uint16_t slow(const uint8_t *p, size_t n)
{
        uint32_t sum = 0;
        for (size_t i = 0; i < n; i++) {
                sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
                sum = (sum & 0xffff) + (sum >> 16);
        }
        uint8_t stored[2] = {(uint8_t)(sum >> 8), (uint8_t)sum};
        uint16_t v;
        memcpy(&v, stored, sizeof(v));
        return v;
}

static void known_answers(void **state)
{
        (void)state;
        uint8_t text[8], head[20];
        check_unhex("0001f203f4f5f6f7", text, sizeof(text));   /* RFC 1071, section 3 */
        uint16_t sum = sum_fold(sum_add(0, text, sizeof(text)));
        check_hex(&sum, 2, "ddf2");
        check_unhex("45000073000040004011ffffc0a80001c0a800c7", head, sizeof(head));   /* what was there does not count */
        ip4_checksum(head, sizeof(head));
        check_hex(head + 10, 2, "b861");
        sum = sum_fold(0);
        check_hex(&sum, 2, "0000");
}

static void every_length_and_alignment(void **state)
{
        (void)state;
        uint8_t room[400];
        for (size_t at = 0; at < 9; at++) {
                for (size_t n = 0; n < 300; n++) {
                        for (size_t i = 0; i < sizeof(room); i++)
                                room[i] = (uint8_t)(rand() >> 4);
                        assert_int_equal(sum_fold(sum_add(0, room + at, n)), slow(room + at, n));
                        size_t cut = n / 4 * 2;   /* parts of even length, in any order */
                        assert_int_equal(sum_fold(sum_add(sum_add(0, room + at + cut, n - cut), room + at, cut)), slow(room + at, n));
                }
        }
}

/* The largest of everything, and carries on top of carries. */
static void nothing_overflows(void **state)
{
        (void)state;
        static uint8_t large[65536];
        memset(large, 0xff, sizeof(large));
        assert_int_equal(sum_fold(sum_add(0, large, sizeof(large))), 0xffff);
        uint64_t sum = 0;
        for (int i = 0; i < 1000; i++)
                sum = sum_add(sum, large, sizeof(large));
        assert_int_equal(sum_fold(sum), 0xffff);
        assert_int_equal(sum_fold(sum_add_u16(sum, 0xffff)), 0xffff);
        assert_int_equal(sum_fold(UINT64_MAX), 0xffff);
        large[65535] = 0xfe;
        assert_int_equal(sum_fold(sum_add(0, large, sizeof(large))), slow(large, sizeof(large)));
}

/* What the pseudo header is, written out: addresses, a zero, the protocol, the length. */
static void pseudo_headers(void **state)
{
        (void)state;
        for (size_t len = 4; len <= 16; len += 12) {
                uint8_t whole[36];
                for (size_t i = 0; i < sizeof(whole); i++)
                        whole[i] = (uint8_t)(rand() >> 4);
                whole[2 * len] = 0;
                whole[2 * len + 1] = 17;
                whole[2 * len + 2] = 0x12;
                whole[2 * len + 3] = 0x34;
                uint64_t sum = sum_add_u16(sum_pseudo(whole, whole + len, len, 17), 0x1234);
                assert_int_equal(sum_fold(sum), slow(whole, 2 * len + 4));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(known_answers),
                cmocka_unit_test(every_length_and_alignment),
                cmocka_unit_test(nothing_overflows),
                cmocka_unit_test(pseudo_headers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
