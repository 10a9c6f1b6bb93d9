/* daemon/peerapi/server.h - the HTTP service that peers reach through the tunnel: a short page, and DNS (RFC 8484
 * without TLS, which the tunnel makes needless) for those who go out through this node.
 *
 * Knows HTTP and who is heard at all; who is a peer, who may resolve and what is answered are functions of the
 * daemon.  libmicrohttpd on the control thread's loop.  The only identity is the address at the other end of the
 * connection.  Refused before routing: a Host that is not exactly our own address and port, any Origin, any Referer,
 * so that no web page in a peer's browser can reach it.  Source: Tailscale PeerAPI.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"

enum {
        PEERAPI_QUERY_MAX = 4096,
        PEERAPI_CONNECTIONS_MAX = 512,
        PEERAPI_CONNECTIONS_EACH = 128,   /* of one address */
        PEERAPI_IDLE_S = 10,
};

struct peerapi;
struct peerapi_req;

struct peerapi_ops {
        bool (*is_peer)(void *arg, struct ip src);
        bool (*may_resolve)(void *arg, struct ip src);
        /* One DNS query, borrowed for the call.  Either peerapi_answer() is called before it returns NULL, or it
         * is called later and what is returned goes to cancel() if nobody waits for the answer any more. */
        void *(*resolve)(void *arg, struct peerapi_req *r, const uint8_t *msg, size_t len);
        void (*cancel)(void *arg, void *query);
};

/* NULL: out of memory or descriptors.  Listens nowhere yet; ops are borrowed for its life. */
struct peerapi *peerapi_new(struct loop *l, const struct peerapi_ops *ops, void *arg);
void peerapi_free(struct peerapi *p);   /* hangs up on everybody; NULL is fine */
/* One address a family; see peerapi_socket().  ERR_FULL: that family is taken. */
ERR_CHECK enum err peerapi_listen(struct peerapi *p, struct ip ip, const char *ifname, uint16_t *ret_port);

/* Serves at an address that no socket has; connections come by peerapi_add(). */
void peerapi_serve_at(struct peerapi *p, struct addr at);
/* A connection that somebody else accepted for that address, from this peer; the socket is consumed. */
void peerapi_add(struct peerapi *p, int fd, struct addr from);

/* Once for each resolve().  Length 0: the query was none. */
void peerapi_answer(struct peerapi_req *r, const uint8_t *msg, size_t len);
