#include "base/thread.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A new thread has the mask of the one that makes it. */
static int start(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
        sigset_t all, old;
        sigfillset(&all);
        int rc = pthread_sigmask(SIG_SETMASK, &all, &old);
        if (rc != 0)
                return rc;
        rc = pthread_create(ret, attr, fn, arg);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        return rc;
}

int thread_start(pthread_t *ret, void *(*fn)(void *), void *arg)
{
        return start(ret, NULL, fn, arg);
}

int thread_start_detached(void *(*fn)(void *), void *arg)
{
        pthread_attr_t attr;
        pthread_t t;
        int rc = pthread_attr_init(&attr);
        if (rc != 0)
                return rc;
        rc = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        if (rc == 0)
                rc = start(&t, &attr, fn, arg);
        pthread_attr_destroy(&attr);
        return rc;
}

/* sched_setattr(2), which the C library has no name for. */
struct attributes {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;   /* runtime: of an ordinary thread, the length of its turns in ns */
};

bool thread_short_turns(unsigned us)
{
        struct attributes a = {.size = sizeof(a)};
        if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) != 0 || a.policy != SCHED_OTHER)
                return false;
        a.runtime = us * UINT64_C(1000);
        return syscall(SYS_sched_setattr, 0, &a, 0) == 0;
}
