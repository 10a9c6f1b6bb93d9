#include "portmap/gateway.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

/* Somewhere on the internet.  No packet goes there. */
static const uint8_t far_away[4] = {128, 0, 0, 1};

struct found {
        struct ip router, self;
};

static int on_attr(const struct nlattr *a, void *arg)
{
        struct found *f = arg;
        int type = mnl_attr_get_type(a);
        if ((type == RTA_GATEWAY || type == RTA_PREFSRC) && mnl_attr_get_payload_len(a) == 4) {
                struct ip ip = ip_from_bytes4(mnl_attr_get_payload(a));
                *(type == RTA_GATEWAY ? &f->router : &f->self) = ip;
        }
        return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *h, void *arg)
{
        if (h->nlmsg_type != RTM_NEWROUTE)
                return MNL_CB_OK;
        return mnl_attr_parse(h, sizeof(struct rtmsg), on_attr, arg);
}

static size_t make_request(char *buf, uint32_t mark)
{
        struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
        h->nlmsg_type = RTM_GETROUTE;
        h->nlmsg_flags = NLM_F_REQUEST;
        struct rtmsg *r = mnl_nlmsg_put_extra_header(h, sizeof(*r));
        r->rtm_family = AF_INET;
        r->rtm_dst_len = 32;
        mnl_attr_put(h, RTA_DST, sizeof(far_away), far_away);
        if (mark != 0)
                mnl_attr_put_u32(h, RTA_MARK, mark);
        return h->nlmsg_len;
}

bool gateway_find(uint32_t mark, struct ip *ret_router, struct ip *ret_self)
{
        char buf[4096];   /* one route */
        struct found f = {0};
        struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (s == NULL)
                return false;
        size_t len = make_request(buf, mark);
        if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) == 0 && mnl_socket_sendto(s, buf, len) > 0) {
                ssize_t n = mnl_socket_recvfrom(s, buf, sizeof(buf));   /* the kernel has answered before it returned */
                if (n > 0)
                        (void)mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(s), on_route, &f);
        }
        mnl_socket_close(s);
        if (!ip_is_set(f.router) || !ip_is_private(f.router) || !ip_is_set(f.self))
                return false;
        *ret_router = f.router;
        *ret_self = f.self;
        return true;
}
