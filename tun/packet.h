/* tun/packet.h - what the packet filter needs to know of an IP packet.  Pure; any thread.
 *
 * IPv4 with options; IPv6 with at most a fragment header right behind the fixed one: every other
 * extension header is refused, because what hides behind it cannot be judged (RFC 7045 notwithstanding).
 * Sources: RFC 791, 8200, 1858 (tiny and overlapping fragments), 3128.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        PROTO_ICMP = 1,
        PROTO_IGMP = 2,
        PROTO_TCP = 6,
        PROTO_UDP = 17,
        PROTO_FRAGMENT6 = 44,
        PROTO_ICMPV6 = 58,
        PROTO_TSMP = 99,
        PROTO_SCTP = 132,
};

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

enum packet_kind {
        PACKET_WHOLE,            /* or a first fragment with its whole transport header */
        PACKET_LATER_FRAGMENT,   /* no ports to be seen */
        PACKET_BAD_FRAGMENT,     /* a first fragment too short, or a later one that could overlap it */
        PACKET_MALFORMED,
};

struct packet {
        enum packet_kind kind;
        uint8_t version;         /* 4 or 6 */
        uint8_t proto;
        uint8_t ip_len;          /* 4 or 16 */
        uint8_t src[16], dst[16];   /* the first ip_len bytes, the rest zero */
        uint16_t src_port, dst_port;   /* TCP, UDP, SCTP; else 0 */
        uint8_t tcp_flags;
        uint8_t icmp_type, icmp_code;
        const uint8_t *payload;  /* transport header, borrowed */
        size_t payload_len;      /* up to the IP length, not beyond */
};

struct packet packet_parse(const uint8_t *data, size_t len);
