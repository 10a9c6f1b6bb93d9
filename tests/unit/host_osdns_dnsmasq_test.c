#include "tests/unit/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/host/osdns_dnsmasq.h"

static char top[40];

static int make_folder(void **state)
{
        (void)state;
        snprintf(top, sizeof(top), "/tmp/dnsmasq-XXXXXX");
        return mkdtemp(top) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
        (void)state;
        return rmdir(top);   /* nothing may be left in it */
}

static const char *in_top(const char *name)
{
        static char path[2][128];
        static unsigned turn;
        char *p = path[turn++ % 2];
        snprintf(p, sizeof(path[0]), "%s/%s", top, name);
        return p;
}

/* The test hangs where it is read to the end. */
static void a_file_without_end_is_left_alone(void **state)
{
        (void)state;
        struct osdns_config c = {0};
        assert_int_equal(symlink("/dev/zero", in_top(DNSMASQ_FILE)), 0);
        alarm(20);
        assert_false(dnsmasq_is_set(top, &c));
        alarm(0);
        assert_int_equal(unlink(in_top(DNSMASQ_FILE)), 0);
}

static bool is_safe(const char *path)
{
        char real[DNSMASQ_PATH_MAX];
        return dnsmasq_safe_folder(path, real);
}

static void only_folders_that_nobody_else_can_change(void **state)
{
        (void)state;
        assert_true(is_safe(top));
        assert_false(is_safe("/etc"));   /* other programs read what is there */
        assert_false(is_safe(in_top("none")));
        assert_false(is_safe("/etc/passwd"));
        assert_false(is_safe("/tmp"));   /* anybody may put a file there */

        /* In a folder that others can write to, what is below may be something else the next moment. */
        assert_int_equal(mkdir(in_top("open"), 0755), 0);
        assert_int_equal(chmod(in_top("open"), 0777), 0);
        assert_int_equal(mkdir(in_top("open/dnsmasq.d"), 0755), 0);
        assert_false(is_safe(in_top("open")));
        assert_false(is_safe(in_top("open/dnsmasq.d")));
        assert_int_equal(chmod(in_top("open"), 01777), 0);
        assert_true(is_safe(in_top("open/dnsmasq.d")));

        /* What a link leads to counts, and the link is out of the game from then on. */
        char real[DNSMASQ_PATH_MAX];
        assert_int_equal(symlink(in_top("open"), in_top("link")), 0);
        assert_false(is_safe(in_top("link")));
        assert_true(dnsmasq_safe_folder(in_top("link/dnsmasq.d"), real));
        assert_string_equal(real, in_top("open/dnsmasq.d"));
        assert_int_equal(unlink(in_top("link")), 0);
        assert_int_equal(symlink("/etc", in_top("dnsmasq.d")), 0);
        assert_false(is_safe(in_top("dnsmasq.d")));
        assert_int_equal(unlink(in_top("dnsmasq.d")), 0);

        if (geteuid() == 0) {
                assert_int_equal(chown(in_top("open/dnsmasq.d"), 65534, 65534), 0);
                assert_false(is_safe(in_top("open/dnsmasq.d")));
        }
        assert_int_equal(rmdir(in_top("open/dnsmasq.d")), 0);
        assert_int_equal(rmdir(in_top("open")), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_file_without_end_is_left_alone),
                cmocka_unit_test(only_folders_that_nobody_else_can_change),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
