/* daemon/host/osdns_limit.h - how often to put back what others overwrite.  Pure.
 *
 * A DHCP client that writes its file now and then is answered at once.  A program that writes it again each
 * time would keep both busy for ever: after OSDNS_LIMIT_BURST times without a quiet moment we rest.
 */
#pragma once

#include <stdbool.h>

#include "base/mono.h"

enum { OSDNS_LIMIT_BURST = 9, OSDNS_LIMIT_QUIET_MS = 5000, OSDNS_LIMIT_REST_MS = 60000 };

struct osdns_limit { /* all-zero: nothing happened yet */
        int count;
        mono_t last;
        mono_t rest_until;
};

/* Ours was overwritten.  True: put it back; false: not before rest_until. */
bool osdns_limit_hit(struct osdns_limit *l, mono_t now);
/* Somebody is at it again and again. */
bool osdns_limit_is_resting(const struct osdns_limit *l, mono_t now);
