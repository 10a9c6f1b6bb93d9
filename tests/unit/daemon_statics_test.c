/* What an administrator may write as the endpoints of this host, and what becomes of it. */
#include "tests/unit/check.h"

#include <unistd.h>
#include "daemon/statics.h"

static const char *value;

static const char *env(const char *name)
{
        return strcmp(name, "TS_DEBUG_PRETENDPOINT") == 0 ? value : NULL;
}

static void test_values(void **state)
{
        (void)state;
        static const struct {
                const char *value, *want;   /* addresses after blanks */
        } rows[] = {
                {NULL, ""}, {"", ""}, {",", ""}, {"nonsense", ""},
                {"203.0.113.9:41641", " 203.0.113.9:41641"},
                {"203.0.113.9:41641,[2001:db8::1]:7", " 203.0.113.9:41641 [2001:db8::1]:7"},
                {"203.0.113.9:1,203.0.113.9:1,203.0.113.9:2", " 203.0.113.9:1 203.0.113.9:2"},
                {"203.0.113.9,203.0.113.9:0,:1,203.0.113.9:65536,203.0.113.9:5 ,10.0.0.1:2", " 10.0.0.1:2"},
                {"0.0.0.0:1,[::]:1,224.0.0.1:1,[ff02::1]:1,100.64.0.1:1,[fd7a:115c:a1e0::1]:1", ""},
                {"[2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:1", ""},
                {"1.1.1.1:1,1.1.1.1:2,1.1.1.1:3,1.1.1.1:4,1.1.1.1:5,1.1.1.1:6,1.1.1.1:7,1.1.1.1:8,1.1.1.1:9",
                 " 1.1.1.1:1 1.1.1.1:2 1.1.1.1:3 1.1.1.1:4 1.1.1.1:5 1.1.1.1:6 1.1.1.1:7 1.1.1.1:8"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct addr a[MS_STATIC_MAX];
                char text[400] = "", one[ADDR_STR_MAX];
                value = rows[i].value;
                size_t n = statics_by_env(env, a), at = 0;
                for (size_t k = 0; k < n; k++)
                        at += (size_t)snprintf(text + at, sizeof(text) - at, " %s", addr_str(a[k], one));
                assert_string_equal(text, rows[i].want);
        }
}

/* What was left out is told by its place: the text itself may be anything. */
static void test_what_is_left_out_is_said(void **state)
{
        (void)state;
        struct addr a[MS_STATIC_MAX];
        char seen[512] = "";
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        int kept = dup(STDERR_FILENO);
        assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
        value = "1.1.1.1:1,\033[31m";
        size_t n = statics_by_env(env, a);
        assert_true(dup2(kept, STDERR_FILENO) >= 0);
        close(kept);
        close(ends[1]);
        assert_true(read(ends[0], seen, sizeof(seen) - 1) > 0);
        close(ends[0]);
        assert_int_equal(n, 1);
        assert_non_null(strstr(seen, "TS_DEBUG_PRETENDPOINT: entry 2 is left out: want IP:PORT"));
        assert_null(strchr(seen, '\033'));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_what_is_left_out_is_said),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
