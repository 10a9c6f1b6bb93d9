#include "daemon/backend_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/exitchoice.h"
#include "daemon/host/forwarding.h"
#include "daemon/host/hostaddrs.h"
#include "daemon/host/resolvers.h"

/* ---- what the preferences ask of the host ---- */

struct netsync_prefs backend_sync_prefs(const struct backend *b)
{
        return (struct netsync_prefs){
                .accept_routes = b->prefs.route_all,
                .shields_up = b->prefs.shields_up,
                .exit_node = b->exit_node,
                .advertised = b->prefs.advertise_routes,
                .advertised_count = b->prefs.advertise_route_count,
                .peerapi4_port = backend_peerapi_port(b, IP_V4),
                .peerapi6_port = backend_peerapi_port(b, IP_V6),
        };
}

bool backend_wants_exit_node(const struct backend *b)
{
        return b->prefs.exit_node_id[0] != '\0' || b->prefs.exit_node_ip[0] != '\0' || b->prefs.auto_exit_node[0] != '\0';
}

static bool advertises(const struct backend *b, bool exit)
{
        for (size_t i = 0; i < b->prefs.advertise_route_count; i++)
                if ((b->prefs.advertise_routes[i].bits == 0) == exit)
                        return true;
        return false;
}

/* ---- the exit node ---- */

const struct netmap_node *backend_exit_node(const struct backend *b)
{
        return b->exit_node != 0 ? netmap_peer(backend_netmap(b), b->exit_node) : NULL;
}

static void note_exit_node(struct backend *b, const char *stable_id)
{
        backend_set_str(&b->prefs.exit_node_id, stable_id);
        backend_set_str(&b->prefs.exit_node_ip, "");
        backend_save_prefs(b);
        backend_post_prefs(b);
}

/* Where there is none to choose the last one stays, so that nothing goes out another way. */
static void choose_exit_node(struct backend *b, const struct netmap *nm)
{
        const struct netmap_node *n = exit_choice(nm, backend_report(b), b->prefs.exit_node_id);
        const char *id = n != NULL ? n->stable_id : b->prefs.exit_node_id[0] != '\0' ? b->prefs.exit_node_id : "auto:any";
        if (strcmp(id, b->prefs.exit_node_id) == 0 && b->prefs.exit_node_ip[0] == '\0')
                return;
        log_info("the exit node is now %s", n != NULL ? n->name : "none: no node that offers to be one is online");
        char *copy = strdup(id);
        if (copy != NULL)
                note_exit_node(b, copy);
        free(copy);
}

/* An address is a promise of whoever has it first; from then on the node counts, whatever its address. */
static const struct netmap_node *find_exit_node(struct backend *b, const struct netmap *nm)
{
        struct ip ip;
        if (b->prefs.auto_exit_node[0] != '\0' && nm->self != NULL)
                choose_exit_node(b, nm);
        if (b->prefs.exit_node_ip[0] != '\0' && ip_parse(b->prefs.exit_node_ip, &ip) == ERR_NONE) {
                const struct netmap_node *n = netmap_by_ip(nm, ip);
                if (n == NULL || n == nm->self || n->stable_id[0] == '\0')
                        return NULL;
                note_exit_node(b, n->stable_id);
                return n;
        }
        for (size_t i = 0; i < nm->peer_count && b->prefs.exit_node_id[0] != '\0'; i++)
                if (strcmp(nm->peers[i]->stable_id, b->prefs.exit_node_id) == 0)
                        return nm->peers[i];
        return NULL;
}

bool backend_update_exit_node(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        const struct netmap_node *n = find_exit_node(b, nm);
        int64_t before = b->exit_node;
        b->exit_node = n != NULL ? n->id : 0;
        if (b->exit_node == before)
                return false;
        const struct netmap_node *old = before != 0 ? netmap_peer(nm, before) : NULL;
        if (old != NULL)
                backend_sync_peer(b, old);
        if (n != NULL)
                backend_sync_peer(b, n);
        return true;
}

/* ---- routes ---- */

/* Whom this host asks for names.  While ours lies over resolv.conf, what was there before says it. */
static size_t host_resolvers(const struct backend *b, struct ip out[RESOLVERS_MAX])
{
        const struct dns_os_config *base = backend_os_dns_base(b);
        size_t n = resolvers_read(out);
        for (size_t i = 0; base != NULL && i < base->nameserver_count && n < RESOLVERS_MAX; i++)
                if (!ip_is_loopback(base->nameservers[i]) && !ip_is_tailnet(base->nameservers[i]))
                        out[n++] = base->nameservers[i];
        return n;
}

