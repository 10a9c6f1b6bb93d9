/* daemon/host/router.h - the tunnel's addresses, routes and policy rules, through rtnetlink.
 *
 * Routes go to a table of their own (52), which a rule looks up before main; our own sockets carry a mark
 * that steers them past it.  Called on the control thread with plain values only, so that a process boundary
 * can run here.  Additions come before removals, so that a change never leaves a gap.
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
};

struct router;

struct router_config {
        const struct prefix *addresses;   /* of the interface: /32 and /128 */
        size_t address_count;
        const struct prefix *routes;      /* to the tunnel, host bits zero */
        size_t route_count;
};

/* The interface must exist.  Brings it up and sets MTU and rules.  Where IPv6 is off, IPv6 parts are left
 * out silently.  *ret_why: a sentence, static or until the next call. */
ERR_CHECK enum err router_new(const char *ifname, unsigned mtu, struct router **ret, const char **ret_why);
/* Addresses and routes become exactly these; copies.  Goes on after an error and reports the first. */
ERR_CHECK enum err router_set(struct router *r, const struct router_config *c, const char **ret_why);
/* Rules again where something removed them; cheap when nothing is missing. */
void router_restore_rules(struct router *r);
/* Removes routes, addresses and rules, takes the interface down.  NULL is fine. */
void router_free(struct router *r);

/* Removes what a process that died may have left: our rules and all of our table, for both families, and
 * the tailnet's addresses on ifname if it still exists. */
void router_cleanup(const char *ifname);
