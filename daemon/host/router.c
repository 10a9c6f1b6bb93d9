#include "daemon/host/router.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/host/hostnl.h"

enum { TABLE_MAIN = 254, TABLE_DEFAULT = 253 };

/* What the tunnel cannot carry any more is refused: last in the table, and not bound to the interface, so
 * that it outlives a process that is killed. */
enum { METRIC_LAST = 4096 };
/* IPv6 has no two routes to one destination at one metric; leaving the table goes before the tunnel. */
enum { METRIC_THROW6 = 512 };

/* Sorted, without duplicates.  Addresses are kept the same way; only dst counts then. */
struct route_list {
        struct hostnl_route *at;
        size_t count;
};

struct router {
        struct hostnl *nl;
        char ifname[IFNAMSIZ];
        int ifindex;
        uint32_t base;               /* of the rules' priorities */
        bool rules4, rules6;         /* policy routing answers */
        bool v6, guard6;             /* the tunnel can have IPv6; routes without an interface can */
        struct route_list addresses, routes;
        char why[256];
};

/* In order of look-up: marked packets see only the real network, everything else asks the tunnel first. */
static const struct hostnl_rule rules[] = {
        {.priority = 10, .mark = ROUTER_MARK, .mask = ROUTER_MARK_MASK, .table = TABLE_MAIN},
        {.priority = 30, .mark = ROUTER_MARK, .mask = ROUTER_MARK_MASK, .table = TABLE_DEFAULT},
        {.priority = 50, .mark = ROUTER_MARK, .mask = ROUTER_MARK_MASK, .table = 0},
        {.priority = 70, .table = ROUTER_TABLE},
};
enum { RULES = sizeof(rules) / sizeof(rules[0]) };

/* ---- is IPv6 there ---- */

static bool ipv6_usable(const char *ifname)
{
        char path[128], text[16];
        snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", ifname);
        return file_head(path, text, sizeof(text)) > 0 && text[0] == '0';
}

/* Looked at each time: where IPv6 is turned on later, traffic would go beside the tunnel. */
static void look_at_ipv6(struct router *r)
{
        r->v6 = ipv6_usable("all") && ipv6_usable(r->ifname);
        r->guard6 = r->rules6 && ipv6_usable("lo");
}

/* ---- rules ---- */

bool router_owns_priority(uint32_t p)
{
        return (p >= ROUTER_RULE_BASE && p < ROUTER_RULE_BASE + 100) ||
                (p >= ROUTER_RULE_BASE_MWAN3 && p < ROUTER_RULE_BASE_MWAN3 + 100);
}

static enum err add_rules(struct router *r, enum ip_family f)
{
        enum err first = ERR_NONE;
        for (size_t i = 0; i < RULES; i++) {
                struct hostnl_rule rule = rules[i];
                rule.family = (uint8_t)f;
                rule.priority += r->base;
                enum err e = hostnl_rule(r->nl, &rule, true);
                if (e != ERR_NONE && first == ERR_NONE)
                        first = e;
        }
        return first;
}

struct found_rules {
        struct hostnl_rule rule[64];
        size_t count;
};

/* Ours: in our range and either looking up our table or matching our mark. */
static void collect_rule(void *arg, const struct hostnl_rule *r)
{
        struct found_rules *d = arg;
        bool ours = r->table == ROUTER_TABLE || (r->mask == ROUTER_MARK_MASK && r->mark == ROUTER_MARK);
        if (router_owns_priority(r->priority) && ours && d->count < sizeof(d->rule) / sizeof(d->rule[0]))
                d->rule[d->count++] = *r;
}

static bool is_wanted_rule(const struct hostnl_rule *have, uint32_t base)
{
        for (size_t i = 0; i < RULES; i++)
                if (have->priority == base + rules[i].priority && have->mark == rules[i].mark &&
                        have->mask == rules[i].mask && have->table == rules[i].table)
                        return true;
        return false;
}

