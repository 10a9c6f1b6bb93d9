/* Threads beside the main one: they run, and no signal is theirs. */
#include "base/thread.h"

#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(joined),
                cmocka_unit_test(detached),
        };
        sigset_t mine;
        sigemptyset(&mine);
        sigaddset(&mine, SIGUSR2);
        pthread_sigmask(SIG_SETMASK, &mine, NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
