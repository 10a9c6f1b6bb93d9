#include "magicsock/localaddr.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RAW_MAX = 256 };

static uint8_t mask_bits(const struct sockaddr *mask, enum ip_family f)
{
        if (!mask)
                return f == IP_V6 ? 128 : 32;
        uint8_t b[16] = {0};
        if (f == IP_V6)
                memcpy(b, &((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr, 16);
        else
                memcpy(b, &((const struct sockaddr_in *)(const void *)mask)->sin_addr, 4);
        uint8_t bits = 0;
        for (size_t i = 0; i < sizeof(b); i++)
                bits = (uint8_t)(bits + __builtin_popcount(b[i]));
        return bits;
}

static bool is_ip(const struct ifaddrs *i)
{
        return i->ifa_addr && (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6) &&
               (i->ifa_flags & IFF_UP);
}

static void note_reach(struct ip ip, struct localaddrs *l)
{
        if (ip_is_loopback(ip) || ip_is_link_local(ip) || ip_is_tailnet(ip))
                return;
        if (ip.family == IP_V4)
                l->have_v4 = true;
        else if ((ip.b[0] & 0xe0) == 0x20 || ip_is_private(ip))
                l->have_v6 = true;
}

bool localaddr_list(const char *tun_name, struct localaddrs *ret)
{
        struct ifaddrs *list;
        if (getifaddrs(&list) != 0)
                return false;
        struct local_addr raw[RAW_MAX];
        size_t n = 0;
        struct localaddrs l = {.count = 0};
        for (const struct ifaddrs *i = list; i && n < RAW_MAX; i = i->ifa_next) {
                if (!is_ip(i))
                        continue;
                struct ip ip = addr_from_sockaddr(i->ifa_addr).ip;
                raw[n++] = (struct local_addr){ip, mask_bits(i->ifa_netmask, ip.family), i->ifa_name};
                if (!tun_name || strcmp(i->ifa_name, tun_name) != 0)
                        note_reach(ip, &l);
        }
        l.count = endpoints_filter_local(raw, n, tun_name, l.ip);
        freeifaddrs(list);
        *ret = l;
        return true;
}

bool localaddr_os_has_ipv6(void)
{
        int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return false;
        struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        bool ok = bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0;
        close(fd);
        return ok;
}
