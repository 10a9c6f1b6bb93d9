#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/dns/build.h"

/* ---- lists ---- */

static void os_nameserver(struct dns_config *c, struct dns_os_config *os, struct ip ip)
{
        c->failed |= !dns_os_config_add_server(os, ip);
}

/* A domain as the system wants it: no final dot, and a name at all; once. */
static void os_domain(struct dns_config *c, char ***list, size_t *count, const char *text)
{
        struct dns_name n;
        char folded[DNS_NAME_STR_MAX];
        if (dns_name_parse(text, &n) != ERR_NONE || n.len == 1 || *count == DNS_OS_DOMAINS_MAX) {
                c->faults |= DNS_FAULT_NAME;
                return;
        }
        (void)dns_name_str(&n, folded);
        for (size_t i = 0; i < *count; i++)
                if (strcmp((*list)[i], folded) == 0)
                        return;
        c->failed |= !dns_strings_add(list, count, folded);
}

static void os_service(struct dns_config *c, const struct dns_input *in, struct dns_os_config *os)
{
        bool v4 = build_has_family(in->self, IP_V4) || in->service4_only;
        if (v4)
                os_nameserver(c, os, ip_service4);
        if (build_has_family(in->self, IP_V6) && !in->service4_only)
                os_nameserver(c, os, ip_service6);
}

/* The system's own resolvers take the place of "."; what would come back to us is left out. */
size_t build_use_base(struct dns_config *c, const struct dns_input *in)
{
        struct dns_name root = {.len = 1};
        struct dns_route *r = build_route(c, &root);
        bool plain = true;
        for (size_t i = 0; r != NULL && in->base != NULL && i < in->base->nameserver_count; i++) {
                char text[IP_STR_MAX];
                struct dns_upstream u = {.text = ip_str(in->base->nameservers[i], text)};
                if (!build_is_own(in, in->base->nameservers[i]))
                        build_resolver(c, in, r, &u, &plain);
        }
        return r != NULL ? r->try_count : 0;
}

/* All split, all to the same plain addresses: the system needs no help from us. */
static bool one_plain_set(const struct dns_config *c, bool plain)
{
        for (size_t i = 0; i < c->route_count; i++)
                if (c->routes[i].local || !build_same_resolvers(&c->routes[i], &c->routes[0]))
                        return false;
        return plain && c->route_count > 0;
}

static void os_direct(struct dns_config *c, struct dns_os_config *os, const struct dns_route *r)
{
        for (size_t i = 0; i < r->resolver_count; i++) {
                struct ip ip;
                if (ip_parse(r->resolvers[i], &ip) == ERR_NONE)
                        os_nameserver(c, os, ip);
        }
}

static void os_search(struct dns_config *c, struct dns_os_config *os, const json_t *map)
{
        const json_t *domains = json_arr(map, "Domains");
        for (size_t i = 0; i < json_array_size(domains); i++)
                if (json_is_string(json_array_get(domains, i)))
                        os_domain(c, &os->search, &os->search_count,
                                json_string_value(json_array_get(domains, i)));
}

/* A file with search domains and no nameserver makes the C library ask 127.0.0.1. */
static void os_keep_base(struct dns_config *c, const struct dns_input *in, struct dns_os_config *os)
{
        if (in->os_split || os->nameserver_count > 0 || os->search_count == 0)
                return;
        for (size_t i = 0; in->base != NULL && i < in->base->nameserver_count; i++)
                if (!build_is_own(in, in->base->nameservers[i]))
                        os_nameserver(c, os, in->base->nameservers[i]);
        if (os->nameserver_count == 0)
                dns_os_config_free(os);
}

/* ---- which names the system has to send to us ---- */

static void os_match_name(struct dns_config *c, struct dns_os_config *os, const struct dns_name *n)
{
        char text[DNS_NAME_STR_MAX];
        os_domain(c, &os->match, &os->match_count, dns_name_str(n, text));
}

/* Those with a route, in the order they came. */
static void os_match(struct dns_config *c, const struct dns_input *in, struct dns_os_config *os)
{
        json_t *unused, *routes = json_obj(in->map, "Routes");
        const json_t *records = json_arr(in->map, "ExtraRecords");
        const char *key;
        struct dns_name n;
        bool magic = json_bool(in->map, "Proxied", false);
        for (unsigned i = 0; magic && i < BUILD_MAGIC_ZONES; i++)
                if (build_magic_zone(in, i, &n))
                        os_match_name(c, os, &n);
        json_object_foreach(routes, key, unused)
        {
                if (dns_name_parse(key, &n) == ERR_NONE && nametab_get(c->route_names, &n) != NAMETAB_NONE)
                        os_match_name(c, os, &n);
        }
        for (size_t i = 0; i < json_array_size(records); i++)
                if (dns_name_parse(json_str(json_array_get(records, i), "Name", ""), &n) == ERR_NONE &&
                        nametab_get(c->route_names, &n) != NAMETAB_NONE)
                        os_match_name(c, os, &n);
}

/* ---- the shapes ---- */

static void choose_shape(struct dns_config *c, const struct dns_input *in, struct build_default *p, struct dns_os_config *os)
{
        struct dns_name root = {.len = 1};
        if (p->dflt.try_count > 0) {
                if (c->route_count == 0 && p->dflt_plain && !c->uncovered) {
                        os_direct(c, os, &p->dflt);
                } else {
                        os_service(c, in, os);
                }
                struct dns_route *r = build_route(c, &root);
                if (r != NULL && r->try_count == 0) {
                        *r = p->dflt;
                        p->dflt = (struct dns_route){0};
                }
        } else if (c->route_count == 0) {
                os_keep_base(c, in, os);   /* nothing but search domains */
        } else if (in->os_split && one_plain_set(c, p->split_plain)) {
                os_direct(c, os, &c->routes[0]);
                os_match(c, in, os);
        } else if (in->os_split && (!c->uncovered || in->base == NULL)) {
                os_service(c, in, os);
                os_match(c, in, os);
        } else {
                os_service(c, in, os);
                if (build_use_base(c, in) == 0)
                        c->faults |= DNS_FAULT_NO_BASE;
                for (size_t i = 0; in->base != NULL && i < in->base->search_count; i++)
                        os_domain(c, &os->search, &os->search_count, in->base->search[i]);
        }
}

void build_os(struct dns_config *c, const struct dns_input *in, struct build_default *p, struct dns_os_config *os)
{
        os_search(c, os, in->map);
        choose_shape(c, in, p, os);
}
