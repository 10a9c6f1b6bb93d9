/* One peer more, less or different in a compiled configuration. */
#include "daemon/dns/build.h"

enum { STALE_MIN = 256 };   /* hosts that are gone may be half of all, and so many beside */

static bool is_taken(const struct dns_config *c, const struct dns_name *name)
{
        return nametab_get(c->host_names, name) != NAMETAB_NONE;
}

/* A host of which nobody else says anything; NAMETAB_NONE: there is none. */
static uint32_t own_host(const struct dns_config *c, const struct dns_name *name)
{
        uint32_t i = nametab_get(c->host_names, name);
        return i != NAMETAB_NONE && !c->hosts[i].shared ? i : NAMETAB_NONE;
}

static bool take_out(struct dns_config *c, const struct dns_input *in, const struct dns_node *n)
{
        struct dns_name name, alias;
        if (dns_name_parse(n->name, &name) != ERR_NONE)
                return true;
        bool has_alias = build_alias(in, &name, &alias);
        uint32_t host = own_host(c, &name);
        bool covered = build_is_covered(c, &name);
        /* Without the only one that is not, the system is told something else. */
        if (host == NAMETAB_NONE || (!covered && c->uncovered == 1) || (has_alias && own_host(c, &alias) == NAMETAB_NONE))
                return false;
        for (size_t i = 0; i < n->address_count; i++)
                if (trie_get(c->addresses, prefix_of(n->addresses[i].ip)) == host)
                        (void)trie_remove(c->addresses, prefix_of(n->addresses[i].ip));
        nametab_remove(c->host_names, &name);
        if (has_alias)
                nametab_remove(c->host_names, &alias);
        c->uncovered -= !covered;
        c->stale += 1u + has_alias;
        return true;
}

static bool put_in(struct dns_config *c, const struct dns_input *in, const struct dns_node *n)
{
        struct dns_name name, alias;
        if (dns_name_parse(n->name, &name) != ERR_NONE)
                return true;
        if (is_taken(c, &name) || (!build_is_covered(c, &name) && c->uncovered == 0) || (build_alias(in, &name, &alias) && is_taken(c, &alias)))
                return false;
        for (size_t i = 0; i < n->address_count; i++)
                if (trie_get(c->addresses, prefix_of(n->addresses[i].ip)) != TRIE_NONE)
                        return false;
        build_node(c, in, n);
        return !c->failed;
}

bool dns_config_change(struct dns_config *c, const struct dns_input *in, const struct dns_node *was,
        const struct dns_node *is)
{
        if (c->stale > c->host_count / 2 + STALE_MIN)
                return false;
        return (was == NULL || take_out(c, in, was)) && (is == NULL || put_in(c, in, is));
}