/* All of ours but those that are as they should be; keep_base 0: all. */
static void remove_rules(struct hostnl *nl, enum ip_family f, uint32_t keep_base)
{
        struct found_rules d = {0};
        hostnl_each_rule(nl, f, collect_rule, &d);
        for (size_t i = 0; i < d.count; i++)
                if ((keep_base == 0 || !is_wanted_rule(&d.rule[i], keep_base)) &&
                        hostnl_rule(nl, &d.rule[i], false) != ERR_NONE)
                        log_warn("policy rule %u could not be removed: %s", d.rule[i].priority, hostnl_error(nl));
}

static size_t missing_rules(struct router *r, enum ip_family f)
{
        struct found_rules d = {0};
        size_t there = 0;
        hostnl_each_rule(r->nl, f, collect_rule, &d);
        for (size_t i = 0; i < d.count; i++)
                there += is_wanted_rule(&d.rule[i], r->base);
        return there < RULES ? RULES - there : 0;
}

static size_t repair_rules(struct router *r, enum ip_family f)
{
        size_t missing = missing_rules(r, f);
        if (missing > 0 && add_rules(r, f) != ERR_NONE)
                log_warn("policy rules could not be put back: %s", hostnl_error(r->nl));
        return missing;
}

static void find_mwan3(void *arg, const struct hostnl_rule *r)
{
        if (r->priority > 2000 && r->priority < 2005 && r->mark != 0)
                *(bool *)arg = true;
}

static uint32_t rule_base(struct hostnl *nl)
{
        bool mwan3 = false;
        if (access("/etc/config/mwan3", F_OK) == 0)
                hostnl_each_rule(nl, IP_V4, find_mwan3, &mwan3);
        return mwan3 ? ROUTER_RULE_BASE_MWAN3 : ROUTER_RULE_BASE;
}

/* ---- lists ---- */

static int by_route(const void *a, const void *b)
{
        const struct hostnl_route *x = a, *y = b;
        int c = ip_cmp(x->dst.ip, y->dst.ip);
        if (c == 0)
                c = (int)x->dst.bits - (int)y->dst.bits;
        if (c == 0)
                c = (x->metric > y->metric) - (x->metric < y->metric);
        return c != 0 ? c : (int)x->type - (int)y->type;
}

static bool list_has(const struct route_list *l, const struct hostnl_route *r)
{
        return l->count > 0 && bsearch(r, l->at, l->count, sizeof(*r), by_route) != NULL;
}

/* Doubles as it grows.  False: out of memory. */
static bool list_add(struct route_list *l, struct hostnl_route r)
{
        if ((l->count & (l->count - 1)) == 0) {
                void *at = realloc(l->at, (l->count == 0 ? 1 : 2 * l->count) * sizeof(*l->at));
                if (at == NULL)
                        return false;
                l->at = at;
        }
        l->at[l->count++] = r;
        return true;
}

/* Of two ways for one destination at one metric only the second type (leave the table, refuse) stays. */
static void list_sort(struct route_list *l)
{
        size_t kept = 0;
        if (l->count == 0)
                return;
        qsort(l->at, l->count, sizeof(*l->at), by_route);
        for (size_t i = 0; i < l->count; i++) {
                struct hostnl_route next = l->at[i];
                if (kept > 0 && prefix_eq(l->at[kept - 1].dst, next.dst) && l->at[kept - 1].metric == next.metric) {
                        kept--;
                        next.uses += l->at[kept].uses;
                }
                l->at[kept++] = next;
        }
        l->count = kept;
}

/* ---- life ---- */

static void adopt_route(void *arg, const struct hostnl_route *route)
{
        struct router *r = arg;
        (void)list_add(&r->routes, *route);
}

