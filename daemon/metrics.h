/* daemon/metrics.h - counters in the Prometheus text format.  Pure.
 *
 * metrics_user() has the names that dashboards know; metrics_debug() has all that is counted, by reason, under names of
 * our own, which may change.  Source: the reference's user metrics, Prometheus exposition format 0.0.4.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "daemon/counters.h"

enum { METRICS_MAX = 64 * 1024 };   /* bytes of text */

/* What the control thread adds. */
struct metrics_view {
        size_t advertised_routes, approved_routes;   /* without default routes */
        size_t health_messages;
};

void metrics_user(const struct counters *c, const struct metrics_view *v, struct buf *out);
void metrics_debug(const struct counters *c, struct buf *out);
