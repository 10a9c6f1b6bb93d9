/* Builders of IP packets for the tests of tun/: minimal headers, no checksums (nothing here looks at them). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/addr.h"
#include "base/reader.h"
#include "tun/packet.h"

enum { TEST_PACKET_MAX = 256 };

struct test_packet {
        uint8_t b[TEST_PACKET_MAX];
        size_t len;
};

/* frag: IPv4 offset field, or the IPv6 fragment header's (then one is inserted if frag6). */
static inline struct test_packet ip_packet(const char *src, const char *dst, uint8_t proto, const void *payload,
        size_t n)
{
        struct test_packet p = {0};
        struct ip s, d;
        if (ip_parse(src, &s) != ERR_NONE || ip_parse(dst, &d) != ERR_NONE)
                return p;
        size_t head = s.family == IP_V4 ? 20 : 40;
        p.len = head + n;
        if (s.family == IP_V4) {
                p.b[0] = 0x45;
                store_be16(p.b + 2, (uint16_t)p.len);
                p.b[8] = 64;
                p.b[9] = proto;
                memcpy(p.b + 12, s.b, 4);
                memcpy(p.b + 16, d.b, 4);
        } else {
                p.b[0] = 0x60;
                store_be16(p.b + 4, (uint16_t)n);
                p.b[6] = proto;
                p.b[7] = 64;
                memcpy(p.b + 8, s.b, 16);
                memcpy(p.b + 24, d.b, 16);
        }
        if (n > 0)
                memcpy(p.b + head, payload, n);
        return p;
}

static inline struct test_packet tcp_packet(const char *src, uint16_t sport, const char *dst, uint16_t dport,
        uint8_t flags)
{
        uint8_t t[20] = {0};
        store_be16(t, sport);
        store_be16(t + 2, dport);
        t[12] = 0x50;
        t[13] = flags;
        return ip_packet(src, dst, PROTO_TCP, t, sizeof(t));
}

static inline struct test_packet udp_packet(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
        uint8_t u[12] = {0};
        store_be16(u, sport);
        store_be16(u + 2, dport);
        store_be16(u + 4, sizeof(u));
        return ip_packet(src, dst, PROTO_UDP, u, sizeof(u));
}

static inline struct test_packet icmp_packet(const char *src, const char *dst, uint8_t type)
{
        uint8_t i[8] = {type};
        return ip_packet(src, dst, strchr(src, ':') ? PROTO_ICMPV6 : PROTO_ICMP, i, sizeof(i));
}
