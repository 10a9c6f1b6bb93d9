/* daemon/portoff.h - which ways to a port of the router somebody switched off, as PORTMAP_BITs.  Pure. */
#pragma once

#include "portmap/portmap.h"

struct netmap_node; /* daemon/control/netmap.h */

/* The administrator: TS_DISABLE_PORTMAPPER, TS_DISABLE_UPNP set to a true value. */
unsigned portoff_by_env(const char *(*env)(const char *));
/* The server: the node attribute debug-disable-upnp. */
unsigned portoff_by_node(const struct netmap_node *self);
