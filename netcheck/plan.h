/* netcheck/plan.h - which nodes to ask, and when: the first answer of a set makes its other probes needless.
 *
 * Pure: made once from the map and the previous report.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/derpmap.h"
#include "netcheck/report.h"

enum { NC_TRIES_MAX = 4, NC_SETS_MAX = 2 * DERPMAP_REGIONS_MAX };

struct nc_probe {
        uint8_t node;       /* index in the region */
        int64_t delay_ns;   /* from the start of the report */
};

struct nc_set {
        uint16_t region_index;   /* in the map */
        uint8_t family;          /* enum ip_family */
        uint8_t count;
        struct nc_probe probes[NC_TRIES_MAX];   /* ascending delay */
};

struct nc_plan {
        size_t count;
        struct nc_set sets[NC_SETS_MAX];
};

struct nc_plan_args {
        const struct derpmap *map;
        const struct netcheck_report *last;   /* NULL or without latencies: every region is asked */
        bool have_v4, have_v6;
        int home;                             /* asked more often; 0 = none */
};

void nc_plan_make(struct nc_plan *plan, const struct nc_plan_args *args);
/* The node answers STUN in tests although loopback counts as no network. */
bool nc_is_test_node(const struct derp_node *n);
