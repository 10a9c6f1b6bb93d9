/* base/checksum.h - the internet checksum (RFC 1071).  Pure; any thread.
 *
 * A sum is kept unfolded in 64 bits, in the byte order of the host: parts may be added in any order as long as each
 * but the last has an even length.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t sum_add(uint64_t sum, const void *data, size_t n);
/* A value of the host, such as a length or a protocol number, as 16 bits in network order. */
uint64_t sum_add_u16(uint64_t sum, uint16_t v);
/* The pseudo header of TCP and UDP but for the length: addresses at src and dst (4 or 16 bytes each), protocol. */
uint64_t sum_pseudo(const uint8_t *src, const uint8_t *dst, size_t ip_len, uint8_t proto);
/* 16 bits as they are stored: memcpy them into the packet.  Not complemented. */
uint16_t sum_fold(uint64_t sum);

/* Writes the header checksum of IPv4; len: bytes of the header. */
void ip4_checksum(uint8_t *ip, size_t len);
