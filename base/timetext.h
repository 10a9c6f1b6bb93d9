/* base/timetext.h - wall-clock times as text: RFC 3339, as Go writes it.  Pure; any thread. */
#pragma once

#include <stdint.h>

#include "base/err.h"

enum { TIME_STR_MAX = 40 };

/* Nanoseconds since 1970; "0001-01-01T00:00:00Z" is 0, and what 64 bits cannot hold is the nearest that they can.
 * ERR_FORMAT: anything else, NULL too. */
ERR_CHECK enum err time_parse(const char *s, int64_t *ret_ns);
const char *time_str(int64_t ns, char out[TIME_STR_MAX]);
