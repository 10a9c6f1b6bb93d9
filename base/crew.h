/* base/crew.h - threads that help another one with work that falls into independent pieces.  Fork and join.
 *
 * One thread, the owner, makes a crew, gives it work and frees it.  crew_run() returns when all pieces are done; who did
 * which is not known beforehand.  Nothing is queued, and nothing runs between two calls.
 *
 * What the owner wrote before crew_run() is seen by every piece, and what the pieces wrote is seen by the owner after it.
 * Pieces run side by side: they may read what they share, and write only what is theirs.
 *
 * The owner never waits for a helper that has taken no piece: it does all of them when no helper comes.  Helpers look for
 * work for SPIN_US after their last (base/crew.c), then they sleep.  They are woken when there was work again and again
 * within that time, so work that comes now and then costs the owner no system call and the host no second processor.
 */
#pragma once

#include <stddef.h>

struct crew;

/* NULL: errno says why there are no threads. */
struct crew *crew_new(unsigned helpers);
void crew_free(struct crew *c);   /* ends its threads; NULL is fine */

/* who: 0 the owner, 1 to `helpers` a helper; of two pieces at a time it is never the same. */
typedef void crew_fn(void *arg, unsigned who, size_t piece);

/* fn for each piece from 0 to pieces - 1, once. */
void crew_run(struct crew *c, unsigned pieces, crew_fn *fn, void *arg);
