#include "daemon/host/router.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/host/hostnl.h"

enum { TABLE_MAIN = 254, TABLE_DEFAULT = 253 };

struct prefix_list {
        struct prefix *at;
        size_t count;
};

struct router {
        struct hostnl *nl;
        int ifindex;
        bool rules4, v6, rules6;   /* what this host can do */
        struct prefix_list addresses, routes;
        char why[256];
};

/* In order of look-up: marked packets see only the real network, everything else asks the tunnel first. */
static const struct hostnl_rule rules[] = {
        {.priority = ROUTER_RULE_BASE + 10, .mark = ROUTER_MARK, .mask = ROUTER_MARK_MASK, .table = TABLE_MAIN},
        {.priority = ROUTER_RULE_BASE + 30, .mark = ROUTER_MARK, .mask = ROUTER_MARK_MASK, .table = TABLE_DEFAULT},
        {.priority = ROUTER_RULE_BASE + 50, .mark = ROUTER_MARK, .mask = ROUTER_MARK_MASK, .table = 0},
        {.priority = ROUTER_RULE_BASE + 70, .table = ROUTER_TABLE},
};
enum { RULES = sizeof(rules) / sizeof(rules[0]) };

/* ---- is IPv6 there ---- */

/* First byte of a small file, -1 if it cannot be read. */
static int first_byte(const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        char c;
        ssize_t n = read(fd, &c, 1);
        close(fd);
        return n == 1 ? c : -1;
}

static bool ipv6_usable(const char *ifname)
{
        char path[128];
        snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", ifname);
        return first_byte("/proc/sys/net/ipv6/conf/all/disable_ipv6") == '0' && first_byte(path) == '0';
}

/* ---- rules ---- */

static enum err rule_set(struct router *r, enum ip_family f, bool add)
{
        enum err first = ERR_NONE;
        for (size_t i = 0; i < RULES; i++) {
                struct hostnl_rule rule = rules[i];
                rule.family = (uint8_t)f;
                enum err e = hostnl_rule(r->nl, &rule, add);
                if (e != ERR_NONE && first == ERR_NONE)
                        first = e;
        }
        return first;
}

void router_restore_rules(struct router *r)
{
        if (r->rules4 && rule_set(r, IP_V4, true) != ERR_NONE)
                log_warn("policy rules could not be put back: %s", hostnl_error(r->nl));
        if (r->rules6 && rule_set(r, IP_V6, true) != ERR_NONE)
                log_warn("IPv6 policy rules could not be put back: %s", hostnl_error(r->nl));
}

struct doomed {
        struct hostnl_rule rule[64];
        size_t count;
};

/* Ours: in our range and either looking up our table or matching our mark. */
static void collect_rule(void *arg, const struct hostnl_rule *r)
{
        struct doomed *d = arg;
        bool in_range = r->priority >= ROUTER_RULE_BASE && r->priority < ROUTER_RULE_BASE + 100;
        bool ours = r->table == ROUTER_TABLE || (r->mask == ROUTER_MARK_MASK && r->mark == ROUTER_MARK);
        if (in_range && ours && d->count < sizeof(d->rule) / sizeof(d->rule[0]))
                d->rule[d->count++] = *r;
}

static void remove_rules(struct hostnl *nl, enum ip_family f)
{
        struct doomed d = {0};
        hostnl_each_rule(nl, f, collect_rule, &d);
        for (size_t i = 0; i < d.count; i++)
                if (hostnl_rule(nl, &d.rule[i], false) != ERR_NONE)
                        log_warn("policy rule %u could not be removed: %s", d.rule[i].priority, hostnl_error(nl));
}

/* ---- life ---- */

enum err router_new(const char *ifname, unsigned mtu, struct router **ret, const char **ret_why)
{
        struct router *r = calloc(1, sizeof(*r));
        if (r == NULL) {
                *ret_why = "out of memory";
                return ERR_FULL;
        }
        r->nl = hostnl_open();
        if (r->nl == NULL) {
                *ret_why = "no netlink socket: run as root or with CAP_NET_ADMIN";
                free(r);
                return ERR_PERMISSION;
        }
        r->ifindex = hostnl_ifindex(r->nl, ifname);
        r->rules4 = hostnl_rules_usable(r->nl, IP_V4);
        r->v6 = ipv6_usable(ifname);
        r->rules6 = r->v6 && hostnl_rules_usable(r->nl, IP_V6);
        enum err e = hostnl_link_set(r->nl, r->ifindex, true, mtu);
        if (e != ERR_NONE) {
                *ret_why = e == ERR_PERMISSION ? "the interface could not be set up: run as root or with CAP_NET_ADMIN"
                                               : "the interface could not be set up";
                hostnl_close(r->nl);
                free(r);
                return e;
        }
        remove_rules(r->nl, IP_V4);
        remove_rules(r->nl, IP_V6);
        router_restore_rules(r);
        *ret = r;
        return ERR_NONE;
}

static bool list_has(const struct prefix *at, size_t n, struct prefix p)
{
        for (size_t i = 0; i < n; i++)
                if (prefix_eq(at[i], p))
                        return true;
        return false;
}

static int by_prefix(const void *a, const void *b)
{
        const struct prefix *x = a, *y = b;
        int c = ip_cmp(x->ip, y->ip);
        return c != 0 ? c : (int)x->bits - (int)y->bits;
}