static void adopt_addr(void *arg, int ifindex, struct prefix p)
{
        struct router *r = arg;
        if (ifindex == r->ifindex && ip_is_tailnet(p.ip))
                (void)list_add(&r->addresses, (struct hostnl_route){.dst = p});
}

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
        (void)str_copy(r->ifname, sizeof(r->ifname), ifname);
        r->ifindex = hostnl_ifindex(r->nl, ifname);
        r->base = rule_base(r->nl);
        r->rules4 = hostnl_rules_usable(r->nl, IP_V4);
        r->rules6 = hostnl_rules_usable(r->nl, IP_V6);
        enum err e = hostnl_link_set(r->nl, r->ifindex, true, mtu);
        if (e != ERR_NONE) {
                *ret_why = e == ERR_PERMISSION ? "the interface could not be set up: run as root or with CAP_NET_ADMIN"
                                               : "the interface could not be set up";
                hostnl_close(r->nl);
                free(r);
                return e;
        }
        if (r->rules4) {
                (void)repair_rules(r, IP_V4);
                remove_rules(r->nl, IP_V4, r->base);
        }
        if (r->rules6) {
                (void)repair_rules(r, IP_V6);
                remove_rules(r->nl, IP_V6, r->base);
        }
        hostnl_each_route(r->nl, ROUTER_TABLE, adopt_route, r);
        hostnl_each_addr(r->nl, adopt_addr, r);
        list_sort(&r->routes);
        list_sort(&r->addresses);
        *ret = r;
        return ERR_NONE;
}

void router_ports(const struct router *r, uint32_t out[ROUTER_PORTS])
{
        _Static_assert(ROUTER_PORTS == (int)HOSTNL_PORTS, "it has one connection");
        hostnl_ports(r->nl, out);
}

/* ---- what the configuration asks for ---- */

struct build {
        const struct router *r;
        const struct router_config *c;
        struct route_list routes, addresses;
        bool ok;
};

/* Without policy routing there is one table for all, where nothing but our own routes has a place. */
static void want(struct build *b, struct prefix dst, enum hostnl_route_type type, uint32_t metric)
{
        bool v6 = dst.ip.family == IP_V6;
        bool tunnel = type == HOSTNL_TUNNEL;
        if (v6 && !(tunnel ? b->r->v6 : b->r->guard6))
                return;
        if (!v6 && !tunnel && !b->r->rules4)
                return;
        b->ok &= list_add(&b->routes, (struct hostnl_route){dst, (uint8_t)type, metric, 1});
}

bool router_is_lan(struct prefix p)
{
        static const char *const blocks[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
                "fc00::/7", "fe80::/10"};
        enum { LEAST4 = 16, LEAST6 = 48 };   /* the widest that is one place's, where addresses are the world's */
        for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
                struct prefix block = prefix_const(blocks[i]);
                if (p.bits >= block.bits && prefix_contains(block, p.ip))
                        return true;
        }
        return p.bits >= (p.ip.family == IP_V6 ? LEAST6 : LEAST4);
}

/* A network the host is connected to itself. */
static void want_link(void *arg, int ifindex, struct prefix p)
{
        struct build *b = arg;
        if (ifindex == b->r->ifindex || prefix_is_host(p) || ip_is_loopback(p.ip))
                return;
        bool in_mesh = ip_is_tailnet(p.ip);
        if (b->c->exit_node && b->c->allow_lan && !in_mesh && !router_is_lan(p)) {
                char text[PREFIX_STR_MAX];
                log_debug(1, "%s is no local network: it goes to the exit node", prefix_str(prefix_masked(p), text));
                return;
        }
        /* A provider that uses 100.64.0.0/10 itself must stay reachable. */
        if (b->c->exit_node ? b->c->allow_lan && !in_mesh : b->c->keep_mesh && in_mesh && p.ip.family == IP_V4)
                want(b, prefix_masked(p), HOSTNL_THROW, p.ip.family == IP_V6 ? METRIC_THROW6 : 0);
}

