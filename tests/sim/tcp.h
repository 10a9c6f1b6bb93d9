/* tests/sim/tcp.h - base/dial.h in memory: streams from the running host to servers, in order, late, or dead.
 *
 * A stream keeps its order whatever the links do.  While a host is away its bytes wait; when its addresses change the
 * stream is dead and neither end is told.  The server's end is named by a number.
 */
#pragma once

#include "base/dial.h"
#include "tests/sim/net.h"

struct tcp;

struct dialer {
        struct loop *loop;
};

struct tcp_server {
        bool up;                /* else nobody answers ... */
        bool refuses;           /* ... or somebody says so */
        int64_t far_ns;         /* from the core, one way */
        void (*on_accept)(struct tcp *t, void *owner);
        void (*on_bytes)(struct tcp *t, void *conn, const uint8_t *data, size_t len);
        void (*on_close)(struct tcp *t, void *conn);   /* the client closed, or the server gave up waiting */
};

void tcp_reset(void);
void tcp_done(void);
/* What stands behind net_server_owner(): the first member of each owner. */
void tcp_set_conn(struct tcp *t, void *conn);
void tcp_send(struct tcp *t, const void *data, size_t len);
size_t tcp_waiting(const struct tcp *t);    /* bytes to the client that are on their way */
void tcp_close(struct tcp *t);              /* by the server; the client is told, if it can be */
void tcp_abandon(struct tcp *t);            /* the server is gone without a word; what comes is answered by a reset once it is back */
struct tcp_server *tcp_server_named(const struct dial_opts *o);   /* NULL: no server has that address */
struct host *tcp_host(const struct tcp *t);
