/* Everything in a folder of its own; the mounts that refuse a rename are in tests/lab. */
#include "tests/unit/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/host/osdns_direct.h"

static char folder[64], file[96], backup[96], temp[96], other[96];
static struct direct_paths paths = {.file = file, .backup = backup, .temp = temp};
static char why[DIRECT_WHY_MAX];

static const char original[] =
        "# by hand\nnameserver 192.0.2.1\nsearch home.example\noptions ndots:2 trust-ad\n";

static int setup(void **state)
{
        (void)state;
        snprintf(folder, sizeof(folder), "/tmp/direct-test-XXXXXX");
        if (mkdtemp(folder) == NULL)
                return -1;
        snprintf(file, sizeof(file), "%s/resolv.conf", folder);
        snprintf(backup, sizeof(backup), "%s/backup", folder);
        snprintf(temp, sizeof(temp), "%s/.new", folder);
        snprintf(other, sizeof(other), "%s/other", folder);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        unlink(file);
        unlink(backup);
        unlink(temp);
        unlink(other);
        return rmdir(folder);
}

static void write_to(const char *path, const char *text, size_t len)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, len), len);
        close(fd);
}

static void put(const char *path, const char *text)
{
        write_to(path, text, strlen(text));
}

static size_t get(const char *path, char *out, size_t cap)
{
        int fd = open(path, O_RDONLY);
        assert_true(fd >= 0);
        ssize_t n = read(fd, out, cap - 1);
        assert_true(n >= 0);
        out[n] = '\0';
        close(fd);
        return (size_t)n;
}

static void assert_text(const char *path, const char *want)
{
        char text[8192];
        assert_int_equal(get(path, text, sizeof(text)), strlen(want));
        assert_string_equal(text, want);
}

static void assert_names_in_folder(size_t want)
{
        size_t n = 0;
        DIR *d = opendir(folder);
        for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
                n += e->d_name[0] != '.' || e->d_name[1] == 'n';
        closedir(d);
        assert_int_equal(n, want);
}

static struct osdns_config quad100(void)
{
        struct osdns_config c = {0};
        assert_int_equal(osdns_add_server(&c, ip_v4(100, 100, 100, 100)), ERR_NONE);
        assert_int_equal(osdns_names_add(&c.search, "mesh.example"), ERR_NONE);
        return c;
}

static void original_comes_back(void **state)
{
        (void)state;
        struct osdns_config c = quad100();
        struct stat before, after;
        struct resolvfile base;
        char text[4096];
        put(file, original);
        assert_int_equal(stat(file, &before), 0);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_true(direct_is_set(&paths, &c));
        get(file, text, sizeof(text));
        assert_non_null(strstr(text, "\nnameserver 100.100.100.100\nsearch mesh.example\noptions ndots:2\n"));
        assert_null(strstr(text, "192.0.2.1"));
        assert_int_equal(stat(file, &after), 0);
        assert_int_equal(after.st_mode & 07777, 0644);
        assert_int_equal(direct_base(&paths, &base), ERR_NONE);
        assert_int_equal(base.config.server_count, 1);
        assert_true(osdns_names_has(&base.config.search, "home.example"));
        /* Again and otherwise: the original stays the original. */
        assert_int_equal(osdns_names_add(&c.search, "corp.example"), ERR_NONE);
        assert_false(direct_is_set(&paths, &c));
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_text(backup, original);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        assert_int_equal(stat(file, &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(before.st_mode, after.st_mode);
        assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
        assert_names_in_folder(1);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE); /* nothing to do */
        assert_text(file, original);
        resolvfile_done(&base);
        osdns_config_clear(&c);
}

static void link_stays_a_link(void **state)
{
        (void)state;
        struct osdns_config c = quad100();
        char target[64] = "";
        put(other, original);
        assert_int_equal(symlink("other", file), 0);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_text(other, original);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_int_equal(readlink(file, target, sizeof(target)), 5);
        assert_string_equal(target, "other");
        assert_names_in_folder(2);
        /* A link to nowhere is an original as well. */
        unlink(other);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_int_equal(readlink(file, target, sizeof(target)), 5);
        assert_names_in_folder(1);
        osdns_config_clear(&c);
}

static void no_file_before_none_after(void **state)
{
        (void)state;
        struct osdns_config c = quad100();
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_true(direct_is_set(&paths, &c));
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_names_in_folder(0);
        osdns_config_clear(&c);
}

static void newer_foreign_file_wins(void **state)
{
        (void)state;
        struct osdns_config c = quad100();
        put(file, original);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        unlink(file);
        put(file, "nameserver 192.0.2.9\n");
        /* Put back over it, it is the new original. */
        assert_false(direct_is_set(&paths, &c));
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, "nameserver 192.0.2.9\n");
        /* Given back while theirs is in place, theirs stays. */
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        unlink(file);
        put(file, "nameserver 192.0.2.10\n");
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, "nameserver 192.0.2.10\n");
        assert_names_in_folder(1);
        osdns_config_clear(&c);
}

