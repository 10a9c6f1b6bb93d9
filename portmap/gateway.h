/* portmap/gateway.h - the router of this host, as the kernel would choose it for a socket of ours.
 *
 * Glue: asks by rtnetlink for one route, which costs the same however many there are, and waits for nothing.  Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* IPv4 with private addresses, as port mapping is done by routers of homes and offices; false: there is none, or the
 * kernel does not say. */
bool gateway_find(uint32_t mark, struct ip *ret_router, struct ip *ret_self);
