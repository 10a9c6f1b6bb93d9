#include "daemon/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/log.h"
#include "daemon/control/client.h"
#include "daemon/netsync.h"

enum { LOGOUT_PATIENCE_MS = 5000 };

struct waiter {
        backend_done_fn fn;
        void *arg;
        struct waiter *next;
};

struct backend {
        struct backend_opts o;
        struct engine *engine;
        struct control *control;
        struct prefs prefs;
        enum ipn_state state;
        bool login_blocked;        /* a human has to act: URL shown, key refused */
        bool need_login;           /* the server no longer accepts our key */
        bool control_active;       /* a login was asked for and not stopped since */
        bool online;
        int sessions, relays;
        bool configured;           /* engine up, host configured */
        char *auth_url;            /* "" = none */
        char *auth_key;            /* for the next login; wiped after use */
        char login_error[512];     /* why we are not connected; "" = fine */
        char relay_error[ENGINE_RELAY_TEXT_MAX + 64];
        char host_error[256];
        struct waiter *logouts;
        struct timer logout_timer;
        struct hostinfo_os os;
        struct netcheck_report report;
        bool have_report;
};

static void set_str(char **dst, const char *src)
{
        char *copy = strdup(src);
        if (copy == NULL) {
                log_err("out of memory");
                return;
        }
        free(*dst);
        *dst = copy;
}

static void forget_auth_key(struct backend *b)
{
        if (b->auth_key == NULL)
                return;
        crypto_wipe(b->auth_key, strlen(b->auth_key));
        free(b->auth_key);
        b->auth_key = NULL;
}

const char *ipn_state_str(enum ipn_state s)
{
        switch (s) {
        case IPN_NO_STATE:
                return "NoState";
        case IPN_NEEDS_LOGIN:
                return "NeedsLogin";
        case IPN_NEEDS_MACHINE_AUTH:
                return "NeedsMachineAuth";
        case IPN_STOPPED:
                return "Stopped";
        case IPN_STARTING:
                return "Starting";
        case IPN_RUNNING:
                return "Running";
        }
        return "?";
}

bool backend_has_node_key(const struct backend *b)
{
        return b->prefs.identity.present && !key_private_is_zero(&b->prefs.identity.node_key);
}

const struct netmap *backend_netmap(const struct backend *b)
{
        return control_netmap(b->control);
}

/* ---- preferences ---- */

static void save_prefs(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        if (profiles_save(b->o.profiles, &b->prefs, nm->magic_dns_suffix, nm->domain) != ERR_NONE)
                log_err("the state file could not be written: %s", strerror(errno));
}

static void post_prefs(struct backend *b)
{
        notify_post(b->o.notify, "Prefs", prefs_to_json(&b->prefs, false));
}

/* ---- host and engine follow the map ---- */

static struct netsync_prefs sync_prefs(const struct backend *b)
{
        return (struct netsync_prefs){
                .accept_routes = b->prefs.route_all,
                .shields_up = b->prefs.shields_up,
                .advertised = b->prefs.advertise_routes,
                .advertised_count = b->prefs.advertise_route_count,
        };
}

