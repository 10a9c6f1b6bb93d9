#include "daemon/netsync.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/dns/config.h"

static bool is_own_address(const struct netmap_node *n, struct prefix p)
{
        for (uint32_t i = 0; i < n->address_count; i++)
                if (prefix_eq(n->addresses[i], p))
                        return true;
        return false;
}

bool netsync_offers_exit(const struct netmap_node *n)
{
        bool v4 = false, v6 = false;
        for (uint32_t i = 0; i < n->allowed_count; i++)
                if (n->allowed[i].bits == 0)
                        *(n->allowed[i].ip.family == IP_V6 ? &v6 : &v4) = true;
        return v4 && v6;
}

bool netsync_allows(const struct netmap_node *n, struct prefix p, const struct netsync_prefs *prefs)
{
        if (prefix_is_host(p) && (is_own_address(n, p) || ip_is_tailnet(p.ip)))
                return true;
        if (!prefix_eq(p, prefix_masked(p)))
                return false;
        if (p.bits == 0)
                return prefs->exit_node != 0 && n->id == prefs->exit_node;
        return prefs->accept_routes;
}

bool netsync_leaves_routes(const struct netmap *nm, const struct netsync_prefs *prefs)
{
        struct netsync_prefs all = *prefs;
        all.accept_routes = true;
        for (size_t i = 0; i < nm->peer_count; i++) {
                const struct netmap_node *n = nm->peers[i];
                for (uint32_t k = 0; k < n->allowed_count && !n->expired; k++)
                        if (netsync_allows(n, n->allowed[k], &all) && !netsync_allows(n, n->allowed[k], prefs))
                                return true;
        }
        return false;
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
                .plain = n->wireguard_only,
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

void netsync_peer_routes(const struct netmap_node *n, const struct netsync_prefs *prefs, struct prefix *out, size_t *count,
        bool *ret_mesh6)
{
        *ret_mesh6 = false;
        for (uint32_t i = 0; i < n->allowed_count && !n->expired; i++) {
                struct prefix p = n->allowed[i];
                if (p.bits == 0 || !netsync_allows(n, p, prefs))
                        continue;
                if (p.ip.family == IP_V6 && prefix_is_host(p) && prefix_contains(mesh6(), p.ip))
                        *ret_mesh6 = true;
                else
                        out[(*count)++] = p;
        }
}

bool netsync_has_family(const struct netmap_node *n, enum ip_family f)
{
        for (uint32_t i = 0; n != NULL && i < n->address_count; i++)
                if (n->addresses[i].ip.family == f)
                        return true;
        return false;
}

enum err netsync_routes(const struct netmap *nm, const struct netsync_prefs *prefs, struct prefix **ret,
        size_t *ret_count)
{
        size_t most = 2;
        for (size_t i = 0; i < nm->peer_count; i++)
                most += nm->peers[i]->allowed_count;
        struct prefix *out = calloc(most, sizeof(*out));
        if (out == NULL)
                return ERR_FULL;
        size_t count = 0;
        bool some6 = netsync_has_family(nm->self, IP_V6);
        for (size_t i = 0; i < nm->peer_count; i++) {
                bool in_mesh6;
                netsync_peer_routes(nm->peers[i], prefs, out, &count, &in_mesh6);
                some6 |= in_mesh6;
        }
        if (some6)
                out[count++] = mesh6();
        if (netsync_has_family(nm->self, IP_V4))
                out[count++] = prefix_of(ip_service4);
        *ret = out;
        *ret_count = count;
        return ERR_NONE;
}
