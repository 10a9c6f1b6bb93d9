#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/dns/build.h"

/* ---- resolvers ---- */

bool build_is_own(const struct dns_input *in, struct ip ip)
{
        for (size_t i = 0; i < in->self->address_count; i++)
                if (ip_eq(in->self->addresses[i].ip, ip))
                        return true;
        return ip_is_service(ip);
}

/* Asking ourselves would go round for ever. */
static bool loops(const struct dns_input *in, const char *text)
{
        struct addr a = {.port = 53};
        return (ip_parse(text, &a.ip) == ERR_NONE || addr_parse(text, &a) == ERR_NONE) && a.port == 53 &&
                build_is_own(in, a.ip);
}

static struct dns_upstream upstream_of(const json_t *r)
{
        struct dns_upstream u = {.text = json_str(r, "Addr", "")};
        const json_t *boot = json_arr(r, "BootstrapResolution");
        for (size_t i = 0; i < json_array_size(boot); i++) {
                struct ip ip;
                const char *text = json_string_value(json_array_get(boot, i));
                if (text == NULL || ip_parse(text, &ip) != ERR_NONE)
                        continue;
                struct ip *to = ip.family == IP_V4 ? &u.boot4 : &u.boot6;
                if (!ip_is_set(*to))
                        *to = ip;
        }
        return u;
}

/* Adds one resolver to a route; *plain is cleared if the system could not use it as it is. */
void build_resolver(struct dns_config *c, const struct dns_input *in, struct dns_route *r,
        const struct dns_upstream *u, bool *plain)
{
        struct dns_try tries[DNS_TRIES_MAX];
        size_t n = r->try_count;
        if (loops(in, u->text)) {
                c->faults |= DNS_FAULT_LOOP;
                return;
        }
        if (n > 0)
                memcpy(tries, r->tries, n * sizeof(*tries));
        enum doh_use use = doh_add(u, tries, &n);
        if (use == DOH_UNUSABLE) {
                c->faults |= DNS_FAULT_RESOLVER;
                return;
        }
        struct ip ip;
        if (use == DOH_URL || ip_parse(u->text, &ip) != ERR_NONE || doh_is_not_plain(ip))
                *plain = false;
        struct dns_try *longer = realloc(r->tries, n * sizeof(*longer));
        if (longer == NULL || !dns_strings_add(&r->resolvers, &r->resolver_count, u->text)) {
                r->tries = longer != NULL ? longer : r->tries;
                c->failed = true;
                return;
        }
        memcpy(longer, tries, n * sizeof(*longer));
        r->tries = longer;
        r->try_count = n;
}

/* With an exit node that answers DNS only those resolvers stay that are meant to be asked through it. */
static void add_resolvers(struct dns_config *c, const struct dns_input *in, struct dns_route *r, const json_t *list,
        bool flagged_only, bool *plain)
{
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *entry = json_array_get(list, i);
                struct dns_upstream u = upstream_of(entry);
                if (!flagged_only || json_bool(entry, "UseWithExitNode", false))
                        build_resolver(c, in, r, &u, plain);
        }
}

/* ---- hosts ---- */

static void note_address(struct dns_host *h, struct ip ip)
{
        struct ip *to = ip.family == IP_V4 ? &h->v4 : &h->v6;
        if (!ip_is_set(*to))
                *to = ip;
        if (!ip_is_set(h->first))
                h->first = ip;
}

bool build_is_covered(const struct dns_config *c, const struct dns_name *name)
{
        uint32_t route = nametab_longest(c->route_names, name);
        return route != NAMETAB_NONE && route < c->covering;
}

/* Records of kinds other than addresses are left out; a name outside all routes becomes an authority of its
 * own, so that a system that splits sends it here. */
static void add_records(struct dns_config *c, const json_t *list, bool routes)
{
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *rec = json_array_get(list, i);
                const char *type = json_str(rec, "Type", "");
                struct dns_host none = {0};
                struct dns_name name;
                struct ip ip;
                if (type[0] != '\0' && strcmp(type, "A") != 0 && strcmp(type, "AAAA") != 0)
                        continue;
                if (ip_parse(json_str(rec, "Value", ""), &ip) != ERR_NONE ||
                        dns_name_parse(json_str(rec, "Name", ""), &name) != ERR_NONE) {
                        c->faults |= DNS_FAULT_NAME;
                        continue;
                }
                struct host *h = build_host(c, &name, &none);
                if (h == NULL)
                        return;
                note_address(&h->h, ip);
                if (h->name_len == 0)
                        build_keep_name(c, h, &name);
                build_address(c, h, ip);
                if (routes && nametab_longest(c->route_names, &name) == NAMETAB_NONE)
                        build_local(c, &name);
        }
}

bool build_has_family(const struct dns_node *n, enum ip_family f)
{
        for (size_t i = 0; i < n->address_count; i++)
                if (n->addresses[i].ip.family == f)
                        return true;
        return false;
}

static bool lists(const struct dns_input *in, const struct dns_node *n, struct ip ip)
{
        if (!build_has_family(in->self, IP_V4))
                return ip.family == IP_V6;
        return ip.family == IP_V4 || in->peers_aaaa || !build_has_family(n, IP_V4);
}

