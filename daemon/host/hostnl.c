#include "daemon/host/hostnl.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <stdlib.h>
#include <string.h>

struct hostnl {
        struct nl_sock *sk;
        int last;   /* libnl's negative error */
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
        n->sk = nl_socket_alloc();
        if (n->sk == NULL || nl_connect(n->sk, NETLINK_ROUTE) < 0) {
                hostnl_close(n);
                errno = EPERM;
                return NULL;
        }
        return n;
}

void hostnl_close(struct hostnl *n)
{
        if (n == NULL)
                return;
        if (n->sk != NULL)
                nl_socket_free(n->sk);
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

enum err hostnl_route(struct hostnl *n, int ifindex, uint32_t table, struct prefix p, bool add)
{
        struct rtnl_route *r = rtnl_route_alloc();
        struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
        struct nl_addr *dst = addr_of(p);
        int rc = -NLE_NOMEM;
        if (r != NULL && hop != NULL && dst != NULL) {
                rtnl_route_set_family(r, (uint8_t)af_of(p.ip.family));
                rtnl_route_set_table(r, table);
                rtnl_route_set_scope(r, RT_SCOPE_UNIVERSE);
                rtnl_route_set_protocol(r, RTPROT_BOOT);
                rtnl_route_set_type(r, RTN_UNICAST);
                rtnl_route_set_dst(r, dst);
                rtnl_route_nh_set_ifindex(hop, ifindex);
                rtnl_route_add_nexthop(r, hop);
                hop = NULL;   /* the route has it now */
                rc = add ? rtnl_route_add(n->sk, r, NLM_F_CREATE | NLM_F_REPLACE)
                         : rtnl_route_delete(n->sk, r, 0);
        }
        if (hop != NULL)
                rtnl_route_nh_free(hop);
        nl_addr_put(dst);
        rtnl_route_put(r);
        return settled(n, rc, add);
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
        int rc = add ? rtnl_rule_add(n->sk, r, NLM_F_CREATE | NLM_F_EXCL) : rtnl_rule_delete(n->sk, r, 0);
        rtnl_rule_put(r);
        return settled(n, rc, add);
}

bool hostnl_rules_usable(struct hostnl *n, enum ip_family f)
{
        struct nl_cache *cache;
        if (rtnl_rule_alloc_cache(n->sk, af_of((uint8_t)f), &cache) < 0)
                return false;
        bool some = nl_cache_nitems(cache) > 0;
        nl_cache_free(cache);
        return some;
}

void hostnl_each_rule(struct hostnl *n, enum ip_family f, hostnl_rule_fn fn, void *arg)
{
        struct nl_cache *cache;
        if (rtnl_rule_alloc_cache(n->sk, af_of((uint8_t)f), &cache) < 0)
                return;
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
                struct rtnl_rule *r = (struct rtnl_rule *)o;
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

void hostnl_flush_table(struct hostnl *n, uint32_t table)
{
        struct nl_cache *cache;
        if (rtnl_route_alloc_cache(n->sk, AF_UNSPEC, 0, &cache) < 0)
                return;
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
                struct rtnl_route *r = (struct rtnl_route *)o;
                if (rtnl_route_get_table(r) == table)
                        (void)rtnl_route_delete(n->sk, r, 0);
        }
        nl_cache_free(cache);
}

void hostnl_each_addr(struct hostnl *n, int ifindex, hostnl_addr_fn fn, void *arg)
{
        struct nl_cache *cache;
        if (rtnl_addr_alloc_cache(n->sk, &cache) < 0)
                return;
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
                struct rtnl_addr *a = (struct rtnl_addr *)o;
                struct nl_addr *local = rtnl_addr_get_local(a);
                if (rtnl_addr_get_ifindex(a) != ifindex || local == NULL)
                        continue;
                const uint8_t *b = nl_addr_get_binary_addr(local);
                struct prefix p = {.bits = (uint8_t)nl_addr_get_prefixlen(local)};
                if (nl_addr_get_family(local) == AF_INET)
                        p.ip = ip_from_bytes4(b);
                else if (nl_addr_get_family(local) == AF_INET6)
                        p.ip = ip_from_bytes16(b);
                else
                        continue;
                fn(arg, p);
        }
        nl_cache_free(cache);
}
