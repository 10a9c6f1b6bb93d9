#include "base/ipmake.h"

#include <string.h>

#include "base/checksum.h"
#include "base/reader.h"

enum { HOPS = 64 };

static uint16_t of_sum(uint64_t sum)
{
        uint16_t stored = (uint16_t)~sum_fold(sum);
        uint8_t b[2];
        memcpy(b, &stored, sizeof(b));
        return load_be16(b);
}

uint16_t ip_checksum(const uint8_t *p, size_t n)
{
        return of_sum(sum_add(0, p, n));
}

uint16_t ip_checksum_pseudo(struct ip from, struct ip to, uint8_t proto, const uint8_t *payload, size_t n)
{
        uint64_t sum = sum_pseudo(from.b, to.b, from.family == IP_V4 ? 4 : 16, proto);
        return of_sum(sum_add(sum_add_u16(sum, (uint16_t)n), payload, n));
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
                ip4_checksum(out, IP4_HEADER);
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
