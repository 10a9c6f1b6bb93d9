/* daemon/api_dial.h - the LocalAPI endpoint behind `tailscale nc`: a connection of the client becomes one to a host of the
 * tailnet; part of the table in api.c.  Control thread. */
#pragma once

#include "daemon/localapi/server.h"

/* arg is the struct api. */
void api_dial(void *arg, struct lapi_req *r);
