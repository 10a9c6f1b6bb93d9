#include "daemon/host/hostaddrs.h"

#include <ifaddrs.h>

static uint8_t mask_bits(const struct sockaddr *mask, uint8_t most)
{
        struct ip m = addr_from_sockaddr(mask).ip;
        uint8_t n = 0;
        while (n < most && n < ip_bits(m) && (m.b[n / 8] & (0x80 >> n % 8)) != 0)
                n++;
        return n;
}

size_t hostaddrs(struct prefix out[HOSTADDRS_MAX])
{
        struct ifaddrs *list;
        size_t n = 0;
        if (getifaddrs(&list) != 0)
                return 0;
        for (const struct ifaddrs *i = list; i != NULL && n < HOSTADDRS_MAX; i = i->ifa_next) {
                if (i->ifa_addr == NULL || i->ifa_netmask == NULL)
                        continue;
                struct ip ip = addr_from_sockaddr(i->ifa_addr).ip;
                if (ip_is_set(ip) && !ip_is_tailnet(ip))
                        out[n++] = (struct prefix){ip, mask_bits(i->ifa_netmask, ip_bits(ip))};
        }
        freeifaddrs(list);
        return n;
}
