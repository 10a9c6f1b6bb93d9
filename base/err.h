/* base/err.h - why a function could not do what it was asked.
 *
 * A failure only: good outcomes with news have result enums of their own.  A parser says ERR_SHORT or
 * ERR_FORMAT and crypto says ERR_AUTH, never more, because the peer must not learn more.
 */
#pragma once

#define ERR_CHECK __attribute__((warn_unused_result))

enum err {
        ERR_NONE = 0,
        ERR_SHORT,       /* input ended early */
        ERR_FORMAT,      /* input is not what it must be */
        ERR_AUTH,        /* a signature, tag or certificate did not verify */
        ERR_REPLAY,      /* authentic, but seen before or too old */
        ERR_STATE,       /* not now: the object is in another state */
        ERR_FULL,        /* a bound was reached */
        ERR_NOT_FOUND,
        ERR_AGAIN,       /* would block: wait for the descriptor */
        ERR_CLOSED,      /* the other side hung up */
        ERR_TIMEOUT,
        ERR_PERMISSION,
        ERR_UNSUPPORTED,
        ERR_IO,          /* a system call failed: errno has the reason */
};

/* One word or two, for a log line.  Never NULL. */
const char *err_str(enum err e);
