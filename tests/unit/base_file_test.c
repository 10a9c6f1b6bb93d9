/* Whole files, on a real file system: each way in which reading and writing can fail. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/check.h"

static char dir[64];

static int set_up(void **state)
{
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/base-file-XXXXXX");
        return mkdtemp(dir) == NULL || chmod(dir, 0755) != 0;
}

static const char *in_dir(const char *name)
{
        static char paths[4][128];
        static unsigned next;
        char *p = paths[next++ % 4];
        snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
        return p;
}

static int tear_down(void **state)
{
        (void)state;
        static const char *const names[] = {"a", "t", "empty", "fifo", "link", "large"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                (void)unlink(in_dir(names[i]));
        (void)rmdir(in_dir("d"));
        return rmdir(dir);   /* nothing else was left behind */
}

static void put(const char *name, const char *text)
{
        FILE *f = fopen(in_dir(name), "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

/* The file holds exactly text. */
static void holds(const char *name, const char *text)
{
        struct buf b;
        buf_init(&b, 1 << 20);
        assert_int_equal(file_read(in_dir(name), &b), ERR_NONE);
        assert_int_equal(b.len, strlen(text));
        assert_memory_equal(b.data != NULL ? b.data : "", text, b.len);
        buf_done(&b);
}

static void read_whole(void **state)
{
        (void)state;
        enum { LARGE = 100 * 1000 };   /* of several reads */
        char *text = malloc(LARGE + 1);
        assert_non_null(text);
        for (size_t i = 0; i < LARGE; i++)
                text[i] = (char)('a' + i % 23);
        text[LARGE] = '\0';
        put("large", text);
        holds("large", text);
        free(text);
        put("empty", "");
        holds("empty", "");
        assert_int_equal(symlink(in_dir("empty"), in_dir("link")), 0);
        holds("link", "");

        /* What the kernel writes down has no size beforehand. */
        struct buf b;
        buf_init(&b, 1 << 16);
        assert_int_equal(file_read("/proc/self/stat", &b), ERR_NONE);
        assert_true(b.len > 20);
        /* It is added to what is there. */
        put("a", "tail");
        size_t had = b.len;
        assert_int_equal(file_read(in_dir("a"), &b), ERR_NONE);
        assert_string_equal(b.data + had, "tail");
        buf_done(&b);
}

static void read_bound(void **state)
{
        (void)state;
        struct buf b;
        put("a", "12345678");
        for (size_t max = 0; max < 12; max++) {
                buf_init(&b, max);
                errno = 0;
                assert_int_equal(file_read(in_dir("a"), &b), max < 8 ? ERR_FULL : ERR_NONE);
                assert_true(max >= 8 || errno == EFBIG);
                assert_true(b.len <= max);
                buf_done(&b);
        }
        int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        buf_init(&b, 1 << 20);
        assert_int_equal(file_read_fd(fd, &b), ERR_FULL);   /* without end */
        buf_done(&b);
        close(fd);
}

static void no_file_to_read(void **state)
{
        (void)state;
        assert_int_equal(mkdir(in_dir("d"), 0700), 0);
        assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
        assert_int_equal(symlink(in_dir("nowhere"), in_dir("link")), 0);
        put("a", "x");
        static const struct {
                const char *name;
                enum err err;
                int error;
        } rows[] = {
                {"none", ERR_NOT_FOUND, ENOENT}, {"link", ERR_NOT_FOUND, ENOENT}, {"a/b", ERR_IO, ENOTDIR},
                {"d", ERR_FORMAT, EISDIR}, {"fifo", ERR_FORMAT, EINVAL},
        };
        alarm(20);   /* a FIFO waits for its writer, if one lets it */
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct buf b;
                char head[8] = "before";
                buf_init(&b, 100);
                errno = 0;
                assert_int_equal(file_read(in_dir(rows[i].name), &b), rows[i].err);
                assert_int_equal(errno, rows[i].error);
                assert_int_equal(b.len, 0);
                buf_done(&b);
                assert_int_equal(file_head(in_dir(rows[i].name), head, sizeof(head)), 0);
                assert_string_equal(head, "");
        }
        alarm(0);

        struct buf b;
        buf_init(&b, 100);
        assert_int_equal(file_read("/dev/null", &b), ERR_FORMAT);
        assert_int_equal(file_read_fd(-1, &b), ERR_IO);
        assert_int_equal(errno, EBADF);
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(file_read_fd(fd, &b), ERR_IO);
        assert_int_equal(errno, EISDIR);
        close(fd);
        buf_done(&b);
}

/* Root may read everything, so this part is done as somebody else. */
static void unreadable(void **state)
{
        (void)state;
        struct buf b;
        bool root = geteuid() == 0;
        put("a", "secret");
        assert_int_equal(chmod(in_dir("a"), 0), 0);
        if (root)
                assert_int_equal(seteuid(65534), 0);
        buf_init(&b, 100);
        enum err e = file_read(in_dir("a"), &b), w = ERR_NONE;
        int error = errno, write_error = 0;
        if (root) {
                w = file_replace(in_dir("a"), in_dir("t"), "new", 3, 0600);
                write_error = errno;
                assert_int_equal(seteuid(0), 0);
        }
        assert_int_equal(e, ERR_IO);
        assert_int_equal(error, EACCES);
        assert_int_equal(b.len, 0);
        buf_done(&b);
        if (root) {
                assert_int_equal(w, ERR_IO);
                assert_int_equal(write_error, EACCES);
                holds("a", "secret");
        }
}

static void head(void **state)
{
        (void)state;
        char out[8];
        put("a", "12345678");
        assert_int_equal(file_head(in_dir("a"), out, sizeof(out)), 7);
        assert_string_equal(out, "1234567");
        assert_int_equal(file_head(in_dir("a"), out, 1), 0);
        assert_string_equal(out, "");
        put("a", "1\n");
        assert_int_equal(file_head(in_dir("a"), out, sizeof(out)), 2);
        assert_string_equal(out, "1\n");
        assert_int_equal(file_head("/dev/zero", out, sizeof(out)), 7);
}

static mode_t mode_of(const char *name)
{
        struct stat st;
        assert_int_equal(lstat(in_dir(name), &st), 0);
        return st.st_mode;
}

static void replaced(void **state)
{
        (void)state;
        mode_t before = umask(077);
        put("t", "left over");
        assert_int_equal(file_replace(in_dir("a"), in_dir("t"), "first", 5, 0644), ERR_NONE);
        holds("a", "first");
        assert_int_equal(mode_of("a"), S_IFREG | 0644);   /* whatever the umask says */
        assert_int_equal(access(in_dir("t"), F_OK), -1);
        assert_int_equal(file_replace(in_dir("a"), in_dir("t"), "", 0, 0600), ERR_NONE);
        holds("a", "");
        assert_int_equal(mode_of("a"), S_IFREG | 0600);
        umask(before);

        /* A link is replaced, not followed: neither the one at path nor one that waits at temp. */
        put("large", "theirs");
        assert_int_equal(symlink(in_dir("large"), in_dir("link")), 0);
        assert_int_equal(symlink(in_dir("large"), in_dir("t")), 0);
        assert_int_equal(file_replace(in_dir("link"), in_dir("t"), "ours", 4, 0600), ERR_NONE);
        holds("large", "theirs");
        holds("link", "ours");
        assert_true(S_ISREG(mode_of("link")));

        /* A path without a folder is one in the current folder. */
        char cwd[4096];
        assert_non_null(getcwd(cwd, sizeof(cwd)));
        assert_int_equal(chdir(dir), 0);
        assert_int_equal(file_replace("a", "t", "here", 4, 0600), ERR_NONE);
        assert_int_equal(chdir(cwd), 0);
        holds("a", "here");
}

static void not_replaced(void **state)
{
        (void)state;
        put("a", "old");
        put("empty", "");
        assert_int_equal(mkdir(in_dir("d"), 0700), 0);
        assert_int_equal(file_write_new(in_dir("a"), "new", 3, 0600), ERR_IO);   /* it is there already */
        assert_int_equal(errno, EEXIST);
        holds("a", "old");
        /* The folder of temp is missing; temp is a folder; path is a folder. */
        assert_int_equal(file_replace(in_dir("a"), in_dir("none/t"), "new", 3, 0600), ERR_IO);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(file_replace(in_dir("a"), in_dir("d"), "new", 3, 0600), ERR_IO);
        assert_int_equal(errno, EEXIST);
        holds("a", "old");
        assert_int_equal(file_replace(in_dir("d"), in_dir("t"), "new", 3, 0600), ERR_IO);
        assert_int_equal(errno, EISDIR);
        assert_int_equal(access(in_dir("t"), F_OK), -1);
}

/* The disk is full after a few bytes, and then after a few thousand. */
static void no_room(void **state)
{
        (void)state;
        static char text[64 * 1024];
        memset(text, 'n', sizeof(text));
        put("a", "old");
        struct rlimit was, now;
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
        void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
        for (rlim_t room = 0; room <= 8192; room += 4096) {
                now = was;
                now.rlim_cur = room;
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
                enum err e = file_replace(in_dir("a"), in_dir("t"), text, sizeof(text), 0600);
                int error = errno;
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
                assert_int_equal(e, ERR_IO);
                assert_int_equal(error, EFBIG);
                holds("a", "old");
                assert_int_equal(access(in_dir("t"), F_OK), -1);
        }
        signal(SIGXFSZ, handler);
        assert_int_equal(file_replace(in_dir("a"), in_dir("t"), text, sizeof(text), 0600), ERR_NONE);
}

/* In a child, whose descriptors are its own. */
static int without(int first, int last)
{
        struct stat null, st;
        for (int fd = 3; fd < 100; fd++)
                close(fd);
        for (int fd = first; fd <= last; fd++)
                close(fd);
        file_keep_standard();
        if (stat("/dev/null", &null) != 0)
                return 1;
        for (int fd = first; fd <= last; fd++)
                if (fstat(fd, &st) != 0 || st.st_rdev != null.st_rdev)
                        return 2;
        return fstat(3, &st) == 0 ? 3 : 0;   /* none is left over */
}

static void standard_descriptors(void **state)
{
        (void)state;
        static const int closed[][2] = {{0, 2}, {0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, -1}};
        for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++) {
                int status = -1;
                pid_t pid = fork();
                if (pid == 0)
                        _exit(without(closed[i][0], closed[i][1]));
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(standard_descriptors),
                cmocka_unit_test_setup_teardown(read_whole, set_up, tear_down),
                cmocka_unit_test_setup_teardown(read_bound, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_file_to_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(unreadable, set_up, tear_down),
                cmocka_unit_test_setup_teardown(head, set_up, tear_down),
                cmocka_unit_test_setup_teardown(replaced, set_up, tear_down),
                cmocka_unit_test_setup_teardown(not_replaced, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_room, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
