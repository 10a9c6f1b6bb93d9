#include "tests/unit/check.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mono.h"
#include "daemon/host/patience.h"
#include "daemon/host/runprog.h"

static enum err run(const char *const argv[], const char *input, int timeout_ms, struct buf *out, int *status)
{
        struct runprog r = {.argv = argv,
                            .input = input,
                            .input_len = input != NULL ? strlen(input) : 0,
                            .timeout_ms = timeout_ms};
        return runprog(&r, out, status);
}

static void output_and_status(void **state)
{
        (void)state;
        static const char *const cat[] = {"/bin/cat", NULL};
        static const char *const fails[] = {"/bin/sh", "-c", "echo out; echo err >&2; exit 99", NULL};
        static const char *const env[] = {"/usr/bin/env", NULL};
        struct buf out;
        int status = -1;
        buf_init(&out, 4096);
        assert_int_equal(run(cat, "over\n", 10000, &out, &status), ERR_NONE);
        assert_int_equal(status, 0);
        assert_string_equal(out.data, "over\n");
        buf_clear(&out);
        assert_int_equal(run(cat, NULL, 10000, &out, &status), ERR_NONE);
        assert_int_equal(out.len, 0);
        assert_int_equal(run(fails, NULL, 10000, &out, &status), ERR_NONE);
        assert_int_equal(status, 99);
        assert_string_equal(out.data, "out\nerr\n");
        buf_clear(&out);
        assert_int_equal(run(env, NULL, 10000, &out, &status), ERR_NONE);
        assert_string_equal(out.data, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n");
        buf_done(&out);
}

static void output_has_a_bound(void **state)
{
        (void)state;
        static const char *const much[] = {"/bin/sh", "-c",
                                           "i=0; while [ $i -lt 999 ]; do echo $i; i=$((i+1)); done", NULL};
        struct buf out;
        int status;
        buf_init(&out, 1500);
        assert_int_equal(run(much, NULL, 10000, &out, &status), ERR_NONE);
        assert_int_equal(out.len, 1500);
        assert_true(buf_ok(&out));
        buf_done(&out);
}

/* Together with what it started; and we do not wait for longer than was said. */
static void time_runs_out(void **state)
{
        (void)state;
        static const char *const sleeps[] = {"/bin/sh", "-c", "sleep 600 & echo $!; wait", NULL};
        struct buf out;
        int status, child = 0;
        buf_init(&out, 100);
        mono_t start = mono_now();
        assert_int_equal(run(sleeps, NULL, 300, &out, &status), ERR_TIMEOUT);
        assert_true(mono_diff_ms(mono_now(), start) < 60000);
        assert_int_equal(sscanf(out.data, "%d", &child), 1);
        for (int i = 0; i < 1000 && kill(child, 0) == 0; i++) /* until somebody has reaped it */
                usleep(10000);
        char path[64], what[64] = "gone";
        snprintf(path, sizeof(path), "/proc/%d/stat", child);
        FILE *f = fopen(path, "r");
        if (f != NULL) {
                assert_int_equal(fscanf(f, "%*d %*s %63s", what), 1);
                fclose(f);
        }
        assert_true(f == NULL || what[0] == 'Z');
        buf_done(&out);
}

/* A daemon that a service script leaves behind keeps its output open. */
static void leftover_does_not_hold_us(void **state)
{
        (void)state;
        static const char *const leaves[] = {"/bin/sh", "-c", "sleep 5 & echo started", NULL};
        struct buf out;
        int status = -1;
        buf_init(&out, 100);
        mono_t start = mono_now();
        assert_int_equal(run(leaves, NULL, 60000, &out, &status), ERR_NONE);
        assert_true(mono_diff_ms(mono_now(), start) < 4000);
        assert_string_equal(out.data, "started\n");
        buf_done(&out);
}

static void missing_program(void **state)
{
        (void)state;
        static const char *const none[] = {"/nonexistent/program", NULL};
        char path[RUNPROG_PATH_MAX];
        struct buf out;
        int status = 0;
        buf_init(&out, 100);
        /* posix_spawn() may also leave it to the child to say so, as it does under valgrind. */
        enum err e = run(none, NULL, 1000, &out, &status);
        assert_true(e == ERR_IO || (e == ERR_NONE && status == 127));
        assert_int_equal(runprog_find("no-such-program", path), ERR_NOT_FOUND);
        assert_int_equal(runprog_find("sh", path), ERR_NONE);
        assert_int_equal(path[0], '/');
        buf_done(&out);
}

/* A stop does not wait for what is under way; what takes something back comes to its end without us. */
static void patience_runs_out(void **state)
{
        (void)state;
        char done[] = "/tmp/runprog-XXXXXX", line[100];
        struct buf out;
        int status;
        close(mkstemp(done));
        unlink(done);
        snprintf(line, sizeof(line), "sleep 1; echo >%s", done);
        const char *const slow[] = {"/bin/sh", "-c", line, NULL};
        struct runprog r = {.argv = slow, .timeout_ms = 60000};
        buf_init(&out, 100);
        for (int may_finish = 0; may_finish < 2; may_finish++) {
                r.may_finish = may_finish == 1;
                patience_ends(mono_add_ms(mono_now(), 300));
                assert_int_equal(runprog(&r, &out, &status), ERR_TIMEOUT);
                patience_ends(MONO_NEVER);
                assert_int_equal(access(done, F_OK), -1);
                if (!r.may_finish)
                        usleep(1500000);
                for (int i = 0; r.may_finish && i < 1000 && access(done, F_OK) != 0; i++)
                        usleep(10000);
                assert_int_equal(access(done, F_OK), r.may_finish ? 0 : -1);
        }
        unlink(done);
        buf_done(&out);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(output_and_status), cmocka_unit_test(output_has_a_bound),
                cmocka_unit_test(time_runs_out),
                cmocka_unit_test(patience_runs_out),     cmocka_unit_test(leftover_does_not_hold_us),
                cmocka_unit_test(missing_program),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
