#include "daemon/host/hostnl.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct hostnl {
        struct nl_sock *sk;
        int routes;    /* a socket for many routes at once: libnl waits for one answer after the other */
        uint32_t seq;
        int last;      /* libnl's negative error */
};

static int af_of(uint8_t family)
{
        return family == IP_V6 ? AF_INET6 : AF_INET;
}

struct hostnl *hostnl_open(void)
{
        struct hostnl *n = calloc(1, sizeof(*n));
        if (n == NULL)
                return NULL;
        n->routes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        n->sk = nl_socket_alloc();
        struct sockaddr_nl any = {.nl_family = AF_NETLINK};   /* an address now, not with the first message */
        if (n->routes < 0 || bind(n->routes, (const struct sockaddr *)&any, sizeof(any)) != 0 || n->sk == NULL || nl_connect(n->sk, NETLINK_ROUTE) < 0) {
                hostnl_close(n);
                errno = EPERM;
                return NULL;
        }
        return n;
}

void hostnl_ports(const struct hostnl *n, uint32_t out[HOSTNL_PORTS])
{
        struct sockaddr_nl sa = {0};
        socklen_t len = sizeof(sa);
        (void)getsockname(n->routes, (struct sockaddr *)&sa, &len);
        out[0] = sa.nl_pid;
        out[1] = nl_socket_get_local_port(n->sk);
}

void hostnl_close(struct hostnl *n)
{
        if (n == NULL)
                return;
        if (n->sk != NULL)
                nl_socket_free(n->sk);
        if (n->routes >= 0)
                (void)close(n->routes);
        free(n);
}

const char *hostnl_error(const struct hostnl *n)
{
        return nl_geterror(n->last);
}

static enum err result(struct hostnl *n, int rc)
{
        n->last = rc;
        if (rc >= 0)
                return ERR_NONE;
        if (-rc == NLE_PERM)
                return ERR_PERMISSION;
        if (-rc == NLE_EXIST)
                return ERR_STATE;
        if (-rc == NLE_OBJ_NOTFOUND || -rc == NLE_NOADDR || -rc == NLE_NODEV)
                return ERR_NOT_FOUND;
        return ERR_IO;
}

/* Adding twice and removing twice are both fine. */
static enum err settled(struct hostnl *n, int rc, bool add)
{
        enum err e = result(n, rc);
        if (e == (add ? ERR_STATE : ERR_NOT_FOUND))
                return ERR_NONE;
        return e;
}

int hostnl_ifindex(struct hostnl *n, const char *ifname)
{
        (void)n;
        return (int)if_nametoindex(ifname);
}

enum err hostnl_link_set(struct hostnl *n, int ifindex, bool up, unsigned mtu)
{
        struct rtnl_link *old = rtnl_link_alloc(), *new = rtnl_link_alloc();
        int rc = -NLE_NOMEM;
        if (old != NULL && new != NULL) {
                rtnl_link_set_ifindex(old, ifindex);
                if (up)
                        rtnl_link_set_flags(new, IFF_UP);
                else
                        rtnl_link_unset_flags(new, IFF_UP);
                if (mtu != 0)
                        rtnl_link_set_mtu(new, mtu);
                rc = rtnl_link_change(n->sk, old, new, 0);
        }
        rtnl_link_put(old);
        rtnl_link_put(new);
        return result(n, rc);
}

static struct nl_addr *addr_of(struct prefix p)
{
        struct nl_addr *a = nl_addr_build(af_of(p.ip.family), p.ip.b, p.ip.family == IP_V6 ? 16 : 4);
        if (a != NULL)
                nl_addr_set_prefixlen(a, p.bits);
        return a;
}

enum err hostnl_addr(struct hostnl *n, int ifindex, struct prefix p, bool add)
{
        struct rtnl_addr *a = rtnl_addr_alloc();
        struct nl_addr *local = addr_of(p);
        int rc = -NLE_NOMEM;
        if (a != NULL && local != NULL) {
                rtnl_addr_set_ifindex(a, ifindex);
                rc = rtnl_addr_set_local(a, local);
                /* Duplicate detection would leave the address tentative for a second, for nothing. */
                if (p.ip.family == IP_V6)
                        rtnl_addr_set_flags(a, IFA_F_NODAD);
                if (rc == 0)
                        rc = add ? rtnl_addr_add(n->sk, a, 0) : rtnl_addr_delete(n->sk, a, 0);
        }
        nl_addr_put(local);
        rtnl_addr_put(a);
        return settled(n, rc, add);
}

