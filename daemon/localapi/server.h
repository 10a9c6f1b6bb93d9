/* daemon/localapi/server.h - the HTTP API on the unix socket: who may ask what, and how answers look.
 *
 * Knows paths, rights and HTTP; what an endpoint does is a function in the table the daemon gives.
 * libmicrohttpd on the control thread's loop.  Gate before routing: a Host other than none or
 * local-tailscaled.sock, any Origin, any Referer is refused, so that no web page can reach it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

struct lapi_server;
struct lapi_req;

enum lapi_right {
        LAPI_OPEN,    /* anyone who can connect */
        LAPI_READ,
        LAPI_WRITE,
};

enum {   /* bits of lapi_endpoint.methods; 0 = any */
        LAPI_GET = 1,
        LAPI_HEAD = 2,
        LAPI_POST = 4,
        LAPI_PUT = 8,
        LAPI_PATCH = 16,
        LAPI_DELETE = 32,
};

enum {
        LAPI_BODY_MAX = 1 << 20,
        LAPI_CONNECTIONS_MAX = 128,
        LAPI_USERS_MAX = LAPI_CONNECTIONS_MAX * 3 / 4,   /* of all users but root and the daemon's own together */
        LAPI_USER_MAX = LAPI_CONNECTIONS_MAX / 4,        /* of one of them; one more is answered 503 and closed */
};

struct lapi_endpoint {
        const char *name;          /* below /localapi/v0/; one with a final '/' is a prefix */
        unsigned methods;
        int method_error;          /* status for another method: 400 or 405 */
        enum lapi_right right;     /* of GET and HEAD where write_methods is set, of all otherwise */
        unsigned write_methods;    /* these need LAPI_WRITE */
        /* Answers now or later; each request is answered exactly once with lapi_reply_*(). */
        void (*fn)(void *arg, struct lapi_req *r);
};

struct lapi_ops {
        const struct lapi_endpoint *endpoints;   /* ends with name NULL; borrowed for the server's life */
        /* The user whom the preference OperatorUser names; NULL or "" = none. */
        const char *(*operator_user)(void *arg);
        const char *version;       /* Tailscale-Version */
        int cap_version;           /* Tailscale-Cap */
};

/* Detects a live daemon at path, removes a stale socket, makes the folder.  On failure *ret_why is a
 * sentence (static storage). */
ERR_CHECK enum err lapi_server_new(struct loop *l, const char *path, const struct lapi_ops *ops, void *arg,
        struct lapi_server **ret, const char **ret_why);
/* Hangs up on everybody and removes the socket.  Requests still unanswered get their on_gone first. */
void lapi_server_free(struct lapi_server *s);

/* ---- a request; valid until answered ---- */
unsigned lapi_method(const struct lapi_req *r);                          /* one LAPI_* bit */
const char *lapi_path(const struct lapi_req *r);                         /* what follows a prefix endpoint's name */
const char *lapi_param(struct lapi_req *r, const char *key);             /* query, then urlencoded body; NULL */
const char *lapi_query(struct lapi_req *r, const char *key);             /* query only */
const char *lapi_body(const struct lapi_req *r, size_t *ret_len);        /* NUL-terminated */
uid_t lapi_uid(const struct lapi_req *r);
pid_t lapi_pid(const struct lapi_req *r);
bool lapi_may_write(const struct lapi_req *r);
/* fn is called if the client goes away before the answer; r is gone after it and must not be answered. */
void lapi_on_gone(struct lapi_req *r, void (*fn)(void *arg), void *arg);

enum lapi_json { LAPI_COMPACT, LAPI_TABS, LAPI_TABS_NO_NEWLINE };
void lapi_reply_json(struct lapi_req *r, int status, json_t *v /* consumed; NULL = "null" */, enum lapi_json style);
void lapi_reply_body(struct lapi_req *r, int status, const char *content_type, const char *text);
void lapi_reply_text(struct lapi_req *r, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void lapi_reply_empty(struct lapi_req *r, int status);
void lapi_reply_headers(struct lapi_req *r, int status, const char *const headers[][2], size_t n);   /* no body */
/* {"error": text} with 500, as some endpoints have it. */
void lapi_reply_error(struct lapi_req *r, const char *text);

const char *lapi_header(struct lapi_req *r, const char *name);   /* the first of that name; NULL */

/* ---- an answer after which the connection is no HTTP any more (101) ---- */
struct lapi_upgraded;
struct lapi_upgrade_ops {
        /* The connection, to be closed by whoever is called, with what the client has said already.  Once, unless
         * it goes away first: then gone() alone. */
        void (*ready)(void *arg, struct lapi_upgraded *u, int fd, const void *early, size_t len);
        /* The server stops, or the client left before it was ready: u must not be used any more. */
        void (*gone)(void *arg);
};
void lapi_reply_upgrade(struct lapi_req *r, const char *protocol, const struct lapi_upgrade_ops *ops, void *arg);
void lapi_upgraded_done(struct lapi_upgraded *u);   /* it is over; gone() is not called */

/* ---- an endless answer, one line an event (watch-ipn-bus) ---- */
struct lapi_stream;
/* Events, and bytes of them, that wait for one who does not read; the last event may be of any size. */
enum { LAPI_STREAM_QUEUE = 128, LAPI_STREAM_BYTES = 4 << 20 };
/* Answers r with 200 and headers at once; on_gone is called when the client left (then the stream is gone). */
struct lapi_stream *lapi_stream_start(struct lapi_req *r, void (*on_gone)(void *arg), void *arg);
/* The line for an event, for all who are to get it; the caller frees it.  NULL: out of memory. */
char *lapi_stream_line(const json_t *v);
/* Queues the line and its end.  False: the queue was full, a last object with ErrMessage was queued and the client is
 * hung up on; on_gone follows. */
bool lapi_stream_send(struct lapi_stream *s, const char *line);
