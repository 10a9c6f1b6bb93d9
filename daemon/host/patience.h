/* daemon/host/patience.h - how long the threads that talk to other programs of the host may still wait.
 *
 * For ever, until the daemon stops: then whatever is under way is given up soon, so that what was changed is taken
 * back in time.  One setting for the process; any thread.
 */
#pragma once

#include <stdint.h>

#include "base/mono.h"

enum {
        PATIENCE_UNDER_WAY_MS = 1500, /* at the stop, for what is not needed any more */
        PATIENCE_STOP_MS = 5000,      /* for all of it: taking back has the rest */
};

void patience_ends(mono_t at);          /* MONO_NEVER: no hurry */
int64_t patience_ms(int64_t most);      /* what is left, `most` at most; 0: nothing */
