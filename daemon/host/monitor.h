/* daemon/host/monitor.h - tells when the host's network changed, by rtnetlink notifications.
 *
 * Control thread.  Bursts are gathered: on_change comes once, MONITOR_SETTLE_MS after the first event of
 * a burst.  What others do to our own interface, table and rules is reported apart, with a limit: after a
 * burst of MONITOR_LIMIT_BURST only once in MONITOR_LIMIT_MS, so that two programs that undo each other's work
 * do not keep the host busy.
 * Source: rtnetlink(7).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

struct monitor;

enum { MONITOR_SETTLE_MS = 250, MONITOR_LIMIT_BURST = 10, MONITOR_LIMIT_MS = 5000 };

struct monitor_callbacks {
        void (*on_change)(void *arg);         /* links, addresses or default routes of the host; see netchange.h */
        void (*on_removed)(void *arg);        /* a rule, route or address of ours may be gone */
};

/* NULL: errno. */
struct monitor *monitor_new(struct loop *l, const char *own_ifname, const struct monitor_callbacks *cb,
        void *arg);
/* What the netlink sockets at these addresses change is not reported: it is our own doing. */
void monitor_leave_out(struct monitor *m, const uint32_t *ports, size_t n);
void monitor_free(struct monitor *m);   /* NULL is fine */
