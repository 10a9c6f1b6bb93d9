/* tests/unit/tun_slow.h - fields and checksums of IP packets, slow, written apart from what they judge and easy to believe: bytes
 * one by one. */
#pragma once

#include "tests/unit/check.h"

static inline unsigned get16(const uint8_t *p)
{
        return (unsigned)p[0] << 8 | p[1];
}

static inline void put16(uint8_t *p, unsigned v)
{
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
}

static inline uint32_t get32(const uint8_t *p)
{
        return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline void put32(uint8_t *p, uint32_t v)
{
        put16(p, v >> 16);
        put16(p + 2, v & 0xffff);
}

static inline uint32_t add(uint32_t sum, const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
                sum = (sum & 0xffff) + (sum >> 16);
        }
        return sum;
}

static inline size_t transport_of(const uint8_t *d)
{
        return d[0] >> 4 == 4 ? (size_t)(d[0] & 15) * 4 : 40;
}

static inline uint8_t proto_of(const uint8_t *d)
{
        return d[0] >> 4 == 4 ? d[9] : d[6];
}

static inline uint32_t pseudo(const uint8_t *d, size_t len)
{
        uint8_t tail[4] = {0, proto_of(d)};
        put16(tail + 2, (unsigned)(len - transport_of(d)));
        uint32_t sum = d[0] >> 4 == 4 ? add(0, d + 12, 8) : add(0, d + 8, 32);
        return add(sum, tail, 4);
}

static inline size_t sum_place(const uint8_t *d)
{
        return transport_of(d) + (proto_of(d) == 6 ? 16 : 6);
}

/* All lengths and checksums, anew. */
static inline void settle(uint8_t *d, size_t len)
{
        size_t t = transport_of(d);
        if (d[0] >> 4 == 4) {
                put16(d + 2, (unsigned)len);
                put16(d + 10, 0);
                put16(d + 10, ~add(0, d, t) & 0xffff);
        } else {
                put16(d + 4, (unsigned)(len - 40));
        }
        if (proto_of(d) == 17)
                put16(d + t + 4, (unsigned)(len - t));
        put16(d + sum_place(d), 0);
        unsigned sum = ~add(pseudo(d, len), d + t, len - t) & 0xffff;
        put16(d + sum_place(d), sum == 0 && proto_of(d) == 17 ? 0xffff : sum);
}
