/* base/file.h - whole files: read up to a bound, and written so that a reader sees the old text or the new.
 *
 * Waits for the disk, never for another program: a FIFO is not waited for.  Buffers that held the text are wiped.
 * Control thread, and threads that may wait.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Descriptors 0 to 2 are open from here on, as /dev/null where the caller left them closed: the next file or socket would have
 * got their number, and whatever is printed.  First thing in a program. */
void file_keep_standard(void);

/* Appends a regular file (or one of /proc) to ret, whose max is the bound.  ERR_NOT_FOUND; ERR_FORMAT: a folder, a FIFO,
 * a device; ERR_FULL: more than ret may hold; ERR_IO.  errno has the reason of each, and ret what was read so far. */
ERR_CHECK enum err file_read(const char *path, struct buf *ret);
/* The same from where an open descriptor stands, of any kind, to its end.  Stays open.  ERR_FULL, ERR_IO. */
ERR_CHECK enum err file_read_fd(int fd, struct buf *ret);
/* Up to cap - 1 bytes (cap > 0) from the start of a file, and a NUL; the count is 0 also if it cannot be read.  For settings of the
 * kernel and other short texts of which the beginning is enough. */
size_t file_head(const char *path, char *out, size_t cap);

/* A file that is not there yet, with all of data on disk, and exactly that mode.  ERR_IO: errno; then there is none. */
ERR_CHECK enum err file_write_new(const char *path, const void *data, size_t len, mode_t mode);
/* Puts a new file in the place of path: first at temp, which is in the same folder and may be left over from a writer
 * that was killed, then renamed; both are on disk.  ERR_IO: errno; path is as before and temp is gone. */
ERR_CHECK enum err file_replace(const char *path, const char *temp, const void *data, size_t len, mode_t mode);
