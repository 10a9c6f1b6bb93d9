#include "base/writer.h"

#include "tests/unit/check.h"

static void write_all(struct wr *w)
{
        wr_u8(w, 0x01);
        wr_be16(w, 0x0203);
        wr_be32(w, 0x04050607);
        wr_be64(w, UINT64_C(0x08090a0b0c0d0e0f));
        wr_le32(w, 0x13121110);
        wr_le64(w, UINT64_C(0x1b1a191817161514));
        wr_copy(w, "\x1c\x1d", 2);
        wr_zero(w, 2);
        uint8_t *p = wr_take(w, 1);
        if (p != NULL)
                *p = 0x20;
}

enum { ALL = 32 };

static void test_whole(void **state)
{
        (void)state;
        uint8_t b[ALL];
        memset(b, 0xee, sizeof(b));
        struct wr w = wr_init(b, sizeof(b));
        write_all(&w);
        assert_true(wr_ok(&w));
        assert_int_equal(w.len, ALL);
        check_hex(b, ALL, "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d000020");
}

/* One byte of room too few anywhere: failed, and nothing past the room was touched. */
static void test_every_shorter_room(void **state)
{
        (void)state;
        for (size_t cap = 0; cap < ALL; cap++) {
                uint8_t b[ALL];
                memset(b, 0xee, sizeof(b));
                struct wr w = wr_init(b, cap);
                write_all(&w);
                assert_false(wr_ok(&w));
                assert_true(w.len <= cap);
                for (size_t i = w.len; i < ALL; i++)
                        assert_int_equal(b[i], 0xee);
        }
}

static void test_failure_is_sticky(void **state)
{
        (void)state;
        uint8_t b[4];
        struct wr w = wr_init(b, sizeof(b));
        wr_be64(&w, 1);
        wr_u8(&w, 1);   /* would fit */
        assert_false(wr_ok(&w));
        assert_int_equal(w.len, 0);
        assert_null(wr_take(&w, 0));
}

static void test_empty_writes(void **state)
{
        (void)state;
        struct wr w = wr_init(NULL, 0);
        wr_copy(&w, NULL, 0);
        wr_zero(&w, 0);
        assert_true(wr_ok(&w));
        wr_zero(&w, SIZE_MAX);
        assert_false(wr_ok(&w));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole),
                cmocka_unit_test(test_every_shorter_room),
                cmocka_unit_test(test_failure_is_sticky),
                cmocka_unit_test(test_empty_writes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
