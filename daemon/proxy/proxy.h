/* daemon/proxy/proxy.h - the SOCKS5 and HTTP proxies: programs of this host reach the tailnet through them.
 *
 * Control thread.  What a client asks for is dialled by a function of the daemon; then bytes are relayed.  Who may connect
 * to the listener may use it: it is to listen at an address of this host alone.
 * Sources: RFC 1928; RFC 9110, sections 7.6 and 9.3.6.
 */
#pragma once

#include "base/err.h"
#include "daemon/proxy/dialout.h"

enum {
        PROXY_CONNECTIONS_MAX = 512,
        PROXY_HEAD_MS = 10000,       /* how long a client may take to say what it wants */
};

struct proxy;

struct proxy *proxy_new(struct loop *l, struct dialout *d);   /* NULL: out of memory */
void proxy_free(struct proxy *p);                             /* hangs up on everybody; NULL is fine */
/* Listens for one kind, or for both, which differ in their first byte.  ERR_IO: errno. */
ERR_CHECK enum err proxy_listen(struct proxy *p, struct addr at, bool socks5, bool http, struct addr *ret_at);
