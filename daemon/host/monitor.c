#include "daemon/host/monitor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/host/limiter.h"
#include "daemon/host/netchange.h"
#include "daemon/host/router.h"

struct monitor {
        struct nl_sock *sk;
        struct watch watch;
        struct timer settle, repair;
        struct limiter limit;
        struct loop *loop;
        struct monitor_callbacks cb;
        void *arg;
        char ifname[IFNAMSIZ];
};

static void note_change(struct monitor *m)
{
        if (!timer_is_armed(&m->settle))
                loop_timer_in(m->loop, &m->settle, MONITOR_SETTLE_MS);
}

static void note_removed(struct monitor *m)
{
        if (!timer_is_armed(&m->repair))
                loop_timer_at(m->loop, &m->repair, limiter_next(&m->limit, loop_now(m->loop)));
}

enum whose { OURS, THE_HOSTS, NOBODYS };

/* Asked each time: somebody may have deleted it. */
static int own_index(const struct monitor *m)
{
        return (int)if_nametoindex(m->ifname);
}

/* The local table only repeats what the addresses say; for our own interface the kernel adds routes itself. */
static enum whose whose_route(const struct monitor *m, struct nlmsghdr *h)
{
        const struct rtmsg *rt = nlmsg_data(h);
        struct nlattr *table = nlmsg_find_attr(h, sizeof(*rt), RTA_TABLE);
        struct nlattr *oif = nlmsg_find_attr(h, sizeof(*rt), RTA_OIF);
        uint32_t id = table != NULL ? nla_get_u32(table) : rt->rtm_table;
        if (id == ROUTER_TABLE)
                return OURS;
        return id == RT_TABLE_LOCAL || (oif != NULL && (int)nla_get_u32(oif) == own_index(m)) ? NOBODYS : THE_HOSTS;
}

static bool is_own_rule(struct nlmsghdr *h)
{
        struct nlattr *prio = nlmsg_find_attr(h, sizeof(struct fib_rule_hdr), FRA_PRIORITY);
        return prio != NULL && router_owns_priority(nla_get_u32(prio));
}

static bool holds(struct nlmsghdr *h, size_t size)
{
        return (size_t)nlmsg_datalen(h) >= size;
}

static void on_addr(struct monitor *m, struct nlmsghdr *h, int own)
{
        const struct ifaddrmsg *a = nlmsg_data(h);
        if (!holds(h, sizeof(*a)) || !netchange_addr(h))
                return;
        if ((int)a->ifa_index != own)
                note_change(m);
        else if (h->nlmsg_type == RTM_DELADDR)
                note_removed(m);
}

static void on_link(struct monitor *m, struct nlmsghdr *h, int own)
{
        const struct ifinfomsg *i = nlmsg_data(h);
        if (!holds(h, sizeof(*i)))
                return;
        if (i->ifi_index != own && netchange_link(h))
                note_change(m);
        else if (i->ifi_index == own && h->nlmsg_type == RTM_NEWLINK && !(i->ifi_flags & IFF_UP))
                note_removed(m);
}

/* A routing daemon may change thousands a second, hardly one of which is of interest. */
static void on_route(struct monitor *m, struct nlmsghdr *h)
{
        if (!holds(h, sizeof(struct rtmsg)))
                return;
        const struct rtmsg *rt = nlmsg_data(h);
        if (rt->rtm_table != ROUTER_TABLE && !netchange_route(h))
                return;
        enum whose w = whose_route(m, h);
        if (w == THE_HOSTS && netchange_route(h))
                note_change(m);
        else if (w == OURS && h->nlmsg_type == RTM_DELROUTE)
                note_removed(m);
}

static int on_message(struct nl_msg *msg, void *arg)
{
        struct monitor *m = arg;
        struct nlmsghdr *h = nlmsg_hdr(msg);
        switch (h->nlmsg_type) {
        case RTM_NEWADDR:
        case RTM_DELADDR:
                on_addr(m, h, own_index(m));
                break;
        case RTM_NEWLINK:
        case RTM_DELLINK:
                on_link(m, h, own_index(m));
                break;
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
                on_route(m, h);
                break;
        case RTM_DELRULE:
                if (holds(h, sizeof(struct fib_rule_hdr)) && is_own_rule(h))
                        note_removed(m);
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
        if (rc == -NLE_NOMEM) {   /* the kernel dropped some: anything may have changed */
                note_change(m);
                note_removed(m);
        }
}

static void on_settled(struct timer *t, mono_t now)
{
        (void)now;
        struct monitor *m = container_of(t, struct monitor, settle);
        m->cb.on_change(m->arg);
}

static void on_repair(struct timer *t, mono_t now)
{
        struct monitor *m = container_of(t, struct monitor, repair);
        limiter_take(&m->limit, now);
        m->cb.on_removed(m->arg);
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
        timer_init(&m->repair, on_repair);
        m->limit = (struct limiter){.settle_ms = MONITOR_SETTLE_MS, .burst = MONITOR_LIMIT_BURST,
                .every_ms = MONITOR_LIMIT_MS};
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

/* In the kernel, as ten thousand routes are ten thousand messages, which would not even find room. */
void monitor_leave_out(struct monitor *m, const uint32_t *ports, size_t n)
{
        enum { PORTS_MAX = 8 };
        struct sock_filter code[PORTS_MAX + 3];
        size_t at = 0;
        if (n > PORTS_MAX)
                n = PORTS_MAX;
        for (size_t i = 0; i < n; i++)
                if (ports[i] == 0)   /* that is the kernel's own */
                        return;
        code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid));
        for (size_t i = 0; i < n; i++)   /* loads are in network order */
                code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(ports[i]), (uint8_t)(n - i), 0);
        code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
        code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
        struct sock_fprog program = {.len = (unsigned short)at, .filter = code};
        if (setsockopt(nl_socket_get_fd(m->sk), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0)
                log_debug(1, "the monitor hears of our own changes too");
}

void monitor_free(struct monitor *m)
{
        if (m == NULL)
                return;
        loop_timer_stop(&m->settle);
        loop_timer_stop(&m->repair);
        loop_unwatch(&m->watch);
        nl_socket_free(m->sk);
        free(m);
}
