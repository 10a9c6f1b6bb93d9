#include "daemon/dns/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/trie.h"
#include "daemon/dns/nametab.h"

struct host {
        struct dns_host h;
        uint8_t name_len;      /* of the name that PTR answers, at name_at in the block; 0: an alias, none */
        uint32_t name_at;
};

struct dns_config {
        struct nametab *host_names;     /* -> hosts */
        struct host *hosts;
        size_t host_count, host_cap;
        uint8_t *block;                 /* names for PTR */
        size_t block_len, block_cap;
        struct trie *addresses;         /* -> hosts */
        struct nametab *route_names;    /* -> routes */
        struct nametab *zones;          /* local suffixes, value = length of the name */
        struct dns_route *routes;
        size_t route_count, route_cap;
        uint64_t suffixes;              /* digest of the routes' names, in order */
        unsigned faults;
        bool failed;                    /* out of memory */
        bool uncovered;                 /* a host lies outside all routes */
};

struct ip dns_service4(void)
{
        return ip_v4(100, 100, 100, 100);
}

struct ip dns_service6(void)
{
        static const uint8_t b[16] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 0x53};
        return ip_from_bytes16(b);
}

bool dns_is_service(struct ip ip)
{
        return ip_eq(ip, dns_service4()) || ip_eq(ip, dns_service6());
}

/* ---- growing ---- */

static bool room_for_one(void **list, size_t count, size_t *cap, size_t size)
{
        if (count < *cap)
                return true;
        size_t more = *cap ? *cap * 2 : 8;
        void *p = realloc(*list, more * size);
        if (p == NULL)
                return false;
        *list = p;
        *cap = more;
        return true;
}

/* Strings in lists that need no spare room: they are short and made once. */
static bool add_string(char ***list, size_t *count, const char *s)
{
        char **longer = realloc(*list, (*count + 1) * sizeof(*longer));
        if (longer == NULL)
                return false;
        *list = longer;
        if ((longer[*count] = strdup(s)) == NULL)
                return false;
        (*count)++;
        return true;
}

static void free_strings(char **list, size_t count)
{
        for (size_t i = 0; i < count; i++)
                free(list[i]);
        free(list);
}

/* ---- the system's part ---- */

void dns_os_config_free(struct dns_os_config *c)
{
        free(c->nameservers);
        free_strings(c->search, c->search_count);
        free_strings(c->match, c->match_count);
        *c = (struct dns_os_config){0};
}

static bool same_strings(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
        bool same = a_count == b_count;
        for (size_t i = 0; same && i < a_count; i++)
                same = strcmp(a[i], b[i]) == 0;
        return same;
}

bool dns_os_config_eq(const struct dns_os_config *a, const struct dns_os_config *b)
{
        bool same = a->nameserver_count == b->nameserver_count;
        for (size_t i = 0; same && i < a->nameserver_count; i++)
                same = ip_eq(a->nameservers[i], b->nameservers[i]);
        return same && same_strings(a->search, a->search_count, b->search, b->search_count) &&
                same_strings(a->match, a->match_count, b->match, b->match_count);
}

bool dns_os_config_is_empty(const struct dns_os_config *c)
{
        return c->nameserver_count == 0 && c->search_count == 0 && c->match_count == 0;
}

bool dns_os_config_add_server(struct dns_os_config *c, struct ip ip)
{
        for (size_t i = 0; i < c->nameserver_count; i++)
                if (ip_eq(c->nameservers[i], ip))
                        return true;
        struct ip *longer = realloc(c->nameservers, (c->nameserver_count + 1) * sizeof(ip));
        if (longer == NULL)
                return false;
        c->nameservers = longer;
        longer[c->nameserver_count++] = ip;
        return true;
}

bool dns_os_config_add_search(struct dns_os_config *c, const char *domain)
{
        return add_string(&c->search, &c->search_count, domain);
}

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
        c->failed |= !add_string(list, count, folded);
}

/* ---- routes ---- */

/* FNV-1a.  Whoever could make two collide, the control server, can name any resolver anyway. */
static uint64_t digest(uint64_t h, const uint8_t *data, size_t len)
{
        for (size_t i = 0; i < len; i++)
                h = (h ^ data[i]) * UINT64_C(0x100000001b3);
        return h;
}

