/* Times as text: both ways, and everything that is none. */
#include "base/timetext.h"

#include "tests/unit/check.h"

static void test_time_both_ways(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                int64_t ns;
                const char *back;   /* NULL: the same */
        } good[] = {
                {"0001-01-01T00:00:00Z", 0, NULL},
                {"1970-01-01T00:00:01Z", 1000000000, NULL},
                {"2026-11-23T06:38:10.629195523Z", 1795415890629195523, NULL},
                {"2026-11-23T06:38:10.6Z", 1795415890600000000, NULL},
                {"2026-11-23T06:38:10.600Z", 1795415890600000000, "2026-11-23T06:38:10.6Z"},
                {"2026-11-23T08:38:10+02:00", 1795415890000000000, "2026-11-23T06:38:10Z"},
                {"2026-11-22T23:08:10-07:30", 1795415890000000000, "2026-11-23T06:38:10Z"},
                {"2024-02-29T23:59:59Z", 1709251199000000000, NULL},
                {"2000-03-01T00:00:00Z", 951868800000000000, NULL},
                {"1969-12-31T23:59:59.5Z", -500000000, NULL},
                {"1900-02-28T12:00:00Z", -2203934400000000000, NULL},
                {"2026-11-23T06:38:10.1234567899Z", 1795415890123456789, "2026-11-23T06:38:10.123456789Z"},
                {"9999-12-31T23:59:59Z", INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
                {"0002-01-01T00:00:00Z", INT64_MIN, "1677-09-21T00:12:43.145224192Z"},
        };
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                int64_t ns = 42;
                char out[TIME_STR_MAX];
                assert_int_equal(time_parse(good[i].text, &ns), ERR_NONE);
                assert_int_equal(ns, good[i].ns);
                assert_string_equal(time_str(ns, out), good[i].back ? good[i].back : good[i].text);
        }
}

static void test_time_refuses(void **state)
{
        (void)state;
        static const char *const bad[] = {"2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
                "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01 00:00:00Z",
                "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+0200", "26-01-01T00:00:00Z",
                "2026-01-01T00:00:00ZZ", "2026-01-01T00:00:00+24:00", "0000-01-01T00:00:00Z"};
        int64_t ns = 42;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(time_parse(bad[i], &ns), ERR_FORMAT);
        assert_int_equal(time_parse(NULL, &ns), ERR_FORMAT);
        static const char whole[] = "2026-11-23T06:38:10.629195523+02:00";
        for (size_t n = 0; n < strlen(whole); n++) {
                char cut[64];
                snprintf(cut, sizeof(cut), "%.*s", (int)n, whole);
                assert_int_equal(time_parse(cut, &ns), ERR_FORMAT);
        }
        assert_int_equal(ns, 42);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_time_both_ways),
                cmocka_unit_test(test_time_refuses),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
