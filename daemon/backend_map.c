#include "daemon/backend_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/netsync.h"
#include "daemon/offload.h"
#include "daemon/portoff.h"
#include "daemon/view.h"

void backend_sync_peer(struct backend *b, const struct netmap_node *n)
{
        struct netsync_prefs sp = backend_sync_prefs(b);
        struct engine_peer p;
        struct prefix *allowed;
        if (netsync_peer(n, &sp, &p, &allowed) != ERR_NONE) {
                log_err("out of memory: a peer was not updated");
                return;
        }
        engine_peer_set(b->engine, &p);
        free(allowed);
}

void backend_sync_all_peers(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        for (size_t i = 0; i < nm->peer_count; i++)
                backend_sync_peer(b, nm->peers[i]);
}

void backend_forget_map(struct backend *b)
{
        engine_peers_clear(b->engine);
        engine_set_filter(b->engine, NULL);
        filter_free(b->exit_filter);
        b->exit_filter = NULL;
        b->filter_forged = b->filter_needs_peers = false;
        b->exit_node = 0;
}

/* What the data side or the routes depend on. */
enum {
        PEER_FOR_ENGINE = NETMAP_PEER_ADDED | NETMAP_PEER_KEY | NETMAP_PEER_DISCO | NETMAP_PEER_ALLOWED |
                NETMAP_PEER_ENDPOINTS | NETMAP_PEER_HOME | NETMAP_PEER_EXPIRY,
        PEER_FOR_ROUTES = NETMAP_PEER_ADDED | NETMAP_PEER_REMOVED | NETMAP_PEER_ALLOWED | NETMAP_PEER_EXPIRY,
};

static void sync_peers(struct backend *b, const struct netmap *nm, const struct netmap_delta *d)
{
        /* Removals first: a key that moved to another node id must be free before it is set again. */
        for (size_t i = 0; i < d->peer_count; i++)
                if (d->peers[i].what & NETMAP_PEER_REMOVED)
                        engine_peer_remove(b->engine, d->peers[i].id);
        for (size_t i = 0; i < d->peer_count; i++) {
                const struct netmap_node *n = netmap_peer(nm, d->peers[i].id);
                if (n != NULL && (d->peers[i].what & PEER_FOR_ENGINE))
                        backend_sync_peer(b, n);
        }
}

static unsigned peer_bits(const struct netmap_delta *d)
{
        unsigned bits = 0;
        for (size_t i = 0; i < d->peer_count; i++)
                bits |= d->peers[i].what;
        return bits;
}

/* Adding, changing and removing peers can move the filter when it looks at them, or did so the last time. */
static bool filter_is_touched(const struct backend *b, const struct netmap *nm, unsigned bits)
{
        unsigned by = NETMAP_PEER_ADDED | NETMAP_PEER_REMOVED | NETMAP_PEER_ALLOWED | NETMAP_PEER_INFO;
        return (bits & by) != 0 && (b->filter_needs_peers || netsync_filter_needs_peers(nm));
}

/* The profile is complete, and so stored, once node id and user are known. */
static void note_self(struct backend *b, const struct netmap *nm)
{
        struct prefs_identity *id = &b->prefs.identity;
        const struct netmap_user *u = netmap_user(nm, nm->self->user);
        bool same = strcmp(id->node_id, nm->self->stable_id) == 0 &&
                (u == NULL || strcmp(id->login_name, u->login_name) == 0);
        if (same)
                return;
        backend_set_str(&id->node_id, nm->self->stable_id);
        if (u != NULL) {
                id->user_id = u->id;
                backend_set_str(&id->login_name, u->login_name);
                backend_set_str(&id->display_name, u->display_name);
                backend_set_str(&id->profile_pic_url, u->profile_pic_url);
        }
        backend_save_prefs(b);
        backend_post_prefs(b);
}

