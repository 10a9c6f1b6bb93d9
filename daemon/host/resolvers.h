/* daemon/host/resolvers.h - which name servers this host asks, as far as its files say. */
#pragma once

#include <stddef.h>

#include "base/addr.h"

enum { RESOLVERS_MAX = 16 };

/* From resolv.conf and, where that names a stub on the loopback, from the file of systemd-resolved.  Loopback
 * and tailnet addresses are left out.  Returns how many. */
size_t resolvers_read(struct ip out[RESOLVERS_MAX]);
/* The same from one text; appends to n that are there.  Pure. */
size_t resolvers_parse(const char *text, struct ip out[RESOLVERS_MAX], size_t n);