static void never_without_a_nameserver(void **state)
{
        (void)state;
        struct osdns_config c = {0};
        char text[4096];
        assert_int_equal(osdns_names_add(&c.search, "mesh.example"), ERR_NONE);
        put(file, original);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        get(file, text, sizeof(text));
        assert_non_null(strstr(text, "\nnameserver 192.0.2.1\nsearch mesh.example\n"));
        assert_true(direct_is_set(&paths, &c));
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        put(file, "# empty\n");
        assert_int_equal(direct_set(&paths, &c, why), ERR_STATE);
        assert_non_null(strstr(why, "nameserver"));
        assert_text(file, "# empty\n");
        assert_names_in_folder(1);
        osdns_config_clear(&c);
}

/* A file that names us, left by a process that was killed before it could keep the original. */
static void own_server_is_no_base(void **state)
{
        (void)state;
        struct osdns_config c = {0};
        assert_int_equal(osdns_names_add(&c.search, "mesh.example"), ERR_NONE);
        put(file, "nameserver 100.100.100.100\n");
        struct resolvfile base;
        assert_int_equal(direct_base(&paths, &base), ERR_NONE);
        assert_int_equal(base.config.server_count, 0);
        assert_true(base.names_us);
        assert_int_equal(direct_set(&paths, &c, why), ERR_STATE);
        resolvfile_done(&base);
        osdns_config_clear(&c);
}

/* The states in which SIGKILL can leave the folder, each cleaned up by a later process. */
static void killed_anywhere(void **state)
{
        (void)state;
        struct osdns_config c = quad100();
        char ours[4096];
        put(file, original);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        size_t n = get(file, ours, sizeof(ours));
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);

        /* the new file is written, not in place */
        put(temp, ours);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        assert_names_in_folder(1);
        /* the original has two names */
        assert_int_equal(link(file, backup), 0);
        put(temp, ours);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        assert_names_in_folder(1);
        /* or goes on from there */
        assert_int_equal(link(file, backup), 0);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_text(backup, original);
        /* ours is in place */
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        /* the file went missing */
        assert_int_equal(rename(file, backup), 0);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        /* in place: ours over a longer original, not cut yet */
        put(backup, original);
        memcpy(ours + n, "\n\n\n\n", 5);
        put(file, ours);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        assert_names_in_folder(1);
        /* in place: the original over ours, not cut yet */
        put(backup, original);
        char half[4096];
        snprintf(half, sizeof(half), "%s\n\n\n\n\n\n\n\n\n", original);
        put(file, half);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        assert_names_in_folder(1);
        /* the same, and the next process sets at once */
        put(backup, original);
        put(file, half);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_text(backup, original);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        osdns_config_clear(&c);
}

static void file_of_the_official_client_is_taken_over(void **state)
{
        (void)state;
        struct osdns_config c = quad100();
        put(backup, original);
        put(file, "# resolv.conf(5) file generated by tailscale\n"
                  "# For more info, see https://tailscale.com/s/resolvconf-overwrite\n"
                  "# DO NOT EDIT THIS FILE BY HAND -- CHANGES WILL BE OVERWRITTEN\n\n"
                  "nameserver 100.100.100.100\nsearch mesh.example\n");
        struct resolvfile base;
        assert_int_equal(direct_base(&paths, &base), ERR_NONE);
        assert_int_equal(base.owner, RESOLV_OWNER_NONE);
        assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
        assert_text(backup, original);
        assert_int_equal(direct_restore(&paths, why), ERR_NONE);
        assert_text(file, original);
        resolvfile_done(&base);
        osdns_config_clear(&c);
}

/* What an original may contain does not matter, to the byte. */
static void any_bytes_come_back(void **state)
{
        (void)state;
        struct osdns_config c = quad100();
        char text[2048], got[4096];
        unsigned seed = 1;
        for (size_t len = 0; len < sizeof(text); len = len * 3 / 2 + 1) {
                for (size_t i = 0; i < len; i++)
                        text[i] = (char)(rand_r(&seed) & 0xff);
                write_to(file, text, len);
                assert_int_equal(direct_set(&paths, &c, why), ERR_NONE);
                assert_int_equal(direct_restore(&paths, why), ERR_NONE);
                assert_int_equal(get(file, got, sizeof(got)), len);
                assert_memory_equal(got, text, len);
        }
        osdns_config_clear(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(original_comes_back, setup, teardown),
                cmocka_unit_test_setup_teardown(link_stays_a_link, setup, teardown),
                cmocka_unit_test_setup_teardown(no_file_before_none_after, setup, teardown),
                cmocka_unit_test_setup_teardown(newer_foreign_file_wins, setup, teardown),
                cmocka_unit_test_setup_teardown(never_without_a_nameserver, setup, teardown),
                cmocka_unit_test_setup_teardown(own_server_is_no_base, setup, teardown),
                cmocka_unit_test_setup_teardown(killed_anywhere, setup, teardown),
                cmocka_unit_test_setup_teardown(file_of_the_official_client_is_taken_over, setup, teardown),
                cmocka_unit_test_setup_teardown(any_bytes_come_back, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
