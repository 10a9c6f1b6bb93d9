#include "base/reader.h"

#include "tests/unit/check.h"

static const uint8_t sample[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c};

static void test_integers(void **state)
{
        (void)state;
        struct rd r = rd_init(sample, sizeof(sample));
        assert_int_equal(rd_u8(&r), 0x01);
        assert_int_equal(rd_be16(&r), 0x0203);
        assert_int_equal(rd_be32(&r), 0x04050607);
        assert_int_equal(rd_le32(&r), 0x0b0a0908);
        assert_false(rd_at_end(&r));
        assert_int_equal(rd_u8(&r), 0x0c);
        assert_true(rd_at_end(&r));
        r = rd_init(sample, 8);
        assert_true(rd_be64(&r) == UINT64_C(0x0102030405060708));
        r = rd_init(sample, 8);
        assert_true(rd_le64(&r) == UINT64_C(0x0807060504030201));
        assert_true(rd_at_end(&r));
}

static void test_short_is_sticky(void **state)
{
        (void)state;
        struct rd r = rd_init(sample, 3);
        assert_int_equal(rd_be32(&r), 0);
        assert_false(rd_ok(&r));
        assert_int_equal(rd_u8(&r), 0);   /* though one byte would be there */
        assert_int_equal(r.left, 3);
        assert_ptr_equal(r.at, sample);
        assert_null(rd_take(&r, 0));
        assert_false(rd_at_end(&r));
}

/* Every read at every shorter length yields zero and latches. */
static void test_every_truncation(void **state)
{
        (void)state;
        for (size_t n = 0; n <= 8; n++) {
                struct rd r[6];
                for (size_t i = 0; i < 6; i++)
                        r[i] = rd_init(sample, n);
                uint64_t v[6] = {rd_u8(&r[0]), rd_be16(&r[1]), rd_be32(&r[2]), rd_be64(&r[3]), rd_le32(&r[4]),
                        rd_le64(&r[5])};
                static const size_t need[6] = {1, 2, 4, 8, 4, 8};
                for (size_t i = 0; i < 6; i++) {
                        assert_int_equal(rd_ok(&r[i]), n >= need[i]);
                        assert_int_equal(v[i] != 0, n >= need[i]);
                }
        }
}

static void test_copy_defines_dst(void **state)
{
        (void)state;
        uint8_t dst[4] = {0xee, 0xee, 0xee, 0xee};
        struct rd r = rd_init(sample, 3);
        rd_copy(&r, dst, 4);
        check_hex(dst, 4, "00000000");
        r = rd_init(sample, 4);
        rd_copy(&r, dst, 4);
        check_hex(dst, 4, "01020304");
}

static void test_sub_keeps_parent_in_step(void **state)
{
        (void)state;
        struct rd r = rd_init(sample, 6);
        struct rd child = rd_sub(&r, 4);
        assert_int_equal(rd_be64(&child), 0);
        assert_false(rd_ok(&child));
        assert_int_equal(rd_be16(&r), 0x0506);
        assert_true(rd_at_end(&r));
        child = rd_sub(&r, 1);
        assert_false(rd_ok(&child));
        assert_int_equal(child.left, 0);
        assert_false(rd_ok(&r));
}

static void test_nothing(void **state)
{
        (void)state;
        struct rd r = rd_init(NULL, 0);
        assert_true(rd_at_end(&r));
        assert_non_null(rd_take(&r, 0));
        rd_copy(&r, NULL, 0);
        struct rd child = rd_sub(&r, 0);
        assert_true(rd_at_end(&child));
        assert_true(rd_at_end(&r));
        rd_skip(&r, SIZE_MAX);
        assert_false(rd_ok(&r));
}

static void test_load_store(void **state)
{
        (void)state;
        uint8_t b[8];
        store_be16(b, 0xfedc);
        check_hex(b, 2, "fedc");
        assert_int_equal(load_be16(b), 0xfedc);
        store_be32(b, 0xfedcba98);
        check_hex(b, 4, "fedcba98");
        assert_true(load_be32(b) == 0xfedcba98);
        store_be64(b, UINT64_C(0xfedcba9876543210));
        check_hex(b, 8, "fedcba9876543210");
        assert_true(load_be64(b) == UINT64_C(0xfedcba9876543210));
        store_le32(b, 0xfedcba98);
        check_hex(b, 4, "98badcfe");
        assert_true(load_le32(b) == 0xfedcba98);
        store_le64(b, UINT64_C(0xfedcba9876543210));
        check_hex(b, 8, "1032547698badcfe");
        assert_true(load_le64(b) == UINT64_C(0xfedcba9876543210));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_integers),
                cmocka_unit_test(test_short_is_sticky),
                cmocka_unit_test(test_every_truncation),
                cmocka_unit_test(test_copy_defines_dst),
                cmocka_unit_test(test_sub_keeps_parent_in_step),
                cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_load_store),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
