/* daemon/host/monitor.h - tells when the host's network changed, by rtnetlink notifications.
 *
 * Control thread.  Bursts are gathered: on_change comes once, MONITOR_SETTLE_MS after the first event of
 * a burst.  Changes of our own interface, and routes in our own table, are not reported.
 * Source: rtnetlink(7).
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"

struct monitor;

enum { MONITOR_SETTLE_MS = 250 };

struct monitor_callbacks {
        void (*on_change)(void *arg);         /* links, addresses or routes of the host */
        void (*on_rule_removed)(void *arg);   /* one of our policy rules; already settled */
};

/* NULL: errno. */
struct monitor *monitor_new(struct loop *l, const char *own_ifname, const struct monitor_callbacks *cb,
        void *arg);
void monitor_free(struct monitor *m);   /* NULL is fine */
