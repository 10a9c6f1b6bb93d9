/* daemon/state_file.h - tailscaled.state: named values, written whole and atomically.
 *
 * The reference's format: one JSON object, values base64.  What we do not know is kept.  Control thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct state_file;

/* path: "mem:" keeps nothing on disk.  A missing file is an empty store; its folder is made (0700).  A file that
 * is not ours to understand is refused and never overwritten.  A symbolic link is followed once, now: what it names is
 * replaced, the link stays.  *ret_why: a sentence with the path, the cause and what to do; static storage. */
ERR_CHECK enum err state_file_open(const char *path, struct state_file **ret, const char **ret_why);
const char *state_file_path(const struct state_file *s);   /* for messages; "mem:" when there is none */
void state_file_free(struct state_file *s);   /* wipes; does not write */
/* Bytes of a value, NUL-terminated, valid until the next change; NULL: none. */
const char *state_file_get(const struct state_file *s, const char *key, size_t *ret_len);
/* Changes in memory only, until state_file_save().  value NULL removes. */
ERR_CHECK enum err state_file_set(struct state_file *s, const char *key, const void *value, size_t len);
/* PATH.tmp, fsync, rename, fsync of the folder; mode 0600.  ERR_IO: errno; the old file is as before.
 * Writes nothing if nothing changed; what could not be written is tried again by the next call. */
ERR_CHECK enum err state_file_save(struct state_file *s);
/* The same on a thread of its own, some time soon and before state_file_free() returns, for what nothing waits for.  A
 * failure is told by state_file_trouble(), and then tried again by the next call of either. */
void state_file_save_later(struct state_file *s);
/* Which file could not be written by the last save, and why; "": it went well.  Valid until the next save. */
const char *state_file_trouble(const struct state_file *s);
