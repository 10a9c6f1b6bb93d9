/* base/lastgood.h - the addresses at which servers were reached, for when their names cannot be looked up.
 *
 * Of fixed size: the host used longest ago makes room.  Pure; one thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum { LASTGOOD_HOSTS = 32, LASTGOOD_ADDRS = 4, LASTGOOD_HOST_MAX = 256 };

struct lastgood_entry {
        char host[LASTGOOD_HOST_MAX];     /* as it was given, case does not matter; "": free */
        uint64_t used;
        struct ip ips[LASTGOOD_ADDRS];    /* newest first */
        size_t count;
};

struct lastgood {   /* zeroed: empty */
        struct lastgood_entry entries[LASTGOOD_HOSTS];
        uint64_t turn;
};

/* What is no name (a literal, or too long) is not kept. */
void lastgood_put(struct lastgood *t, const char *host, struct ip ip);
size_t lastgood_get(const struct lastgood *t, const char *host, struct ip ret[LASTGOOD_ADDRS]);
