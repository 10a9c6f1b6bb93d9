#include "base/log.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "tests/unit/check.h"

/* Standard error goes to a file while a test runs. */
struct capture {
        int saved;
        FILE *file;
        char text[8192];
};

static struct capture cap;

static void capture_begin(void)
{
        fflush(stderr);
        cap.file = tmpfile();
        assert_non_null(cap.file);
        cap.saved = dup(STDERR_FILENO);
        assert_true(cap.saved >= 0);
        assert_true(dup2(fileno(cap.file), STDERR_FILENO) >= 0);
}

static const char *capture_end(void)
{
        assert_true(dup2(cap.saved, STDERR_FILENO) >= 0);
        close(cap.saved);
        rewind(cap.file);
        size_t n = fread(cap.text, 1, sizeof(cap.text) - 1, cap.file);
        cap.text[n] = '\0';
        fclose(cap.file);
        return cap.text;
}

static void test_plain_line(void **state)
{
        (void)state;
        unsetenv("JOURNAL_STREAM");
        capture_begin();
        log_init(0);
        log_warn("peer %d gone", 7);
        const char *s = capture_end();
        int y, mo, d, h, mi, sec, used = 0;
        assert_int_equal(sscanf(s, "%d/%d/%d %d:%d:%d %n", &y, &mo, &d, &h, &mi, &sec, &used), 6);
        assert_string_equal(s + used, "peer 7 gone\n");
}

static void test_journal_line(void **state)
{
        (void)state;
        capture_begin();
        struct stat st;
        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        char stream[64];
        snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        log_init(1);
        log_err("a");
        log_warn("b");
        log_info("c");
        log_debug(1, "d");
        log_debug(2, "hidden");
        assert_string_equal(capture_end(), "<3>a\n<4>b\n<6>c\n<7>d\n");
        assert_int_equal(log_verbosity(), 1);
}

static void test_another_stream_is_not_the_journal(void **state)
{
        (void)state;
        setenv("JOURNAL_STREAM", "1:1", 1);
        capture_begin();
        log_init(0);
        log_info("x");
        assert_true(capture_end()[0] != '<');
        setenv("JOURNAL_STREAM", "rubbish", 1);
        capture_begin();
        log_init(0);
        log_info("x");
        assert_true(capture_end()[0] != '<');
        unsetenv("JOURNAL_STREAM");
}

static void test_one_line_whatever_the_text(void **state)
{
        (void)state;
        static char longer[5000];
        memset(longer, 'y', sizeof(longer) - 1);
        capture_begin();
        log_init(0);
        log_info("%s", "a\nb\r\x1b[0mc");
        log_info("%s", longer);
        const char *s = capture_end();
        const char *end = strchr(s, '\n');
        assert_non_null(end);
        assert_memory_equal(end - 9, "a b  [0mc", 9);
        const char *second = strchr(end + 1, '\n');
        assert_non_null(second);
        assert_int_equal(second[1], '\0');
        assert_true(second - end <= 2048);
}

/* Control characters in every form; all other text, whatever its language, stays as it is. */
static void test_controls(void **state)
{
        (void)state;
        static const char *const rows[][2] = {
                {"a\tb\x7f" "c", "a b c"}, {"x\xc2\x9b" "31m", "x  31m"}, {"\xc2\x80\xc2\x9f", "    "}, {"\xc2\xa0", "\xc2\xa0"},
                {"na\xc3\xaf" "ve", "na\xc3\xaf" "ve"}, {"\xe2\x82\xac", "\xe2\x82\xac"}, {"\xc2", "\xc2"}, {"\xc2\n", "\xc2 "},
        };
        unsetenv("JOURNAL_STREAM");
        log_init(0);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                capture_begin();
                log_info("%s", rows[i][0]);
                const char *s = capture_end();
                char want[32];
                size_t n = (size_t)snprintf(want, sizeof(want), " %s\n", rows[i][1]);
                assert_true(strlen(s) >= n);
                assert_string_equal(s + strlen(s) - n, want);
        }
}

static void test_limit(void **state)
{
        (void)state;
        struct log_limit l = {0};
        mono_t t = {NS_PER_SEC};
        capture_begin();
        log_init(0);
        for (int i = 0; i < 5; i++)
                assert_false(log_limited(&l, t));
        for (int i = 0; i < 3; i++)
                assert_true(log_limited(&l, t));
        assert_true(log_limited(&l, mono_add_ms(t, 9999)));
        assert_int_equal(l.dropped, 4);
        assert_false(log_limited(&l, mono_add_ms(t, 10000)));
        assert_int_equal(l.dropped, 0);
        assert_true(log_limited(&l, mono_add_ms(t, 19999)));
        assert_non_null(strstr(capture_end(), "(4 lines"));
        capture_begin();
        t = mono_add_ms(t, 3600 * 1000);   /* a long rest earns the full bucket, no more */
        for (int i = 0; i < 5; i++)
                assert_false(log_limited(&l, t));
        assert_true(log_limited(&l, t));
        (void)capture_end();
}

static void test_err_str(void **state)
{
        (void)state;
        for (int e = ERR_NONE; e <= ERR_IO; e++) {
                assert_string_not_equal(err_str((enum err)e), "unknown error");
                for (int f = ERR_NONE; f < e; f++)
                        assert_string_not_equal(err_str((enum err)e), err_str((enum err)f));
        }
        assert_string_equal(err_str((enum err)(ERR_IO + 1)), "unknown error");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_plain_line),
                cmocka_unit_test(test_journal_line),
                cmocka_unit_test(test_another_stream_is_not_the_journal),
                cmocka_unit_test(test_one_line_whatever_the_text),
                cmocka_unit_test(test_controls),
                cmocka_unit_test(test_limit),
                cmocka_unit_test(test_err_str),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
