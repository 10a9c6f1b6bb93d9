#include "daemon/backend_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/key.h"
#include "base/log.h"
#include "base/via6.h"
#include "daemon/backend_net.h"
#include "daemon/control/register.h"
#include "daemon/sizes.h"

void backend_set_str(char **dst, const char *src)
{
        char *copy = strdup(src);
        if (copy == NULL) {
                log_err("out of memory");
                return;
        }
        free(*dst);
        *dst = copy;
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

void backend_save_prefs(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        const char *suffix = nm->magic_dns_suffix != NULL ? nm->magic_dns_suffix : "";
        const char *domain = nm->domain != NULL ? nm->domain : "";
        backend_saved(b, profiles_save(b->o.profiles, &b->prefs, suffix, domain));
}

void backend_post_prefs(struct backend *b)
{
        notify_post(b->o.notify, "Prefs", prefs_to_json(&b->prefs, false));
}

/* What a later program may have put there is the default to us. */
static void push_hardnat(struct backend *b)
{
        const char *who = b->prefs.hard_nat;
        engine_set_hardnat(b->engine, strcmp(who, "on") == 0    ? HN_PREF_ON
                                      : strcmp(who, "off") == 0 ? HN_PREF_OFF
                                                                : HN_PREF_OWN);
}

void backend_configure(struct backend *b, bool on)
{
        if (b->configured == on)
                return;
        b->configured = on;
        engine_set_up(b->engine, on);
        if (!on) {
                b->sessions = b->relays = 0;
                b->dns_awaited = b->dns_ready = false;
        }
        backend_apply_host(b);
        backend_dns_changed(b);
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
        if (b->state == IPN_STARTING && b->dns_ready && (b->sessions > 0 || b->relays > 0 || !relay_possible(nm)))
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
                backend_configure(b, false);
                break;
        case IPN_STARTING:
                backend_configure(b, true);
                break;
        case IPN_RUNNING:
                backend_set_str(&b->auth_url, "");
                break;
        }
        notify_post(b->o.notify, "State", json_integer(s));
}

static void on_dns_set(void *arg)
{
        struct backend *b = arg;
        b->dns_ready = true;
        if (b->engine != NULL)   /* else this is the end */
                backend_update_state(b);
}

void backend_update_state(struct backend *b)
{
        for (enum ipn_state s; (s = next_state(b)) != b->state;)
                enter(b, s);
        if (b->state == IPN_STARTING && b->configured && !b->dns_awaited) {
                b->dns_awaited = true;
                backend_when_dns_set(b, on_dns_set, b);
        }
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

static void on_report(void *arg, const struct netcheck_report *r, int announce)
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
                .working_icmp4 = r->icmp4 ? TRI_TRUE : TRI_FALSE,
                .firewall_mode = b->o.firewall != NULL ? "nft-forced" : NULL,
                .have_port_map = r->have_portmap,
                .upnp = tri_of(r->upnp),
                .pmp = tri_of(r->pmp),
                .pcp = tri_of(r->pcp),
                .preferred_derp = announce,
                .latency = latency,
                .latency_count = n,
        };
        if (announce != 0 || r->preferred == 0)   /* else the server keeps the home that it knows */
                control_set_netinfo(b->control, &ni);
        if (b->prefs.auto_exit_node[0] != '\0' && backend_update_exit_node(b)) {
                backend_apply_host(b);
                backend_dns_changed(b);
        }
}

static void on_live(void *arg, int sessions, int relays)
{
        struct backend *b = arg;
        if (!b->configured)
                return;
        b->sessions = sessions;
        b->relays = relays;
        backend_update_state(b);
}

static void drop_relay_trouble(struct backend *b, size_t i)
{
        struct relay_trouble *t = &b->relay_troubles[i];
        memmove(t, t + 1, (--b->relay_trouble_count - i) * sizeof(*t));
}

static void on_relay(void *arg, int region, bool connected, const char *text)
{
        struct backend *b = arg;
        size_t i = 0;
        while (i < b->relay_trouble_count && b->relay_troubles[i].region != region)
                i++;
        if (i < b->relay_trouble_count)
                drop_relay_trouble(b, i);
        if (connected || text[0] == '\0')
                return;
        if (b->relay_trouble_count == RELAY_TROUBLES_MAX)   /* the oldest makes room */
                drop_relay_trouble(b, 0);
        struct relay_trouble *t = &b->relay_troubles[b->relay_trouble_count++];
        t->region = region;
        (void)str_copy(t->text, sizeof(t->text), text);
}

static void on_tun_gone(void *arg)
{
        struct backend *b = arg;
        if (b->o.on_tun_gone != NULL)
                b->o.on_tun_gone(b->o.arg);
}

const struct engine_callbacks backend_engine_callbacks = {
        .on_endpoints = on_endpoints,
        .on_report = on_report,
        .on_live = on_live,
        .on_relay = on_relay,
        .on_service_packet = backend_on_service_packet,
        .on_port = backend_on_port,
        .on_tun_gone = on_tun_gone,
};

/* ---- life ---- */

