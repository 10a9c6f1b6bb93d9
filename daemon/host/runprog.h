/* daemon/host/runprog.h - runs a program of the host to its end, within a time limit.  No shell.
 *
 * Blocks the calling thread, so never on the control thread's loop.  The child gets the given input on its
 * standard input, a minimal environment, and a process group of its own, which is killed when time is up, or when
 * patience is (patience.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { RUNPROG_PATH_MAX = 64 };

/* Looks in the system's own folders, whatever PATH says.  ERR_NOT_FOUND. */
ERR_CHECK enum err runprog_find(const char *name, char path[RUNPROG_PATH_MAX]);

struct runprog {
        const char *const *argv; /* argv[0] is the path; NULL at the end */
        const char *dir;         /* to run in; NULL: / */
        const char *input;       /* NULL: none */
        size_t input_len;
        int timeout_ms;
        bool may_finish;         /* when time is up it is left to come to its end by itself */
};

/* What it wrote (both streams) goes to out, cut at out's maximum; ret_status is its exit status, 128 and
 * more after a signal.  ERR_TIMEOUT: killed, or left; ERR_IO: could not be started, errno. */
ERR_CHECK enum err runprog(const struct runprog *r, struct buf *out, int *ret_status);
