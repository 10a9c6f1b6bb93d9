#include "daemon/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/timetext.h"
#include "daemon/control/peercaps.h"
#include "daemon/localapi/status.h"
#include "daemon/netsync.h"
#include "netcheck/nat.h"

static const char *region_code(const struct netmap *nm, int region)
{
        const struct derp_region *r = nm->derpmap != NULL ? derpmap_region(nm->derpmap, region) : NULL;
        return r != NULL ? r->code : "";
}

static void fill_node(const struct netmap *nm, const struct netmap_node *n, struct status_peer *p)
{
        *p = (struct status_peer){
                .id = n->stable_id,
                .node_id = n->id,
                .key = n->key,
                .host_name = n->hostname,
                .dns_name = n->name,
                .os = n->os,
                .user_id = n->user,
                .sharer_id = n->sharer,
                .addresses = n->addresses,
                .address_count = n->address_count,
                .allowed = n->allowed,
                .allowed_count = n->allowed_count,
                .tags = n->tags,
                .tag_count = n->tag_count,
                .primary = n->primary,
                .primary_count = n->primary_count,
                .relay = region_code(nm, n->home_derp),
                .created_ns = n->created_ns,
                .last_seen_ns = n->last_seen_ns,
                .key_expiry_ns = n->key_expiry_ns,
                .online = n->online == NETMAP_YES,
                .peerapi4_port = n->peerapi4_port,
                .peerapi6_port = n->peerapi6_port,
                .cap_map = n->cap_map,
                .ssh_keys = n->ssh_keys,
                .ssh_key_count = n->ssh_key_count,
                .sharee = n->sharee,
                .in_map = true,
                .expired = n->expired,
                .location = n->location,
        };
}

static enum status_taildrop taildrop(const struct backend *b, const struct status_peer *p)
{
        if (backend_state(b) != IPN_RUNNING)
                return STATUS_TAILDROP_NOT_RUNNING;
        return p->online ? STATUS_TAILDROP_NO_PEERAPI : STATUS_TAILDROP_OFFLINE;
}

static int by_id(const void *a, const void *b)
{
        const struct engine_peer_status *x = a, *y = b;
        return (x->node_id > y->node_id) - (x->node_id < y->node_id);
}

static const struct engine_peer_status *row_of(const struct engine_status *st, int64_t node_id)
{
        struct engine_peer_status key = {.node_id = node_id};
        if (st->peer_count == 0)
                return NULL;
        return bsearch(&key, st->peers, st->peer_count, sizeof(key), by_id);
}

static void fill_peer(const struct backend *b, const struct engine_status *st, const struct netmap_node *n,
        struct status_peer *p)
{
        fill_node(backend_netmap(b), n, p);
        p->in_magicsock = true;
        p->taildrop = taildrop(b, p);
        p->exit_node = n == backend_exit_node(b);
        const struct engine_peer_status *row = row_of(st, n->id);
        if (row == NULL)
                return;
        p->cur_addr = row->direct;
        p->rx_bytes = row->rx_bytes;
        p->tx_bytes = row->tx_bytes;
        p->last_write_ns = row->last_write_ns;
        p->last_handshake_ns = row->last_handshake_ns;
        p->active = row->active;
        p->in_engine = row->last_handshake_ns != 0;
}

struct self_view {
        struct status_peer peer;
        struct addr endpoints[ENGINE_ENDPOINTS_MAX];
};

static void fill_self(const struct backend *b, const struct engine_status *st, struct self_view *v)
{
        const struct netmap *nm = backend_netmap(b);
        if (nm->self != NULL)
                fill_node(nm, nm->self, &v->peer);
        else
                v->peer = (struct status_peer){.host_name = backend_os(b)->hostname, .os = "linux"};
        v->peer.peerapi4_port = backend_peerapi_port(b, IP_V4);
        v->peer.peerapi6_port = backend_peerapi_port(b, IP_V6);
        for (size_t i = 0; i < st->endpoint_count; i++)
                v->endpoints[i] = st->endpoints[i].addr;
        v->peer.endpoints = v->endpoints;
        v->peer.endpoint_count = st->endpoint_count;
        if (st->home_region != 0)
                v->peer.relay = region_code(nm, st->home_region);
        v->peer.online = backend_online(b);
        v->peer.in_magicsock = v->peer.in_engine = false;
        v->peer.taildrop = STATUS_TAILDROP_UNKNOWN;
}

