/* The socket of the local API as a file: made, found, left behind, and refused. */
#include <fcntl.h>

#include "daemon/localapi/socket.h"
#include "tests/unit/localapi_client.h"

static enum err second(const char *path, const char **ret_why)
{
        struct lapi_server *s = NULL;
        *ret_why = NULL;
        enum err err = lapi_server_new(t.loop, path, &ops, &t, &s, ret_why);
        if (err == ERR_NONE)
                lapi_server_free(s);
        return err;
}

static void test_socket_file(void **state)
{
        (void)state;
        struct stat st;
        const char *why;
        char path[128], folder[108], outer[108];
        assert_int_equal(stat(t.path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0777, 0666);
        assert_int_not_equal(second(t.path, &why), ERR_NONE);
        assert_non_null(strstr(why, "address already in use"));
        still_alive();   /* whose socket is still there */
        /* Left behind by a crash. */
        snprintf(path, sizeof(path), "%s/stale", t.dir);
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        (void)str_copy(sa.sun_path, sizeof(sa.sun_path), path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        close(fd);
        assert_int_equal(second(path, &why), ERR_NONE);
        assert_int_equal(access(path, F_OK), -1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        close(fd);
        lapi_socket_remove_dead(path);
        assert_int_equal(access(path, F_OK), -1);
        lapi_socket_remove_dead(path);   /* or nothing is there */
        lapi_socket_remove_dead(t.path);
        still_alive();
        assert_int_equal(stat(t.path, &st), 0);
        /* Something else is not removed. */
        fd = open(path, O_CREAT | O_WRONLY, 0600);
        close(fd);
        lapi_socket_remove_dead(path);
        assert_int_not_equal(second(path, &why), ERR_NONE);
        assert_non_null(why);
        assert_int_equal(unlink(path), 0);
        /* Folders that are not there, under any umask. */
        mode_t mask = umask(077);
        snprintf(outer, sizeof(outer), "%s/run", t.dir);
        snprintf(folder, sizeof(folder), "%s/run/x", t.dir);
        snprintf(path, sizeof(path), "%s/run/x/s", t.dir);
        assert_int_equal(second(path, &why), ERR_NONE);
        umask(mask);
        const char *const made[] = {folder, outer};
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(stat(made[i], &st), 0);
                assert_int_equal(st.st_mode & 0777, 0755);
                assert_int_equal(rmdir(made[i]), 0);
        }
        /* Where this user may not write: a socket there or not, a folder there or not. */
        if (geteuid() == 0) {
                static const char *const tails[] = {"stale", "new", "run/new"};
                snprintf(path, sizeof(path), "%s/stale", t.dir);
                fd = socket(AF_UNIX, SOCK_STREAM, 0);
                assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
                close(fd);
                assert_int_equal(seteuid(65534), 0);
                for (size_t i = 0; i < 3; i++) {
                        snprintf(path, sizeof(path), "%s/%s", t.dir, tails[i]);
                        assert_int_not_equal(second(path, &why), ERR_NONE);
                        assert_non_null(strstr(why, "Permission denied: run as root (or give --socket and --statedir"));
                }
                assert_int_equal(seteuid(0), 0);
                assert_int_equal(unlink(sa.sun_path), 0);
        }
        memset(path, 'x', 120);
        path[0] = '/';
        path[120] = '\0';
        assert_int_not_equal(second(path, &why), ERR_NONE);
        assert_non_null(why);
}

int main(void)
{
        quiet();
        const struct CMUnitTest tests[] = {
                CASE(test_socket_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
