#include "base/utf8.h"

#include "tests/unit/check.h"

static void test_rows(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                size_t len;
                uint32_t c;
        } rows[] = {
                {"a", 1, 'a'}, {"\x01", 1, 1}, {"\xc2\x80", 2, 0x80}, {"\xdf\xbf", 2, 0x7ff}, {"\xe0\xa0\x80", 3, 0x800},
                {"\xed\x9f\xbf", 3, 0xd7ff}, {"\xee\x80\x80", 3, 0xe000}, {"\xf0\x90\x80\x80", 4, 0x10000},
                {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
                {"", 0, 0}, {"\x80", 0, 0}, {"\xbf", 0, 0}, {"\xc0\x80", 0, 0}, {"\xc1\xbf", 0, 0},   /* too long a form */
                {"\xe0\x9f\xbf", 0, 0}, {"\xf0\x8f\xbf\xbf", 0, 0}, {"\xed\xa0\x80", 0, 0}, {"\xed\xbf\xbf", 0, 0},
                {"\xf4\x90\x80\x80", 0, 0}, {"\xf5\x80\x80\x80", 0, 0}, {"\xff", 0, 0},
                {"\xc2", 0, 0}, {"\xe1\x80", 0, 0}, {"\xf1\x80\x80", 0, 0}, {"\xc2" "a", 0, 0},       /* cut off */
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint32_t c = 0;
                assert_int_equal(utf8_read((const uint8_t *)rows[i].text, &c), rows[i].len);
                assert_int_equal(c, rows[i].c);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
