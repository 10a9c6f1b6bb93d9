/* What harden() promises, seen in a child, so that this program stays as it is. */
#include "tests/unit/check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/harden.h"

/* What /proc says is locked, in kB. */
static long locked_kb(void)
{
        char line[128];
        long kb = -1;
        FILE *f = fopen("/proc/self/status", "r");
        while (f != NULL && fgets(line, sizeof(line), f) != NULL)
                if (sscanf(line, "VmLck: %ld", &kb) == 1)
                        break;
        if (f != NULL)
                fclose(f);
        return kb;
}

enum { NO_CORE = 1, NOT_DUMPABLE = 2, LOCKED = 4, SAYS_LOCKED = 8 };

static int child(void)
{
        struct rlimit core = {1, 1};
        int seen = harden() == NULL ? SAYS_LOCKED : 0;
        if (getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0)
                seen |= NO_CORE;
        if (prctl(PR_GET_DUMPABLE) == 0)
                seen |= NOT_DUMPABLE;
        /* All that is mapped counts, touched or not; this much is more than one forgotten mlock() of a key. */
        if (locked_kb() > 1000)
                seen |= LOCKED;
        return seen;
}

static int what_child_sees(void)
{
        int status;
        pid_t pid = fork();
        if (pid == 0)
                _exit(child());
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_no_dump(void **state)
{
        (void)state;
        int seen = what_child_sees();
        assert_true(seen & NO_CORE);
        assert_true(seen & NOT_DUMPABLE);
}

#ifndef __SANITIZE_ADDRESS__ /* which turns mlockall() into nothing */
static void test_memory_stays_here(void **state)
{
        (void)state;
        int seen = what_child_sees();
        if (geteuid() != 0 && !(seen & SAYS_LOCKED))
                skip_because("this user may not lock memory");
        assert_true(seen & SAYS_LOCKED);
        assert_true(seen & LOCKED);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_no_dump),
#ifndef __SANITIZE_ADDRESS__
                cmocka_unit_test(test_memory_stays_here),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
