/* netcheck/captive.h - does somebody on the way answer web requests in place of the server that was asked?
 *
 * Pure: picks the page to ask for and judges the answer.  A relay that serves port 80 answers /generate_204 with status
 * 204 and repeats a challenge; a portal that wants a login in a browser cannot.  Silence means nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/derpmap.h"

enum { NC_CAPTIVE_URL_MAX = 160, NC_CAPTIVE_CHALLENGE_MAX = 72 };

struct nc_captive {
        char url[NC_CAPTIVE_URL_MAX];               /* http://IP/generate_204?t=N */
        char challenge[NC_CAPTIVE_CHALLENGE_MAX];   /* the value of X-Tailscale-Challenge */
};

/* Of the home region first, by IPv4 first.  False: no relay that is known by address serves port 80. */
bool nc_captive_pick(const struct derpmap *map, int home, bool have_v4, bool have_v6, unsigned nonce, struct nc_captive *ret);
/* status and X-Tailscale-Response ("": none) of an answer that did come. */
bool nc_captive_is_portal(const struct nc_captive *c, long status, const char *response);
