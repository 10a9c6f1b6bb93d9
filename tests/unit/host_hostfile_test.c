#include "tests/unit/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_one_at_a_time),
                cmocka_unit_test(no_folder_is_an_error_with_its_name),
                cmocka_unit_test(unknown_settings_are_refused),
                cmocka_unit_test(a_damaged_file_is_survived),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