static uint8_t kernel_type(enum hostnl_route_type t)
{
        return t == HOSTNL_TUNNEL ? RTN_UNICAST : t == HOSTNL_THROW ? RTN_THROW : RTN_UNREACHABLE;
}

/* What the kernel makes of no metric. */
enum { METRIC6_DEFAULT = 1024 };

/* NULL: out of memory. */
static struct nl_msg *route_request(int ifindex, uint32_t table, const struct hostnl_route *want, bool add)
{
        struct rtnl_route *r = rtnl_route_alloc();
        struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
        struct nl_addr *dst = addr_of(want->dst);
        uint32_t metric = want->metric == 0 && want->dst.ip.family == IP_V6 ? METRIC6_DEFAULT : want->metric;
        struct nl_msg *msg = NULL;
        if (r != NULL && hop != NULL && dst != NULL) {
                rtnl_route_set_family(r, (uint8_t)af_of(want->dst.ip.family));
                rtnl_route_set_table(r, table);
                rtnl_route_set_scope(r, add ? RT_SCOPE_UNIVERSE : RT_SCOPE_NOWHERE);
                rtnl_route_set_protocol(r, add ? RTPROT_BOOT : RTPROT_UNSPEC);
                rtnl_route_set_type(r, kernel_type(want->type));
                rtnl_route_set_dst(r, dst);
                if (metric != 0)
                        rtnl_route_set_priority(r, metric);
                /* Removal goes by destination, type and metric alone, so that it also finds what others or an
                 * interface that is gone left in the table. */
                if (add && want->type == HOSTNL_TUNNEL) {
                        rtnl_route_nh_set_ifindex(hop, ifindex);
                        rtnl_route_add_nexthop(r, hop);
                        hop = NULL;   /* the route has it now */
                }
                if ((add ? rtnl_route_build_add_request(r, NLM_F_CREATE | NLM_F_REPLACE, &msg)
                         : rtnl_route_build_del_request(r, 0, &msg)) < 0)
                        msg = NULL;
        }
        if (hop != NULL)
                rtnl_route_nh_free(hop);
        nl_addr_put(dst);
        rtnl_route_put(r);
        return msg;
}

/* The kernel has answered all by the time they are sent.  rc: libnl's errors, of request number first + i. */
static void read_answers(struct hostnl *n, uint32_t first, size_t count, int *rc)
{
        char buf[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
        for (;;) {
                ssize_t got = recv(n->routes, buf, sizeof(buf), MSG_DONTWAIT);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return;
                int left = (int)got;
                for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf; nlmsg_ok(h, left); h = nlmsg_next(h, &left)) {
                        const struct nlmsgerr *e = nlmsg_data(h);
                        if (h->nlmsg_type == NLMSG_ERROR && nlmsg_datalen(h) >= (int)sizeof(e->error) &&
                                h->nlmsg_seq - first < count)
                                rc[h->nlmsg_seq - first] = e->error != 0 ? -nl_syserr2nlerr(e->error) : 0;
                }
        }
}

