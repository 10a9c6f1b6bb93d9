/* daemon/api_ping.h - the LocalAPI's ping: over the paths (disco), or through the tunnel (TSMP, ICMP, PeerAPI). */
#pragma once

#include "daemon/localapi/server.h"

void api_ping(void *arg, struct lapi_req *r);   /* a handler; arg is the struct api */
