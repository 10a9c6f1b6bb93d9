/* magicsock/localaddr.h: the addresses of the running host. */
#include "magicsock/localaddr.h"

#include "tests/sim/net.h"

bool localaddr_list(const char *tun_name, struct localaddrs *ret)
{
        const struct host *h = host_running;
        struct local_addr raw[2];
        struct localaddrs l = {.count = 0};
        size_t n = 0;
        if (ip_is_set(h->v4) && !h->unplugged)
                raw[n++] = (struct local_addr){h->v4, 24, "eth0"};
        if (ip_is_set(h->v6) && !h->unplugged)
                raw[n++] = (struct local_addr){h->v6, 64, "eth0"};
        l.have_v4 = ip_is_set(h->v4) && !h->unplugged;
        l.have_v6 = ip_is_set(h->v6) && !h->unplugged;
        l.count = endpoints_filter_local(raw, n, tun_name, l.ip);
        *ret = l;
        return true;
}

bool localaddr_os_has_ipv6(void)
{
        return true;
}
