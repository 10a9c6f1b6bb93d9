/* daemon/exitchoice.h - which exit node is the best one from here: what is proposed, and what "auto:any" uses.  Pure. */
#pragma once

#include "daemon/control/netmap.h"
#include "netcheck/report.h"

/* The server may name those to choose among (capability suggest-exit-node); where it names none, all that offer to be
 * one are.  An offline one never is.  The least latency to its home relay decides, but `previous` (a stable id, "" =
 * none) stays until another is clearly better, because a change breaks every connection.  NULL: there is none. */
const struct netmap_node *exit_choice(const struct netmap *nm, const struct netcheck_report *r /* NULL: none yet */,
        const char *previous);
