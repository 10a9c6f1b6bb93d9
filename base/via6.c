#include "base/via6.h"

#include <string.h>

#include "base/reader.h"

static const uint8_t network[8] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 0x0b, 0x1a};

bool via6_is(struct ip ip)
{
        return ip.family == IP_V6 && memcmp(ip.b, network, sizeof(network)) == 0;
}

uint32_t via6_site(struct ip via)
{
        return load_be32(via.b + 8);
}

struct ip via6_to_v4(struct ip via)
{
        return ip_from_bytes4(via.b + 12);
}

struct ip via6_from_v4(uint32_t site, struct ip v4)
{
        struct ip ip = {.family = IP_V6};
        memcpy(ip.b, network, sizeof(network));
        store_be32(ip.b + 8, site);
        memcpy(ip.b + 12, v4.b, 4);
        return ip;
}