static bool build(struct build *b)
{
        const struct router_config *c = b->c;
        b->ok = true;
        for (size_t i = 0; i < c->address_count; i++)   /* a whole network would become a route of the host's */
                if (prefix_is_host(c->addresses[i]) && (c->addresses[i].ip.family == IP_V4 || b->r->v6))
                        b->ok &= list_add(&b->addresses, (struct hostnl_route){.dst = c->addresses[i]});
        for (size_t i = 0; i < c->route_count; i++)
                want(b, c->routes[i], HOSTNL_TUNNEL, 0);
        if (c->exit_node) {
                static const char *const all[] = {"0.0.0.0/0", "::/0"};
                for (size_t i = 0; i < 2; i++) {
                        want(b, prefix_const(all[i]), HOSTNL_TUNNEL, 0);
                        want(b, prefix_const(all[i]), HOSTNL_UNREACHABLE, METRIC_LAST);
                }
                for (size_t i = 0; i < c->direct_count; i++)
                        want(b, prefix_of(c->direct[i]), HOSTNL_THROW, c->direct[i].family == IP_V6 ? METRIC_THROW6 : 0);
        }
        if (c->keep_mesh) {
                want(b, prefix_const("100.64.0.0/10"), HOSTNL_UNREACHABLE, METRIC_LAST);
                want(b, prefix_const("fd7a:115c:a1e0::/48"), HOSTNL_UNREACHABLE, METRIC_LAST);
                if (!c->exit_node)   /* guests of ChromeOS; never a tailnet address */
                        want(b, prefix_const("100.115.92.0/23"), HOSTNL_THROW, 0);
        }
        if (c->keep_mesh || (c->exit_node && c->allow_lan))
                hostnl_each_addr(b->r->nl, want_link, b);
        list_sort(&b->routes);
        list_sort(&b->addresses);
        return b->ok;
}

/* ---- making it so ---- */

/* At most HOSTNL_ROUTES_MAX of them; how each went in ret. */
typedef void (*apply_fn)(struct router *r, const struct hostnl_route *at, size_t n, bool add, enum err *ret);

static void apply_addrs(struct router *r, const struct hostnl_route *at, size_t n, bool add, enum err *ret)
{
        for (size_t i = 0; i < n; i++)
                ret[i] = hostnl_addr(r->nl, r->ifindex, at[i].dst, add);
}

static void apply_routes(struct router *r, const struct hostnl_route *at, size_t n, bool add, enum err *ret)
{
        uint32_t tables[HOSTNL_ROUTES_MAX];
        for (size_t i = 0; i < n; i++)
                tables[i] = (at[i].dst.ip.family == IP_V6 ? r->rules6 : r->rules4) ? ROUTER_TABLE : TABLE_MAIN;
        hostnl_routes(r->nl, r->ifindex, tables, at, n, add, ret);
}

/* Adds, or removes, what of at[n] `other` does not have.  The rest and what was done move to the front: their number. */
static size_t apply(struct router *r, apply_fn fn, struct hostnl_route *at, size_t n, const struct route_list *other,
        bool add, enum err *first)
{
        struct hostnl_route batch[HOSTNL_ROUTES_MAX];
        enum err ret[HOSTNL_ROUTES_MAX];
        bool missing[HOSTNL_ROUTES_MAX];
        size_t count = 0, kept = 0, done = 0;
        char text[PREFIX_STR_MAX];
        for (size_t i = 0; i < n; i++) {
                missing[i] = !list_has(other, &at[i]);
                if (missing[i])
                        batch[count++] = at[i];
        }
        if (count > 0)
                fn(r, batch, count, add, ret);
        for (size_t i = 0; i < n; i++) {
                enum err e = missing[i] ? ret[done++] : ERR_NONE;
                if (e == ERR_NONE) {
                        at[kept++] = at[i];
                } else if (*first == ERR_NONE) {
                        snprintf(r->why, sizeof(r->why), "%s %s could not be %s: %s",
                                fn == apply_addrs ? "address" : "route", prefix_str(at[i].dst, text),
                                add ? "added" : "removed", hostnl_error(r->nl));
                        *first = e;
                }
        }
        return kept;
}

static size_t chunk(size_t left)
{
        return left < HOSTNL_ROUTES_MAX ? left : HOSTNL_ROUTES_MAX;
}

