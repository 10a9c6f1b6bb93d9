/* daemon/host/forwarding.h - what the kernel must be set to where others' packets are routed.
 *
 * Reads /proc/sys, /proc/net/route and the features of a network card, and changes the latter when told to.  Texts are sentences
 * that name the command to run, "" when nothing is wrong.  Source: ip-sysctl.rst, ethtool(8).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

enum { FORWARDING_TEXT_MAX = 512 };

/* Some interface drops packets whose source would not be answered through it (rp_filter 1). */
bool forwarding_rp_filter_strict(void);

/* Whether packets to these routes of ours are passed on. */
void forwarding_check(const struct prefix *routes, size_t count, char out[FORWARDING_TEXT_MAX]);

/* Whether the network card towards the internet gathers UDP packets that are only passed on, for the tunnel. */
void forwarding_check_gro(const char *tun, char out[FORWARDING_TEXT_MAX]);
/* Makes it so; the text says why not. */
void forwarding_set_gro(const char *tun, char out[FORWARDING_TEXT_MAX]);
/* The interface of the default route in the text of /proc/net/route; false: none.  Pure. */
bool forwarding_default_interface(const char *text, char *out, size_t cap);
