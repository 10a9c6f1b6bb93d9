/* daemon/host/netchange.h - does an rtnetlink message say that the host reaches the world in another way?
 *
 * Pure; any thread.  A change costs us a new connection to the control server, new sockets and a new look at the
 * network, so what happens all the time on a healthy host does not count: renewed leases, router advertisements,
 * Wi-Fi scans, packet captures, containers that come and go, routes of a routing daemon.
 * Source: rtnetlink(7), linux/if_addr.h, linux/if_link.h.
 */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>

/* A link came up or went down, or its carrier did. */
bool netchange_link(const struct nlmsghdr *h);
/* An address that can be used beyond its link came or went. */
bool netchange_addr(const struct nlmsghdr *h);
/* A default route came or went; half a default route counts, as VPNs lay two of them over the real one. */
bool netchange_route(const struct nlmsghdr *h);
