/* daemon/control/headping.h - one HTTP HEAD whose answer nobody reads: how the server checks that we are alive.
 *
 * On the loop's thread.  Frees itself when it is through, or after 15 seconds.
 */
#pragma once

#include "base/dial.h"
#include "base/loop.h"

/* A URL that cannot be used is ignored. */
void headping_send(struct loop *l, struct dialer *d, const char *url);
