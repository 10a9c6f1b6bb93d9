#include "daemon/host/netchange.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <stdint.h>

static bool has(const struct nlmsghdr *h, size_t header, int attr)
{
        return nlmsg_find_attr((struct nlmsghdr *)(uintptr_t)h, (int)header, attr) != NULL;
}

static bool holds(const struct nlmsghdr *h, size_t size)
{
        return h->nlmsg_len >= NLMSG_HDRLEN && (size_t)nlmsg_datalen(h) >= size;
}

bool netchange_link(const struct nlmsghdr *h)
{
        const struct ifinfomsg *i = nlmsg_data(h);
        if (!holds(h, sizeof(*i)) || h->nlmsg_type != RTM_NEWLINK)
                return false;   /* before a link that was up goes away it is said to be down */
        if (has(h, sizeof(*i), IFLA_WIRELESS) || has(h, sizeof(*i), IFLA_MASTER))
                return false;   /* a port of a bridge or bond has no address; its master tells */
        if (i->ifi_change == ~0U)   /* new here */
                return (i->ifi_flags & IFF_UP) != 0;
        /* 0: something besides the flags, such as the carrier */
        return i->ifi_change == 0 || (i->ifi_change & ~(unsigned)(IFF_PROMISC | IFF_ALLMULTI)) != 0;
}

/* The lifetime of an address that was there before was renewed. */
static bool is_renewal(const struct nlmsghdr *h)
{
        struct nlattr *a = nlmsg_find_attr((struct nlmsghdr *)(uintptr_t)h, sizeof(struct ifaddrmsg), IFA_CACHEINFO);
        if (h->nlmsg_type != RTM_NEWADDR || a == NULL || nla_len(a) < (int)sizeof(struct ifa_cacheinfo))
                return false;
        const struct ifa_cacheinfo *c = nla_data(a);
        return c->tstamp != c->cstamp;
}

bool netchange_addr(const struct nlmsghdr *h)
{
        const struct ifaddrmsg *a = nlmsg_data(h);
        /* A link-local address, which comes a second or two after its link, opens no path. */
        return holds(h, sizeof(*a)) && a->ifa_scope < RT_SCOPE_LINK && !is_renewal(h);
}

bool netchange_route(const struct nlmsghdr *h)
{
        const struct rtmsg *r = nlmsg_data(h);
        return holds(h, sizeof(*r)) && r->rtm_dst_len <= 1;
}
