/* base/ipmake.h - headers and checksums of IP packets that we make ourselves.  Pure; any thread.
 *
 * Sources: RFC 791, 8200, 1071.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum { IP4_HEADER = 20, IP6_HEADER = 40 };

/* The header of a packet with that many bytes behind it; returns its length.  Both addresses are of one family. */
size_t ip_make_header(uint8_t *out, struct ip from, struct ip to, uint8_t proto, size_t payload);
/* Of what carries its checksum in itself; that field must be zero. */
uint16_t ip_checksum(const uint8_t *p, size_t n);
/* With the pseudo header of addresses and protocol before it; n is at most 65535. */
uint16_t ip_checksum_pseudo(struct ip from, struct ip to, uint8_t proto, const uint8_t *payload, size_t n);
