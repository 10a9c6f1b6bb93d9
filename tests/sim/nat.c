#include "tests/sim/nat.h"

#include <stdlib.h>
#include <string.h>

static const struct addr none;

void nat_init(struct nat *n, const struct nat_conf *c, struct rng rng)
{
        *n = (struct nat){.conf = *c, .rng = rng, .next = c->first};
}

static bool is_old(const struct nat *n, mono_t last, mono_t now)
{
        return mono_diff_ns(now, last) >= n->conf.timeout_ns;
}

/* ---- the table: by inner address and what of the outer one matters, and by outer port ---- */

/* Addresses differ in what is in these bytes: see tests/sim/net.h. */
static unsigned hash(struct addr a)
{
        return (unsigned)a.port * 7 ^ a.ip.b[3] * 31U ^ a.ip.b[2] * 131U ^ a.ip.b[7] * 17U;
}

static unsigned bucket_of(struct addr inner, struct addr dst)
{
        return (hash(inner) + 3 * hash(dst)) % NAT_BUCKETS;
}

static void drop_mapping(struct nat *n, struct nat_mapping *m)
{
        struct nat_mapping **at = &n->table->by_flow[bucket_of(m->inner, m->dst)];
        while (*at != m)
                at = &(*at)->next;
        *at = m->next;
        at = &n->table->by_port[m->port % NAT_BUCKETS];
        while (*at != m)
                at = &(*at)->next_by_port;
        *at = m->next_by_port;
        free(m->remote);
        free(m);
}

static struct nat_mapping *add_mapping(struct nat *n, struct addr inner, struct addr dst, uint16_t port)
{
        struct nat_mapping *m = calloc(1, sizeof(*m));
        if (n->table == NULL)
                n->table = calloc(1, sizeof(*n->table));
        if (m == NULL || n->table == NULL)
                abort();
        struct nat_mapping **first = &n->table->by_flow[bucket_of(inner, dst)], **by_port = &n->table->by_port[port % NAT_BUCKETS];
        *m = (struct nat_mapping){.next = *first, .next_by_port = *by_port, .inner = inner, .dst = dst, .port = port};
        return *first = *by_port = m;
}

void nat_flush(struct nat *n)
{
        for (unsigned i = 0; n->table != NULL && i < NAT_BUCKETS; i++)
                while (n->table->by_flow[i] != NULL)
                        drop_mapping(n, n->table->by_flow[i]);
}

void nat_done(struct nat *n)
{
        nat_flush(n);
        free(n->table);
        n->table = NULL;
}

/* ---- packets ---- */

static struct addr part_of(struct addr a, enum nat_by by)
{
        if (by == NAT_ANY)
                return none;
        return by == NAT_ADDRESS ? (struct addr){.ip = a.ip} : a;
}

static struct nat_mapping *find(struct nat *n, struct addr inner, struct addr dst, mono_t now)
{
        struct addr key = part_of(dst, n->conf.mapping);
        struct nat_mapping *next;
        for (struct nat_mapping *m = n->table != NULL ? n->table->by_flow[bucket_of(inner, key)] : NULL; m != NULL; m = next) {
                next = m->next;
                if (is_old(n, m->last, now))
                        drop_mapping(n, m);
                else if (addr_eq(m->inner, inner) && addr_eq(m->dst, key))
                        return m;
        }
        return NULL;
}

static struct nat_mapping *first_by_port(const struct nat *n, uint16_t port)
{
        return n->table != NULL ? n->table->by_port[port % NAT_BUCKETS] : NULL;
}

/* A port may serve several destinations at once where mappings depend on them and it is to be preserved. */
static bool is_free(const struct nat *n, uint16_t port, struct addr key, mono_t now)
{
        for (const struct nat_mapping *m = first_by_port(n, port); m != NULL; m = m->next_by_port)
                if (m->port == port && !is_old(n, m->last, now) && (n->conf.ports != NAT_PRESERVE || addr_eq(m->dst, key)))
                        return false;
        return true;
}

