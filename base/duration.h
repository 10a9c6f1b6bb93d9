/* base/duration.h - lengths of time as text, as Go writes them.  Nanoseconds.  Pure; any thread. */
#pragma once

#include <stdint.h>

#include "base/err.h"

/* "300ms", "1.5h", "1m30s", "0".  ERR_FORMAT: none. */
ERR_CHECK enum err duration_parse(const char *s, int64_t *ret_ns);
enum { DURATION_STR_MAX = 40 };
const char *duration_str(int64_t ns, char out[DURATION_STR_MAX]);
int64_t duration_round(int64_t ns, int64_t to);   /* half away from zero, as Go's Round */
