#include "tests/sim/nat.h"

#include <stdlib.h>
#include <string.h>

static const struct addr none;

void nat_init(struct nat *n, const struct nat_conf *c, struct rng rng)
{
        *n = (struct nat){.conf = *c, .rng = rng, .next = c->first};
}

void nat_flush(struct nat *n)
{
        for (size_t i = 0; i < n->count; i++)
                free(n->m[i].remote);
        n->count = 0;
}

void nat_done(struct nat *n)
{
        nat_flush(n);
        free(n->m);
        *n = (struct nat){.count = 0};
}

static bool is_old(const struct nat *n, mono_t last, mono_t now)
{
        return mono_diff_ns(now, last) >= n->conf.timeout_ns;
}

static struct addr part_of(struct addr a, enum nat_by by)
{
        if (by == NAT_ANY)
                return none;
        return by == NAT_ADDRESS ? (struct addr){.ip = a.ip} : a;
}

static void drop_mapping(struct nat *n, size_t i)
{
        free(n->m[i].remote);
        n->m[i] = n->m[--n->count];
}

static struct nat_mapping *find(struct nat *n, struct addr inner, struct addr dst, mono_t now)
{
        struct addr key = part_of(dst, n->conf.mapping);
        for (size_t i = 0; i < n->count;) {
                struct nat_mapping *m = &n->m[i];
                if (is_old(n, m->last, now)) {
                        drop_mapping(n, i);
                        continue;
                }
                if (m->inner.port == inner.port && addr_eq(m->inner, inner) && addr_eq(m->dst, key))
                        return m;
                i++;
        }
        return NULL;
}

/* A port may serve several destinations at once where mappings depend on them and it is to be preserved. */
static bool is_free(const struct nat *n, uint16_t port, struct addr key)
{
        for (size_t i = 0; i < n->count; i++)
                if (n->m[i].port == port && (n->conf.ports != NAT_PRESERVE || addr_eq(n->m[i].dst, key)))
                        return false;
        return true;
}

static uint16_t choose_port(struct nat *n, struct addr inner, struct addr key)
{
        const struct nat_conf *c = &n->conf;
        uint16_t span = (uint16_t)(c->last - c->first);
        uint16_t port = c->ports == NAT_PRESERVE && inner.port >= c->first && inner.port <= c->last ? inner.port
                        : c->ports == NAT_NEXT ? n->next
                                               : (uint16_t)rng_in(&n->rng, c->first, c->last);
        for (unsigned tries = 0; tries <= span; tries++) {
                if (is_free(n, port, key)) {
                        n->next = port == c->last ? c->first : (uint16_t)(port + 1);
                        return port;
                }
                port = port == c->last ? c->first : (uint16_t)(port + 1);
        }
        return 0;
}

static void note_remote(struct nat_mapping *m, struct addr dst, enum nat_by by, mono_t now)
{
        struct addr key = part_of(dst, by);
        for (size_t i = 0; i < m->remote_count; i++) {
                if (addr_eq(m->remote[i].addr, key)) {
                        m->remote[i].last = now;
                        return;
                }
        }
        if (m->remote_count == m->remote_cap) {
                m->remote_cap = m->remote_cap ? m->remote_cap * 2 : 4;
                m->remote = realloc(m->remote, m->remote_cap * sizeof(m->remote[0]));
                if (m->remote == NULL)
                        abort();
        }
        m->remote[m->remote_count++] = (struct nat_remote){key, now};
}

uint16_t nat_out(struct nat *n, struct addr inner, struct addr dst, mono_t now)
{
        if (!n->conf.translates && !n->conf.filters)
                return inner.port;
        struct nat_mapping *m = find(n, inner, dst, now);
        if (m == NULL) {
                struct addr key = part_of(dst, n->conf.mapping);
                uint16_t port = n->conf.translates ? choose_port(n, inner, key) : inner.port;
                if (port == 0)
                        return 0;
                if (n->count == n->cap) {
                        n->cap = n->cap ? n->cap * 2 : 16;
                        n->m = realloc(n->m, n->cap * sizeof(n->m[0]));
                        if (n->m == NULL)
                                abort();
                }
                m = &n->m[n->count++];
                *m = (struct nat_mapping){.inner = inner, .dst = key, .port = port};
        }
        m->last = now;
        note_remote(m, dst, n->conf.filtering, now);
        return m->port;
}

static bool lets_in(const struct nat *n, const struct nat_mapping *m, struct addr src, mono_t now)
{
        if (n->conf.filtering == NAT_ANY)
                return true;
        struct addr key = part_of(src, n->conf.filtering);
        for (size_t i = 0; i < m->remote_count; i++)
                if (addr_eq(m->remote[i].addr, key))
                        return !is_old(n, m->remote[i].last, now);
        return false;
}

bool nat_in(struct nat *n, struct addr src, struct addr to, mono_t now, struct addr *ret_inner)
{
        *ret_inner = to;
        if (!n->conf.translates && !n->conf.filters)
                return true;
        for (size_t i = 0; i < n->count; i++) {
                struct nat_mapping *m = &n->m[i];
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
