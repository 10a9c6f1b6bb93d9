/* base/ring.h - messages from one thread to one other: fixed size, bounded, no lock.
 *
 * Single producer, single consumer.  An eventfd tells the consumer; watch ring_fd() for LOOP_READ, call
 * ring_drain_fd(), then pop until empty.  Large things cross as a pointer in the message, which changes owner.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct ring;

struct ring *ring_new(size_t count, size_t msg_bytes);   /* count: a power of two; NULL: errno */
void ring_free(struct ring *r);
bool ring_push(struct ring *r, const void *msg);   /* producer; false: full, nothing done */
bool ring_pop(struct ring *r, void *ret_msg);      /* consumer; false: empty */
int ring_fd(const struct ring *r);
void ring_drain_fd(struct ring *r);
