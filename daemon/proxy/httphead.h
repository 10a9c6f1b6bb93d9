/* daemon/proxy/httphead.h - the head of a request to an HTTP proxy, and the head that goes to the server.  Pure.
 *
 * One request a connection: the server is told so, and nothing behind the request's body is passed on.  What a head could
 * mean to one reader and not to another (a folded line, a bare CR, two lengths, a length beside chunks) is refused.
 * Sources: RFC 9110, RFC 9112.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { HTTPHEAD_MAX = 16384, HTTPHEAD_HOST_MAX = 256, HTTPHEAD_LINES_MAX = 128 };

enum httphead_parsed { HTTPHEAD_MORE, HTTPHEAD_DONE, HTTPHEAD_BAD };

struct httphead {
        size_t len;               /* of the head, with its empty line */
        bool connect;
        char host[HTTPHEAD_HOST_MAX];
        uint16_t port;
        bool chunked;
        uint64_t body;            /* bytes, unless chunked */
        int status;               /* BAD: what to answer, */
        const char *why;          /* and a sentence */
};

enum httphead_parsed httphead_parse(const char *data, size_t len, struct httphead *ret);
/* The head for the server, of one that was parsed: path instead of URL, and without what is between client and proxy. */
void httphead_rewrite(const char *data, const struct httphead *h, struct buf *out);

/* ---- where a body ends ---- */

struct httpbody {
        enum { BODY_BYTES, BODY_SIZE, BODY_EXTENSION, BODY_DATA, BODY_CRLF, BODY_TRAILER, BODY_END, BODY_BAD } state;
        uint64_t left;
        unsigned digits;
        bool empty;               /* the trailer line so far */
};

void httpbody_init(struct httpbody *b, const struct httphead *h);
/* How many of these bytes belong to the body.  Fewer than len: it is over, or malformed (BODY_BAD). */
size_t httpbody_take(struct httpbody *b, const uint8_t *data, size_t len);
