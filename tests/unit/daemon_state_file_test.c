/* The state file: what is kept, what is refused, and that a refusal or a failure leaves the old file alone. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "daemon/state_file.h"
#include "tests/unit/fixture.h"

static char dir[64];
static char path[128];

static int setup(void **state)
{
        (void)state;
        (void)str_copy(dir, sizeof(dir), "/tmp/state-test.XXXXXX");
        if (mkdtemp(dir) == NULL)
                return -1;
        snprintf(path, sizeof(path), "%s/tailscaled.state", dir);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        unlink(path);
        return rmdir(dir);   /* fails when anything else was left behind */
}

static void put(const char *text, size_t len)
{
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(text, 1, len, f), len);
        assert_int_equal(fclose(f), 0);
}

static char *slurp(size_t *ret_len)
{
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        char *text = calloc(1, 65536);
        assert_non_null(text);
        *ret_len = fread(text, 1, 65535, f);
        fclose(f);
        return text;
}

static struct state_file *open_ok(void)
{
        struct state_file *s = NULL;
        const char *why = NULL;
        assert_int_equal(state_file_open(path, &s, &why), ERR_NONE);
        return s;
}

/* Refused, with a reason, and the file is as it was. */
static void refused(const char *text, size_t len)
{
        struct state_file *s = NULL;
        const char *why = NULL;
        put(text, len);
        assert_int_equal(state_file_open(path, &s, &why), ERR_FORMAT);
        assert_null(s);
        assert_non_null(strstr(why, path));
        size_t now_len;
        char *now = slurp(&now_len);
        assert_int_equal(now_len, len);
        assert_memory_equal(now, text, len);
        free(now);
}

static void set(struct state_file *s, const char *key, const char *value)
{
        assert_int_equal(state_file_set(s, key, value, strlen(value)), ERR_NONE);
}

static void holds(const struct state_file *s, const char *key, const char *value)
{
        size_t len;
        const char *got = state_file_get(s, key, &len);
        assert_non_null(got);
        assert_string_equal(got, value);
        assert_int_equal(len, strlen(value));
}

static void test_fresh(void **state)
{
        (void)state;
        struct stat st;
        size_t len;
        struct state_file *s = open_ok();
        assert_null(state_file_get(s, "_machinekey", &len));
        set(s, "b", "two");
        set(s, "a", "one");
        assert_int_equal(access(path, F_OK), -1);   /* not before it is told to */
        assert_int_equal(state_file_save(s), ERR_NONE);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        char *text = slurp(&len);
        assert_string_equal(text, "{\n  \"a\": \"b25l\",\n  \"b\": \"dHdv\"\n}");
        free(text);
        state_file_free(s);
        s = open_ok();
        holds(s, "a", "one");
        holds(s, "b", "two");
        assert_int_equal(state_file_set(s, "a", NULL, 0), ERR_NONE);
        assert_null(state_file_get(s, "a", &len));
        state_file_free(s);   /* does not write */
        s = open_ok();
        holds(s, "a", "one");
        state_file_free(s);
}

static void test_bytes(void **state)
{
        (void)state;
        static const char value[] = "\0\xff\n\"x";
        struct state_file *s = open_ok();
        assert_int_equal(state_file_set(s, "k", value, sizeof(value)), ERR_NONE);
        assert_int_equal(state_file_set(s, "empty", "", 0), ERR_NONE);
        assert_int_equal(state_file_save(s), ERR_NONE);
        state_file_free(s);
        s = open_ok();
        size_t len;
        const char *got = state_file_get(s, "k", &len);
        assert_int_equal(len, sizeof(value));
        assert_memory_equal(got, value, len);
        assert_int_equal(got[len], '\0');
        holds(s, "empty", "");
        state_file_free(s);
}

