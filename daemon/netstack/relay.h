/* daemon/netstack/relay.h - bytes between two ends of which one is a socket, and the other a socket or a connection of
 * the stack.  Control thread.
 *
 * Neither end is read faster than the other takes it: what is in between is the buffers of the ends and one piece of
 * RELAY_PIECE each way.  When an end writes no more, the other is told so and the opposite direction goes on; an end
 * that breaks breaks both.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "daemon/netstack/netstack.h"

enum { RELAY_PIECE = 32 * 1024 };

struct relay;

struct relay_end {
        int fd;                     /* -1: conn it is */
        struct stack_conn *conn;
};

/* Consumes both ends, also on failure; early: what was read from a already, for b.  fn is called when all is over (never
 * before this returns); then the relay is gone.  NULL: out of memory. */
struct relay *relay_new(struct loop *l, struct relay_end a, struct relay_end b, const void *early, size_t early_len,
        void (*fn)(void *arg), void *arg);
/* Of what a writes, only so much goes to b: fn is asked with each piece how many of its *n bytes count, and true means that
 * nothing more does.  What is left is not read, and b is not told of an end.  Asked at once with no bytes. */
typedef bool (*relay_limit_fn)(void *arg, const uint8_t *data, size_t *n);
void relay_limit(struct relay *r, relay_limit_fn fn, void *arg);
void relay_free(struct relay *r);   /* hangs up on both; fn is not called */
void relay_close_end(struct relay_end e);