static struct status_user *fill_users(const struct netmap *nm, size_t *ret_count)
{
        struct status_user *u = calloc(nm->user_count + 1, sizeof(*u));
        for (size_t i = 0; u != NULL && i < nm->user_count; i++)
                u[i] = (struct status_user){
                        .id = nm->users[i]->id,
                        .login_name = nm->users[i]->login_name,
                        .display_name = nm->users[i]->display_name,
                        .profile_pic_url = nm->users[i]->profile_pic_url,
                };
        *ret_count = u != NULL ? nm->user_count : 0;
        return u;
}

static const struct status_peer *chosen_exit(const struct backend *b, struct status_peer *room)
{
        const struct netmap_node *n = backend_exit_node(b);
        if (n == NULL)
                return NULL;
        fill_node(backend_netmap(b), n, room);
        return room;
}

/* The usual reason why a network of the tailnet cannot be reached.  Nothing is wrong, so it is in no counter of warnings. */
static void add_routes_hint(const struct backend *b, json_t *health)
{
        struct netsync_prefs sp = {.accept_routes = backend_prefs(b)->route_all};
        if (backend_prefs(b)->want_running && netsync_leaves_routes(backend_netmap(b), &sp))
                json_array_append_new(health, json_string("peers are advertising routes that this node does not use: "
                        "'tailscale set --accept-routes' to use them"));
}

json_t *view_status(const struct backend *b, const struct engine_status *st, bool peers)
{
        const struct netmap *nm = backend_netmap(b);
        struct self_view *self = calloc(1, sizeof(*self));
        size_t want = peers ? nm->peer_count : 0, users;
        struct status_peer *p = calloc(want + 1, sizeof(*p));
        struct engine_peer_status *rows = calloc(st->peer_count + 1, sizeof(*rows));
        struct status_user *u = fill_users(nm, &users);
        json_t *health = backend_health(b), *out = NULL;
        struct status_peer exit;
        add_routes_hint(b, health);
        if (self == NULL || p == NULL || rows == NULL || u == NULL)
                goto done;
        if (st->peer_count > 0)
                memcpy(rows, st->peers, st->peer_count * sizeof(*rows));
        qsort(rows, st->peer_count, sizeof(*rows), by_id);
        struct engine_status sorted = *st;
        sorted.peers = rows;
        fill_self(b, &sorted, self);
        for (size_t i = 0; i < want; i++)
                fill_peer(b, &sorted, nm->peers[i], &p[i]);
        struct status s = {
                .version = backend_version(b),
                .tun = !backend_is_userspace(b),
                .state = ipn_state_str(backend_state(b)),
                .have_node_key = backend_has_node_key(b),
                .auth_url = backend_auth_url(b),
                .self = self->peer,
                .health = health,
                .have_tailnet = nm->self != NULL,
                .tailnet_name = nm->domain,
                .magic_dns_suffix = nm->magic_dns_suffix,
                .magic_dns = nm->dns != NULL && json_bool(nm->dns, "Proxied", false),
                .cert_domains = nm->dns != NULL ? json_arr(nm->dns, "CertDomains") : NULL,
                .extra_records = nm->dns != NULL ? json_arr(nm->dns, "ExtraRecords") : NULL,
                .exit_node = chosen_exit(b, &exit),
                .peers = p,
                .peer_count = want,
                .users = u,
                .user_count = users,
        };
        out = status_to_json(&s);
done:
        json_decref(health);
        free(self);
        free(p);
        free(rows);
        free(u);
        return out;
}

const struct netmap_node *view_node_for_ip(const struct backend *b, struct ip ip)
{
        const struct netmap *nm = backend_netmap(b);
        const struct netmap_node *n = netmap_by_ip(nm, ip);
        if (n != NULL || ip_is_tailnet(ip))
                return n;
        const struct netmap_node *exit = backend_exit_node(b);
        struct netsync_prefs sp = {.accept_routes = backend_prefs(b)->route_all, .exit_node = exit != NULL ? exit->id : 0};
        int best = -1;
        for (size_t i = 0; i < nm->peer_count; i++) {
                for (uint32_t k = 0; k < nm->peers[i]->allowed_count; k++) {
                        struct prefix p = nm->peers[i]->allowed[k];
                        if (p.bits > best && prefix_contains(p, ip) && netsync_allows(nm->peers[i], p, &sp)) {
                                best = p.bits;
                                n = nm->peers[i];
                        }
                }
        }
        return n;
}

const char *view_node_name(const struct netmap_node *n, char *out, size_t cap)
{
        (void)str_copy(out, cap, n->name[0] != '\0' ? n->name : n->hostname);
        out[strcspn(out, ".")] = '\0';
        return out;
}

/* Capabilities are granted by the rules in use: there are none with the shields up or of forged rules. */
static json_t *granted(const struct backend *b, const struct netmap_node *n, const struct ip *dst)
{
        const struct netmap *nm = backend_netmap(b);
        if (n->address_count == 0 || backend_prefs(b)->shields_up || netsync_filter_is_forged(nm))
                return NULL;
        return dst != NULL ? peercaps(nm, n->addresses[0].ip, *dst) : peercaps_self(nm, n->addresses[0].ip);
}

