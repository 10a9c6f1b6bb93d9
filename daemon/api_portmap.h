/* daemon/api_portmap.h - LocalAPI: asks the router for a port, tells what was said, and gives the port back.  Control thread.
 *
 * Beside the daemon's own mapping, with a port of its own.  Parameters and first words as in the reference.
 */
#pragma once

#include "daemon/localapi/server.h"

void api_debug_portmap(void *arg, struct lapi_req *r);
