/* daemon/netstack/forward.h - connections that peers open to this host or through it become sockets of the kernel.
 * Control thread.
 *
 * The other side's connection opens when ours did, and is refused when ours was.
 */
#pragma once

#include "base/loop.h"
#include "daemon/netstack/netstack.h"

enum { FORWARD_TRY_MS = 10000 };

struct forward;

/* Where a connection goes: changes *to to what the kernel is to dial.  REFUSE: RST; KERNEL; TAKEN: the function takes over
 * the connection itself. */
enum forward_way { FORWARD_REFUSE, FORWARD_KERNEL, FORWARD_TAKEN };
typedef enum forward_way (*forward_fn)(void *arg, struct stack_syn *s, struct addr from, struct addr *to);

/* max: connections at once, those that are being made included; half of them for one source.  NULL: out of memory. */
struct forward *forward_new(struct loop *l, size_t max, forward_fn fn, void *arg);
void forward_free(struct forward *f);   /* before the stack; hangs up on everybody */
void forward_syn(struct forward *f, struct stack_syn *s);
/* Accepts, and relays between the connection and this socket, which is consumed. */
void forward_to_socket(struct forward *f, struct stack_syn *s, int fd);