bool build_alias(const struct dns_input *in, const struct dns_name *name, struct dns_name *ret)
{
        struct dns_name suffix, parent = *name;
        if (!json_bool(in->map, "Proxied", false) || dns_name_parse(in->suffix, &suffix) != ERR_NONE ||
                !dns_name_to_parent(&parent) || !dns_name_eq(&parent, &suffix))
                return false;
        *ret = (struct dns_name){.len = (uint8_t)(name->b[0] + 2)};
        memcpy(ret->b, name->b, name->b[0] + 1u);
        return true;
}

void build_node(struct dns_config *c, const struct dns_input *in, const struct dns_node *n)
{
        struct dns_host h = {.subdomains = n->subdomains};
        struct dns_name name, alias;
        if (dns_name_parse(n->name, &name) != ERR_NONE)
                return;   /* a node without a name has none to answer */
        for (size_t i = 0; i < n->address_count; i++)
                if (lists(in, n, n->addresses[i].ip))
                        note_address(&h, n->addresses[i].ip);
        struct host *host = build_host(c, &name, &h);
        if (host == NULL)
                return;
        host->h.subdomains |= n->subdomains;
        if (host->name_len == 0)
                build_keep_name(c, host, &name);
        for (size_t i = 0; i < n->address_count; i++)
                build_address(c, host, n->addresses[i].ip);
        c->uncovered += !build_is_covered(c, &name);
        if (build_alias(in, &name, &alias))
                (void)build_host(c, &alias, &h);
}

/* ---- the map's routes ---- */

static void add_map_routes(struct dns_config *c, const struct dns_input *in, struct build_default *p)
{
        const char *key;
        json_t *list, *routes = json_obj(in->map, "Routes");
        json_object_foreach(routes, key, list)
        {
                struct dns_name suffix;
                if (dns_name_parse(key, &suffix) != ERR_NONE) {
                        c->faults |= DNS_FAULT_NAME;
                        continue;
                }
                if (json_array_size(list) == 0) {
                        build_local(c, &suffix);
                        continue;
                }
                struct dns_route r = {0};
                add_resolvers(c, in, &r, list, in->exit_proxy != NULL, &p->split_plain);
                struct dns_route *to = r.try_count > 0 ? build_route(c, &suffix) : NULL;
                if (to != NULL && to->try_count == 0 && !to->local)
                        *to = r;
                else
                        build_free_route(&r);
        }
}

bool build_magic_zone(const struct dns_input *in, unsigned i, struct dns_name *ret)
{
        char text[40];
        if (i == 0)
                return in->suffix[0] != '\0' && dns_name_parse(in->suffix, ret) == ERR_NONE;
        if (i == 1)
                return dns_name_parse("0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa", ret) == ERR_NONE;
        snprintf(text, sizeof(text), "%u.100.in-addr.arpa", 64 + i - 2);
        return dns_name_parse(text, ret) == ERR_NONE;
}

static void add_magic_zones(struct dns_config *c, const struct dns_input *in)
{
        struct dns_name n;
        for (unsigned i = 0; i < BUILD_MAGIC_ZONES; i++)
                if (build_magic_zone(in, i, &n))
                        build_local(c, &n);
                else if (i > 0 || in->suffix[0] != '\0')
                        c->faults |= DNS_FAULT_NAME;
}

static void add_default(struct dns_config *c, const struct dns_input *in, struct build_default *p)
{
        const json_t *global = json_arr(in->map, "Resolvers");
        bool proxied = in->exit_proxy != NULL;
        add_resolvers(c, in, &p->dflt, global, proxied, &p->dflt_plain);
        if (proxied && p->dflt.try_count == 0) {
                struct dns_upstream u = {.text = in->exit_proxy};
                build_resolver(c, in, &p->dflt, &u, &p->dflt_plain);
        }
        if (in->exit_node && !proxied && json_array_size(global) == 0)
                add_resolvers(c, in, &p->dflt, json_arr(in->map, "FallbackResolvers"), false, &p->dflt_plain);
}

static void compile(struct dns_config *c, const struct dns_input *in, struct dns_os_config *os)
{
        struct build_default p = {.dflt_plain = true, .split_plain = true};
        bool magic = json_bool(in->map, "Proxied", false);
        if (in->accept_dns) {
                add_map_routes(c, in, &p);
                if (magic)
                        add_magic_zones(c, in);
        }
        add_records(c, json_arr(in->map, "ExtraRecords"), in->accept_dns);
        c->covering = c->route_count;
        build_node(c, in, in->self);
        for (size_t i = 0; i < in->peer_count; i++)
                build_node(c, in, &in->peers[i]);
        if (in->accept_dns) {
                add_default(c, in, &p);
                build_os(c, in, &p, os);
        }
        if (in->for_others && dns_config_route(c, &(struct dns_name){.len = 1}) == NULL && build_use_base(c, in) == 0)
                c->faults |= DNS_FAULT_NO_BASE;
        build_free_route(&p.dflt);
}

struct dns_config *dns_compile(const struct dns_input *in, struct dns_os_config *ret_os)
{
        struct dns_config *c = build_new();
        *ret_os = (struct dns_os_config){0};
        if (c == NULL)
                return NULL;
        if (in->self != NULL)
                compile(c, in, ret_os);
        if (!c->failed)
                return c;
        dns_os_config_free(ret_os);
        dns_config_free(c);
        return NULL;
}
