#include "daemon/host/monitor.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/host/router.h"

struct monitor {
        struct nl_sock *sk;
        struct watch watch;
        struct timer settle;
        struct loop *loop;
        struct monitor_callbacks cb;
        void *arg;
        char ifname[IFNAMSIZ];
        bool changed, rule_removed;
};

static void note(struct monitor *m, bool *flag)
{
        *flag = true;
        if (!timer_is_armed(&m->settle))
                loop_timer_in(m->loop, &m->settle, MONITOR_SETTLE_MS);
}

/* Routes in our table, those the kernel adds for our own interface, and those of
 * the local table, which only repeats what the addresses say. */
static bool is_own_route(struct nlmsghdr *h, int own)
{
        const struct rtmsg *rt = nlmsg_data(h);
        struct nlattr *table = nlmsg_find_attr(h, sizeof(*rt), RTA_TABLE);
        struct nlattr *oif = nlmsg_find_attr(h, sizeof(*rt), RTA_OIF);
        uint32_t id = table != NULL ? nla_get_u32(table) : rt->rtm_table;
        return id == ROUTER_TABLE || id == RT_TABLE_LOCAL || (oif != NULL && (int)nla_get_u32(oif) == own);
}

/* A link-local address, which comes a second or two after its link, opens no path. */
static bool is_usable_elsewhere(const struct ifaddrmsg *a, int own)
{
        return (int)a->ifa_index != own && a->ifa_scope < RT_SCOPE_LINK;
}

static bool is_own_rule(struct nlmsghdr *h)
{
        struct nlattr *prio = nlmsg_find_attr(h, sizeof(struct fib_rule_hdr), FRA_PRIORITY);
        uint32_t p = prio != NULL ? nla_get_u32(prio) : 0;
        return p >= ROUTER_RULE_BASE && p < ROUTER_RULE_BASE + 100;
}

static int on_message(struct nl_msg *msg, void *arg)
{
        struct monitor *m = arg;
        struct nlmsghdr *h = nlmsg_hdr(msg);
        int own = (int)if_nametoindex(m->ifname);
        switch (h->nlmsg_type) {
        case RTM_NEWADDR:
        case RTM_DELADDR:
                if ((size_t)nlmsg_datalen(h) >= sizeof(struct ifaddrmsg) &&
                        is_usable_elsewhere(nlmsg_data(h), own))
                        note(m, &m->changed);
                break;
        case RTM_NEWLINK:
        case RTM_DELLINK:
                if ((size_t)nlmsg_datalen(h) >= sizeof(struct ifinfomsg) &&
                        ((struct ifinfomsg *)nlmsg_data(h))->ifi_index != own)
                        note(m, &m->changed);
                break;
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
                if ((size_t)nlmsg_datalen(h) >= sizeof(struct rtmsg) && !is_own_route(h, own))
                        note(m, &m->changed);
                break;
        case RTM_DELRULE:
                if ((size_t)nlmsg_datalen(h) >= sizeof(struct fib_rule_hdr) && is_own_rule(h))
                        note(m, &m->rule_removed);
                break;
        default:
                break;
        }
        return NL_OK;
}

static void on_readable(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct monitor *m = container_of(w, struct monitor, watch);
        int rc = nl_recvmsgs_default(m->sk);
        if (rc == -NLE_NOMEM)   /* the kernel dropped some: anything may have changed */
                note(m, &m->changed);
}

static void on_settled(struct timer *t, mono_t now)
{
        (void)now;
        struct monitor *m = container_of(t, struct monitor, settle);
        bool changed = m->changed, rule = m->rule_removed;
        m->changed = m->rule_removed = false;
        if (rule)
                m->cb.on_rule_removed(m->arg);
        if (changed)
                m->cb.on_change(m->arg);
}

struct monitor *monitor_new(struct loop *l, const char *own_ifname, const struct monitor_callbacks *cb,
        void *arg)
{
        struct monitor *m = calloc(1, sizeof(*m));
        if (m == NULL)
                return NULL;
        m->loop = l;
        m->cb = *cb;
        m->arg = arg;
        (void)str_copy(m->ifname, sizeof(m->ifname), own_ifname);
        watch_init(&m->watch, on_readable);
        timer_init(&m->settle, on_settled);
        m->sk = nl_socket_alloc();
        if (m->sk == NULL)
                goto fail;
        nl_socket_disable_seq_check(m->sk);
        nl_socket_modify_cb(m->sk, NL_CB_VALID, NL_CB_CUSTOM, on_message, m);
        if (nl_connect(m->sk, NETLINK_ROUTE) < 0)
                goto fail;
        nl_socket_set_nonblocking(m->sk);
        if (nl_socket_add_memberships(m->sk, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                    RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, 0) < 0)
                goto fail;
        if (loop_watch(l, &m->watch, nl_socket_get_fd(m->sk), LOOP_READ) != ERR_NONE)
                goto fail;
        return m;
fail:
        if (m->sk != NULL)
                nl_socket_free(m->sk);
        free(m);
        errno = EPERM;
        return NULL;
}

void monitor_free(struct monitor *m)
{
        if (m == NULL)
                return;
        loop_timer_stop(&m->settle);
        loop_unwatch(&m->watch);
        nl_socket_free(m->sk);
        free(m);
}
