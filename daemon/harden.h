/* daemon/harden.h - keeps the keys in our memory out of core files, debuggers and the swap.
 *
 * Main thread, once, before any key is read.  The limits are inherited by threads.
 */
#pragma once

/* Always: no core file, no debugger of another process.  Memory is locked as it is touched, if that can be
 * done without a limit under which later allocations would fail.  NULL: all done; else why it is not locked. */
const char *harden(void);