static void test_folder_is_made(void **state)
{
        (void)state;
        char keep[sizeof(path)], sub[96];
        struct stat st;
        memcpy(keep, path, sizeof(path));
        snprintf(sub, sizeof(sub), "%s/a", dir);
        snprintf(path, sizeof(path), "%s/a/s", dir);
        struct state_file *s = open_ok();
        set(s, "k", "v");
        assert_int_equal(state_file_save(s), ERR_NONE);
        state_file_free(s);
        assert_int_equal(stat(sub, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        unlink(path);
        assert_int_equal(rmdir(sub), 0);
        memcpy(path, keep, sizeof(path));
}

static void test_empty_is_missing(void **state)
{
        (void)state;
        static const char *const empty[] = {"", "\n", " \t\r\n", "{}", "{}\n"};
        for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
                put(empty[i], strlen(empty[i]));
                state_file_free(open_ok());
        }
}

static void test_unknown_is_kept(void **state)
{
        (void)state;
        size_t len;
        char *text = fixture_read("fixtures/state/taken-over.state", &len);
        put(text, len);
        struct state_file *s = open_ok();
        holds(s, "_current-profile", "profile-8aec");
        assert_int_equal(state_file_save(s), ERR_NONE);   /* nothing changed */
        size_t now_len;
        char *now = slurp(&now_len);
        assert_string_equal(now, text);
        free(now);
        set(s, "_serve/8aec", "{}");
        set(s, "zz", "v");
        assert_int_equal(state_file_save(s), ERR_NONE);
        assert_int_equal(state_file_set(s, "_serve/8aec", NULL, 0), ERR_NONE);
        assert_int_equal(state_file_set(s, "zz", NULL, 0), ERR_NONE);
        assert_int_equal(state_file_save(s), ERR_NONE);
        state_file_free(s);
        /* All of it as the reference wrote it, to the byte. */
        now = slurp(&now_len);
        assert_string_equal(now, text);
        free(now);
        free(text);
}

static void test_every_truncation(void **state)
{
        (void)state;
        size_t len;
        char *text = fixture_read("fixtures/state/taken-over.state", &len);
        while (len > 0 && text[len - 1] != '}')
                len--;
        for (size_t n = 1; n < len; n++)
                refused(text, n);
        free(text);
}

static void test_refused(void **state)
{
        (void)state;
        static const char *const bad[] = {"[]", "null", "7", "{\"a\":1}", "{\"a\":null}", "{\"a\":{}}", "{\"a\":\"b25l\"} x",
                "{\"a\":\"not base64!\"}", "{\"a\":\"b25\"}", "{\"a\":\"b25l=\"}", "privkey:00",
                "{\"_machinekey\":\"cHJpdm\\u0000\"}",
                /* sealed by a TPM: not ours to read, and never to overwrite */
                "{\"key\":\"b25l\",\"nonce\":\"b25l\",\"data\":\"b25l\"}"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                refused(bad[i], strlen(bad[i]));
        /* One more key, and it is an ordinary file that happens to have these names. */
        static const char four[] = "{\"key\":\"b25l\",\"nonce\":\"b25l\",\"data\":\"b25l\",\"x\":\"\"}";
        put(four, strlen(four));
        state_file_free(open_ok());
}

/* Refused, with the path and the cause. */
static void unusable(const char *at, const char *shown, const char *cause)
{
        struct state_file *s = NULL;
        const char *why = NULL;
        assert_int_equal(state_file_open(at, &s, &why), ERR_IO);
        assert_null(s);
        if (strstr(why, shown) == NULL || strstr(why, cause) == NULL)
                fail_msg("\"%s\" does not say \"%s\" and \"%s\"", why, shown, cause);
}

static void test_not_a_plain_file(void **state)
{
        (void)state;
        assert_int_equal(mkdir(path, 0700), 0);
        unusable(path, path, "it is a folder");
        assert_int_equal(rmdir(path), 0);
        /* A pipe nobody writes to must not hold up the start. */
        assert_int_equal(mkfifo(path, 0600), 0);
        unusable(path, path, "it is a pipe");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/dev/null", path), 0);
        unusable(path, "/dev/null", "it is a device");
        unusable("/dev/null/x", "/dev/null/x", "Not a directory: give another path");
        unusable("/proc/none/a/s", "folder /proc/none:", "No such file");
}

static void test_not_allowed(void **state)
{
        (void)state;
        if (geteuid() != 0)
                skip_because("needs root");
        put("{}", 2);
        assert_int_equal(seteuid(65534), 0);
        unusable(path, path, "Permission denied: run as root");
        assert_int_equal(seteuid(0), 0);
}

/* It may lie elsewhere, by one link or two; the links stay when it is replaced. */
static void test_link_is_followed(void **state)
{
        (void)state;
        char target[96], between[96], temp[112];
        struct stat st;
        snprintf(target, sizeof(target), "%s/target", dir);
        snprintf(between, sizeof(between), "%s/between", dir);
        snprintf(temp, sizeof(temp), "%s.tmp", target);
        assert_int_equal(symlink(between, path), 0);
        assert_int_equal(symlink("target", between), 0);   /* from its own folder */
        for (int there = 0; there < 2; there++) {
                struct state_file *s = open_ok();
                if (there)
                        holds(s, "k", "0");
                set(s, "k", there ? "1" : "0");
                assert_int_equal(state_file_save(s), ERR_NONE);
                state_file_free(s);
                assert_int_equal(lstat(path, &st), 0);
                assert_true(S_ISLNK(st.st_mode));
                assert_int_equal(lstat(target, &st), 0);
                assert_int_equal(st.st_mode, S_IFREG | 0600);
                assert_int_equal(lstat(temp, &st), -1);
        }
        /* What was decided at the start stays: a link that takes the target's place is replaced. */
        struct state_file *s = open_ok();
        assert_int_equal(unlink(target), 0);
        assert_int_equal(symlink("/nonexistent/x", target), 0);
        set(s, "k", "2");
        assert_int_equal(state_file_save(s), ERR_NONE);
        state_file_free(s);
        assert_int_equal(lstat(target, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(unlink(target), 0);
        assert_int_equal(unlink(between), 0);
}

static void link_is_refused(const char *to)
{
        struct state_file *s = NULL;
        const char *why = NULL;
        assert_int_equal(symlink(to, path), 0);
        assert_int_equal(state_file_open(path, &s, &why), ERR_IO);
        assert_null(s);
        assert_non_null(why);
}

static void test_links_that_are_not_followed(void **state)
{
        (void)state;
        char other[96];
        struct stat st;
        snprintf(other, sizeof(other), "%s/folder/s", dir);
        link_is_refused(other);   /* its folder is not there, and is not made */
        *strrchr(other, '/') = '\0';
        assert_int_equal(lstat(other, &st), -1);
        unlink(path);
        link_is_refused(path);    /* to itself */
        unlink(path);
        link_is_refused(dir);
        unlink(path);
        if (geteuid() != 0)
                return;
        /* Another user's file, another user's link. */
        snprintf(other, sizeof(other), "%s/other", dir);
        int fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(chown(other, 65534, 65534), 0);
        link_is_refused(other);
        assert_int_equal(chown(other, 0, 0), 0);
        state_file_free(open_ok());
        assert_int_equal(lchown(path, 65534, 65534), 0);
        struct state_file *s = NULL;
        const char *why = NULL;
        assert_int_equal(state_file_open(path, &s, &why), ERR_IO);
        assert_int_equal(unlink(other), 0);
}

static void test_failed_save(void **state)
{
        (void)state;
        struct state_file *s = open_ok();
        set(s, "k", "old");
        assert_int_equal(state_file_save(s), ERR_NONE);
        set(s, "k", "new");
        /* The target becomes a folder, which no file can be renamed over. */
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        errno = 0;
        assert_int_equal(state_file_save(s), ERR_IO);
        assert_int_equal(errno, EISDIR);
        assert_non_null(strstr(state_file_trouble(s), path));
        assert_non_null(strstr(state_file_trouble(s), "Is a directory"));
        holds(s, "k", "new");
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(state_file_save(s), ERR_NONE);   /* still to be written */
        assert_string_equal(state_file_trouble(s), "");
        state_file_free(s);
        s = open_ok();
        holds(s, "k", "new");
        state_file_free(s);
}

/* Of what is saved later the newest is on the disk at the end; what is saved at once is never overwritten by it. */
static void test_saved_later(void **state)
{
        (void)state;
        struct state_file *s = open_ok();
        char text[16];
        for (int i = 0; i < 200; i++) {
                snprintf(text, sizeof(text), "%d", i);
                set(s, "later", text);
                state_file_save_later(s);
                if (i % 50 == 0) {
                        set(s, "at-once", text);
                        assert_int_equal(state_file_save(s), ERR_NONE);
                        struct state_file *other = open_ok();
                        holds(other, "at-once", text);
                        holds(other, "later", text);
                        state_file_free(other);
                }
        }
        state_file_free(s);
        s = open_ok();
        holds(s, "later", "199");
        holds(s, "at-once", "150");
        state_file_free(s);
}

static void test_failed_save_later(void **state)
{
        (void)state;
        struct state_file *s = open_ok();
        assert_int_equal(mkdir(path, 0700), 0);
        set(s, "k", "new");
        state_file_save_later(s);
        while (strstr(state_file_trouble(s), "Is a directory") == NULL)
                ;
        assert_non_null(strstr(state_file_trouble(s), path));   /* it lasts */
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(state_file_save(s), ERR_NONE);
        assert_string_equal(state_file_trouble(s), "");
        state_file_free(s);
        s = open_ok();
        holds(s, "k", "new");
        state_file_free(s);
}

/* What a killed writer left has keys in it: it goes at the next start, or at the next save. */
static void test_leftover_goes(void **state)
{
        (void)state;
        char temp[160];
        struct stat st;
        snprintf(temp, sizeof(temp), "%s.tmp", path);
        for (int at_start = 0; at_start < 2; at_start++) {
                struct state_file *s = at_start ? NULL : open_ok();
                assert_int_equal(symlink("/nonexistent/target", temp), 0);
                if (at_start) {
                        s = open_ok();
                        assert_int_equal(lstat(temp, &st), -1);
                }
                set(s, "k", at_start ? "1" : "0");
                assert_int_equal(state_file_save(s), ERR_NONE);
                assert_int_equal(lstat(temp, &st), -1);
                assert_int_equal(lstat(path, &st), 0);
                assert_int_equal(st.st_mode, S_IFREG | 0600);
                state_file_free(s);
        }
        /* Beside a file that is refused nothing is touched. */
        put("[]", 2);
        assert_int_equal(symlink("x", temp), 0);
        refused("[]", 2);
        assert_int_equal(unlink(temp), 0);
}

static void test_memory_only(void **state)
{
        (void)state;
        struct state_file *s = NULL;
        const char *why = NULL;
        assert_int_equal(state_file_open("mem:", &s, &why), ERR_NONE);
        set(s, "k", "v");
        assert_int_equal(state_file_save(s), ERR_NONE);
        holds(s, "k", "v");
        state_file_free(s);
        assert_int_equal(access("mem:", F_OK), -1);
}

int main(void)
{
        if (crypto_init() != ERR_NONE)
                return 1;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_fresh, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_folder_is_made, setup, teardown),
                cmocka_unit_test_setup_teardown(test_empty_is_missing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unknown_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_every_truncation, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_a_plain_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_allowed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_link_is_followed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_links_that_are_not_followed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_save, setup, teardown),
                cmocka_unit_test_setup_teardown(test_saved_later, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_save_later, setup, teardown),
                cmocka_unit_test_setup_teardown(test_leftover_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memory_only, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
