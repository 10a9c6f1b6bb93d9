/* base/thread.h - threads beside the main one.  Every signal is blocked in them: signals are the main thread's. */
#pragma once

#include <pthread.h>

/* 0, else an error number: there is no thread. */
int thread_start(pthread_t *ret, void *(*fn)(void *arg), void *arg);   /* to be joined */
int thread_start_detached(void *(*fn)(void *arg), void *arg);          /* on its own; nobody can wait for it */