void hostnl_routes(struct hostnl *n, int ifindex, const uint32_t *tables, const struct hostnl_route *at, size_t count,
        bool add, enum err *ret)
{
        struct nl_msg *msgs[HOSTNL_ROUTES_MAX];
        struct iovec iov[HOSTNL_ROUTES_MAX];
        int rc[HOSTNL_ROUTES_MAX];
        uint32_t first = n->seq;
        struct msghdr all = {.msg_iov = iov};
        for (size_t i = 0; i < count; i++) {
                msgs[i] = route_request(ifindex, tables[i], &at[i], add);
                rc[i] = msgs[i] != NULL ? -NLE_AGAIN : -NLE_NOMEM;   /* until it is answered */
                if (msgs[i] == NULL)
                        continue;
                struct nlmsghdr *h = nlmsg_hdr(msgs[i]);
                h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
                h->nlmsg_seq = first + (uint32_t)i;
                iov[all.msg_iovlen++] = (struct iovec){h, NLMSG_ALIGN(h->nlmsg_len)};
        }
        n->seq += (uint32_t)count;
        if (all.msg_iovlen > 0 && sendmsg(n->routes, &all, 0) >= 0)
                read_answers(n, first, count, rc);
        for (size_t i = 0; i < count; i++) {
                nlmsg_free(msgs[i]);
                int last = n->last;
                ret[i] = settled(n, rc[i], add);
                if (ret[i] == ERR_NONE)
                        n->last = last;
        }
}

enum err hostnl_rule(struct hostnl *n, const struct hostnl_rule *want, bool add)
{
        struct rtnl_rule *r = rtnl_rule_alloc();
        if (r == NULL)
                return result(n, -NLE_NOMEM);
        rtnl_rule_set_family(r, af_of(want->family));
        rtnl_rule_set_prio(r, want->priority);
        if (want->mask != 0) {
                rtnl_rule_set_mark(r, want->mark);
                rtnl_rule_set_mask(r, want->mask);
        }
        if (want->table != 0) {
                rtnl_rule_set_table(r, want->table);
                rtnl_rule_set_action(r, FR_ACT_TO_TBL);
        } else {
                rtnl_rule_set_action(r, FR_ACT_UNREACHABLE);
        }
        /* systemd-networkd removes rules it does not know, but spares the kernel's. */
        if (add)
                rtnl_rule_set_protocol(r, RTPROT_KERNEL);
        int rc = add ? rtnl_rule_add(n->sk, r, NLM_F_CREATE | NLM_F_EXCL) : rtnl_rule_delete(n->sk, r, 0);
        rtnl_rule_put(r);
        return settled(n, rc, add);
}

/* libnl asks for the rules of every family, whatever it is told. */
void hostnl_each_rule(struct hostnl *n, enum ip_family f, hostnl_rule_fn fn, void *arg)
{
        struct nl_cache *cache;
        if (rtnl_rule_alloc_cache(n->sk, af_of((uint8_t)f), &cache) < 0)
                return;
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
                struct rtnl_rule *r = (struct rtnl_rule *)o;
                if (rtnl_rule_get_family(r) != af_of((uint8_t)f))
                        continue;
                struct hostnl_rule out = {
                        .family = (uint8_t)f,
                        .priority = rtnl_rule_get_prio(r),
                        .mark = rtnl_rule_get_mark(r),
                        .mask = rtnl_rule_get_mask(r),
                        .table = rtnl_rule_get_action(r) == FR_ACT_TO_TBL ? rtnl_rule_get_table(r) : 0,
                };
                fn(arg, &out);
        }
        nl_cache_free(cache);
}

static void note_some(void *arg, const struct hostnl_rule *r)
{
        (void)r;
        *(bool *)arg = true;
}

bool hostnl_rules_usable(struct hostnl *n, enum ip_family f)
{
        bool some = false;
        hostnl_each_rule(n, f, note_some, &some);
        return some;
}

static bool ip_of(struct nl_addr *a, struct ip *ret)
{
        if (nl_addr_get_family(a) == AF_INET)
                *ret = ip_from_bytes4(nl_addr_get_binary_addr(a));
        else if (nl_addr_get_family(a) == AF_INET6)
                *ret = ip_from_bytes16(nl_addr_get_binary_addr(a));
        else
                return false;
        return true;
}

