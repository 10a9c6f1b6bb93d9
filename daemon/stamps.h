/* daemon/stamps.h - keeps the stamps of our WireGuard handshakes from going back over a restart.
 *
 * Peers refuse an initiation whose stamp is not newer than the newest they saw from our key, and do not judge how far
 * ahead it is.  So the state file holds a bound that no stamp of this process goes beyond; the next process starts
 * above it, whatever its clock says then (a board without a battery, a clock set back).  Written ahead of time, as
 * seldom as STAMPS_AHEAD_S and STAMPS_LEAST_S say; an orderly end writes what was really used.  Control thread.
 */
#pragma once

#include <stdint.h>

#include "base/loop.h"
#include "daemon/state_file.h"

enum {
        STAMPS_AHEAD_S = 21600,  /* what a bound lies ahead when it is written */
        STAMPS_LEAST_S = 3600,   /* and when the next one is */
};

struct stamps {
        struct state_file *store;   /* borrowed */
        struct loop *loop;
        struct timer timer;
        int64_t floor_ns;           /* wall clock: all stamps of this process are to be above it */
        int64_t top_ns;             /* at top_at they had not got beyond this */
        mono_t top_at;
        int64_t bound_ns;           /* as stored: nor beyond this, ever */
};

/* Reads where the last process got to, and writes a bound for this one.  What cannot be stored is tried again
 * with every later write of the state file. */
void stamps_start(struct stamps *s, struct loop *l, struct state_file *store, int64_t wall_ns);
void stamps_clock_stepped(struct stamps *s, int64_t wall_ns);   /* the clock was set; harmless if not */
void stamps_stop(struct stamps *s, int64_t wall_ns);   /* harmless without a start */
