#include "tests/unit/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/host/hostfile.h"

static int make_folder(void **state)
{
        static char folder[] = "/tmp/hostfile-XXXXXX";
        *state = mkdtemp(folder);
        return *state != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
        return rmdir(*state);   /* nothing may be left in it */
}

static void only_one_at_a_time(void **state)
{
        struct hostfile *a, *b;
        const char *why;
        assert_int_equal(hostfile_open(*state, &a, &why), ERR_NONE);
        assert_int_equal(hostfile_open(*state, &b, &why), ERR_STATE);
        assert_non_null(strstr(why, "another tailscaled"));
        hostfile_free(a);
        assert_int_equal(hostfile_open(*state, &b, &why), ERR_NONE);
        hostfile_free(b);
}

static void no_folder_is_an_error_with_its_name(void **state)
{
        (void)state;
        struct hostfile *h;
        const char *why;
        assert_int_equal(hostfile_open("/proc/no/such", &h, &why), ERR_IO);
        assert_non_null(strstr(why, "/proc/no/such"));
}

static void unknown_settings_are_refused(void **state)
{
        struct hostfile *h;
        const char *why;
        assert_int_equal(hostfile_open(*state, &h, &why), ERR_NONE);
        assert_int_equal(hostfile_set(h, "net/no/such/setting", "1"), ERR_NOT_FOUND);
        assert_int_equal(hostfile_set(h, "net/ipv4/conf/all/src_valid_mark", NULL), ERR_NONE);
        hostfile_free(h);
}

/* What is no line of ours changes nothing and does not stop the start. */
static void a_damaged_file_is_survived(void **state)
{
        static const char *const texts[] = {"x", "\n\n", "net/../../x 1\n", "kernel/hostname me\n", "net/a\n", "net/ipv4/a b c"};
        struct hostfile *h;
        const char *why;
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                assert_int_equal(hostfile_open(*state, &h, &why), ERR_NONE);
                DIR *d = opendir(*state);
                struct dirent *e;
                char path[512] = "";
                while ((e = readdir(d)) != NULL)
                        if (e->d_name[0] != '.')
                                snprintf(path, sizeof(path), "%s/%s", (char *)*state, e->d_name);
                closedir(d);
                hostfile_free(h);
                FILE *f = fopen(path, "w");
                assert_non_null(f);
                fputs(texts[i], f);
                fclose(f);
                assert_int_equal(hostfile_open(*state, &h, &why), ERR_NONE);
                hostfile_free(h);
        }
}

/* It is there for the next process, until somebody takes it back; settings and other notes stay as they are. */
static void a_note_outlives_the_process(void **state)
{
        struct hostfile *h, *other;
        const char *why;
        assert_int_equal(hostfile_open(*state, &h, &why), ERR_NONE);
        assert_null(hostfile_noted(h, "first"));
        assert_int_equal(hostfile_note(h, "first", NULL), ERR_NONE);
        assert_int_equal(hostfile_note(h, "first", "one two 3"), ERR_NONE);
        assert_int_equal(hostfile_note(h, "second", "2"), ERR_NONE);
        assert_int_equal(hostfile_note(h, "first", "other words"), ERR_NONE);
        assert_int_equal(hostfile_open(*state, &other, &why), ERR_STATE);   /* the new file is locked, too */
        hostfile_free(h);
        assert_int_equal(hostfile_open(*state, &h, &why), ERR_NONE);
        assert_string_equal(hostfile_noted(h, "first"), "other words");
        assert_int_equal(hostfile_note(h, "first", NULL), ERR_NONE);
        assert_null(hostfile_noted(h, "first"));
        assert_string_equal(hostfile_noted(h, "second"), "2");
        hostfile_free(h);
        assert_int_equal(hostfile_open(*state, &h, &why), ERR_NONE);
        assert_null(hostfile_noted(h, "first"));
        assert_int_equal(hostfile_note(h, "second", NULL), ERR_NONE);
        hostfile_free(h);
}

/* What cannot be written is not believed to be noted, and what was there still is. */
static void a_note_that_cannot_be_written(void **state)
{
        struct hostfile *h;
        const char *why;
        char temp[512] = "", long_text[HOSTFILE_NOTE_MAX + 1];
        assert_int_equal(hostfile_open(*state, &h, &why), ERR_NONE);
        assert_int_equal(hostfile_note(h, "first", "1"), ERR_NONE);
        memset(long_text, 'x', sizeof(long_text) - 1);
        long_text[sizeof(long_text) - 1] = '\0';
        assert_int_equal(hostfile_note(h, "first", long_text), ERR_FULL);
        DIR *d = opendir(*state);
        for (struct dirent *e; (e = readdir(d)) != NULL;)
                if (e->d_name[0] != '.')
                        snprintf(temp, sizeof(temp), "%s/%s.new", (char *)*state, e->d_name);
        closedir(d);
        assert_int_equal(mkdir(temp, 0700), 0);
        assert_int_equal(hostfile_note(h, "first", "2"), ERR_IO);
        assert_int_equal(hostfile_note(h, "second", "2"), ERR_IO);
        assert_int_equal(hostfile_note(h, "first", NULL), ERR_IO);
        assert_string_equal(hostfile_noted(h, "first"), "1");
        assert_null(hostfile_noted(h, "second"));
        assert_int_equal(rmdir(temp), 0);
        assert_int_equal(hostfile_note(h, "first", NULL), ERR_NONE);
        hostfile_free(h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_one_at_a_time),
                cmocka_unit_test(no_folder_is_an_error_with_its_name),
                cmocka_unit_test(unknown_settings_are_refused),
                cmocka_unit_test(a_damaged_file_is_survived),
                cmocka_unit_test(a_note_outlives_the_process),
                cmocka_unit_test(a_note_that_cannot_be_written),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