/* `have` becomes `want`; what could not be added is not remembered, so that the next call tries again. */
static enum err converge(struct router *r, struct route_list *have, struct route_list want_list, apply_fn fn)
{
        enum err first = ERR_NONE;
        size_t kept = 0;
        for (size_t i = 0, n; i < want_list.count; i += n) {
                n = chunk(want_list.count - i);
                memmove(want_list.at + kept, want_list.at + i, n * sizeof(*want_list.at));
                kept += apply(r, fn, want_list.at + kept, n, have, true, &first);
        }
        want_list.count = kept;
        for (size_t i = 0, n; i < have->count; i += n) {
                n = chunk(have->count - i);
                (void)apply(r, fn, have->at + i, n, &want_list, false, &first);
        }
        free(have->at);
        *have = want_list;
        return first;
}

enum err router_set(struct router *r, const struct router_config *c, const char **ret_why)
{
        struct build b = {.r = r, .c = c};
        look_at_ipv6(r);
        if (!build(&b)) {
                free(b.routes.at);
                free(b.addresses.at);
                *ret_why = "out of memory";
                return ERR_FULL;
        }
        *ret_why = r->why;
        enum err e = converge(r, &r->addresses, b.addresses, apply_addrs);
        enum err e2 = converge(r, &r->routes, b.routes, apply_routes);
        return e != ERR_NONE ? e : e2;
}

/* ---- few changes ---- */

