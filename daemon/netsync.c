#include "daemon/netsync.h"

#include <stdlib.h>
#include <string.h>

static bool is_own_address(const struct netmap_node *n, struct prefix p)
{
        for (uint32_t i = 0; i < n->address_count; i++)
                if (prefix_eq(n->addresses[i], p))
                        return true;
        return false;
}

bool netsync_allows(const struct netmap_node *n, struct prefix p, const struct netsync_prefs *prefs)
{
        if (is_own_address(n, p) || (prefix_is_host(p) && ip_is_tailnet(p.ip)))
                return true;
        if (p.bits == 0 || !prefix_eq(p, prefix_masked(p)))
                return false;
        return prefs->accept_routes;
}

enum err netsync_peer(const struct netmap_node *n, const struct netsync_prefs *prefs, struct engine_peer *ret,
        struct prefix **ret_allowed)
{
        struct prefix *allowed = calloc(n->allowed_count + 1, sizeof(*allowed));
        if (allowed == NULL)
                return ERR_FULL;
        size_t count = 0;
        for (uint32_t i = 0; i < n->allowed_count && !n->expired; i++)
                if (netsync_allows(n, n->allowed[i], prefs))
                        allowed[count++] = n->allowed[i];
        *ret = (struct engine_peer){
                .node_id = n->id,
                .key = n->key,
                .disco = n->disco,
                .home_region = n->home_derp,
                .expired = n->expired,
                .endpoints = n->endpoints,
                .endpoint_count = n->endpoint_count,
                .allowed = allowed,
                .allowed_count = count,
        };
        *ret_allowed = allowed;
        return ERR_NONE;
}

/* fd7a:115c:a1e0::/48 */
static struct prefix mesh6(void)
{
        static const uint8_t b[16] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
        return (struct prefix){.ip = ip_from_bytes16(b), .bits = 48};
}

enum err netsync_routes(const struct netmap *nm, const struct netsync_prefs *prefs, struct prefix **ret,
        size_t *ret_count)
{
        size_t most = 1;
        for (size_t i = 0; i < nm->peer_count; i++)
                most += nm->peers[i]->allowed_count;
        struct prefix *out = calloc(most, sizeof(*out));
        if (out == NULL)
                return ERR_FULL;
        size_t count = 0;
        bool some6 = false;
        for (size_t i = 0; i < nm->peer_count; i++) {
                const struct netmap_node *n = nm->peers[i];
                for (uint32_t k = 0; k < n->allowed_count && !n->expired; k++) {
                        struct prefix p = n->allowed[k];
                        if (!netsync_allows(n, p, prefs))
                                continue;
                        if (p.ip.family == IP_V6 && prefix_contains(mesh6(), p.ip) && prefix_is_host(p))
                                some6 = true;
                        else
                                out[count++] = p;
                }
        }
        if (some6)
                out[count++] = mesh6();
        *ret = out;
        *ret_count = count;
        return ERR_NONE;
}

/* ---- filter ---- */

static size_t count_cap_addresses(const struct netmap *nm, const struct filter_rule *r)
{
        size_t n = 0;
        for (uint32_t c = 0; c < r->src_cap_count; c++)
                for (size_t i = 0; i < nm->peer_count; i++)
                        if (netmap_node_has_cap(nm->peers[i], r->src_caps[c]))
                                n += nm->peers[i]->address_count;
        return n;
}

/* "cap:NAME" sources: the addresses of every peer that has the capability. */
static size_t add_cap_addresses(const struct netmap *nm, const struct filter_rule *r, struct filter_range *out)
{
        size_t n = 0;
        for (uint32_t c = 0; c < r->src_cap_count; c++) {
                for (size_t i = 0; i < nm->peer_count; i++) {
                        const struct netmap_node *p = nm->peers[i];
                        if (!netmap_node_has_cap(p, r->src_caps[c]))
                                continue;
                        for (uint32_t k = 0; k < p->address_count; k++)
                                out[n++] = (struct filter_range){p->addresses[k].ip, p->addresses[k].ip};
                }
        }
        return n;
}

static enum err translate(const struct netmap *nm, const struct filter_rule *r, struct filter_allow *ret)
{
        struct filter_range *srcs = calloc(r->src_count + count_cap_addresses(nm, r) + 1, sizeof(*srcs));
        struct filter_ports *dsts = calloc(r->dst_count + 1, sizeof(*dsts));
        if (srcs == NULL || dsts == NULL) {
                free(srcs);
                free(dsts);
                return ERR_FULL;
        }
        for (uint32_t i = 0; i < r->src_count; i++)
                srcs[i] = (struct filter_range){r->srcs[i].first, r->srcs[i].last};
        for (uint32_t i = 0; i < r->dst_count; i++)
                dsts[i] = (struct filter_ports){
                        .dst = {r->dsts[i].ips.first, r->dsts[i].ips.last},
                        .first = r->dsts[i].port_first,
                        .last = r->dsts[i].port_last,
                };
        *ret = (struct filter_allow){
                .srcs = srcs,
                .src_count = r->src_count + add_cap_addresses(nm, r, srcs + r->src_count),
                .dsts = dsts,
                .dst_count = r->dst_count,
                .protos = r->protos,
                .proto_count = r->proto_count,
        };
        return ERR_NONE;
}

/* Destinations that are ours. */
static size_t fill_local(const struct netmap *nm, const struct netsync_prefs *prefs, struct prefix *out)
{
        size_t n = 0;
        if (nm->self != NULL)
                for (uint32_t i = 0; i < nm->self->address_count; i++)
                        out[n++] = nm->self->addresses[i];
        for (size_t i = 0; i < prefs->advertised_count; i++)
                if (prefs->advertised[i].bits != 0)
                        out[n++] = prefs->advertised[i];
        return n;
}

struct filter *netsync_filter(const struct netmap *nm, const struct netsync_prefs *prefs)
{
        size_t own = nm->self != NULL ? nm->self->address_count : 0;
        struct prefix *local = calloc(own + prefs->advertised_count + 1, sizeof(*local));
        struct filter_allow *allow = calloc(nm->rule_count + 1, sizeof(*allow));
        size_t count = 0;
        bool ok = local != NULL && allow != NULL;
        for (size_t i = 0; ok && i < nm->rule_count; i++) {
                if (nm->rules[i]->dst_count == 0)   /* grants permit no packet */
                        continue;
                ok = translate(nm, nm->rules[i], &allow[count]) == ERR_NONE;
                count += ok;
        }
        struct filter *f = NULL;
        if (ok)
                f = filter_new(allow, count, local, fill_local(nm, prefs, local), prefs->shields_up);
        for (size_t i = 0; allow != NULL && i < count; i++) {
                free((void *)(uintptr_t)allow[i].srcs);
                free((void *)(uintptr_t)allow[i].dsts);
        }
        free(allow);
        free(local);
        return f;
}
