/* Threads beside the main one: they run, and no signal is theirs. */
#include "base/thread.h"

#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/check.h"

struct seen {
        sem_t ran;
        bool blocked[NSIG];
};

static void *look(void *arg)
{
        struct seen *s = arg;
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        for (int i = 1; i < NSIG; i++)
                s->blocked[i] = sigismember(&mask, i) == 1;
        sem_post(&s->ran);
        return s;
}

static void check(struct seen *s)
{
        static const int all[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGALRM, SIGPIPE, SIGUSR1};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                assert_true(s->blocked[all[i]]);
        /* The maker's own mask is as before. */
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        assert_int_equal(sigismember(&mask, SIGTERM), 0);
        assert_int_equal(sigismember(&mask, SIGUSR2), 1);
}

static void joined(void **state)
{
        (void)state;
        struct seen s = {.blocked = {false}};
        pthread_t t;
        void *ret = NULL;
        sem_init(&s.ran, 0, 0);
        assert_int_equal(thread_start(&t, look, &s), 0);
        assert_int_equal(pthread_join(t, &ret), 0);
        assert_ptr_equal(ret, &s);
        check(&s);
        sem_destroy(&s.ran);
}

static void detached(void **state)
{
        (void)state;
        static struct seen s;   /* the thread may still be in sem_post() when this returns */
        sem_init(&s.ran, 0, 0);
        assert_int_equal(thread_start_detached(look, &s), 0);
        assert_int_equal(sem_wait(&s.ran), 0);
        check(&s);
}

/* What is asked for is what the kernel has noted, if it notes it at all; niceness is nobody's but the administrator's. */
static void *ask(void *arg)
{
        enum { RUNTIME_AT = 24, SIZE = 48 };
        uint8_t a[SIZE] = {0};
        bool *good = arg;
        uint64_t runtime;
        *good = setpriority(PRIO_PROCESS, 0, 7) == 0 && thread_short_turns(300) && getpriority(PRIO_PROCESS, 0) == 7 &&
                syscall(SYS_sched_getattr, 0, a, SIZE, 0) == 0;
        memcpy(&runtime, a + RUNTIME_AT, sizeof(runtime));
        *good = *good && (runtime == 300000 || runtime == 0);
        return NULL;
}

static void *ask_as_batch(void *arg)
{
        bool *good = arg;
        struct sched_param none = {0};
        *good = sched_setscheduler(0, SCHED_BATCH, &none) == 0 && !thread_short_turns(300) &&
                sched_getscheduler(0) == SCHED_BATCH;
        return NULL;
}

static void short_turns(void **state)
{
        (void)state;
        bool good = false, batch = false;
        pthread_t t, u;
        assert_int_equal(thread_start(&t, ask, &good), 0);
        assert_int_equal(pthread_join(t, NULL), 0);
        assert_true(good);
        assert_int_equal(thread_start(&u, ask_as_batch, &batch), 0);
        assert_int_equal(pthread_join(u, NULL), 0);
        assert_true(batch);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(joined),
                cmocka_unit_test(detached),
                cmocka_unit_test(short_turns),
        };
        sigset_t mine;
        sigemptyset(&mine);
        sigaddset(&mine, SIGUSR2);
        pthread_sigmask(SIG_SETMASK, &mine, NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
