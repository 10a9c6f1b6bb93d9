/* daemon/host/hostfile.h - one agent a network namespace, and what it changed in /proc/sys.
 *
 * A small file under /var/run/tailscale, named after the network namespace.  Whoever holds its lock owns table,
 * rules and marks there; the kernel lets go of the lock when the process ends, however that happens.  The file
 * says what settings were before, so that the next start or --cleanup puts them back after a crash, and keeps
 * notes for those who changed something elsewhere.  It is replaced whole, so a crash leaves the old or the new.
 * Control thread.
 */
#pragma once

#include "base/err.h"

struct hostfile;

/* Puts back what a process that died had changed.  ERR_STATE: another process holds the lock.  ERR_IO: no such
 * file can be made.  *ret_why: static or until the next call. */
ERR_CHECK enum err hostfile_open(const char *folder, struct hostfile **ret, const char **ret_why);
/* Restores, and removes the file, if it has no notes.  NULL is fine. */
void hostfile_free(struct hostfile *h);

/* Writes a setting, by its path under /proc/sys, and remembers what it was; restores it for value NULL. */
ERR_CHECK enum err hostfile_set(struct hostfile *h, const char *setting, const char *value);

enum { HOSTFILE_NOTE_MAX = 128 };
/* A line under a name without '/', which outlives the process unless it is taken back: NULL.  On failure the old
 * one is still there. */
ERR_CHECK enum err hostfile_note(struct hostfile *h, const char *name, const char *text);
const char *hostfile_noted(const struct hostfile *h, const char *name);   /* NULL: none; valid until the next note */