static bool route_of(struct rtnl_route *r, struct hostnl_route *ret)
{
        static const uint8_t zero[16];
        struct nl_addr *dst = rtnl_route_get_dst(r);
        uint8_t type = rtnl_route_get_type(r);
        *ret = (struct hostnl_route){
                .type = type == RTN_THROW ? HOSTNL_THROW : type == RTN_UNREACHABLE ? HOSTNL_UNREACHABLE : HOSTNL_TUNNEL,
                .metric = rtnl_route_get_priority(r),
        };
        if (rtnl_route_get_family(r) == AF_INET6 && ret->metric == METRIC6_DEFAULT)
                ret->metric = 0;
        if (dst == NULL || nl_addr_get_len(dst) == 0) {   /* the default route */
                ret->dst.ip = rtnl_route_get_family(r) == AF_INET6 ? ip_from_bytes16(zero) : ip_from_bytes4(zero);
                return true;
        }
        ret->dst.bits = (uint8_t)nl_addr_get_prefixlen(dst);
        return ip_of(dst, &ret->dst.ip);
}

/* The kernel picks the table out where it can (since 4.20): a router may hold a million routes in another one.
 * Only this one request is to be taken at its word, as libnl's own are not made for that. */
static int request_table(struct hostnl *n, int family, uint32_t table)
{
        struct rtmsg rt = {.rtm_family = (unsigned char)family, .rtm_table = (unsigned char)table};
        int fd = nl_socket_get_fd(n->sk), on = 1, off = 0;
        (void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
        int rc = nl_send_simple(n->sk, RTM_GETROUTE, NLM_F_DUMP, &rt, sizeof(rt));
        (void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &off, sizeof(off));
        return rc;
}

/* NULL: none, or the kernel does not say. */
static struct nl_cache *dump_table(struct hostnl *n, int family, uint32_t table)
{
        struct nl_cache *cache;
        if (nl_cache_alloc_name("route/route", &cache) < 0)
                return NULL;
        if (request_table(n, family, table) >= 0 && nl_cache_pickup(n->sk, cache) >= 0)
                return cache;
        nl_cache_free(cache);   /* the table does not exist */
        return NULL;
}

typedef void (*table_fn)(struct hostnl *n, struct rtnl_route *r, void *arg);

/* table: below 256. */
static void each_in_table(struct hostnl *n, uint32_t table, table_fn fn, void *arg)
{
        static const int families[] = {AF_INET, AF_INET6};
        for (size_t i = 0; i < 2; i++) {
                struct nl_cache *cache = dump_table(n, families[i], table);
                if (cache == NULL)
                        continue;
                for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
                        struct rtnl_route *r = (struct rtnl_route *)o;
                        if (rtnl_route_get_table(r) == table && rtnl_route_get_family(r) == families[i])
                                fn(n, r, arg);
                }
                nl_cache_free(cache);
        }
}

struct route_call {
        hostnl_route_fn fn;
        void *arg;
};

static void call_with_route(struct hostnl *n, struct rtnl_route *r, void *arg)
{
        (void)n;
        const struct route_call *c = arg;
        struct hostnl_route out;
        if (route_of(r, &out))
                c->fn(c->arg, &out);
}

void hostnl_each_route(struct hostnl *n, uint32_t table, hostnl_route_fn fn, void *arg)
{
        struct route_call c = {fn, arg};
        each_in_table(n, table, call_with_route, &c);
}

static void delete_route(struct hostnl *n, struct rtnl_route *r, void *arg)
{
        (void)arg;
        (void)rtnl_route_delete(n->sk, r, 0);
}

void hostnl_flush_table(struct hostnl *n, uint32_t table)
{
        each_in_table(n, table, delete_route, NULL);
}

void hostnl_each_addr(struct hostnl *n, hostnl_addr_fn fn, void *arg)
{
        struct nl_cache *cache;
        if (rtnl_addr_alloc_cache(n->sk, &cache) < 0)
                return;
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
                struct rtnl_addr *a = (struct rtnl_addr *)o;
                struct nl_addr *local = rtnl_addr_get_local(a);
                struct prefix p = {0};
                if (local == NULL || !ip_of(local, &p.ip))
                        continue;
                /* With a peer address the prefix is the peer's. */
                struct nl_addr *peer = rtnl_addr_get_peer(a);
                p.bits = (uint8_t)nl_addr_get_prefixlen(peer != NULL ? peer : local);
                fn(arg, rtnl_addr_get_ifindex(a), p);
        }
        nl_cache_free(cache);
}
