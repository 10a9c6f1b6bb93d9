/* daemon/host/hostaddrs.h - the addresses of this host's interfaces, each with the length of its network.
 *
 * Glue; any thread.
 */
#pragma once

#include <stddef.h>

#include "base/addr.h"

enum { HOSTADDRS_MAX = 256 };

/* Addresses of the mesh are left out.  Returns how many; 0 also if the kernel would not say. */
size_t hostaddrs(struct prefix out[HOSTADDRS_MAX]);
