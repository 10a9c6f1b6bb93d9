/* daemon/localapi/share.h - how many connections to the local API each user may hold.
 *
 * Pure.  Root and the daemon's own user may have all there are; the others leave them a quarter, and none of
 * them can shut the rest out.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/localapi/server.h"

#define LAPI_NOBODY ((uid_t)65534)   /* whom the kernel does not name */

struct lapi_slot {
        bool taken, privileged;
        uid_t uid;
};
struct lapi_share {   /* zero: nobody there */
        struct lapi_slot slots[LAPI_CONNECTIONS_MAX];
};

/* The slot of one more connection, until it is given back; NULL: that would be too many. */
struct lapi_slot *lapi_share_take(struct lapi_share *s, uid_t uid, uid_t own);
void lapi_share_give(struct lapi_slot *slot);   /* NULL is well */