json_t *view_whois(const struct backend *b, const struct netmap_node *n, const struct ip *dst)
{
        const struct netmap *nm = backend_netmap(b);
        const struct netmap_user *u = netmap_user(nm, n->user);
        struct status_user su = {0};
        if (u != NULL)
                su = (struct status_user){u->id, u->login_name, u->display_name, u->profile_pic_url};
        return status_whois_json(netmap_node_to_json(n), u != NULL ? &su : NULL, granted(b, n, dst),
                nm->magic_dns_suffix);
}

/* ---- netcheck ---- */

static json_t *tri_json(enum nc_tri t)
{
        return t == NC_UNKNOWN ? json_null() : json_boolean(t == NC_TRUE);
}

static void add_latency(json_t *o, int region, int64_t ns)
{
        char key[16];
        snprintf(key, sizeof(key), "%d", region);
        if (ns > 0)
                json_object_set_new(o, key, json_integer(ns));
}

static json_t *counters_json(const struct nc_counter *c, size_t n)
{
        if (n == 0)
                return json_null();
        json_t *o = json_object();
        char text[ADDR_STR_MAX];
        for (size_t i = 0; i < n; i++)
                json_object_set_new(o, addr_str(c[i].addr, text), json_integer(c[i].seen));
        return o;
}

static json_t *text_or_null(const char *s)
{
        return s != NULL ? json_string(s) : json_null();
}

/* More than the reference has, so it comes last. */
static json_t *nat_json(const struct netcheck_report *r)
{
        char words[NC_NAT_WORDS_MAX];
        json_t *o = json_object();
        json_object_set_new(o, "Kind", json_string(nc_nat_kind_str(nc_nat_kind(r))));
        json_object_set_new(o, "Mapping", text_or_null(nc_nat_mapping(r)));
        json_object_set_new(o, "Filtering", text_or_null(nc_nat_filtering(r)));
        json_object_set_new(o, "PortKept", tri_json(nc_nat_port_kept(r)));
        json_object_set_new(o, "Text", json_string(nc_nat_words(r, words)));
        return o;
}

json_t *view_netcheck(const struct netcheck_report *r)
{
        char now[TIME_STR_MAX], v4[ADDR_STR_MAX], v6[ADDR_STR_MAX];
        json_t *any = json_object(), *l4 = json_object(), *l6 = json_object(), *o = json_object();
        for (size_t i = 0; i < r->latency_count; i++) {
                add_latency(any, r->latency[i].region, r->latency[i].any_ns);
                add_latency(l4, r->latency[i].region, r->latency[i].v4_ns);
                add_latency(l6, r->latency[i].region, r->latency[i].v6_ns);
        }
        json_object_set_new(o, "Now", json_string(time_str(wall_now_ns(), now)));
        json_object_set_new(o, "UDP", json_boolean(r->udp));
        json_object_set_new(o, "IPv6", json_boolean(r->ipv6));
        json_object_set_new(o, "IPv4", json_boolean(r->ipv4));
        json_object_set_new(o, "IPv6CanSend", json_boolean(r->ipv6_can_send));
        json_object_set_new(o, "IPv4CanSend", json_boolean(r->ipv4_can_send));
        json_object_set_new(o, "OSHasIPv6", json_boolean(r->os_has_ipv6));
        json_object_set_new(o, "ICMPv4", json_false());
        json_object_set_new(o, "MappingVariesByDestIP", tri_json(r->mapping_varies));
        json_object_set_new(o, "UPnP", tri_json(r->upnp));
        json_object_set_new(o, "PMP", tri_json(r->pmp));
        json_object_set_new(o, "PCP", tri_json(r->pcp));
        json_object_set_new(o, "PreferredDERP", json_integer(r->preferred));
        json_object_set_new(o, "RegionLatency", any);
        json_object_set_new(o, "RegionV4Latency", l4);
        json_object_set_new(o, "RegionV6Latency", l6);
        json_object_set_new(o, "GlobalV4Counters", counters_json(r->v4, r->v4_count));
        json_object_set_new(o, "GlobalV6Counters", counters_json(r->v6, r->v6_count));
        json_object_set_new(o, "GlobalV4", json_string(addr_str(r->global_v4, v4)));
        json_object_set_new(o, "GlobalV6", json_string(addr_str(r->global_v6, v6)));
        json_object_set_new(o, "CaptivePortal", json_null());
        json_object_set_new(o, "NAT", nat_json(r));
        return o;
}
