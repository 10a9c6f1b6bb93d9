#include <stdlib.h>
#include <string.h>

#include "daemon/dns/build.h"

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

/* ---- routes ---- */

/* FNV-1a.  Whoever could make two collide, the control server, can name any resolver anyway. */
static uint64_t digest(uint64_t h, const uint8_t *data, size_t len)
{
        for (size_t i = 0; i < len; i++)
                h = (h ^ data[i]) * UINT64_C(0x100000001b3);
        return h;
}

struct dns_route *build_route(struct dns_config *c, const struct dns_name *suffix)
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

void build_local(struct dns_config *c, const struct dns_name *suffix)
{
        uint32_t stands;
        struct dns_route *r = build_route(c, suffix);
        if (r == NULL || r->try_count > 0)
                return;   /* the map's own resolvers for it come first */
        r->local = true;
        c->failed |= !nametab_add(c->zones, suffix, suffix->len, &stands);
}

void build_free_route(struct dns_route *r)
{
        free(r->tries);
        dns_strings_free(r->resolvers, r->resolver_count);
        *r = (struct dns_route){0};
}

bool build_same_resolvers(const struct dns_route *a, const struct dns_route *b)
{
        return dns_strings_eq(a->resolvers, a->resolver_count, b->resolvers, b->resolver_count);
}

bool dns_config_same_routes(const struct dns_config *a, const struct dns_config *b)
{
        if (a->route_count != b->route_count || a->suffixes != b->suffixes)
                return false;
        for (size_t i = 0; i < a->route_count; i++)
                if (a->routes[i].local != b->routes[i].local || !build_same_resolvers(&a->routes[i], &b->routes[i]))
                        return false;
        return true;
}

/* ---- hosts ---- */

struct host *build_host(struct dns_config *c, const struct dns_name *name, const struct dns_host *h)
{
        uint32_t stands;
        if (!room_for_one((void **)&c->hosts, c->host_count, &c->host_cap, sizeof(*c->hosts)) ||
                !nametab_add(c->host_names, name, (uint32_t)c->host_count, &stands)) {
                c->failed = true;
                return NULL;
        }
        if (stands != c->host_count) {
                c->hosts[stands].shared = true;
                return &c->hosts[stands];
        }
        c->hosts[c->host_count] = (struct host){.h = *h};
        return &c->hosts[c->host_count++];
}

void build_keep_name(struct dns_config *c, struct host *h, const struct dns_name *name)
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
void build_address(struct dns_config *c, struct host *h, struct ip ip)
{
        uint32_t first = trie_get(c->addresses, prefix_of(ip)), own = (uint32_t)(h - c->hosts);
        if (first == TRIE_NONE)
                c->failed |= trie_set(c->addresses, prefix_of(ip), own) != ERR_NONE;
        else if (first != own)
                c->hosts[first].shared = h->shared = true;
}

/* ---- life ---- */

struct dns_config *build_new(void)
{
        struct dns_config *c = calloc(1, sizeof(*c));
        if (c == NULL)
                return NULL;
        c->host_names = nametab_new();
        c->route_names = nametab_new();
        c->zones = nametab_new();
        c->addresses = trie_new();
        if (c->host_names != NULL && c->route_names != NULL && c->zones != NULL && c->addresses != NULL)
                return c;
        dns_config_free(c);
        return NULL;
}

void dns_config_free(struct dns_config *c)
{
        if (c == NULL)
                return;
        for (size_t i = 0; i < c->route_count; i++)
                build_free_route(&c->routes[i]);
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
