/* cli/client.h - talks to the daemon over its unix socket.
 *
 * One request at a time with libcurl; a refused or missing socket is tried again for a moment, because the
 * daemon may just be starting.  Single thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct client;

enum { CLIENT_SOCKET_MAX = 107 };   /* characters of its path, as the kernel takes it */
/* NULL: out of memory, or the path is longer. */
struct client *client_new(const char *socket_path);
void client_free(struct client *c);
const char *client_socket(const struct client *c);
/* Complaints about a missing daemon name the endpoint that was asked, as those of some commands do elsewhere:
 * scripts look for that text. */
void client_name_endpoints(struct client *c);
/* Complaints are the daemon's sentence alone, without the number and name of the HTTP status. */
void client_plain_errors(struct client *c);

struct answer {
        long status;          /* HTTP */
        struct buf body;
        enum err err;         /* ERR_NONE: an answer came; ERR_NOT_FOUND: no daemon; ERR_PERMISSION: may not
                               * connect; ERR_FORMAT: the path is no socket's; ERR_TIMEOUT; ERR_IO */
};
/* body NULL: none.  timeout_ns 0: wait for ever.  answer_done() in any case. */
void client_call(struct client *c, const char *method, const char *path, const char *body, int64_t timeout_ns,
        struct answer *ret);
void answer_done(struct answer *a);
json_t *answer_json(const struct answer *a);   /* new reference; NULL: no JSON */

/* The usual case: expects `want`, and JSON with 200; else prints why on stderr and returns false. */
bool client_json(struct client *c, const char *method, const char *path, const char *body, long want,
        json_t **ret);
/* Says on stderr what went wrong with an answer that is not what was wanted. */
void client_complain(const struct client *c, const char *path, const struct answer *a);

/* Streams lines of JSON from the bus.  fn returns false to stop.  poll_fn is called at least every 100 ms and
 * once as soon as the headers are there; false stops.  ERR_NONE: stopped by fn or poll_fn. */
struct bus_watch {
        const char *path;
        bool (*on_event)(void *arg, const json_t *event);
        bool (*on_tick)(void *arg, bool connected);
        void *arg;
};
ERR_CHECK enum err client_watch(struct client *c, const struct bus_watch *w);