static void apply_routes(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        struct netsync_prefs sp = backend_sync_prefs(b);
        struct prefix *routes = NULL;
        const char *why = "";
        /* The user's word counts before the first map and after the login has run out: what was to go through
         * an exit node does not go out in clear meanwhile. */
        struct router_config c = {
                .exit_node = backend_wants_exit_node(b) && b->prefs.want_running && !b->prefs.logged_out,
                .allow_lan = b->prefs.exit_node_allow_lan,
        };
        /* The login server has a name, and neither a map nor a new login is to be had before it was looked up. */
        struct ip resolvers[RESOLVERS_MAX];
        if (c.exit_node && (nm->self == NULL || !b->configured)) {
                c.direct = resolvers;
                c.direct_count = host_resolvers(b, resolvers);
        }
        if (b->configured && nm->self != NULL) {
                c.addresses = nm->self->addresses;
                c.address_count = nm->self->address_count;
                c.keep_mesh = !netmap_node_has_cap(nm->self, "disable-linux-cgnat-drop-rule");
                if (netsync_routes(nm, &sp, &routes, &c.route_count) != ERR_NONE) {
                        log_err("out of memory: routes are as before");
                        return;
                }
                c.routes = routes;
        }
        b->host_error[0] = '\0';
        if (router_set(b->o.router, &c, &why) != ERR_NONE) {
                log_warn("%s", why);
                (void)str_copy(b->host_error, sizeof(b->host_error), why);
        }
        free(routes);
}

enum { FEW_PEERS = 32 };   /* more are better done together */

/* The routes of one peer that changed: with what it was and is.  False: nothing can be said of it alone. */
static bool change_routes_of(struct backend *b, const struct netsync_prefs *sp, const struct netmap_node *was,
        const struct netmap_node *is)
{
        size_t more = 0, less = 0, room = (was != NULL ? was->allowed_count : 0) + (is != NULL ? is->allowed_count : 0);
        bool mesh6[2] = {false, false};
        struct prefix *at = calloc(room + 1, sizeof(*at));
        if (at == NULL)
                return false;
        if (is != NULL)
                netsync_peer_routes(is, sp, at, &more, &mesh6[0]);
        struct prefix *gone = at + more;
        if (was != NULL)
                netsync_peer_routes(was, sp, gone, &less, &mesh6[1]);
        bool shared6 = mesh6[0] == mesh6[1] || netsync_has_family(backend_netmap(b)->self, IP_V6);
        bool ok = shared6 && router_change(b->o.router, at, more, gone, less) == ERR_NONE;
        free(at);
        return ok;
}

bool backend_change_routes(struct backend *b, const struct netmap_delta *d)
{
        struct netsync_prefs sp = backend_sync_prefs(b);
        const struct netmap *nm = backend_netmap(b);
        if (b->o.router == NULL)
                return true;
        if (b->host_error[0] != '\0' || nm->self == NULL || d->peer_count > FEW_PEERS)
                return false;
        for (size_t i = 0; i < d->peer_count; i++) {
                const struct netmap_peer_change *c = &d->peers[i];
                if (c->old == NULL && !(c->what & NETMAP_PEER_ADDED))
                        return false;
                if (!change_routes_of(b, &sp, c->old, netmap_peer(nm, c->id)))
                        return false;
        }
        return true;
}

static void apply_firewall(struct backend *b)
{
        static const enum firewall_mode modes[] = {
                [PREFS_NETFILTER_OFF] = FIREWALL_OFF,
                [PREFS_NETFILTER_NODIVERT] = FIREWALL_NODIVERT,
                [PREFS_NETFILTER_ON] = FIREWALL_ON,
        };
        const struct netmap *nm = backend_netmap(b);
        const struct prefs *p = &b->prefs;
        const char *why = "";
        struct firewall_config c = {.mode = FIREWALL_OFF};
        if (b->configured && nm->self != NULL && p->netfilter_mode >= 0 && p->netfilter_mode <= PREFS_NETFILTER_ON)
                c = (struct firewall_config){
                        .mode = modes[p->netfilter_mode],
                        .masquerade = !p->no_snat,
                        .stateful = p->no_stateful_filtering == PREFS_FALSE,
                        .allow_foreign = netmap_node_has_cap(nm->self, "disable-linux-cgnat-drop-rule"),
                        .own_routes = backend_wants_exit_node(b) || p->route_all,
                        .port = b->udp_port,
                };
        b->firewall_error[0] = '\0';
        if (firewall_set(b->o.firewall, &c, &why) != ERR_NONE) {
                log_warn("%s", why);
                (void)str_copy(b->firewall_error, sizeof(b->firewall_error), why);
        }
}

