/* daemon/api_netcheck.h - LocalAPI: a look at the network from an address and port that the caller names.  Control thread.
 *
 * Sockets of its own, so the public addresses in it are not those of the daemon; the router is not asked for ports.
 */
#pragma once

#include "base/addr.h"
#include "daemon/localapi/server.h"

struct api;

/* The answer where there is no relay map yet; it says what helps. */
void api_no_relay_map(const struct api *a, struct lapi_req *r);
/* ip none: any address.  port 0: any. */
void api_netcheck_from(struct api *a, struct lapi_req *r, struct addr from);
