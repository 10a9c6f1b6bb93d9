#include "base/thread.h"

#include <signal.h>

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