/* The place of a route to the tunnel in the list, or where it belongs. */
static size_t place_of(const struct route_list *l, const struct hostnl_route *r)
{
        size_t lo = 0, hi = l->count;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (by_route(&l->at[mid], r) < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

/* A way for the same destination at the same metric, of whatever type. */
static struct hostnl_route *same_way(const struct route_list *l, size_t at, const struct hostnl_route *r)
{
        bool same = at < l->count && prefix_eq(l->at[at].dst, r->dst) && l->at[at].metric == r->metric;
        return same ? &l->at[at] : NULL;
}

static enum err one_more(struct router *r, struct hostnl_route w)
{
        struct route_list *l = &r->routes;
        size_t at = place_of(l, &w);
        struct hostnl_route *old = same_way(l, at, &w);
        enum err e;
        if (old != NULL && old->type != w.type)
                return ERR_STATE;
        if (old != NULL) {
                old->uses++;
                return ERR_NONE;
        }
        apply_routes(r, &w, 1, true, &e);
        if (e != ERR_NONE)
                return e;
        if (!list_add(l, w))
                return ERR_FULL;
        memmove(l->at + at + 1, l->at + at, (l->count - 1 - at) * sizeof(*l->at));
        l->at[at] = w;
        return ERR_NONE;
}

static enum err one_less(struct router *r, struct hostnl_route w)
{
        struct route_list *l = &r->routes;
        size_t at = place_of(l, &w);
        struct hostnl_route *old = same_way(l, at, &w);
        enum err e = ERR_NONE;
        if (old == NULL || old->type != w.type)
                return ERR_STATE;
        if (old->uses > 1) {
                old->uses--;
                return ERR_NONE;
        }
        apply_routes(r, &w, 1, false, &e);
        if (e != ERR_NONE)
                return e;
        l->count--;
        memmove(old, old + 1, (l->count - at) * sizeof(*l->at));
        return ERR_NONE;
}

/* More first: a route that goes from one peer to another is never missing. */
enum err router_change(struct router *r, const struct prefix *more, size_t more_count, const struct prefix *less,
        size_t less_count)
{
        enum err e = ERR_NONE;
        for (size_t i = 0; i < more_count + less_count && e == ERR_NONE; i++) {
                bool add = i < more_count;
                struct hostnl_route w = {add ? more[i] : less[i - more_count], HOSTNL_TUNNEL, 0, 1};
                if (w.dst.ip.family == IP_V4 || r->v6)
                        e = (add ? one_more : one_less)(r, w);
        }
        return e;
}

/* ---- putting back ---- */

struct seen {
        int ifindex;
        struct route_list list;
};

static void see_route(void *arg, const struct hostnl_route *route)
{
        struct seen *s = arg;
        (void)list_add(&s->list, *route);
}

static void see_addr(void *arg, int ifindex, struct prefix p)
{
        struct seen *s = arg;
        if (ifindex == s->ifindex)
                (void)list_add(&s->list, (struct hostnl_route){.dst = p});
}

static size_t add_missing(struct router *r, const struct route_list *wanted, struct seen *s, apply_fn fn)
{
        size_t missing = 0;
        enum err first = ERR_NONE;
        list_sort(&s->list);
        for (size_t i = 0, n; i < wanted->count; i += n) {
                struct hostnl_route some[HOSTNL_ROUTES_MAX];
                n = chunk(wanted->count - i);
                memcpy(some, wanted->at + i, n * sizeof(*some));
                for (size_t k = 0; k < n; k++)
                        missing += !list_has(&s->list, &some[k]);
                (void)apply(r, fn, some, n, &s->list, true, &first);
        }
        if (first != ERR_NONE)
                log_warn("putting back: %s", r->why);
        free(s->list.at);
        *s = (struct seen){.ifindex = s->ifindex};
        return missing;
}

size_t router_repair(struct router *r)
{
        struct seen s = {.ifindex = r->ifindex};
        size_t missing = 0;
        if (hostnl_link_set(r->nl, r->ifindex, true, 0) != ERR_NONE)
                log_warn("interface up: %s", hostnl_error(r->nl));
        hostnl_each_addr(r->nl, see_addr, &s);
        missing += add_missing(r, &r->addresses, &s, apply_addrs);
        hostnl_each_route(r->nl, ROUTER_TABLE, see_route, &s);
        missing += add_missing(r, &r->routes, &s, apply_routes);
        if (r->rules4)
                missing += repair_rules(r, IP_V4);
        if (r->rules6)
                missing += repair_rules(r, IP_V6);
        return missing;
}

void router_free(struct router *r)
{
        if (r == NULL)
                return;
        const char *why;
        struct router_config none = {0};
        if (router_set(r, &none, &why) != ERR_NONE)
                log_warn("%s", why);
        remove_rules(r->nl, IP_V4, 0);
        remove_rules(r->nl, IP_V6, 0);
        if (hostnl_link_set(r->nl, r->ifindex, false, 0) != ERR_NONE)
                log_debug(1, "interface down: %s", hostnl_error(r->nl));
        hostnl_close(r->nl);
        free(r->addresses.at);
        free(r->routes.at);
        free(r);
}

/* ---- after a process that died ---- */

static void see_tailnet_addr(void *arg, int ifindex, struct prefix p)
{
        if (ip_is_tailnet(p.ip))
                see_addr(arg, ifindex, p);
}

static void see_closed(void *arg, const struct hostnl_route *r)
{
        bool *closed = arg;
        *closed |= r->type == HOSTNL_UNREACHABLE && r->dst.bits == 0;
}

bool router_is_closed(void)
{
        bool closed = false;
        struct hostnl *nl = hostnl_open();
        if (nl != NULL)
                hostnl_each_route(nl, ROUTER_TABLE, see_closed, &closed);
        hostnl_close(nl);
        return closed;
}

void router_cleanup(const char *ifname)
{
        struct hostnl *nl = hostnl_open();
        if (nl == NULL) {
                log_warn("cleanup: no netlink socket: run as root or with CAP_NET_ADMIN");
                return;
        }
        remove_rules(nl, IP_V4, 0);
        remove_rules(nl, IP_V6, 0);
        hostnl_flush_table(nl, ROUTER_TABLE);
        struct seen s = {.ifindex = hostnl_ifindex(nl, ifname)};
        if (s.ifindex != 0)
                hostnl_each_addr(nl, see_tailnet_addr, &s);
        for (size_t i = 0; i < s.list.count; i++)
                if (hostnl_addr(nl, s.ifindex, s.list.at[i].dst, false) != ERR_NONE)
                        log_warn("cleanup: an address could not be removed: %s", hostnl_error(nl));
        free(s.list.at);
        hostnl_close(nl);
}