static uint16_t choose_port(struct nat *n, struct addr inner, struct addr key, mono_t now)
{
        const struct nat_conf *c = &n->conf;
        uint16_t span = (uint16_t)(c->last - c->first);
        uint16_t port = c->ports == NAT_PRESERVE && inner.port >= c->first && inner.port <= c->last ? inner.port
                        : c->ports == NAT_NEXT ? n->next
                                               : (uint16_t)rng_in(&n->rng, c->first, c->last);
        for (unsigned tries = 0; tries <= span; tries++) {
                if (is_free(n, port, key, now)) {
                        n->next = port == c->last ? c->first : (uint16_t)(port + 1);
                        return port;
                }
                port = port == c->last ? c->first : (uint16_t)(port + 1);
        }
        return 0;
}

/* Its place, or the one where it belongs. */
static struct nat_remote *remote_at(const struct nat_mapping *m, struct addr key)
{
        size_t i = hash(key) & (m->remote_cap - 1);
        while (mono_is_set(m->remote[i].last) && !addr_eq(m->remote[i].addr, key))
                i = (i + 1) & (m->remote_cap - 1);
        return &m->remote[i];
}

static void grow_remotes(struct nat_mapping *m)
{
        struct nat_mapping more = {.remote_cap = m->remote_cap ? m->remote_cap * 2 : 4};
        more.remote = calloc(more.remote_cap, sizeof(more.remote[0]));
        if (more.remote == NULL)
                abort();
        for (size_t i = 0; i < m->remote_cap; i++)
                if (mono_is_set(m->remote[i].last))
                        *remote_at(&more, m->remote[i].addr) = m->remote[i];
        free(m->remote);
        m->remote = more.remote;
        m->remote_cap = more.remote_cap;
}

static void note_remote(struct nat_mapping *m, struct addr dst, enum nat_by by, mono_t now)
{
        if (2 * (m->remote_count + 1) > m->remote_cap)
                grow_remotes(m);
        struct addr key = part_of(dst, by);
        struct nat_remote *r = remote_at(m, key);
        m->remote_count += !mono_is_set(r->last);
        *r = (struct nat_remote){key, now};
}

uint16_t nat_out(struct nat *n, struct addr inner, struct addr dst, mono_t now)
{
        if (!n->conf.translates && !n->conf.filters)
                return inner.port;
        struct nat_mapping *m = find(n, inner, dst, now);
        if (m == NULL) {
                struct addr key = part_of(dst, n->conf.mapping);
                uint16_t port = n->conf.translates ? choose_port(n, inner, key, now) : inner.port;
                if (port == 0)
                        return 0;
                m = add_mapping(n, inner, key, port);
        }
        m->last = now;
        note_remote(m, dst, n->conf.filtering, now);
        return m->port;
}

static bool lets_in(const struct nat *n, const struct nat_mapping *m, struct addr src, mono_t now)
{
        if (n->conf.filtering == NAT_ANY)
                return true;
        const struct nat_remote *r = remote_at(m, part_of(src, n->conf.filtering));
        return mono_is_set(r->last) && !is_old(n, r->last, now);
}

bool nat_in(struct nat *n, struct addr src, struct addr to, mono_t now, struct addr *ret_inner)
{
        *ret_inner = to;
        if (!n->conf.translates && !n->conf.filters)
                return true;
        for (struct nat_mapping *m = first_by_port(n, to.port); m != NULL; m = m->next_by_port) {
                bool is_for = n->conf.translates ? m->port == to.port : addr_eq(m->inner, to);
                if (!is_for || is_old(n, m->last, now))
                        continue;
                if (n->conf.mapping != NAT_ANY && !addr_eq(m->dst, part_of(src, n->conf.mapping)))
                        continue;
                if (!lets_in(n, m, src, now))
                        continue;
                if (n->conf.inbound_refreshes) {
                        m->last = now;
                        note_remote(m, src, n->conf.filtering, now);
                }
                *ret_inner = m->inner;
                return true;
        }
        return false;
}
