/* daemon/host/osdns_resolvconf.h - resolvconf(8): Debian's program and openresolv, which share only the name.
 *
 * Both merge what many interfaces hand in.  openresolv can be told that ours excludes the others; Debian's
 * cannot, so a hook of ours puts our record in force after each of its runs.  Everything here waits for the
 * program (at most some seconds), so: the thread of osdns_worker.c, or a start-up that has no loop yet.
 * Source: resolvconf(8) of Debian's resolvconf 1.91 and of openresolv 3.12.
 */
#pragma once

#include "base/err.h"
#include "daemon/host/osdns_decide.h"

enum { RESOLVCONF_WHY_MAX = 256 };

/* Which of them is installed. */
enum resolvconf_kind resolvconf_probe(void);
/* What the other interfaces handed in. */
ERR_CHECK enum err resolvconf_base(enum resolvconf_kind k, struct resolvfile *ret);
ERR_CHECK enum err resolvconf_set(enum resolvconf_kind k, const struct osdns_config *c,
                                  char why[RESOLVCONF_WHY_MAX]);
/* Our record, and only ours, is in force. */
bool resolvconf_is_set(const struct osdns_config *c);
/* Harmless when nothing was set. */
ERR_CHECK enum err resolvconf_restore(enum resolvconf_kind k, char why[RESOLVCONF_WHY_MAX]);
/* A process before us left a record or the hook. */
bool resolvconf_has_leftovers(enum resolvconf_kind k);
