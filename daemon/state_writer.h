/* daemon/state_writer.h - writes a text somewhere slow in a thread of its own; of several that wait only the newest.
 *
 * For what need not be on the disk before anything else happens: on a router's flash fsync takes seconds, and the
 * control thread answers names meanwhile.  Order holds: what is given later is written later, or alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct state_writer;

/* On the writer's thread; errno on an error. */
typedef enum err (*state_write_fn)(const void *arg, const char *text, size_t len);

struct state_writer *state_writer_new(state_write_fn fn, const void *arg);   /* NULL: no memory, no thread */
/* Writes what waits first.  NULL is fine. */
void state_writer_free(struct state_writer *w);
/* Consumes text, from malloc(); wiped when it is written or superseded. */
void state_writer_put(struct state_writer *w, char *text);
/* Drops what waits and lets what is being written end: the caller writes something newer itself.  False: the last
 * text that was given is not on the disk. */
bool state_writer_stop(struct state_writer *w);
/* The errno of the last write, if it failed and nothing was given since; 0: no.  Told once. */
int state_writer_failed(struct state_writer *w);
