/* daemon/control/h2.h - an HTTP/2 client without a socket: bytes in, bytes out, requests and their answers.
 *
 * A thin wrap of nghttp2's memory interface.  Flow control, SETTINGS and PING are answered inside.  Windows are
 * granted as data is handed on.  Callbacks run inside h2_feed() and may call h2_start() and h2_cancel(), not
 * h2_free().  Source: RFC 9113.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct h2;
struct h2_stream;

struct h2_stream_fns {
        /* The answer's header block.  retry_after: the header's value or "". */
        void (*on_status)(void *arg, int status, const char *retry_after);
        void (*on_data)(void *arg, const uint8_t *data, size_t len);
        /* Last call for this stream.  clean: the answer came to its regular end. */
        void (*on_end)(void *arg, bool clean);
};

struct h2_request {
        const char *method; /* "POST" */
        const char *authority;
        const char *path;
        const char *ts_lb[2]; /* load-balancer hints, NULL = none */
        const void *body;     /* copied; NULL = no body */
        size_t body_len;
};

struct h2 *h2_new(void);    /* NULL: out of memory.  The client preface is pending at once. */
void h2_free(struct h2 *h); /* on_end is not called for what is still open */
/* NULL: no more streams on this connection (GOAWAY, out of memory): dial again. */
struct h2_stream *h2_start(struct h2 *h, const struct h2_request *rq, const struct h2_stream_fns *fns,
                           void *arg);
/* Resets the stream; none of its callbacks is called again.  Not after its on_end. */
void h2_cancel(struct h2_stream *s);
/* No callback of any open stream is called again; to be followed by h2_free() when that is allowed. */
void h2_abandon(struct h2 *h);
/* ERR_FORMAT: the server broke HTTP/2 badly enough to hang up. */
ERR_CHECK enum err h2_feed(struct h2 *h, const void *data, size_t len);
/* Appends what is to be sent to out. */
ERR_CHECK enum err h2_pull(struct h2 *h, struct buf *out);