/* Sorted copy without duplicates, and without IPv6 where there is none. */
static enum err list_copy(struct prefix_list *ret, const struct prefix *at, size_t n, bool v6)
{
        struct prefix *copy = calloc(n + 1, sizeof(*copy));
        if (copy == NULL)
                return ERR_FULL;
        size_t kept = 0;
        for (size_t i = 0; i < n; i++)
                if (at[i].ip.family == IP_V4 || v6)
                        copy[kept++] = at[i];
        qsort(copy, kept, sizeof(*copy), by_prefix);
        size_t unique = 0;
        for (size_t i = 0; i < kept; i++)
                if (unique == 0 || !prefix_eq(copy[unique - 1], copy[i]))
                        copy[unique++] = copy[i];
        *ret = (struct prefix_list){copy, unique};
        return ERR_NONE;
}

static bool sorted_has(const struct prefix_list *l, struct prefix p)
{
        return l->count > 0 && bsearch(&p, l->at, l->count, sizeof(p), by_prefix) != NULL;
}

typedef enum err (*apply_fn)(struct router *r, struct prefix p, bool add);

static enum err apply_addr(struct router *r, struct prefix p, bool add)
{
        return hostnl_addr(r->nl, r->ifindex, p, add);
}

static enum err apply_route(struct router *r, struct prefix p, bool add)
{
        return hostnl_route(r->nl, r->ifindex, r->rules4 ? ROUTER_TABLE : TABLE_MAIN, p, add);
}

static void note(struct router *r, enum err e, enum err *first, const char *what, struct prefix p, bool add)
{
        if (e == ERR_NONE)
                return;
        char text[PREFIX_STR_MAX];
        if (*first == ERR_NONE) {
                snprintf(r->why, sizeof(r->why), "%s %s could not be %s: %s", what, prefix_str(p, text),
                        add ? "added" : "removed", hostnl_error(r->nl));
                *first = e;
        }
}

/* `have` becomes `want`; what could not be added is not remembered, so that the next call tries again. */
static enum err converge(struct router *r, struct prefix_list *have, struct prefix_list want, apply_fn fn,
        const char *what)
{
        enum err first = ERR_NONE;
        size_t kept = 0;
        for (size_t i = 0; i < want.count; i++) {
                struct prefix p = want.at[i];
                if (!sorted_has(have, p)) {
                        enum err e = fn(r, p, true);
                        note(r, e, &first, what, p, true);
                        if (e != ERR_NONE)
                                continue;
                }
                want.at[kept++] = p;
        }
        want.count = kept;
        for (size_t i = 0; i < have->count; i++)
                if (!sorted_has(&want, have->at[i]))
                        note(r, fn(r, have->at[i], false), &first, what, have->at[i], false);
        free(have->at);
        *have = want;
        return first;
}

enum err router_set(struct router *r, const struct router_config *c, const char **ret_why)
{
        struct prefix_list addresses, routes;
        *ret_why = "out of memory";
        enum err e = list_copy(&addresses, c->addresses, c->address_count, r->v6);
        if (e != ERR_NONE)
                return e;
        e = list_copy(&routes, c->routes, c->route_count, r->v6);
        if (e != ERR_NONE) {
                free(addresses.at);
                return e;
        }
        *ret_why = r->why;
        e = converge(r, &r->addresses, addresses, apply_addr, "address");
        enum err e2 = converge(r, &r->routes, routes, apply_route, "route");
        return e != ERR_NONE ? e : e2;
}

void router_free(struct router *r)
{
        if (r == NULL)
                return;
        const char *why;
        struct router_config none = {0};
        if (router_set(r, &none, &why) != ERR_NONE)
                log_warn("%s", why);
        if (r->rules4)
                remove_rules(r->nl, IP_V4);
        if (r->rules6)
                remove_rules(r->nl, IP_V6);
        if (hostnl_link_set(r->nl, r->ifindex, false, 0) != ERR_NONE)
                log_debug(1, "interface down: %s", hostnl_error(r->nl));
        hostnl_close(r->nl);
        free(r->addresses.at);
        free(r->routes.at);
        free(r);
}

struct stale {
        struct prefix at[64];
        size_t count;
};

static void collect_addr(void *arg, struct prefix p)
{
        struct stale *s = arg;
        if (ip_is_tailnet(p.ip) && s->count < sizeof(s->at) / sizeof(s->at[0]) &&
                !list_has(s->at, s->count, p))
                s->at[s->count++] = p;
}

void router_cleanup(const char *ifname)
{
        struct hostnl *nl = hostnl_open();
        if (nl == NULL) {
                log_warn("cleanup: no netlink socket: run as root or with CAP_NET_ADMIN");
                return;
        }
        remove_rules(nl, IP_V4);
        remove_rules(nl, IP_V6);
        hostnl_flush_table(nl, ROUTER_TABLE);
        int ifindex = hostnl_ifindex(nl, ifname);
        struct stale s = {0};
        if (ifindex != 0)
                hostnl_each_addr(nl, ifindex, collect_addr, &s);
        for (size_t i = 0; i < s.count; i++)
                if (hostnl_addr(nl, ifindex, s.at[i], false) != ERR_NONE)
                        log_warn("cleanup: an address could not be removed: %s", hostnl_error(nl));
        hostnl_close(nl);
}
