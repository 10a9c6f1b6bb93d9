/* daemon/host/osdns_dnsmasq.h - dnsmasq as the local resolver, as on OpenWrt and many a router.
 *
 * A file of ours in its folder of configuration files sends names below ours to our resolver; dnsmasq reads
 * it only when it starts, so it is restarted when the file changes.  resolv.conf stays as it is.  The
 * thread of osdns_worker.c, or a start-up that has no loop yet.
 */
#pragma once

#include "base/err.h"
#include "daemon/host/dnsmasq_text.h"

#define DNSMASQ_FILE "tailscale.conf"
#define DNSMASQ_MARK "# Written by tailscaled, removed when it stops."

enum { DNSMASQ_WHY_MAX = 256 };

/* Any user can run a program of this name with a folder of his choice: only one that nobody but root can change is
 * written to, and that is dnsmasq's whatever link leads there.  ret: its path without links. */
bool dnsmasq_safe_folder(const char *path, char ret[DNSMASQ_PATH_MAX]);
/* A dnsmasq of this network namespace runs as a service and reads such a folder.  False: none. */
bool dnsmasq_probe(struct dnsmasq_setup *ret);
/* ERR_UNSUPPORTED: without match names, next to servers of its own. */
ERR_CHECK enum err dnsmasq_set(const struct dnsmasq_setup *s, const struct osdns_config *c,
                               char why[DNSMASQ_WHY_MAX]);
bool dnsmasq_is_set(const char *dir, const struct osdns_config *c);
/* Harmless when nothing was set. */
ERR_CHECK enum err dnsmasq_restore(const char *dir, char why[DNSMASQ_WHY_MAX]);
/* What a process before us left, in the usual folders and in that of the running dnsmasq. */
void dnsmasq_cleanup(void);
