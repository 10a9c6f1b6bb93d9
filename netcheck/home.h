/* netcheck/home.h - which relay is home: the nearest, but not a new one for every twitch.
 *
 * Pure.  Keeps the latencies of the last 5 min 5 s; a challenger must beat the present home by 10 ms and by a
 * third.  A region whose nodes answer STUN and relay nothing is never home: its latency counts for nothing here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/derpmap.h"
#include "base/mono.h"
#include "netcheck/report.h"

enum { NC_HISTORY_MAX = 32 };   /* reports; the oldest makes room */

struct nc_sample {
        int region;
        int64_t ns;
};

struct nc_home {
        struct {
                mono_t at;
                size_t count;
                struct nc_sample *samples;   /* heap; ascending region */
        } h[NC_HISTORY_MAX];                 /* oldest first */
        size_t count;
};

void nc_home_done(struct nc_home *h);   /* frees and empties */

struct nc_home_args {
        const struct derpmap *map;            /* scores, Avoid, STUNOnly */
        const struct netcheck_report *report;
        int home;                             /* present choice; 0 = none */
        mono_t started;                       /* of the report */
        mono_t home_heard;                    /* last frame from the home relay; unset = never */
};

/* Adds the report to the history and chooses; 0: nothing to choose from. */
int nc_home_choose(struct nc_home *h, const struct nc_home_args *args, mono_t now);
