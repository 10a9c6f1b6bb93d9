/* base/thread.h - threads beside the main one.  Every signal is blocked in them: signals are the main thread's. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* 0, else an error number: there is no thread. */
int thread_start(pthread_t *ret, void *(*fn)(void *arg), void *arg);   /* to be joined */
int thread_start_detached(void *(*fn)(void *arg), void *arg);          /* on its own; nobody can wait for it */

/* The turns that the calling thread gets on a processor become short, in exchange for which they come soon after it has
 * work (Linux 6.12; its share stays the same, and older kernels take no notice).  False: not with its scheduling policy. */
bool thread_short_turns(unsigned us);
