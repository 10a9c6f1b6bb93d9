/* daemon/host/router.h - the tunnel's addresses, routes and policy rules, through rtnetlink.
 *
 * Routes go to a table of their own (52), which a rule looks up before main; our own sockets carry a mark
 * that steers them past it.  Called on the control thread with plain values only, so that a process boundary
 * can run here.  Additions come before removals, and what an earlier process left is taken over rather than
 * removed first: neither a change nor a restart leaves a gap through which traffic gets out.
 * Sources: rtnetlink(7), ip-rule(8).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

enum {
        ROUTER_TABLE = 52,
        ROUTER_MARK = 0x80000,        /* our own sockets */
        ROUTER_MARK_MASK = 0xff0000,
        ROUTER_RULE_BASE = 5200,      /* rules at +10, +30, +50, +70 */
        ROUTER_RULE_BASE_MWAN3 = 1300,/* before the mark rules of OpenWrt's mwan3 */
};

struct router;

struct router_config {
        const struct prefix *addresses;   /* of the interface: /32 and /128 */
        size_t address_count;
        const struct prefix *routes;      /* to the tunnel, host bits zero */
        size_t route_count;
        bool exit_node;    /* what has no other route goes into the tunnel and, once that is gone, nowhere */
        bool allow_lan;    /* with exit_node: networks the host is connected to are reached directly */
        const struct ip *direct;          /* reached without the tunnel in spite of exit_node */
        size_t direct_count;
        bool keep_mesh;    /* a tailnet address no peer has is unreachable, not the next router's business */
};

/* The interface must exist.  Brings it up and sets MTU and rules.  Where IPv6 is off, IPv6 parts are left
 * out silently.  Call router_set() soon: until then what an earlier process left is in force.  *ret_why: a
 * sentence, static or until the next call. */
ERR_CHECK enum err router_new(const char *ifname, unsigned mtu, struct router **ret, const char **ret_why);
/* The netlink addresses that its changes are reported with: see monitor_leave_out(). */
enum { ROUTER_PORTS = 2 };
void router_ports(const struct router *r, uint32_t out[ROUTER_PORTS]);
/* Addresses and routes become exactly these; copies.  Goes on after an error and reports the first.  The
 * networks the host is connected to, and whether it has IPv6, are looked up anew, so call it again when they
 * change. */
ERR_CHECK enum err router_set(struct router *r, const struct router_config *c, const char **ret_why);
/* After a router_set() that found no fault: these routes to the tunnel more, and those less, each of them asked for by one
 * peer of maybe several.  What that costs does not grow with the routes there are.  An error, of which ERR_STATE is none:
 * call router_set(). */
ERR_CHECK enum err router_change(struct router *r, const struct prefix *more, size_t more_count, const struct prefix *less,
        size_t less_count);
/* Link, addresses, routes and rules again where something removed them; returns how many were missing. */
size_t router_repair(struct router *r);
/* Removes routes, addresses and rules, takes the interface down.  NULL is fine. */
void router_free(struct router *r);

/* Whether a prefix on one of the host's links may be a local network that LAN access is meant for.  Whoever hands out
 * addresses there could else call half the internet local and have it beside the exit node. */
bool router_is_lan(struct prefix p);

/* Whether a process that died has left the host closed beside an exit node. */
bool router_is_closed(void);

/* Whether a policy rule of that priority may be one of ours. */
bool router_owns_priority(uint32_t priority);

/* Removes what a process that died may have left: our rules and all of our table, for both families, and
 * the tailnet's addresses on ifname if it still exists. */
void router_cleanup(const char *ifname);
