#include "base/duration.h"

#include "base/mono.h"
#include "tests/unit/check.h"

static void durations(void **state)
{
        (void)state;
        static const struct {
                int64_t ns;
                const char *text;
        } rows[] = {
                {0, "0s"}, {1, "1ns"}, {1500, "1.5\xc2\xb5s"}, {900 * NS_PER_US, "900\xc2\xb5s"},
                {23 * NS_PER_MS, "23ms"}, {8200 * NS_PER_US, "8.2ms"}, {1204 * NS_PER_MS, "1.204s"},
                {90 * NS_PER_SEC, "1m30s"}, {3600 * NS_PER_SEC, "1h0m0s"}, {-5 * NS_PER_SEC, "-5s"},
                {3661 * NS_PER_SEC + 50 * NS_PER_MS, "1h1m1.05s"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char out[DURATION_STR_MAX];
                int64_t back;
                assert_string_equal(duration_str(rows[i].ns, out), rows[i].text);
                assert_int_equal(duration_parse(rows[i].text, &back), ERR_NONE);
                assert_int_equal(back, rows[i].ns);
        }
        assert_int_equal(duration_round(1499999, NS_PER_MS), NS_PER_MS);
        assert_int_equal(duration_round(1500000, NS_PER_MS), 2 * NS_PER_MS);
        assert_int_equal(duration_round(-1500000, NS_PER_MS), -2 * NS_PER_MS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(durations),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
