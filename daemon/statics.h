/* daemon/statics.h - endpoints that the administrator names, as what comes there is forwarded to us. */
#pragma once

#include <stddef.h>

#include "base/addr.h"
#include "magicsock/endpoints.h"

/* TS_DEBUG_PRETENDPOINT, the reference's name for it: IP:PORT, more after commas.  Returns how many of ret[MS_STATIC_MAX] are
 * filled, none twice; logs what it leaves out, and why. */
size_t statics_by_env(const char *(*env)(const char *), struct addr ret[MS_STATIC_MAX]);