static struct dns_route *add_route(struct dns_config *c, const struct dns_name *suffix)
{
        uint32_t stands;
        if (!room_for_one((void **)&c->routes, c->route_count, &c->route_cap, sizeof(*c->routes)) ||
                !nametab_add(c->route_names, suffix, (uint32_t)c->route_count, &stands)) {
                c->failed = true;
                return NULL;
        }
        if (stands != c->route_count)
                return &c->routes[stands];
        c->routes[c->route_count] = (struct dns_route){0};
        c->suffixes = digest(c->suffixes, suffix->b, suffix->len);
        return &c->routes[c->route_count++];
}

static void add_local(struct dns_config *c, const struct dns_name *suffix)
{
        uint32_t stands;
        struct dns_route *r = add_route(c, suffix);
        if (r == NULL || r->try_count > 0)
                return;   /* the map's own resolvers for it come first */
        r->local = true;
        c->failed |= !nametab_add(c->zones, suffix, suffix->len, &stands);
}

static void add_local_text(struct dns_config *c, const char *text)
{
        struct dns_name n;
        if (dns_name_parse(text, &n) == ERR_NONE)
                add_local(c, &n);
        else
                c->faults |= DNS_FAULT_NAME;
}

static bool is_own(const struct dns_input *in, struct ip ip)
{
        for (size_t i = 0; i < in->self->address_count; i++)
                if (ip_eq(in->self->addresses[i].ip, ip))
                        return true;
        return dns_is_service(ip);
}

/* Asking ourselves would go round for ever. */
static bool loops(const struct dns_input *in, const char *text)
{
        struct addr a = {.port = 53};
        return (ip_parse(text, &a.ip) == ERR_NONE || addr_parse(text, &a) == ERR_NONE) && a.port == 53 &&
                is_own(in, a.ip);
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
static void add_resolver(struct dns_config *c, const struct dns_input *in, struct dns_route *r,
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
        if (longer == NULL || !add_string(&r->resolvers, &r->resolver_count, u->text)) {
                r->tries = longer != NULL ? longer : r->tries;
                c->failed = true;
                return;
        }
        memcpy(longer, tries, n * sizeof(*longer));
        r->tries = longer;
        r->try_count = n;
}

static void free_route(struct dns_route *r)
{
        free(r->tries);
        free_strings(r->resolvers, r->resolver_count);
        *r = (struct dns_route){0};
}

/* With an exit node that answers DNS only those resolvers stay that are meant to be asked through it. */
static void add_resolvers(struct dns_config *c, const struct dns_input *in, struct dns_route *r, const json_t *list,
        bool flagged_only, bool *plain)
{
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *entry = json_array_get(list, i);
                struct dns_upstream u = upstream_of(entry);
                if (!flagged_only || json_bool(entry, "UseWithExitNode", false))
                        add_resolver(c, in, r, &u, plain);
        }
}

/* ---- hosts ---- */

static struct host *add_host(struct dns_config *c, const struct dns_name *name, const struct dns_host *h)
{
        uint32_t stands;
        if (!room_for_one((void **)&c->hosts, c->host_count, &c->host_cap, sizeof(*c->hosts)) ||
                !nametab_add(c->host_names, name, (uint32_t)c->host_count, &stands)) {
                c->failed = true;
                return NULL;
        }
        if (stands != c->host_count)
                return &c->hosts[stands];
        c->hosts[c->host_count] = (struct host){.h = *h};
        return &c->hosts[c->host_count++];
}

static void keep_name(struct dns_config *c, struct host *h, const struct dns_name *name)
{
        while (c->block_len + name->len > c->block_cap) {
                size_t cap = c->block_cap ? c->block_cap * 2 : 4096;
                uint8_t *p = realloc(c->block, cap);
                if (p == NULL) {
                        c->failed = true;
                        return;
                }
                c->block = p;
                c->block_cap = cap;
        }
        h->name_at = (uint32_t)c->block_len;
        h->name_len = name->len;
        memcpy(c->block + c->block_len, name->b, name->len);
        c->block_len += name->len;
}

/* The first name that claims an address is its name. */
static void add_address(struct dns_config *c, const struct host *h, struct ip ip)
{
        if (trie_get(c->addresses, prefix_of(ip)) == TRIE_NONE)
                c->failed |= trie_set(c->addresses, prefix_of(ip), (uint32_t)(h - c->hosts)) != ERR_NONE;
}

static void note_address(struct dns_host *h, struct ip ip)
{
        struct ip *to = ip.family == IP_V4 ? &h->v4 : &h->v6;
        if (!ip_is_set(*to))
                *to = ip;
        if (!ip_is_set(h->first))
                h->first = ip;
}

