#include "base/buf.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static void test_grows_and_terminates(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 100000);
        assert_null(b.data);
        for (int i = 0; i < 5000; i++)
                buf_printf(&b, "%d,", i % 10);
        assert_true(buf_ok(&b));
        assert_int_equal(b.len, 10000);
        assert_int_equal(strlen(b.data), 10000);
        assert_memory_equal(b.data + 9980, "0,1,2,3,4,5,6,7,8,9,", 20);
        buf_done(&b);
        assert_null(b.data);
}

static void test_max_is_hard_and_sticky(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 5);
        buf_puts(&b, "12345");
        assert_true(buf_ok(&b));
        buf_add(&b, "", 0);
        assert_true(buf_ok(&b));
        buf_puts(&b, "6");
        assert_false(buf_ok(&b));
        assert_string_equal(b.data, "12345");
        buf_consume(&b, 5);
        buf_puts(&b, "x");   /* would fit, but the hole before it would not show */
        assert_int_equal(b.len, 0);
        assert_null(buf_take(&b));
        buf_clear(&b);
        buf_puts(&b, "again");
        assert_true(buf_ok(&b));
        assert_string_equal(b.data, "again");
        buf_done(&b);
}

static void test_expect(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 100);
        buf_puts(&b, "ab");
        buf_expect(&b, 80);
        const char *at = b.data;
        assert_int_equal(b.cap, 83);
        assert_string_equal(b.data, "ab");
        for (int i = 0; i < 80; i++)
                buf_add(&b, "x", 1);
        assert_ptr_equal(b.data, at);
        buf_expect(&b, 19);    /* beyond max: nothing, and no fault */
        assert_ptr_equal(b.data, at);
        buf_expect(&b, 0);
        buf_expect(&b, SIZE_MAX);
        assert_int_equal(b.cap, 83);
        buf_expect(&b, 18);
        assert_int_equal(b.cap, 101);
        assert_int_equal(b.len, 82);
        assert_true(buf_ok(&b));
        buf_done(&b);
        buf_init(&b, 10);
        buf_expect(&b, 4);
        buf_puts(&b, "");
        assert_string_equal(b.data, "");
        buf_done(&b);
}

static void test_printf_past_max(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 8);
        buf_printf(&b, "%s", "123456789");
        assert_false(buf_ok(&b));
        assert_int_equal(b.len, 0);
        buf_done(&b);
}

static void test_consume(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 64);
        buf_consume(&b, 3);
        buf_puts(&b, "abcdef");
        buf_consume(&b, 2);
        assert_string_equal(b.data, "cdef");
        buf_puts(&b, "gh");
        assert_string_equal(b.data, "cdefgh");
        buf_consume(&b, 1000);
        assert_int_equal(b.len, 0);
        assert_string_equal(b.data, "");
        buf_done(&b);
}

static void test_take(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 64);
        char *s = buf_take(&b);
        assert_string_equal(s, "");
        free(s);
        buf_puts(&b, "one");
        s = buf_take(&b);
        assert_string_equal(s, "one");
        assert_null(b.data);
        buf_puts(&b, "two");
        assert_string_equal(b.data, "two");
        free(s);
        buf_done(&b);
}

static void test_str_copy(void **state)
{
        (void)state;
        char dst[4] = "xxx";
        assert_true(str_copy(dst, sizeof(dst), "abc"));
        assert_string_equal(dst, "abc");
        assert_false(str_copy(dst, sizeof(dst), "defg"));
        assert_string_equal(dst, "def");
        assert_true(str_copy(dst, 1, ""));
        assert_string_equal(dst, "");
        dst[0] = 'x';
        assert_false(str_copy(dst, 0, ""));
        assert_int_equal(dst[0], 'x');
}

static void test_str_bool(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                int want;   /* -1: refused */
        } rows[] = {{"1", 1}, {"t", 1}, {"T", 1}, {"true", 1}, {"TRUE", 1}, {"True", 1}, {"0", 0}, {"f", 0}, {"F", 0}, {"false", 0},
                {"FALSE", 0}, {"False", 0}, {"", -1}, {"yes", -1}, {"tRUE", -1}, {"true ", -1}, {"2", -1}};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                for (int was = 0; was < 2; was++) {
                        bool got = was;
                        assert_int_equal(str_bool(rows[i].text, &got), rows[i].want >= 0);
                        assert_int_equal(got, rows[i].want >= 0 ? rows[i].want : was);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grows_and_terminates),
                cmocka_unit_test(test_max_is_hard_and_sticky),
                cmocka_unit_test(test_expect),
                cmocka_unit_test(test_printf_past_max),
                cmocka_unit_test(test_consume),
                cmocka_unit_test(test_take),
                cmocka_unit_test(test_str_copy),
                cmocka_unit_test(test_str_bool),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
