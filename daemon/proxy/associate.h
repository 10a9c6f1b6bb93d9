/* daemon/proxy/associate.h - the datagrams of a SOCKS5 client: a socket for it, and one for each place it sends to.
 * Control thread.
 *
 * It lives as long as the client's connection.  Only the address that the connection comes from may use it, and the port
 * that sent the last datagram gets the answers.  Where one of too many places is new, the one used least lately goes.
 * Source: RFC 1928, section 7.
 */
#pragma once

#include "daemon/proxy/dialout.h"

enum { ASSOCIATE_TARGETS_MAX = 64 };

struct associate;

/* client: the connection, of which both addresses are asked.  NULL: errno.  *ret_at is where to send. */
struct associate *associate_new(struct loop *l, struct dialout *d, int client, struct addr *ret_at);
void associate_free(struct associate *a);   /* NULL is fine */