static void note_coverage(struct dns_config *c, const struct dns_name *name)
{
        if (nametab_longest(c->route_names, name) == NAMETAB_NONE)
                c->uncovered = true;
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
                struct host *h = add_host(c, &name, &none);
                if (h == NULL)
                        return;
                note_address(&h->h, ip);
                if (h->name_len == 0)
                        keep_name(c, h, &name);
                add_address(c, h, ip);
                if (routes && nametab_longest(c->route_names, &name) == NAMETAB_NONE)
                        add_local(c, &name);
        }
}

static bool has_family(const struct dns_node *n, enum ip_family f)
{
        for (size_t i = 0; i < n->address_count; i++)
                if (n->addresses[i].ip.family == f)
                        return true;
        return false;
}

static bool lists(const struct dns_input *in, const struct dns_node *n, struct ip ip)
{
        if (!has_family(in->self, IP_V4))
                return ip.family == IP_V6;
        return ip.family == IP_V4 || in->peers_aaaa || !has_family(n, IP_V4);
}

/* The bare first label is an alias where MagicDNS is on, for names right below our own suffix. */
static void add_alias(struct dns_config *c, const struct dns_input *in, const struct dns_name *name,
        const struct dns_host *h)
{
        struct dns_name suffix, parent = *name, bare = {0};
        if (dns_name_parse(in->suffix, &suffix) != ERR_NONE || !dns_name_to_parent(&parent) ||
                !dns_name_eq(&parent, &suffix))
                return;
        bare.len = (uint8_t)(name->b[0] + 2);
        memcpy(bare.b, name->b, name->b[0] + 1u);
        (void)add_host(c, &bare, h);
}

static void add_node(struct dns_config *c, const struct dns_input *in, const struct dns_node *n, bool aliases)
{
        struct dns_host h = {.subdomains = n->subdomains};
        struct dns_name name;
        if (dns_name_parse(n->name, &name) != ERR_NONE)
                return;   /* a node without a name has none to answer */
        for (size_t i = 0; i < n->address_count; i++)
                if (lists(in, n, n->addresses[i].ip))
                        note_address(&h, n->addresses[i].ip);
        struct host *host = add_host(c, &name, &h);
        if (host == NULL)
                return;
        host->h.subdomains |= n->subdomains;
        if (host->name_len == 0)
                keep_name(c, host, &name);
        for (size_t i = 0; i < n->address_count; i++)
                add_address(c, host, n->addresses[i].ip);
        note_coverage(c, &name);
        if (aliases)
                add_alias(c, in, &name, &h);
}

/* ---- the shapes ---- */

static void os_service(struct dns_config *c, const struct dns_input *in, struct dns_os_config *os)
{
        bool v4 = has_family(in->self, IP_V4) || in->service4_only;
        if (v4)
                os_nameserver(c, os, dns_service4());
        if (has_family(in->self, IP_V6) && !in->service4_only)
                os_nameserver(c, os, dns_service6());
}

/* The system's own resolvers take the place of "."; what would come back to us is left out. */
static size_t use_base(struct dns_config *c, const struct dns_input *in)
{
        struct dns_name root = {.len = 1};
        struct dns_route *r = add_route(c, &root);
        bool plain = true;
        for (size_t i = 0; r != NULL && in->base != NULL && i < in->base->nameserver_count; i++) {
                char text[IP_STR_MAX];
                struct dns_upstream u = {.text = ip_str(in->base->nameservers[i], text)};
                if (!is_own(in, in->base->nameservers[i]))
                        add_resolver(c, in, r, &u, &plain);
        }
        return r != NULL ? r->try_count : 0;
}

static bool same_resolvers(const struct dns_route *a, const struct dns_route *b)
{
        return same_strings(a->resolvers, a->resolver_count, b->resolvers, b->resolver_count);
}

bool dns_config_same_routes(const struct dns_config *a, const struct dns_config *b)
{
        if (a->route_count != b->route_count || a->suffixes != b->suffixes)
                return false;
        for (size_t i = 0; i < a->route_count; i++)
                if (a->routes[i].local != b->routes[i].local || !same_resolvers(&a->routes[i], &b->routes[i]))
                        return false;
        return true;
}

/* All split, all to the same plain addresses: the system needs no help from us. */
static bool one_plain_set(const struct dns_config *c, bool plain)
{
        for (size_t i = 0; i < c->route_count; i++)
                if (c->routes[i].local || !same_resolvers(&c->routes[i], &c->routes[0]))
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
                if (!is_own(in, in->base->nameservers[i]))
                        os_nameserver(c, os, in->base->nameservers[i]);
        if (os->nameserver_count == 0)
                dns_os_config_free(os);
}

