/* base/log.h - one line to standard error, with a level.  Any thread.
 *
 * Levels follow syslog(3).  Under systemd (JOURNAL_STREAM set) lines start with "<N>"; else with a time.
 * Debug lines are numbered by verbosity: 1 and 2 as with --verbose.  Never log a secret; never log what a
 * stranger can repeat without log_limited().  Control characters become spaces, lines are cut at 2 KiB.
 */
#pragma once

#include <stdbool.h>

#include "base/mono.h"

void log_init(int verbosity);
int log_verbosity(void);
void log_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A token bucket of 5 lines, one more every 10 s.  Static storage, one per call site, one thread. */
struct log_limit {
        mono_t refilled;
        int tokens;
        unsigned dropped;
};
/* True: do not log.  False after some were dropped: says how many first. */
bool log_limited(struct log_limit *l, mono_t now);
