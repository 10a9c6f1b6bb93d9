/* daemon/control/conn.h - one connection to the control server: dial, upgrade, Noise handshake, HTTP/2 inside.
 *
 * On the loop's thread.  Never calls back from within a call of ours.  It may be freed from any callback, also
 * from one of its requests.  After on_lost it is dead and only to be freed.
 */
#pragma once

#include <stdbool.h>

#include "base/dial.h"
#include "base/key.h"
#include "base/loop.h"
#include "daemon/control/client.h"
#include "daemon/control/h2.h"
#include "daemon/control/server.h"

struct conn;

struct conn_fns {
        void (*on_open)(void *arg, mono_t now);
        /* detail: one line for a person. */
        void (*on_lost)(void *arg, enum control_error_kind kind, const char *detail, mono_t now);
};

/* NULL: out of memory, or the server's key is no good.  All arguments are copied or, d and l, outlive it. */
struct conn *conn_new(struct loop *l, struct dialer *d, const struct server_url *url,
                      const struct key_private *machine, const struct machine_public *server,
                      const struct conn_fns *fns, void *arg);
void conn_free(struct conn *c); /* NULL is fine */
bool conn_is_open(const struct conn *c);
/* The server opened with the early payload, as Headscale does and the reference test server does not. */
bool conn_had_early(const struct conn *c);
/* NULL: cannot carry a new request: free it and make another. */
struct h2_stream *conn_start(struct conn *c, const struct h2_request *rq, const struct h2_stream_fns *fns,
                             void *arg);
void conn_cancel(struct conn *c, struct h2_stream *s);