struct parts {
        struct dns_route dflt;       /* resolvers for everything */
        bool dflt_plain, split_plain;
        struct dns_name *split;      /* suffixes with a route, in the order of the map */
        size_t split_count;
};

static void os_match(struct dns_config *c, struct dns_os_config *os, const struct parts *p)
{
        char text[DNS_NAME_STR_MAX];
        for (size_t i = 0; i < p->split_count; i++)
                os_domain(c, &os->match, &os->match_count, dns_name_str(&p->split[i], text));
}

static void choose_shape(struct dns_config *c, const struct dns_input *in, struct parts *p, struct dns_os_config *os)
{
        struct dns_name root = {.len = 1};
        if (p->dflt.try_count > 0) {
                if (c->route_count == 0 && p->dflt_plain && !c->uncovered) {
                        os_direct(c, os, &p->dflt);
                } else {
                        os_service(c, in, os);
                }
                struct dns_route *r = add_route(c, &root);
                if (r != NULL && r->try_count == 0) {
                        *r = p->dflt;
                        p->dflt = (struct dns_route){0};
                }
        } else if (c->route_count == 0) {
                os_keep_base(c, in, os);   /* nothing but search domains */
        } else if (in->os_split && one_plain_set(c, p->split_plain)) {
                os_direct(c, os, &c->routes[0]);
                os_match(c, os, p);
        } else if (in->os_split && (!c->uncovered || in->base == NULL)) {
                os_service(c, in, os);
                os_match(c, os, p);
        } else {
                os_service(c, in, os);
                if (use_base(c, in) == 0)
                        c->faults |= DNS_FAULT_NO_BASE;
                for (size_t i = 0; in->base != NULL && i < in->base->search_count; i++)
                        os_domain(c, &os->search, &os->search_count, in->base->search[i]);
        }
}

/* ---- the map's routes ---- */

static void note_suffixes(struct dns_config *c, struct parts *p, const struct dns_name *n)
{
        struct dns_name *longer = realloc(p->split, (p->split_count + 1) * sizeof(*longer));
        if (longer == NULL) {
                c->failed = true;
                return;
        }
        p->split = longer;
        longer[p->split_count++] = *n;
}

static void add_map_routes(struct dns_config *c, const struct dns_input *in, struct parts *p)
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
                        add_local(c, &suffix);
                        continue;
                }
                struct dns_route r = {0};
                add_resolvers(c, in, &r, list, in->exit_proxy != NULL, &p->split_plain);
                struct dns_route *to = r.try_count > 0 ? add_route(c, &suffix) : NULL;
                if (to != NULL && to->try_count == 0 && !to->local)
                        *to = r;
                else
                        free_route(&r);
        }
}

static void add_magic_zones(struct dns_config *c, const struct dns_input *in)
{
        char text[40];
        if (in->suffix[0] != '\0')
                add_local_text(c, in->suffix);
        add_local_text(c, "0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa");
        for (unsigned i = 64; i < 128; i++) {
                snprintf(text, sizeof(text), "%u.100.in-addr.arpa", i);
                add_local_text(c, text);
        }
}

static void add_default(struct dns_config *c, const struct dns_input *in, struct parts *p)
{
        const json_t *global = json_arr(in->map, "Resolvers");
        bool proxied = in->exit_proxy != NULL;
        add_resolvers(c, in, &p->dflt, global, proxied, &p->dflt_plain);
        if (proxied && p->dflt.try_count == 0) {
                struct dns_upstream u = {.text = in->exit_proxy};
                add_resolver(c, in, &p->dflt, &u, &p->dflt_plain);
        }
        if (in->exit_node && !proxied && json_array_size(global) == 0)
                add_resolvers(c, in, &p->dflt, json_arr(in->map, "FallbackResolvers"), false, &p->dflt_plain);
}

