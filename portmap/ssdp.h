/* portmap/ssdp.h - finding a UPnP router: the search, its answer, and addresses (URLs) at that router.
 *
 * Pure.  We never talk HTTP to anybody but the router itself, whatever it writes, so of a URL only port and path are
 * kept.  Source: UPnP Device Architecture 1.1, 1.3.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

enum { SSDP_PORT = 1900, UPNP_PATH_MAX = 200, UPNP_URL_MAX = UPNP_PATH_MAX + 40 };

extern const struct ip ssdp_group;      /* 239.255.255.250 */
extern const char *const ssdp_search_all;
/* Some routers answer the first with another device than the one we want. */
extern const char *const ssdp_search_router;

struct upnp_url {
        uint16_t port;              /* 0: none */
        char path[UPNP_PATH_MAX];   /* begins with a slash; no blanks, no control characters */
};

/* An absolute http URL whose host is that address, or a path, which is one at base.  ERR_FORMAT: neither. */
ERR_CHECK enum err upnp_url_parse(const char *s, size_t len, struct ip host, const struct upnp_url *base,
        struct upnp_url *ret);
const char *upnp_url_str(const struct upnp_url *u, struct ip host, char out[UPNP_URL_MAX]);

struct ssdp_reply {
        struct upnp_url location;   /* of the description; the host is not looked at, as some say another of theirs */
        uint32_t boot;              /* another one after a restart; 0 = not said */
        unsigned version;           /* of the InternetGatewayDevice: 1 or 2 */
};
/* ERR_FORMAT: not an answer of a router, or damaged. */
ERR_CHECK enum err ssdp_parse(const void *data, size_t len, struct ssdp_reply *ret);