static void apply_host(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        struct router_config c = {0};
        struct netsync_prefs sp = sync_prefs(b);
        struct prefix *routes = NULL;
        const char *why = "";
        if (b->o.router == NULL)
                return;
        if (b->configured && nm->self != NULL) {
                c.addresses = nm->self->addresses;
                c.address_count = nm->self->address_count;
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

static void apply_filter(struct backend *b)
{
        struct netsync_prefs sp = sync_prefs(b);
        struct filter *f = netsync_filter(backend_netmap(b), &sp);
        if (f == NULL)
                log_err("out of memory for the packet filter: nothing is let in");
        engine_set_filter(b->engine, f);
}

static void sync_peer(struct backend *b, const struct netmap_node *n)
{
        struct netsync_prefs sp = sync_prefs(b);
        struct engine_peer p;
        struct prefix *allowed;
        if (netsync_peer(n, &sp, &p, &allowed) != ERR_NONE) {
                log_err("out of memory: a peer was not updated");
                return;
        }
        engine_peer_set(b->engine, &p);
        free(allowed);
}

static void sync_all_peers(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        for (size_t i = 0; i < nm->peer_count; i++)
                sync_peer(b, nm->peers[i]);
}

static void configure(struct backend *b, bool on)
{
        if (b->configured == on)
                return;
        b->configured = on;
        engine_set_up(b->engine, on);
        if (!on)
                b->sessions = b->relays = 0;
        apply_host(b);
}

/* ---- states ---- */

static bool relay_possible(const struct netmap *nm)
{
        return nm->derpmap != NULL && nm->derpmap->region_count > 0;
}

static enum ipn_state next_state(const struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        const struct prefs *p = &b->prefs;
        if (!p->want_running && !p->logged_out && backend_has_node_key(b))
                return IPN_STOPPED;
        if (b->need_login)
                return IPN_NEEDS_LOGIN;
        if (nm->self == NULL) {
                if (b->login_blocked || p->logged_out || !backend_has_node_key(b))
                        return IPN_NEEDS_LOGIN;
                return b->state == IPN_STOPPED ? IPN_STARTING : b->state;
        }
        if (!p->want_running)
                return p->logged_out ? IPN_NEEDS_LOGIN : IPN_STOPPED;
        if (nm->self->expired)
                return IPN_NEEDS_LOGIN;
        if (!nm->self->machine_authorized)
                return IPN_NEEDS_MACHINE_AUTH;
        if (b->state == IPN_STARTING && (b->sessions > 0 || b->relays > 0 || !relay_possible(nm)))
                return IPN_RUNNING;
        return b->state == IPN_RUNNING ? IPN_RUNNING : IPN_STARTING;
}

static void enter(struct backend *b, enum ipn_state s)
{
        log_info("state: %s -> %s", ipn_state_str(b->state), ipn_state_str(s));
        b->state = s;
        switch (s) {
        case IPN_NO_STATE:
        case IPN_NEEDS_LOGIN:
        case IPN_NEEDS_MACHINE_AUTH:
        case IPN_STOPPED:
                configure(b, false);
                break;
        case IPN_STARTING:
                configure(b, true);
                break;
        case IPN_RUNNING:
                set_str(&b->auth_url, "");
                break;
        }
        notify_post(b->o.notify, "State", json_integer(s));
}

static void update_state(struct backend *b)
{
        for (enum ipn_state s; (s = next_state(b)) != b->state;)
                enter(b, s);
}

/* ---- control client ---- */

static void push_hostinfo(struct backend *b)
{
        const struct prefs *p = &b->prefs;
        size_t tags = 0;
        while (p->advertise_tags != NULL && p->advertise_tags[tags] != NULL)
                tags++;
        struct hostinfo h = {
                .os = b->os,
                .hostname = p->hostname[0] != '\0' ? p->hostname : NULL,
                .ipn_version = b->o.version,
                .backend_log_id = b->o.backend_log_id,
                .routable_ips = p->advertise_routes,
                .routable_count = p->advertise_route_count,
                .request_tags = (const char *const *)p->advertise_tags,
                .tag_count = tags,
                .shields_up = p->shields_up,
                .no_logs = true,
                .userspace = TRI_FALSE,
                .userspace_router = TRI_FALSE,
        };
        control_set_hostinfo(b->control, &h);
}

static void push_keys(struct backend *b)
{
        struct disco_public disco = engine_disco_public(b->engine);
        const struct prefs_identity *id = &b->prefs.identity;
        control_set_keys(b->control, profiles_machine_key(b->o.profiles), &id->node_key, &id->old_node_key,
                &disco);
        engine_set_key(b->engine, &id->node_key);
}

/* A login with the stored key, or with whatever the pending auth key brings. */
static void login(struct backend *b, bool force)
{
        struct control_login l = {.auth_key = b->auth_key, .force = force};
        b->control_active = true;
        b->login_error[0] = '\0';
        control_login(b->control, &l);
        control_set_poll(b->control, true);
}

static void stop_control(struct backend *b)
{
        b->control_active = false;
        b->online = false;
        engine_set_polling(b->engine, false);
        control_stop(b->control);
}

static void on_node_key(void *arg, const struct key_private *candidate, const struct key_private *old)
{
        struct backend *b = arg;
        b->prefs.identity.present = true;
        b->prefs.identity.node_key = *candidate;
        b->prefs.identity.old_node_key = *old;
        save_prefs(b);
}

static void on_auth_url(void *arg, const char *url)
{
        struct backend *b = arg;
        b->login_blocked = true;
        set_str(&b->auth_url, url);
        log_info("to log in, visit: %s", url);
        notify_post(b->o.notify, "BrowseToURL", json_string(url));
        update_state(b);
}

static void on_registered(void *arg, const struct control_registered *r)
{
        struct backend *b = arg;
        struct prefs_identity *id = &b->prefs.identity;
        id->present = true;
        id->node_key = r->node_key;
        id->old_node_key = r->old_node_key;
        id->user_id = r->user_id;
        set_str(&id->login_name, r->login_name);
        set_str(&id->display_name, r->display_name);
        set_str(&id->profile_pic_url, r->profile_pic_url);
        b->prefs.logged_out = false;
        b->prefs.want_running = true;
        if (b->prefs.control_url[0] == '\0')
                set_str(&b->prefs.control_url, PREFS_DEFAULT_CONTROL_URL);
        b->login_blocked = b->need_login = false;
        b->login_error[0] = '\0';
        set_str(&b->auth_url, "");
        forget_auth_key(b);
        save_prefs(b);
        engine_set_key(b->engine, &id->node_key);
        notify_post(b->o.notify, "LoginFinished", json_object());
        post_prefs(b);
        update_state(b);
}

static void on_need_login(void *arg, enum control_need_login why)
{
        struct backend *b = arg;
        static const char *const text[] = {
                [CONTROL_NEED_KEY_EXPIRED] = "the node key has expired: log in again with 'tailscale up'",
                [CONTROL_NEED_NODE_DELETED] =
                        "the server no longer knows this node: log in again with 'tailscale up'",
                [CONTROL_NEED_MIXED_STATE] =
                        "node key and machine key belong to different nodes: 'tailscale logout', then log in",
        };
        (void)str_copy(b->login_error, sizeof(b->login_error), text[why]);
        log_warn("%s", b->login_error);
        b->need_login = true;
        update_state(b);
}

static void on_online(void *arg, bool online)
{
        struct backend *b = arg;
        b->online = online;
        if (online)
                b->login_error[0] = '\0';
        engine_set_polling(b->engine, online);
}

static void on_error(void *arg, const struct control_error *e)
{
        struct backend *b = arg;
        if (strcmp(b->login_error, e->message) != 0)
                log_warn("control: %s", e->message);
        (void)str_copy(b->login_error, sizeof(b->login_error), e->message);
        if (e->fatal) {
                b->login_blocked = true;
                forget_auth_key(b);
        }
        notify_post(b->o.notify, e->fatal ? "ErrMessage" : "LoginError", json_string(e->message));
        update_state(b);
}

/* Everything a login left behind goes; the control client starts from nothing. */
static void forget_login(struct backend *b)
{
        configure(b, false);
        if (profiles_delete_current(b->o.profiles) != ERR_NONE)
                log_err("the state file could not be written: %s", strerror(errno));
        prefs_done(&b->prefs);
        if (prefs_copy(profiles_prefs(b->o.profiles), &b->prefs) != ERR_NONE)
                log_err("out of memory");
        engine_peers_clear(b->engine);
        engine_set_filter(b->engine, NULL);
        set_str(&b->auth_url, "");
        b->login_error[0] = '\0';
        b->login_blocked = b->need_login = false;
}

static void answer_logouts(struct backend *b, const char *error)
{
        for (struct waiter *w; (w = b->logouts) != NULL;) {
                b->logouts = w->next;
                w->fn(w->arg, error);
                free(w);
        }
}

/* The client must not be freed by its own callback, so the end of a logout waits for the loop. */
static void on_logged_out(void *arg, const struct control_error *e)
{
        struct backend *b = arg;
        if (e != NULL)
                log_warn("the server was not told of the logout: %s", e->message);
        loop_timer_in(b->o.loop, &b->logout_timer, 0);
}

static void on_browser_url(void *arg, const char *url)
{
        struct backend *b = arg;
        notify_post(b->o.notify, "BrowseToURL", json_string(url));
}

/* ---- map ---- */

/* What the data side or the routes depend on. */
enum {
        PEER_FOR_ENGINE = NETMAP_PEER_ADDED | NETMAP_PEER_KEY | NETMAP_PEER_DISCO | NETMAP_PEER_ALLOWED |
                NETMAP_PEER_ENDPOINTS | NETMAP_PEER_HOME | NETMAP_PEER_EXPIRY,
        PEER_FOR_ROUTES = NETMAP_PEER_ADDED | NETMAP_PEER_REMOVED | NETMAP_PEER_ALLOWED | NETMAP_PEER_EXPIRY |
                NETMAP_PEER_DISCO | NETMAP_PEER_HOME,
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
                        sync_peer(b, n);
        }
}

static unsigned peer_bits(const struct netmap_delta *d)
{
        unsigned bits = 0;
        for (size_t i = 0; i < d->peer_count; i++)
                bits |= d->peers[i].what;
        return bits;
}

static bool has_cap_sources(const struct netmap *nm)
{
        for (size_t i = 0; i < nm->rule_count; i++)
                if (nm->rules[i]->src_cap_count > 0)
                        return true;
        return false;
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
        set_str(&id->node_id, nm->self->stable_id);
        if (u != NULL) {
                id->user_id = u->id;
                set_str(&id->login_name, u->login_name);
                set_str(&id->display_name, u->display_name);
                set_str(&id->profile_pic_url, u->profile_pic_url);
        }
        save_prefs(b);
        post_prefs(b);
}

static json_t *nodes_json(const struct netmap *nm, const struct netmap_delta *d)
{
        json_t *a = json_array();
        for (size_t i = 0; i < d->peer_count; i++) {
                const struct netmap_node *n = netmap_peer(nm, d->peers[i].id);
                if (n != NULL)
                        json_array_append_new(a, netmap_node_to_json(n));
        }
        return a;
}

static json_t *removed_json(const struct netmap_delta *d)
{
        json_t *a = json_array();
        for (size_t i = 0; i < d->peer_count; i++)
                if (d->peers[i].what & NETMAP_PEER_REMOVED)
                        json_array_append_new(a, json_integer(d->peers[i].id));
        return a;
}

json_t *backend_netmap_json(const struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        if (nm->self == NULL)
                return json_null();
        json_t *peers = json_array();
        for (size_t i = 0; i < nm->peer_count; i++)
                json_array_append_new(peers, netmap_node_to_json(nm->peers[i]));
        json_t *users = json_object();
        for (size_t i = 0; i < nm->user_count; i++) {
                char id[24];
                snprintf(id, sizeof(id), "%lld", (long long)nm->users[i]->id);
                json_object_set_new(users, id, json_pack("{s:I, s:s, s:s, s:s}", "ID", (json_int_t)nm->users[i]->id,
                        "LoginName", nm->users[i]->login_name, "DisplayName", nm->users[i]->display_name,
                        "ProfilePicURL", nm->users[i]->profile_pic_url));
        }
        char node_key[KEY_TEXT_MAX], machine[KEY_TEXT_MAX];
        struct machine_public mp = key_machine_public(profiles_machine_key(b->o.profiles));
        json_t *o = json_object();
        json_object_set_new(o, "SelfNode", netmap_node_to_json(nm->self));
        json_object_set_new(o, "NodeKey", json_string(node_public_text(&nm->self->key, node_key)));
        json_object_set_new(o, "MachineKey", json_string(machine_public_text(&mp, machine)));
        json_object_set_new(o, "Peers", peers);
        json_object_set(o, "DNS", nm->dns != NULL ? nm->dns : json_null());
        json_object_set(o, "PacketFilterRules", nm->packet_filter != NULL ? nm->packet_filter : json_null());
        json_object_set_new(o, "CollectServices", json_boolean(nm->collect_services));
        json_object_set_new(o, "DERPMap", nm->derpmap != NULL ? derpmap_to_json(nm->derpmap) : json_null());
        json_object_set_new(o, "Domain", json_string(nm->domain));
        json_object_set_new(o, "UserProfiles", users);
        return o;
}

static void post_map(struct backend *b, const struct netmap *nm, const struct netmap_delta *d)
{
        struct notify *n = b->o.notify;
        if (d->parts & NETMAP_SELF)
                notify_post(n, "SelfChange", netmap_node_to_json(nm->self));
        if (notify_wanted(n, "NetMap"))
                notify_post(n, "NetMap", backend_netmap_json(b));
        if (d->peer_count == 0 || !notify_wanted(n, "PeersChanged"))
                return;
        json_t *changed = nodes_json(nm, d), *removed = removed_json(d);
        if (json_array_size(changed) > 0)
                notify_post(n, "PeersChanged", json_incref(changed));
        if (json_array_size(removed) > 0)
                notify_post(n, "PeersRemoved", json_incref(removed));
        json_decref(changed);
        json_decref(removed);
}

static void on_netmap(void *arg, const struct netmap *nm, const struct netmap_delta *d)
{
        struct backend *b = arg;
        unsigned bits = peer_bits(d);
        if (nm->self == NULL)
                return;
        b->login_error[0] = '\0';
        if (d->parts & NETMAP_DERPMAP)
                engine_set_derpmap(b->engine, nm->derpmap);
        /* The filter before the peers: a new peer must not be let in by an old rule. */
        if ((d->parts & (NETMAP_FILTER | NETMAP_SELF)) ||
                (has_cap_sources(nm) && (bits & (NETMAP_PEER_INFO | NETMAP_PEER_ADDED | NETMAP_PEER_REMOVED))))
                apply_filter(b);
        sync_peers(b, nm, d);
        if (d->parts & (NETMAP_SELF | NETMAP_USERS))
                note_self(b, nm);
        if (b->configured && ((d->parts & NETMAP_SELF) || (bits & PEER_FOR_ROUTES)))
                apply_host(b);
        post_map(b, nm, d);
        update_state(b);
}

static const struct control_callbacks control_cb = {
        .on_node_key = on_node_key,
        .on_auth_url = on_auth_url,
        .on_registered = on_registered,
        .on_need_login = on_need_login,
        .on_netmap = on_netmap,
        .on_online = on_online,
        .on_error = on_error,
        .on_logged_out = on_logged_out,
        .on_browser_url = on_browser_url,
};

/* A client that knows nothing of an earlier login. */
static enum err renew_control(struct backend *b)
{
        struct control *c = control_new(b->o.loop, b->o.dialer, &control_cb, b);
        if (c == NULL)
                return ERR_FULL;
        control_free(b->control);
        b->control = c;
        b->control_active = false;
        b->online = false;
        return ERR_NONE;
}

static void on_logout_timer(struct timer *t, mono_t now)
{
        (void)now;
        struct backend *b = container_of(t, struct backend, logout_timer);
        forget_login(b);
        if (renew_control(b) != ERR_NONE)
                log_err("out of memory");
        push_keys(b);
        push_hostinfo(b);
        engine_set_polling(b->engine, false);
        post_prefs(b);
        update_state(b);
        answer_logouts(b, NULL);
}

/* ---- engine ---- */

static void on_endpoints(void *arg, const struct engine_endpoint *eps, size_t n)
{
        struct backend *b = arg;
        struct control_endpoint out[ENGINE_ENDPOINTS_MAX];
        for (size_t i = 0; i < n; i++)
                out[i] = (struct control_endpoint){eps[i].addr, (enum control_endpoint_type)eps[i].type};
        control_set_endpoints(b->control, out, n);
}

static enum tri tri_of(enum nc_tri t)
{
        return t == NC_TRUE ? TRI_TRUE : t == NC_FALSE ? TRI_FALSE : TRI_UNSET;
}

static void on_report(void *arg, const struct netcheck_report *r)
{
        struct backend *b = arg;
        struct netinfo_latency latency[2 * DERPMAP_REGIONS_MAX];
        size_t n = 0;
        b->report = *r;
        b->have_report = true;
        for (size_t i = 0; i < r->latency_count; i++) {
                const struct nc_latency *l = &r->latency[i];
                if (l->v4_ns > 0)
                        latency[n++] = (struct netinfo_latency){l->region, false, (double)l->v4_ns / 1e9};
                if (l->v6_ns > 0)
                        latency[n++] = (struct netinfo_latency){l->region, true, (double)l->v6_ns / 1e9};
        }
        struct netinfo ni = {
                .mapping_varies = tri_of(r->mapping_varies),
                .working_ipv6 = r->ipv6 ? TRI_TRUE : TRI_FALSE,
                .os_has_ipv6 = r->os_has_ipv6 ? TRI_TRUE : TRI_FALSE,
                .working_udp = r->udp ? TRI_TRUE : TRI_FALSE,
                .working_icmp4 = TRI_UNSET,
                .upnp = tri_of(r->upnp),
                .pmp = tri_of(r->pmp),
                .pcp = tri_of(r->pcp),
                .preferred_derp = r->preferred,
                .latency = latency,
                .latency_count = n,
        };
        control_set_netinfo(b->control, &ni);
}

static void on_live(void *arg, int sessions, int relays)
{
        struct backend *b = arg;
        if (!b->configured)
                return;
        b->sessions = sessions;
        b->relays = relays;
        update_state(b);
}

static void on_relay(void *arg, int region, bool connected, const char *text)
{
        struct backend *b = arg;
        if (connected || text[0] == '\0') {
                b->relay_error[0] = '\0';
                return;
        }
        snprintf(b->relay_error, sizeof(b->relay_error), "relay region %d cannot be reached: %s", region, text);
}

const struct engine_callbacks backend_engine_callbacks = {
        .on_endpoints = on_endpoints,
        .on_report = on_report,
        .on_live = on_live,
        .on_relay = on_relay,
};

/* ---- life ---- */

struct backend *backend_new(const struct backend_opts *o)
{
        struct backend *b = calloc(1, sizeof(*b));
        if (b == NULL)
                return NULL;
        b->o = *o;
        timer_init(&b->logout_timer, on_logout_timer);
        hostinfo_os_read(&b->os);
        set_str(&b->auth_url, "");
        prefs_init(&b->prefs);
        prefs_done(&b->prefs);
        if (b->auth_url == NULL || prefs_copy(profiles_prefs(o->profiles), &b->prefs) != ERR_NONE ||
                renew_control(b) != ERR_NONE) {
                prefs_done(&b->prefs);
                free(b->auth_url);
                free(b);
                return NULL;
        }
        return b;
}

void backend_free(struct backend *b)
{
        if (b == NULL)
                return;
        answer_logouts(b, "the daemon is shutting down");
        loop_timer_stop(&b->logout_timer);
        control_free(b->control);
        prefs_done(&b->prefs);
        forget_auth_key(b);
        free(b->auth_url);
        free(b);
}

/* The stored URL may have been written by another program. */
static const char *push_server(struct backend *b)
{
        if (control_set_server(b->control, prefs_control_url(&b->prefs)) == ERR_NONE)
                return NULL;
        b->login_blocked = true;
        (void)str_copy(b->login_error, sizeof(b->login_error),
                "the login server must be a URL such as https://headscale.example.com: give one with --login-server");
        return b->login_error;
}

void backend_run(struct backend *b, struct engine *e)
{
        b->engine = e;
        push_keys(b);
        push_hostinfo(b);
        if (push_server(b) == NULL && b->prefs.want_running && !b->prefs.logged_out && backend_has_node_key(b))
                login(b, false);
        update_state(b);
}

/* ---- what a client asks ---- */

const char *backend_start(struct backend *b, const struct prefs *update, const char *auth_key)
{
        struct prefs next;
        if (update != NULL) {
                const char *why = prefs_check(update);
                if (why != NULL)
                        return why;
                if (prefs_copy(update, &next) != ERR_NONE)
                        return "out of memory";
                /* Identity and what is unknown here belong to the profile, never to the request. */
                struct prefs_identity id = next.identity;
                next.identity = b->prefs.identity;
                b->prefs.identity = id;
                json_t *unknown = next.unknown;
                next.unknown = b->prefs.unknown;
                b->prefs.unknown = unknown;
                bool moved = strcmp(prefs_control_url(&next), prefs_control_url(&b->prefs)) != 0;
                prefs_done(&b->prefs);
                b->prefs = next;
                if (moved) {   /* another server: nothing of the old one's map may stay in use */
                        configure(b, false);
                        if (renew_control(b) != ERR_NONE)
                                return "out of memory";
                        engine_peers_clear(b->engine);
                        engine_set_filter(b->engine, NULL);
                }
        }
        stop_control(b);
        forget_auth_key(b);
        if (auth_key != NULL && auth_key[0] != '\0' && (b->auth_key = strdup(auth_key)) == NULL)
                return "out of memory";
        set_str(&b->auth_url, "");
        b->login_blocked = false;
        b->login_error[0] = '\0';
        b->state = IPN_NO_STATE;
        push_keys(b);
        push_hostinfo(b);
        const char *bad_url = push_server(b);
        save_prefs(b);
        post_prefs(b);
        if (bad_url == NULL && b->prefs.want_running && !b->prefs.logged_out && backend_has_node_key(b) &&
                !b->need_login)
                login(b, false);
        update_state(b);
        return bad_url;
}

void backend_login_interactive(struct backend *b)
{
        if (b->auth_url[0] != '\0' && b->auth_key == NULL) {
                notify_post(b->o.notify, "BrowseToURL", json_string(b->auth_url));
                return;
        }
        if (push_server(b) != NULL) {
                notify_post(b->o.notify, "ErrMessage", json_string(b->login_error));
                return;
        }
        b->login_blocked = false;
        login(b, true);
        update_state(b);
}

static void react_to_prefs(struct backend *b, const struct prefs *old)
{
        const struct prefs *now = &b->prefs;
        push_hostinfo(b);
        if (old->route_all != now->route_all) {
                sync_all_peers(b);
                apply_host(b);
        }
        if (old->shields_up != now->shields_up ||
                old->advertise_route_count != now->advertise_route_count ||
                (now->advertise_route_count > 0 && memcmp(old->advertise_routes, now->advertise_routes,
                        now->advertise_route_count * sizeof(struct prefix)) != 0))
                apply_filter(b);
        if (old->want_running && !now->want_running)
                stop_control(b);
        if (now->want_running && !b->control_active && !now->logged_out && backend_has_node_key(b) &&
                !b->need_login && push_server(b) == NULL)
                login(b, false);
}

const char *backend_edit_prefs(struct backend *b, const json_t *masked)
{
        struct prefs old;
        bool changed;
        const char *why = NULL;
        if (prefs_copy(&b->prefs, &old) != ERR_NONE)
                return "out of memory";
        enum err e = prefs_apply_masked(&b->prefs, masked, &changed, &why);
        if (e == ERR_NONE && (why = prefs_check(&b->prefs)) != NULL)
                e = ERR_FORMAT;
        if (e != ERR_NONE) {
                prefs_done(&b->prefs);
                b->prefs = old;
                return why != NULL ? why : err_str(e);
        }
        if (changed) {
                react_to_prefs(b, &old);
                save_prefs(b);
                update_state(b);
                post_prefs(b);
        }
        prefs_done(&old);
        return NULL;
}

void backend_logout(struct backend *b, backend_done_fn fn, void *arg)
{
        struct waiter *w = calloc(1, sizeof(*w));
        if (w == NULL) {
                fn(arg, "out of memory");
                return;
        }
        *w = (struct waiter){fn, arg, b->logouts};
        b->logouts = w;
        if (w->next != NULL)
                return;   /* one is under way */
        b->prefs.want_running = false;
        b->prefs.logged_out = true;
        if (!backend_has_node_key(b)) {
                on_logged_out(b, NULL);
                return;
        }
        b->control_active = false;
        b->online = false;
        control_logout(b->control, LOGOUT_PATIENCE_MS);
        update_state(b);
}

void backend_logout_cancel(struct backend *b, void *arg)
{
        for (struct waiter **at = &b->logouts; *at != NULL; at = &(*at)->next) {
                if ((*at)->arg == arg) {
                        struct waiter *w = *at;
                        *at = w->next;
                        free(w);
                        return;
                }
        }
}

void backend_link_changed(struct backend *b)
{
        log_debug(1, "the host's network changed");
        engine_link_changed(b->engine);
        if (b->control_active)
                control_network_changed(b->control);
}

/* ---- to look at ---- */

enum ipn_state backend_state(const struct backend *b)
{
        return b->state;
}

const struct prefs *backend_prefs(const struct backend *b)
{
        return &b->prefs;
}

struct engine *backend_engine(const struct backend *b)
{
        return b->engine;
}

const char *backend_auth_url(const struct backend *b)
{
        return b->auth_url;
}

bool backend_online(const struct backend *b)
{
        return b->online;
}

const struct netcheck_report *backend_report(const struct backend *b)
{
        return b->have_report ? &b->report : NULL;
}

const struct hostinfo_os *backend_os(const struct backend *b)
{
        return &b->os;
}

const char *backend_version(const struct backend *b)
{
        return b->o.version;
}

static void add_line(json_t *a, const char *text)
{
        if (text[0] != '\0')
                json_array_append_new(a, json_string(text));
}

json_t *backend_health(const struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        json_t *a = json_array();
        if (b->login_error[0] != '\0') {
                char text[sizeof(b->login_error) + 64];
                snprintf(text, sizeof(text), "You are logged out. The last login error was: %s", b->login_error);
                add_line(a, b->state == IPN_RUNNING ? b->login_error : text);
        } else if (!b->prefs.want_running) {
                add_line(a, "Tailscale is stopped.");
        } else if (b->state == IPN_STARTING || b->state == IPN_NO_STATE) {
                add_line(a, "Tailscale is starting. Please wait.");
        }
        if (b->configured)
                add_line(a, b->relay_error);
        add_line(a, b->host_error);
        for (size_t i = 0; nm->health != NULL && nm->health[i] != NULL; i++)
                add_line(a, nm->health[i]);
        return a;
}