static json_t *removed_json(const struct netmap_delta *d)
{
        json_t *a = json_array();
        for (size_t i = 0; i < d->peer_count; i++)
                if (d->peers[i].what & NETMAP_PEER_REMOVED)
                        json_array_append_new(a, json_integer(d->peers[i].id));
        return a;
}

struct changed {
        const struct backend *b;
        size_t count;
        int64_t ids[];
};

static struct lapi_source make_map(void *arg)
{
        return view_netmap(arg);
}

static struct lapi_source make_changed(void *arg)
{
        const struct changed *c = arg;
        return view_peers(c->b, c->ids, c->count);
}

static void post_changed(struct backend *b, const struct netmap_delta *d)
{
        struct changed *c = malloc(sizeof(*c) + d->peer_count * sizeof(c->ids[0]));
        if (c == NULL)
                return;
        *c = (struct changed){.b = b};
        for (size_t i = 0; i < d->peer_count; i++)
                if (!(d->peers[i].what & NETMAP_PEER_REMOVED))
                        c->ids[c->count++] = d->peers[i].id;
        struct notify_maker m = {.make = make_changed, .arg = c, .weight = c->count * sizeof(c->ids[0])};
        if (c->count > 0)
                notify_post_source(b->o.notify, "PeersChanged", &m);
        free(c);
}

static void post_map(struct backend *b, const struct netmap *nm, const struct netmap_delta *d)
{
        struct notify *n = b->o.notify;
        struct notify_maker map = {.make = make_map, .arg = b, .is_state = true};
        if (d->parts & NETMAP_SELF)
                notify_post(n, "SelfChange", netmap_node_to_json(nm->self));
        notify_post_source(n, "NetMap", &map);
        if (d->peer_count == 0 || !notify_wanted(n, "PeersChanged"))
                return;
        post_changed(b, d);
        json_t *removed = removed_json(d);
        if (json_array_size(removed) > 0)
                notify_post(n, "PeersRemoved", json_incref(removed));
        json_decref(removed);
}

/* The server may prolong an expired key: everything goes on then without a login. */
static void note_prolonged(struct backend *b, const struct netmap_node *self)
{
        bool expired = self->expired || (self->key_expiry_ns != 0 && self->key_expiry_ns <= wall_now_ns());
        if (!b->need_login || !b->key_expired || expired)
                return;
        log_info("the node key is good again");
        b->need_login = b->key_expired = false;
}

void backend_on_netmap(void *arg, const struct netmap *nm, const struct netmap_delta *d)
{
        struct backend *b = arg;
        unsigned bits = peer_bits(d);
        if (nm->self == NULL)
                return;
        b->login_error[0] = '\0';
        if (d->parts & NETMAP_DERPMAP)
                engine_set_derpmap(b->engine, nm->derpmap);
        /* The filter before the peers: a new peer must not be let in by an old rule. */
        if ((d->parts & (NETMAP_FILTER | NETMAP_SELF)) || filter_is_touched(b, nm, bits))
                backend_apply_filter(b);
        bool exit_moved = backend_update_exit_node(b);
        sync_peers(b, nm, d);
        if (d->parts & (NETMAP_SELF | NETMAP_USERS))
                note_self(b, nm);
        if (d->parts & NETMAP_SELF) {
                note_prolonged(b, nm->self);
                engine_set_offloads(b->engine, offload_by_node(nm->self));
                engine_set_portoff(b->engine, portoff_by_node(nm->self));
        }
        bool all_routes = (d->parts & NETMAP_SELF) || exit_moved;
        if (b->configured && (all_routes || ((bits & PEER_FOR_ROUTES) && !backend_change_routes(b, d))))
                backend_apply_host(b);
        bool all_names = (d->parts & (NETMAP_SELF | NETMAP_DNS | NETMAP_DOMAIN)) || exit_moved;
        if (all_names || ((bits & BACKEND_PEER_FOR_NAMES) && !backend_change_names(b, d)))
                backend_dns_changed(b);
        post_map(b, nm, d);
        backend_update_state(b);
}
