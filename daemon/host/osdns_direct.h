/* daemon/host/osdns_direct.h - /etc/resolv.conf as a plain file: replaced, watched over, and given back.
 *
 * What was there is kept beside it under another name, the same inode where the file system allows (also a
 * symbolic link stays one), so that giving it back is exact.  Every step leaves a state from which
 * direct_restore() in a later process finds the way back, and a file that names a nameserver.  A file that
 * cannot be renamed over (a bind mount, as in containers) is written in place.  Not locked: one process.
 * The thread of osdns_worker.c, or a start-up that has no threads yet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/host/resolvfile.h"

struct direct_paths {
        const char *file;   /* /etc/resolv.conf */
        const char *backup; /* in the same folder, like temp */
        const char *temp;
};
extern const struct direct_paths direct_default_paths;

enum { DIRECT_WHY_MAX = 256 };

/* The host's own configuration, whether or not ours lies over it.  A file that is missing is empty.
 * ERR_IO: it is there but cannot be read. */
ERR_CHECK enum err direct_base(const struct direct_paths *p, struct resolvfile *ret);
/* Puts ours in place, if it is not there already.  Without servers in c, those of the host stay.  On
 * failure the host is as before and why says what to do. */
ERR_CHECK enum err direct_set(const struct direct_paths *p, const struct osdns_config *c,
                              char why[DIRECT_WHY_MAX]);
/* The file is what direct_set() would write. */
bool direct_is_set(const struct direct_paths *p, const struct osdns_config *c);
/* What was there is back, the kept copy is gone.  Harmless when nothing was set; a file that others have
 * written since stays. */
ERR_CHECK enum err direct_restore(const struct direct_paths *p, char why[DIRECT_WHY_MAX]);