struct backend *backend_new(const struct backend_opts *o)
{
        struct backend *b = calloc(1, sizeof(*b));
        if (b == NULL)
                return NULL;
        b->o = *o;
        if (b->o.sizes == NULL)
                b->o.sizes = &sizes_normal;
        timer_init(&b->logout_timer, backend_on_logout_timer);
        timer_init(&b->save_timer, backend_on_save_timer);
        hostinfo_os_read(&b->os);
        backend_set_str(&b->auth_url, "");
        prefs_init(&b->prefs);
        prefs_done(&b->prefs);
        if (!backend_dns_open(b) || !backend_net_open(b) || b->auth_url == NULL ||
                prefs_copy(profiles_prefs(o->profiles), &b->prefs) != ERR_NONE ||
                backend_renew_control(b) != ERR_NONE) {
                backend_net_close(b);
                backend_dns_close(b);
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
        backend_answer_logouts(b, "the daemon is shutting down");
        loop_timer_stop(&b->logout_timer);
        if (timer_is_armed(&b->save_timer) && profiles_retry_save(b->o.profiles) != ERR_NONE)
                log_err("%s: what has changed is lost", profiles_trouble(b->o.profiles));
        loop_timer_stop(&b->save_timer);
        b->engine = NULL;   /* it is gone before us */
        backend_peerapi_close(b);
        backend_net_close(b);
        backend_dns_close(b);
        control_free(b->control);
        prefs_done(&b->prefs);
        backend_forget_auth_key(b);
        free(b->auth_url);
        free(b);
}

void backend_run(struct backend *b, struct engine *e)
{
        b->engine = e;
        backend_push_keys(b);
        backend_push_hostinfo(b);
        push_hardnat(b);
        backend_apply_host(b);   /* what an earlier process left goes, or stays in force */
        if (backend_push_server(b) == NULL && b->prefs.want_running && !b->prefs.logged_out && backend_has_node_key(b))
                backend_login(b, false);
        backend_update_state(b);
}

/* ---- what a client asks ---- */

/* The kernel cannot translate between the families; our own stack does, at the end of each connection. */
static const char *check_via(const struct backend *b, const struct prefs *p)
{
        for (size_t i = 0; i < p->advertise_route_count && !b->o.userspace; i++)
                if (via6_is(p->advertise_routes[i].ip) && p->advertise_routes[i].bits >= VIA6_BITS)
                        return "--advertise-routes: a 4via6 network can be advertised only by a daemon without a TUN device: start "
                               "tailscaled with --tun=userspace-networking";
        return NULL;
}

static bool key_too_long(const char *auth_key)
{
        char room[AUTH_KEY_MAX + 1];
        enum err e = register_trim_key(auth_key, room, sizeof(room));
        crypto_wipe(room, sizeof(room));
        return e != ERR_NONE;
}

const char *backend_start(struct backend *b, const struct prefs *update, const char *auth_key)
{
        struct prefs next;
        if (b->logouts != NULL)   /* its end is waited for, and deletes the profile */
                return backend_busy;
        if (auth_key != NULL && key_too_long(auth_key))
                return "the auth key is too long: no server makes such a key, give one and nothing else";
        if (update != NULL) {
                const char *why = prefs_check_new(&b->prefs, update);
                if (why == NULL)
                        why = check_via(b, update);
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
                backend_dns_changed(b);
                if (moved) {   /* another server: nothing of the old one's map may stay in use */
                        backend_configure(b, false);
                        if (backend_renew_control(b) != ERR_NONE)
                                return "out of memory";
                        backend_forget_map(b);
                }
                if (backend_netmap(b)->self != NULL)   /* the map stays, what it means may be another thing */
                        backend_prefs_changed(b, true);
                else
                        backend_apply_host(b);
        }
        backend_stop_control(b);
        backend_forget_auth_key(b);
        if (auth_key != NULL && auth_key[0] != '\0' && (b->auth_key = strdup(auth_key)) == NULL)
                return "out of memory";
        backend_set_str(&b->auth_url, "");
        b->login_blocked = false;
        b->login_error[0] = '\0';
        b->state = IPN_NO_STATE;
        backend_push_keys(b);
        backend_push_hostinfo(b);
        push_hardnat(b);
        const char *bad_url = backend_push_server(b);
        backend_save_prefs(b);
        backend_post_prefs(b);
        if (bad_url == NULL && b->prefs.want_running && !b->prefs.logged_out && backend_has_node_key(b))
                backend_login(b, b->need_login);
        backend_update_state(b);
        return bad_url;
}

void backend_login_interactive(struct backend *b)
{
        if (b->logouts != NULL) {
                notify_post(b->o.notify, "ErrMessage", json_string(backend_busy));
                return;
        }
        /* `start` has begun this login; a second one would use a one-off key twice. */
        if (b->control_active && b->auth_key_sent)
                return;
        if (b->control_active && b->auth_url[0] != '\0' && b->auth_key == NULL) {
                notify_post(b->o.notify, "BrowseToURL", json_string(b->auth_url));
                return;
        }
        if (backend_push_server(b) != NULL) {
                notify_post(b->o.notify, "ErrMessage", json_string(b->login_error));
                return;
        }
        b->login_blocked = false;
        backend_login(b, true);
        backend_update_state(b);
}

static bool differ(const char *a, const char *b)
{
        return strcmp(a != NULL ? a : "", b != NULL ? b : "") != 0;
}

static bool exit_node_differs(const struct prefs *a, const struct prefs *b)
{
        return differ(a->exit_node_id, b->exit_node_id) || differ(a->exit_node_ip, b->exit_node_ip) ||
                differ(a->auto_exit_node, b->auto_exit_node);
}

static void react_to_prefs(struct backend *b, const struct prefs *old)
{
        const struct prefs *now = &b->prefs;
        backend_push_hostinfo(b);
        push_hardnat(b);
        backend_prefs_changed(b, old->route_all != now->route_all);
        if (old->corp_dns != now->corp_dns || exit_node_differs(old, now))
                backend_dns_changed(b);
        if (old->want_running && !now->want_running)
                backend_stop_control(b);
        if (now->want_running && !b->control_active && !now->logged_out && backend_has_node_key(b) &&
                !b->need_login && backend_push_server(b) == NULL)
                backend_login(b, false);
}

const char *backend_edit_prefs(struct backend *b, const json_t *masked)
{
        struct prefs old;
        bool changed;
        const char *why = NULL;
        if (b->logouts != NULL)
                return backend_busy;
        if (prefs_copy(&b->prefs, &old) != ERR_NONE)
                return "out of memory";
        enum err e = prefs_apply_masked(&b->prefs, masked, &changed, &why);
        if (e == ERR_NONE && ((why = prefs_check(&b->prefs)) != NULL || (changed && (why = check_via(b, &b->prefs)) != NULL)))
                e = ERR_FORMAT;
        if (e != ERR_NONE) {
                prefs_done(&b->prefs);
                b->prefs = old;
                return why != NULL ? why : err_str(e);
        }
        if (changed) {
                react_to_prefs(b, &old);
                backend_save_prefs(b);
                backend_update_state(b);
                backend_post_prefs(b);
        }
        prefs_done(&old);
        return NULL;
}

void backend_link_changed(struct backend *b, int64_t slept_ms)
{
        log_debug(1, "the host's network changed");
        engine_link_changed(b->engine, slept_ms);
        backend_host_changed(b);
        backend_dns_network_changed(b);
        if (b->control_active)
                control_network_changed(b->control);
}

void backend_clock_stepped(struct backend *b, int64_t ms)
{
        if (b->control_active)
                control_clock_stepped(b->control, ms * NS_PER_MS);
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

bool backend_is_userspace(const struct backend *b)
{
        return b->o.userspace;
}

const char *backend_tun_name(const struct backend *b)
{
        return b->o.tun_name;
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

static void relay_health(const struct backend *b, json_t *a)
{
        const struct derpmap *map = backend_netmap(b)->derpmap;
        for (size_t i = 0; i < b->relay_trouble_count; i++) {
                const struct relay_trouble *t = &b->relay_troubles[i];
                const struct derp_region *r = map != NULL ? derpmap_region(map, t->region) : NULL;
                json_array_append_new(a, json_sprintf("relay region %d%s%s%s cannot be reached: %s", t->region, r != NULL ? " (" : "",
                                                      r != NULL ? r->code : "", r != NULL ? ")" : "", t->text));
        }
}

json_t *backend_health(const struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        json_t *a = json_array();
        const char *unsaved = profiles_trouble(b->o.profiles);
        if (b->login_error[0] != '\0' && b->state != IPN_STOPPED) {
                char text[sizeof(b->login_error) + 64];
                const char *what = b->state == IPN_RUNNING       ? ""
                                   : b->state == IPN_NEEDS_LOGIN ? "You are logged out. The last login error was: "
                                                                 : "Waiting for the login server; no new login is needed: ";
                snprintf(text, sizeof(text), "%s%s", what, b->login_error);
                add_line(a, text);
        } else if (!b->prefs.want_running) {
                add_line(a, "Tailscale is stopped.");
        } else if (b->state == IPN_STARTING || b->state == IPN_NO_STATE) {
                add_line(a, "Tailscale is starting. Please wait.");
        }
        if (unsaved[0] != '\0')
                json_array_append_new(a, json_sprintf("%s: login and settings are lost when tailscaled ends; "
                                                      "make it writable, and it is written within 30 seconds", unsaved));
        if (b->configured)
                relay_health(b, a);
        if (b->configured && b->have_report && b->report.captive == NC_TRUE)
                add_line(a, "This network wants a login in a web browser (a captive portal answers in place of the relays): "
                            "until that is done, there is no connection.");
        backend_host_health(b, a);
        if (b->filter_forged)
                add_line(a, "The server sent access rules that let in a node nobody signed for: no connection is let in.");
        if (b->configured && b->prefs.corp_dns)
                backend_dns_health(b, a);
        for (size_t i = 0; nm->health != NULL && nm->health[i] != NULL; i++)
                add_line(a, nm->health[i]);
        return a;
}
