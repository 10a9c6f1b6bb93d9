/* daemon/inside.h - sockets that lead into the tailnet through the stack, for code that wants a descriptor: one end of a pair,
 * whose other end is relayed.  Control thread.
 *
 * A connection that cannot be made ends like one that was made and hung up on.
 */
#pragma once

#include "base/addr.h"
#include "base/dial.h"
#include "base/loop.h"
#include "daemon/netstack/udp.h"

enum { INSIDE_MAX = 512 };

struct inside;

struct inside *inside_new(struct loop *l, struct udp *u);   /* NULL: out of memory */
void inside_free(struct inside *i);                         /* before stack and udp */
/* From this address of ours; type SOCK_STREAM or SOCK_DGRAM.  -1: errno. */
int inside_open(struct inside *i, struct ip local, struct addr to, int type);
/* A stream to whoever of this process connects to the socket of that name in the abstract namespace, once. */
int inside_listen(struct inside *i, struct ip local, struct addr to, uint8_t ret_name[DIALER_NAME_LEN]);
