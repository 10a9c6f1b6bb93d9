#include "base/ipmake.h"

#include <string.h>

#include "base/reader.h"

enum { HOPS = 64 };

static uint32_t sum(uint32_t s, const uint8_t *p, size_t n)
{
        for (; n > 1; n -= 2, p += 2)
                s += load_be16(p);
        return n > 0 ? s + ((uint32_t)*p << 8) : s;
}

static uint16_t fold(uint32_t s)
{
        while (s >> 16)
                s = (s & 0xffff) + (s >> 16);
        return (uint16_t)~s;
}

uint16_t ip_checksum(const uint8_t *p, size_t n)
{
        return fold(sum(0, p, n));
}

uint16_t ip_checksum_pseudo(struct ip from, struct ip to, uint8_t proto, const uint8_t *payload, size_t n)
{
        size_t len = from.family == IP_V4 ? 4 : 16;
        return fold(sum(sum(sum(proto + (uint32_t)n, from.b, len), to.b, len), payload, n));
}

size_t ip_make_header(uint8_t *out, struct ip from, struct ip to, uint8_t proto, size_t payload)
{
        if (from.family == IP_V4) {
                memset(out, 0, IP4_HEADER);
                out[0] = 0x45;
                store_be16(out + 2, (uint16_t)(IP4_HEADER + payload));
                out[8] = HOPS;
                out[9] = proto;
                memcpy(out + 12, from.b, 4);
                memcpy(out + 16, to.b, 4);
                store_be16(out + 10, ip_checksum(out, IP4_HEADER));
                return IP4_HEADER;
        }
        memset(out, 0, IP6_HEADER);
        out[0] = 0x60;
        store_be16(out + 4, (uint16_t)payload);
        out[6] = proto;
        out[7] = HOPS;
        memcpy(out + 8, from.b, 16);
        memcpy(out + 24, to.b, 16);
        return IP6_HEADER;
}
