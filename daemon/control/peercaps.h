/* daemon/control/peercaps.h - what a peer may do at the services of this node: capabilities granted by the filter's
 * rules.  They let no packet in; the PeerAPI and `whois` ask for them.  Pure; control thread.
 * Source: Tailscale control protocol, FilterRule.CapGrant and PeerCapMap.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/addr.h"
#include "daemon/control/netmap.h"

/* Object: capability -> array of values as the server wrote them, or null where it gave none.  New reference; NULL:
 * none at all.  src: an address of the peer; dst: the address it talks to. */
json_t *peercaps(const struct netmap *nm, struct ip src, struct ip dst);
/* The same towards this node: its first address of the family of src. */
json_t *peercaps_self(const struct netmap *nm, struct ip src);
