/* daemon/localapi/source.h - text that is made while it is sent, so that it may be of any size.
 *
 * A source is asked for its next piece when the one before has left, which may be much later: between two pieces
 * everything may change that it tells of.  Control thread.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "daemon/localapi/server.h"

/* How much there may be of one piece. */
enum { LAPI_PIECE_MAX = 256 << 20 };

struct lapi_source {
        /* Appends the next piece, mostly some KiB, to out.  False: that was the last. */
        bool (*next)(void *arg, struct buf *out);
        void (*done)(void *arg);   /* once, whether all was asked for or not */
        void *arg;                 /* NULL: there is no source, memory was short; nothing else counts then */
};

/* Consumes text (free()). */
struct lapi_source lapi_source_text(char *text);
/* One after the other; consumes all n, and is none if one of them is none. */
struct lapi_source lapi_source_join(const struct lapi_source *parts, size_t n);
void lapi_source_done(struct lapi_source *s);

/* Answers with all of it; consumes s.  A client who leaves, and a source whose piece is too large, end it early. */
void lapi_reply_source(struct lapi_req *r, int status, const char *type, struct lapi_source s);

/* lapi_stream_send() of a line that is made when its turn comes; consumes source.  While it waits it holds `weight`
 * bytes, and tells of what will be then, so that another of its kind would say the same: see lapi_stream_waits(). */
bool lapi_stream_send_source(struct lapi_stream *s, struct lapi_source source, size_t weight, const char *kind);
/* Is there one of this kind of which nothing has been asked for yet? */
bool lapi_stream_waits(const struct lapi_stream *s, const char *kind);