void backend_on_port(void *arg, uint16_t port)
{
        struct backend *b = arg;
        b->udp_port = port;
        if (b->o.firewall != NULL)
                apply_firewall(b);
}

void backend_apply_host(struct backend *b)
{
        if (b->o.router != NULL)
                apply_routes(b);
        if (b->o.firewall != NULL)
                apply_firewall(b);
        backend_apply_peerapi(b);
}

/* ---- the packet filter ---- */

bool backend_offers_exit(const struct backend *b)
{
        return advertises(b, true);
}

void backend_apply_filter(struct backend *b)
{
        struct netsync_prefs sp = backend_sync_prefs(b);
        const struct netmap *nm = backend_netmap(b);
        struct prefix interfaces[HOSTADDRS_MAX];
        if (backend_offers_exit(b)) {
                sp.interfaces = interfaces;
                sp.interface_count = hostaddrs(interfaces);
        }
        struct filter *f = netsync_filter(nm, &sp);
        filter_free(b->exit_filter);
        b->exit_filter = backend_offers_exit(b) ? netsync_filter(nm, &sp) : NULL;
        bool forged = netsync_filter_is_forged(nm);
        if (f == NULL)
                log_err("out of memory for the packet filter: nothing is let in");
        if (forged && !b->filter_forged)
                log_warn("the server's access rules let in a node that nobody signed for: none of them is used, "
                        "no connection is let in");
        b->filter_forged = forged;
        b->filter_needs_peers = netsync_filter_needs_peers(nm);
        engine_set_filter(b->engine, f);
}

void backend_host_changed(struct backend *b)
{
        backend_apply_host(b);
        if (advertises(b, true) && backend_netmap(b)->self != NULL)   /* which has another view of the Internet */
                backend_apply_filter(b);
}

void backend_prefs_changed(struct backend *b, bool accepts_changed)
{
        (void)backend_update_exit_node(b);
        if (accepts_changed)
                backend_sync_all_peers(b);
        backend_apply_filter(b);
        backend_apply_host(b);
}

/* ---- what is wrong ---- */

void backend_forwarding_text(const struct backend *b, char out[FORWARDING_TEXT_MAX])
{
        out[0] = '\0';
        if (b->o.router != NULL)
                forwarding_check(b->prefs.advertise_routes, b->prefs.advertise_route_count, out);
}

static bool exit_node_text(const struct backend *b, char *out, size_t cap)
{
        const struct netmap_node *n = backend_exit_node(b);
        const char *way_out = "nothing goes out until it does, or until 'tailscale set --exit-node='";
        if (!backend_wants_exit_node(b) || !b->prefs.want_running || b->prefs.logged_out)
                return false;
        if (b->state != IPN_RUNNING && b->state != IPN_STARTING)
                snprintf(out, cap, "an exit node is chosen, but this node is not connected: %s", way_out);
        else if (n == NULL)
                snprintf(out, cap, "the chosen exit node is not in the tailnet: %s", way_out);
        else if (!netsync_offers_exit(n) || n->expired)
                snprintf(out, cap, "the chosen exit node does not offer to be one: %s", way_out);
        else if (n->online == NETMAP_NO)
                snprintf(out, cap, "the chosen exit node is offline: %s", way_out);
        else
                return false;
        return true;
}

void backend_host_health(const struct backend *b, json_t *lines)
{
        char text[FORWARDING_TEXT_MAX];
        const char *const fixed[] = {b->host_error, b->firewall_error,
                b->o.firewall != NULL ? firewall_warning(b->o.firewall) : ""};
        for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
                if (fixed[i][0] != '\0')
                        json_array_append_new(lines, json_string(fixed[i]));
        backend_forwarding_text(b, text);
        if (text[0] != '\0' && b->prefs.want_running)
                json_array_append_new(lines, json_string(text));
        if (exit_node_text(b, text, sizeof(text)))
                json_array_append_new(lines, json_string(text));
        if (b->prefs.no_snat && advertises(b, true))
                json_array_append_new(lines, json_string("advertising an exit node without masquerade: answers from the "
                        "internet find no way back unless another router translates; 'tailscale set --snat-subnet-routes'"));
}