/* Which suffixes the system has to send to us: those with a route, in the order they came. */
static void collect_suffixes(struct dns_config *c, const struct dns_input *in, struct parts *p)
{
        const json_t *routes = json_obj(in->map, "Routes");
        const char *key;
        json_t *unused;
        struct dns_name n;
        char text[40];
        if (json_bool(in->map, "Proxied", false)) {
                if (dns_name_parse(in->suffix, &n) == ERR_NONE)
                        note_suffixes(c, p, &n);
                (void)!dns_name_parse("0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa", &n);
                note_suffixes(c, p, &n);
                for (unsigned i = 64; i < 128; i++) {
                        snprintf(text, sizeof(text), "%u.100.in-addr.arpa", i);
                        (void)!dns_name_parse(text, &n);
                        note_suffixes(c, p, &n);
                }
        }
        json_object_foreach((json_t *)(uintptr_t)routes, key, unused)
        {
                if (dns_name_parse(key, &n) == ERR_NONE && nametab_get(c->route_names, &n) != NAMETAB_NONE)
                        note_suffixes(c, p, &n);
        }
        const json_t *records = json_arr(in->map, "ExtraRecords");
        for (size_t i = 0; i < json_array_size(records); i++)
                if (dns_name_parse(json_str(json_array_get(records, i), "Name", ""), &n) == ERR_NONE &&
                        nametab_get(c->route_names, &n) != NAMETAB_NONE)
                        note_suffixes(c, p, &n);
}

static void compile(struct dns_config *c, const struct dns_input *in, struct dns_os_config *os)
{
        struct parts p = {.dflt_plain = true, .split_plain = true};
        bool magic = json_bool(in->map, "Proxied", false);
        if (in->accept_dns) {
                add_map_routes(c, in, &p);
                if (magic)
                        add_magic_zones(c, in);
        }
        add_records(c, json_arr(in->map, "ExtraRecords"), in->accept_dns);
        add_node(c, in, in->self, magic);
        for (size_t i = 0; i < in->peer_count; i++)
                add_node(c, in, &in->peers[i], magic);
        if (in->accept_dns) {
                add_default(c, in, &p);
                os_search(c, os, in->map);
                collect_suffixes(c, in, &p);
                choose_shape(c, in, &p, os);
        }
        if (in->for_others && dns_config_route(c, &(struct dns_name){.len = 1}) == NULL && use_base(c, in) == 0)
                c->faults |= DNS_FAULT_NO_BASE;
        free_route(&p.dflt);
        free(p.split);
}

struct dns_config *dns_compile(const struct dns_input *in, struct dns_os_config *ret_os)
{
        struct dns_config *c = calloc(1, sizeof(*c));
        *ret_os = (struct dns_os_config){0};
        if (c == NULL)
                return NULL;
        c->host_names = nametab_new();
        c->route_names = nametab_new();
        c->zones = nametab_new();
        c->addresses = trie_new();
        c->failed = c->host_names == NULL || c->route_names == NULL || c->zones == NULL || c->addresses == NULL;
        if (!c->failed && in->self != NULL)
                compile(c, in, ret_os);
        if (!c->failed)
                return c;
        dns_os_config_free(ret_os);
        dns_config_free(c);
        return NULL;
}

void dns_config_free(struct dns_config *c)
{
        if (c == NULL)
                return;
        for (size_t i = 0; i < c->route_count; i++)
                free_route(&c->routes[i]);
        nametab_free(c->host_names);
        nametab_free(c->route_names);
        nametab_free(c->zones);
        trie_free(c->addresses);
        free(c->hosts);
        free(c->routes);
        free(c->block);
        free(c);
}

/* ---- asked by the resolver ---- */

unsigned dns_config_faults(const struct dns_config *c)
{
        return c->faults;
}

const struct dns_host *dns_config_host(const struct dns_config *c, const struct dns_name *n)
{
        uint32_t i = nametab_get(c->host_names, n);
        return i != NAMETAB_NONE ? &c->hosts[i].h : NULL;
}

bool dns_config_name_of(const struct dns_config *c, struct ip ip, struct dns_name *ret)
{
        uint32_t i = trie_get(c->addresses, prefix_of(ip));
        if (i == TRIE_NONE || c->hosts[i].name_len == 0)
                return false;
        ret->len = c->hosts[i].name_len;
        memcpy(ret->b, c->block + c->hosts[i].name_at, ret->len);
        return true;
}

bool dns_config_zone(const struct dns_config *c, const struct dns_name *n, struct dns_name *ret)
{
        uint32_t len = nametab_longest(c->zones, n);
        if (len == NAMETAB_NONE)
                return false;
        ret->len = (uint8_t)len;
        memcpy(ret->b, n->b + n->len - len, len);
        return true;
}

const struct dns_route *dns_config_route(const struct dns_config *c, const struct dns_name *n)
{
        struct dns_name rest = *n;
        do {
                uint32_t i = nametab_get(c->route_names, &rest);
                if (i != NAMETAB_NONE && c->routes[i].try_count > 0)
                        return &c->routes[i];
        } while (dns_name_to_parent(&rest));
        return NULL;
}
