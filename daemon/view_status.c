/* The status, written while it is sent. */
#include "daemon/view.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/localapi/status.h"
#include "daemon/netsync.h"

static const char *region_code(const struct netmap *nm, int region)
{
        const struct derp_region *r = nm->derpmap != NULL ? derpmap_region(nm->derpmap, region) : NULL;
        return r != NULL ? r->code : "";
}

static void fill_node(const struct netmap *nm, const struct netmap_node *n, struct status_peer *p)
{
        const struct netmap_user *user = netmap_user(nm, n->user);
        *p = (struct status_peer){
                .id = n->stable_id,
                .node_id = n->id,
                .key = n->key,
                .host_name = n->hostname,
                .dns_name = n->name,
                .os = n->os,
                .user_id = n->user,
                .login_name = user != NULL ? user->login_name : NULL,
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

/* ---- the walk ---- */

/* Peers and users go by ascending id and each is looked up by the one before, so that none that stays is missed or shown
 * twice whatever comes and goes meanwhile. */
struct walk {
        const struct backend *b;
        bool brief, peers;
        enum { WALK_HEAD, WALK_PEERS, WALK_USERS, WALK_DONE } stage;
        int64_t last;                   /* id shown */
        struct jtext text;
        struct engine_status st;        /* rows by ascending id */
        struct engine_peer_status rows[];
};

static void write_head(struct walk *w)
{
        const struct backend *b = w->b;
        const struct netmap *nm = backend_netmap(b);
        struct self_view *self = calloc(1, sizeof(*self));
        json_t *health = backend_health(b);
        struct status_peer exit;
        add_routes_hint(b, health);
        if (self != NULL)
                fill_self(b, &w->st, self);
        struct status s = {
                .version = backend_version(b),
                .tun = !backend_is_userspace(b),
                .state = ipn_state_str(backend_state(b)),
                .have_node_key = backend_has_node_key(b),
                .auth_url = backend_auth_url(b),
                .health = health,
                .have_tailnet = nm->self != NULL,
                .tailnet_name = nm->domain,
                .magic_dns_suffix = nm->magic_dns_suffix,
                .magic_dns = nm->dns != NULL && json_bool(nm->dns, "Proxied", false),
                .cert_domains = nm->dns != NULL ? json_arr(nm->dns, "CertDomains") : NULL,
                .extra_records = nm->dns != NULL ? json_arr(nm->dns, "ExtraRecords") : NULL,
                .exit_node = chosen_exit(b, &exit),
        };
        if (self != NULL)
                s.self = self->peer;
        status_write_head(&w->text, &s, w->brief);
        json_decref(health);
        free(self);
}

static bool write_next_peer(struct walk *w)
{
        const struct netmap_node *n = w->peers ? netmap_peer_after(backend_netmap(w->b), w->last) : NULL;
        struct status_peer p;
        if (n == NULL)
                return false;
        fill_peer(w->b, &w->st, n, &p);
        status_write_peer(&w->text, &p, w->brief);
        w->last = n->id;
        return true;
}

bool view_next_user(const struct netmap *nm, int64_t *last, struct jtext *out)
{
        const struct netmap_user *u = netmap_user_after(nm, *last);
        if (u == NULL)
                return false;
        struct status_user su = {u->id, u->login_name, u->display_name, u->profile_pic_url};
        status_write_user(out, &su);
        *last = u->id;
        return true;
}

static bool next_piece(void *arg, struct buf *out)
{
        struct walk *w = arg;
        w->text.out = out;
        if (w->stage == WALK_HEAD) {
                write_head(w);
                w->stage = WALK_PEERS;
        } else if (w->stage == WALK_PEERS && !write_next_peer(w)) {
                if (w->brief) {
                        status_write_end(&w->text, true);
                        w->stage = WALK_DONE;
                        return false;
                }
                status_write_users(&w->text);
                w->last = INT64_MIN;
                w->stage = WALK_USERS;
        } else if (w->stage == WALK_USERS && !view_next_user(backend_netmap(w->b), &w->last, &w->text)) {
                status_write_end(&w->text, w->brief);
                w->stage = WALK_DONE;
        }
        return w->stage != WALK_DONE;
}

struct lapi_source view_status(const struct backend *b, const struct engine_status *st, enum view_status form)
{
        struct walk *w = calloc(1, sizeof(*w) + st->peer_count * sizeof(w->rows[0]));
        if (w != NULL) {
                w->b = b;
                w->brief = form == VIEW_BRIEF;
                w->peers = form != VIEW_NO_PEERS;
                w->last = INT64_MIN;
                w->st = *st;
                w->st.peers = w->rows;
                if (st->peer_count > 0)
                        memcpy(w->rows, st->peers, st->peer_count * sizeof(w->rows[0]));
                qsort(w->rows, st->peer_count, sizeof(w->rows[0]), by_id);
                jtext_init(&w->text, NULL, form == VIEW_FULL || form == VIEW_NO_PEERS);
        }
        return (struct lapi_source){next_piece, free, w};
}
