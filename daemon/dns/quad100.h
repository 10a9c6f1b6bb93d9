/* daemon/dns/quad100.h - the host on the service addresses: IP packets in, IP packets out.  Control thread.
 *
 * UDP 53 goes to the resolver, TCP 53 too, echo requests are answered, other TCP is reset, all else is dropped.
 * Sources: RFC 791, 792, 768, 8200, 4443, 1071.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "daemon/dns/service.h"

enum { QUAD100_PACKET_MAX = 1280 };

struct quad100;

typedef void (*quad100_send_fn)(void *arg, const uint8_t *pkt, size_t len);

struct quad100 *quad100_new(struct loop *l, struct dns_service *s, quad100_send_fn send, void *arg);   /* NULL: memory */
void quad100_free(struct quad100 *q);   /* before its service */
/* A packet to one of the addresses; anything else in it is dropped. */
void quad100_in(struct quad100 *q, const uint8_t *pkt, size_t len, mono_t now);
