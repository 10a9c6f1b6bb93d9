/* tests/sim/clock.h - base/loop.h and base/mono.h on a clock that moves only when everything due has run.
 *
 * One queue of timers for all loops, so that a run is one sequence of rounds.  Each loop has its own idea of the time
 * (an offset), can be frozen as a suspended host is, and belongs to a host.  Descriptors are numbers of ours: whoever
 * makes one ready wakes the loop that watches it.
 */
#pragma once

#include "base/loop.h"

struct host;

void clock_reset(void);              /* a new world: all loops must be gone */
mono_t clock_now(void);              /* of the world, which starts at a second */
struct loop *clock_world(void);      /* runs on that time; for what happens between hosts */
/* Runs what is due next, not beyond until, where the clock stands when it returns false. */
bool clock_step(mono_t until);
/* Rounds at the present moment; one that never passes is a fault of somebody. */
unsigned clock_rounds_now(void);

extern struct host *host_running;    /* whose code runs; NULL: the world's */
/* To be called before code of a host is called from outside, and with NULL when it is back. */
void clock_enter(struct host *h);
/* Its code does not run before. */
void clock_freeze(struct host *h, mono_t until);

int vfd_new(void);
void vfd_free(int fd);
void vfd_ready(int fd, bool ready);
