/* daemon/control/headping.h - one HTTP HEAD whose answer nobody reads: how the server checks that we are alive.
 *
 * On the loop's thread.  Each ends when it is through, or after 15 seconds; beyond HEADPINGS_MAX at a time none is begun.
 */
#pragma once

#include "base/dial.h"
#include "base/loop.h"

enum { HEADPINGS_MAX = 8 };

struct headping;
struct headpings {   /* those under way; zero: none */
        struct headping *first;
        size_t count;
};

/* A URL that cannot be used is ignored. */
void headping_send(struct headpings *all, struct loop *l, struct dialer *d, const char *url);
void headpings_stop(struct headpings *all);
