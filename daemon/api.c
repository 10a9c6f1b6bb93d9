#include "daemon/api.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/json.h"
#include "daemon/api_dial.h"
#include "daemon/api_dns.h"
#include "daemon/api_metrics.h"
#include "daemon/api_netcheck.h"
#include "daemon/api_paths.h"
#include "daemon/api_ping.h"
#include "daemon/api_portmap.h"
#include "daemon/exitchoice.h"
#include "daemon/localapi/status.h"
#include "daemon/view.h"

const char *api_operator_user(void *arg)
{
        const struct api *a = arg;
        return a->backend != NULL ? backend_prefs(a->backend)->operator_user : NULL;
}

static bool parse_u64(const char *s, uint64_t *ret)
{
        char *end;
        errno = 0;
        *ret = strtoull(s, &end, 10);
        return *s >= '0' && *s <= '9' && *end == '\0' && errno == 0;
}

/* ---- answers that wait for the data thread ---- */

struct late {
        struct api *api;
        struct lapi_req *req;    /* NULL: the client went away meanwhile */
        enum view_status form;   /* status */
        bool watch;              /* status as the first message of a watcher */
        uint64_t mask;
};

static void on_client_gone(void *arg)
{
        struct late *l = arg;
        l->req = NULL;
}

static struct late *late_new(struct api *a, struct lapi_req *r)
{
        struct late *l = calloc(1, sizeof(*l));
        if (l == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return NULL;
        }
        l->api = a;
        l->req = r;
        lapi_on_gone(r, on_client_gone, l);
        return l;
}

/* ---- status ---- */

static struct lapi_source first_message(const struct api *a, uint64_t mask, const struct engine_status *st);

static void on_status(void *arg, const struct engine_status *st)
{
        struct late *l = arg;
        if (l->req != NULL) {
                if (l->watch)
                        notify_watch(l->api->notify, l->req, l->mask, first_message(l->api, l->mask, st));
                else
                        lapi_reply_source(l->req, 200, "application/json", view_status(l->api->backend, st, l->form));
        }
        free(l);
}

static bool param_is(struct lapi_req *r, const char *key, const char *value)
{
        const char *v = lapi_param(r, key);
        return v != NULL && strcmp(v, value) == 0;
}

static void h_status(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        bool none = param_is(r, "peers", "false"), brief = param_is(r, "brief", "true");
        struct late *l = late_new(a, r);
        if (l == NULL)
                return;
        l->form = none ? VIEW_NO_PEERS : brief ? VIEW_BRIEF : VIEW_FULL;
        engine_status(backend_engine(a->backend), on_status, l);
}

/* ---- preferences ---- */

static void reply_prefs(const struct api *a, struct lapi_req *r)
{
        lapi_reply_json(r, 200, prefs_to_json(backend_prefs(a->backend), false), LAPI_TABS);
}

static void on_dns_set(void *arg)
{
        struct late *l = arg;
        if (l->req != NULL)
                reply_prefs(l->api, l->req);
        free(l);
}

/* A change is answered when the host's resolver knows of it: whoever asked may look a name up next. */
static void h_prefs(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        if (lapi_method(r) == LAPI_PATCH) {
                size_t len;
                const char *body = lapi_body(r, &len);
                json_t *masked = json_parse(body, len);
                if (!json_is_object(masked)) {
                        json_decref(masked);
                        lapi_reply_text(r, 400, "the body must be a JSON object of preferences");
                        return;
                }
                const char *why = backend_edit_prefs(a->backend, masked);
                json_decref(masked);
                if (why != NULL) {
                        lapi_reply_json(r, 400, json_pack("{s:s}", "Error", why), LAPI_COMPACT);
                        return;
                }
                struct late *l = late_new(a, r);
                if (l != NULL)
                        backend_when_dns_set(a->backend, on_dns_set, l);
                return;
        }
        reply_prefs(a, r);
}

/* A Prefs object of a request; false: answered with an error. */
static bool take_prefs(struct lapi_req *r, const json_t *obj, struct prefs *ret)
{
        const char *why = "";
        if (!json_is_object(obj)) {
                lapi_reply_text(r, 400, "the preferences must be a JSON object");
                return false;
        }
        if (prefs_from_json(obj, ret, &why) != ERR_NONE) {
                lapi_reply_text(r, 400, "invalid preferences: %s", why);
                return false;
        }
        return true;
}

static void h_check_prefs(void *arg, struct lapi_req *r)
{
        (void)arg;
        size_t len;
        const char *body = lapi_body(r, &len);
        json_t *obj = json_parse(body, len);
        struct prefs p;
        bool ok = take_prefs(r, obj, &p);
        json_decref(obj);
        if (!ok)
                return;
        const char *why = prefs_check(&p);
        lapi_reply_json(r, 200, why != NULL ? json_pack("{s:s}", "Error", why) : json_object(), LAPI_COMPACT);
        prefs_done(&p);
}

/* ---- login ---- */

/* All that it does not name is to be as by default, but what its sender cannot know stays. */
static void keep_ours(struct api *a, json_t *prefs)
{
        static const char name[] = "HardNATSearch";
        if (json_is_object(prefs) && json_object_get(prefs, name) == NULL)
                json_object_set_new(prefs, name, json_string(backend_prefs(a->backend)->hard_nat));
}

static void h_start(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        size_t len;
        const char *body = lapi_body(r, &len);
        json_t *opts = len > 0 ? json_parse(body, len) : json_object();
        if (!json_is_object(opts)) {
                json_decref(opts);
                lapi_reply_text(r, 400, "the body must be a JSON object");
                return;
        }
        struct prefs p;
        bool update = json_has(opts, "UpdatePrefs");
        keep_ours(a, json_object_get(opts, "UpdatePrefs"));
        if (!update || take_prefs(r, json_object_get(opts, "UpdatePrefs"), &p)) {
                const char *why = backend_start(a->backend, update ? &p : NULL, json_str(opts, "AuthKey", ""));
                if (update)
                        prefs_done(&p);
                if (why != NULL)
                        lapi_reply_text(r, 500, "%s", why);
                else
                        lapi_reply_empty(r, 204);
        }
        json_decref(opts);
}

static void h_login_interactive(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        backend_login_interactive(a->backend);
        lapi_reply_empty(r, 204);
}

static void on_logged_out(void *arg, const char *error)
{
        struct late *l = arg;
        if (l->req != NULL && error != NULL)
                lapi_reply_text(l->req, 500, "%s", error);
        else if (l->req != NULL)
                lapi_reply_empty(l->req, 204);
        free(l);
}

static void h_logout(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        struct late *l = late_new(a, r);
        if (l != NULL)
                backend_logout(a->backend, on_logged_out, l);
}

/* ---- whois ---- */

/* "nodekey:HEX", "IP" or "IP:port". */
static enum err find_node(const struct backend *b, const char *s, const struct netmap_node **ret)
{
        struct node_public key;
        struct addr ap;
        struct ip ip;
        if (strncmp(s, "nodekey:", 8) == 0) {
                if (node_public_parse(s, &key) != ERR_NONE)
                        return ERR_FORMAT;
                *ret = netmap_by_key(backend_netmap(b), &key);
        } else if (ip_parse(s, &ip) == ERR_NONE) {
                *ret = netmap_by_ip(backend_netmap(b), ip);
        } else if (addr_parse(s, &ap) == ERR_NONE) {
                *ret = netmap_by_ip(backend_netmap(b), ap.ip);
        } else {
                return ERR_FORMAT;
        }
        return *ret != NULL ? ERR_NONE : ERR_NOT_FOUND;
}

static void h_whois(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *s = lapi_param(r, "addr");
        const struct netmap_node *n = NULL;
        const char *to = lapi_param(r, "dst_ip");
        struct ip dst;
        enum err e = s != NULL ? find_node(a->backend, s, &n) : ERR_FORMAT;
        bool to_one = to != NULL && to[0] != '\0';
        if (e == ERR_FORMAT)
                lapi_reply_text(r, 400, "invalid 'addr' parameter");
        else if (e != ERR_NONE)
                lapi_reply_text(r, 404, "no match for IP:port");
        else if (to_one && ip_parse(to, &dst) != ERR_NONE)
                lapi_reply_text(r, 400, "invalid dst_ip");
        else
                lapi_reply_json(r, 200, view_whois(a->backend, n, to_one ? &dst : NULL), LAPI_TABS_NO_NEWLINE);
}

/* ---- netcheck and relay map ---- */

static void on_netcheck(void *arg, const struct netcheck_report *report)
{
        struct late *l = arg;
        if (l->req != NULL && !mono_is_set(report->at))
                api_no_relay_map(l->api, l->req);
        else if (l->req != NULL)
                lapi_reply_json(l->req, 200, view_netcheck(report), LAPI_COMPACT);
        free(l);
}

/* False: answered with an error.  *ret_given: there is one. */
static bool take_bind(struct lapi_req *r, struct addr *ret, bool *ret_given)
{
        const char *ip = lapi_param(r, "bind_address"), *port = lapi_param(r, "bind_port");
        uint64_t n = 0;
        bool has_ip = ip != NULL && ip[0] != '\0', has_port = port != NULL && port[0] != '\0';
        if (has_ip && ip_parse(ip, &ret->ip) != ERR_NONE)
                lapi_reply_text(r, 400, "invalid 'bind_address' parameter: want an IP address of this host");
        else if (has_port && (!parse_u64(port, &n) || n > UINT16_MAX))
                lapi_reply_text(r, 400, "invalid 'bind_port' parameter: want 0 to 65535");
        else if (n != 0 && n < IPPORT_RESERVED && !lapi_may_write(r))   /* which the caller could not have for itself */
                lapi_reply_text(r, 403, "access denied: a port under %d needs root or the operator", IPPORT_RESERVED);
        else {
                ret->port = (uint16_t)n;
                *ret_given = has_ip || has_port;
                return true;
        }
        return false;
}

static void h_netcheck(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        struct addr from = {.port = 0};
        bool is_given = false;
        if (!take_bind(r, &from, &is_given))
                return;
        if (is_given) {
                api_netcheck_from(a, r, from);
                return;
        }
        if (backend_state(a->backend) == IPN_STOPPED) {   /* no socket is open, no report would come */
                lapi_reply_error(r, "Tailscale is stopped: run 'tailscale up'");
                return;
        }
        struct late *l = late_new(a, r);
        if (l != NULL)
                engine_netcheck(backend_engine(a->backend), on_netcheck, l);
}

static void h_derpmap(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const struct netmap *nm = backend_netmap(a->backend);
        lapi_reply_json(r, 200, nm->derpmap != NULL ? derpmap_to_json(nm->derpmap) : json_null(), LAPI_TABS);
}

static void h_debug(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *action = lapi_param(r, "action");
        bool restun = action != NULL && strcmp(action, "restun") == 0, rebind = action != NULL && strcmp(action, "rebind") == 0;
        if (restun || rebind) {
                struct engine *e = backend_engine(a->backend);
                if (restun)
                        engine_restun(e);
                else
                        engine_link_changed(e, 0);
                lapi_reply_text(r, 200, "done");
                return;
        }
        if (action == NULL || strcmp(action, "current-netmap") != 0)
                lapi_reply_text(r, 400, "unknown action \"%.64s\"", action != NULL ? action : "");
        else if (backend_netmap(a->backend)->self == NULL)
                lapi_reply_text(r, 400, "no netmap");
        else
                lapi_reply_source(r, 200, "application/json", view_netmap(a->backend));
}

/* ---- the bus ---- */

/* st: for InitialStatus alone. */
static struct lapi_source first_message(const struct api *a, uint64_t mask, const struct engine_status *st)
{
        const struct backend *b = a->backend;
        const uint64_t any = NOTIFY_INITIAL_STATE | NOTIFY_INITIAL_PREFS | NOTIFY_INITIAL_NETMAP |
                NOTIFY_INITIAL_STATUS;
        struct notify_member large[NOTIFY_MEMBERS_MAX];
        size_t n = 0;
        if (!(mask & any))
                return (struct lapi_source){0};
        json_t *o = notify_object(a->notify);
        if (mask & NOTIFY_INITIAL_STATE) {
                uint64_t id;
                char text[20];
                crypto_random(&id, sizeof(id));
                snprintf(text, sizeof(text), "%016llx", (unsigned long long)id);
                json_object_set_new(o, "SessionID", json_string(text));
                json_object_set_new(o, "State", json_integer(backend_state(b)));
                if (backend_state(b) == IPN_NEEDS_LOGIN && backend_auth_url(b)[0] != '\0')
                        json_object_set_new(o, "BrowseToURL", json_string(backend_auth_url(b)));
        }
        if (mask & NOTIFY_INITIAL_PREFS)
                json_object_set_new(o, "Prefs", prefs_to_json(backend_prefs(b), false));
        if ((mask & NOTIFY_INITIAL_NETMAP) && backend_netmap(b)->self != NULL)
                large[n++] = (struct notify_member){"NetMap", view_netmap(b)};
        if (mask & NOTIFY_INITIAL_STATUS)
                large[n++] = (struct notify_member){"InitialStatus", view_status(b, st, VIEW_LINE)};
        return notify_message(o, large, n);
}

static void h_watch(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *text = lapi_param(r, "mask");
        uint64_t mask = 0;
        if (text != NULL && text[0] != '\0' && !parse_u64(text, &mask)) {
                lapi_reply_text(r, 400, "invalid 'mask' parameter: want a decimal number");
                return;
        }
        if (!notify_mask_ok(mask)) {
                lapi_reply_text(r, 400, "invalid 'mask' parameter: these bits do not go together");
                return;
        }
        if (!(mask & NOTIFY_INITIAL_STATUS)) {
                notify_watch(a->notify, r, mask, first_message(a, mask, NULL));
                return;
        }
        struct late *l = late_new(a, r);
        if (l == NULL)
                return;
        l->watch = true;
        l->mask = mask;
        engine_status(backend_engine(a->backend), on_status, l);
}

/* ---- profiles and what clients merely look for ---- */

static void reply_done(struct lapi_req *r, const char *why, int status)
{
        if (why != NULL)
                lapi_reply_text(r, 500, "%s", why);
        else
                lapi_reply_empty(r, status);
}

static void h_one_profile(struct api *a, struct lapi_req *r, const char *id)
{
        json_t *j;
        switch (lapi_method(r)) {
        case LAPI_GET:
                if ((j = profiles_json(a->profiles, id)) != NULL)
                        lapi_reply_json(r, 200, j, LAPI_COMPACT);
                else
                        lapi_reply_text(r, 404, "profile not found");
                break;
        case LAPI_POST:
                reply_done(r, backend_switch_profile(a->backend, id), 204);
                break;
        case LAPI_DELETE:
                reply_done(r, backend_delete_profile(a->backend, id), 204);
                break;
        default:
                lapi_reply_text(r, 405, "use GET, POST to switch to it, or DELETE");
        }
}

static void h_profiles(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *id = lapi_path(r);
        bool get = lapi_method(r) == LAPI_GET;
        if (id[0] == '\0' && lapi_method(r) == LAPI_PUT)
                reply_done(r, backend_new_profile(a->backend), 201);
        else if (id[0] == '\0' && get)
                lapi_reply_json(r, 200, profiles_list_json(a->profiles), LAPI_COMPACT);
        else if (id[0] == '\0')
                lapi_reply_text(r, 405, "use GET for the list, or PUT for a new profile");
        else if (strcmp(id, "current") != 0)
                h_one_profile(a, r, id);
        else if (get)
                lapi_reply_json(r, 200, profiles_current_json(a->profiles), LAPI_COMPACT);
        else
                lapi_reply_text(r, 405, "use GET");
}

static void h_suggest_exit_node(void *arg, struct lapi_req *r)
{
        const struct api *a = arg;
        const struct netmap *nm = backend_netmap(a->backend);
        const struct netcheck_report *report = backend_report(a->backend);
        if (report == NULL || report->preferred == 0 || nm->self == NULL || nm->derpmap == NULL) {
                lapi_reply_error(r, "no preferred DERP, try again later");
                return;
        }
        const struct netmap_node *n = exit_choice(nm, report, backend_prefs(a->backend)->exit_node_id);
        json_t *o = json_pack("{s:s, s:s}", "ID", n != NULL ? n->stable_id : "", "Name", n != NULL ? n->name : "");
        if (n != NULL && n->location[0] != '\0')
                (void)json_object_set_new(o, "Location", json_parse(n->location, strlen(n->location)));
        lapi_reply_json(r, 200, o, LAPI_COMPACT);
}

/* Nothing is served from this node; the official `status` asks. */
static void h_serve_config(void *arg, struct lapi_req *r)
{
        (void)arg;
        lapi_reply_json(r, 200, json_null(), LAPI_COMPACT);
}

static void h_tka_status(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        char key[KEY_TEXT_MAX], nl[16 + 2 * KEY_LEN + 1];
        struct node_public pub = key_node_public(&backend_prefs(a->backend)->identity.node_key);
        snprintf(nl, sizeof(nl), "nlpub:%064d", 0);
        json_t *o = json_pack("{s:b, s:n, s:s}", "Enabled", 0, "Head", "PublicKey", nl);
        json_object_set_new(o, "NodeKey", backend_has_node_key(a->backend) ?
                json_string(node_public_text(&pub, key)) : json_null());
        json_object_set_new(o, "NodeKeySigned", json_false());
        lapi_reply_json(r, 200, o, LAPI_TABS_NO_NEWLINE);
}

/* Asked before routes are advertised, so both families count. */
static void h_check_forwarding(void *arg, struct lapi_req *r)
{
        const struct api *a = arg;
        struct prefix both[2];
        char text[FORWARDING_TEXT_MAX] = "";
        /* Without a TUN device it is not the kernel that forwards. */
        if (backend_tun_name(a->backend) != NULL && prefix_parse("0.0.0.0/0", &both[0]) == ERR_NONE &&
                prefix_parse("::/0", &both[1]) == ERR_NONE)
                forwarding_check(both, 2, text);
        lapi_reply_json(r, 200, json_pack("{s:s}", "Warning", text), LAPI_COMPACT);
}

static void h_check_gro(void *arg, struct lapi_req *r)
{
        char text[FORWARDING_TEXT_MAX];
        const struct api *a = arg;
        const char *tun = backend_tun_name(a->backend);
        text[0] = '\0';
        if (tun != NULL)
                forwarding_check_gro(tun, text);
        lapi_reply_json(r, 200, json_pack("{s:s}", "Warning", text), LAPI_COMPACT);
}

static void h_set_gro(void *arg, struct lapi_req *r)
{
        char text[FORWARDING_TEXT_MAX] = "UDP GRO forwarding is of no use in userspace networking";
        const struct api *a = arg;
        const char *tun = backend_tun_name(a->backend);
        if (tun != NULL)
                forwarding_set_gro(tun, text);
        lapi_reply_json(r, 200, json_pack("{s:s}", "Warning", text), LAPI_COMPACT);
}

static void h_empty_object(void *arg, struct lapi_req *r)
{
        (void)arg;
        lapi_reply_json(r, 200, json_object(), LAPI_COMPACT);
}

static void h_update_check(void *arg, struct lapi_req *r)
{
        (void)arg;
        lapi_reply_json(r, 200, json_pack("{s:b}", "RunningLatest", 1), LAPI_COMPACT);
}

const struct lapi_endpoint api_endpoints[] = {
        {"status", 0, 405, LAPI_READ, 0, h_status},
        {"prefs", LAPI_GET | LAPI_HEAD | LAPI_PATCH, 405, LAPI_READ, LAPI_PATCH, h_prefs},
        {"check-prefs", LAPI_POST, 405, LAPI_WRITE, 0, h_check_prefs},
        {"start", LAPI_POST, 400, LAPI_WRITE, 0, h_start},
        {"login-interactive", LAPI_POST, 400, LAPI_WRITE, 0, h_login_interactive},
        {"logout", LAPI_POST, 400, LAPI_WRITE, 0, h_logout},
        {"whois", 0, 405, LAPI_READ, 0, h_whois},
        {"ping", LAPI_POST, 400, LAPI_OPEN, 0, api_ping},
        {"netcheck", LAPI_POST, 400, LAPI_READ, 0, h_netcheck},
        {"watch-ipn-bus", 0, 405, LAPI_READ, 0, h_watch},
        {"derpmap", LAPI_GET, 400, LAPI_OPEN, 0, h_derpmap},
        {"debug", LAPI_POST, 405, LAPI_WRITE, 0, h_debug},
        {"debug-paths", LAPI_GET, 405, LAPI_READ, 0, api_debug_paths},
        {"debug-portmap", 0, 405, LAPI_WRITE, 0, api_debug_portmap},
        {"dns-config", LAPI_GET, 405, LAPI_READ, 0, api_dns_config},
        {"dns-osconfig", LAPI_GET, 405, LAPI_WRITE, 0, api_dns_osconfig},
        {"dns-query", LAPI_GET, 405, LAPI_WRITE, 0, api_dns_query},
        {"dial", LAPI_POST, 405, LAPI_OPEN, 0, api_dial},
        {"profiles/", LAPI_GET | LAPI_PUT | LAPI_POST | LAPI_DELETE, 405, LAPI_WRITE, 0, h_profiles},
        {"suggest-exit-node", 0, 405, LAPI_OPEN, 0, h_suggest_exit_node},
        {"serve-config", LAPI_GET, 405, LAPI_READ, 0, h_serve_config},
        {"tka/status", LAPI_GET, 405, LAPI_READ, 0, h_tka_status},
        {"check-ip-forwarding", LAPI_GET, 405, LAPI_READ, 0, h_check_forwarding},
        {"check-udp-gro-forwarding", LAPI_GET, 405, LAPI_READ, 0, h_check_gro},
        {"set-udp-gro-forwarding", 0, 405, LAPI_WRITE, 0, h_set_gro},
        {"usermetrics", 0, 405, LAPI_OPEN, 0, api_user_metrics},
        {"metrics", LAPI_GET, 405, LAPI_WRITE, 0, api_debug_metrics},
        {"upload-client-metrics", LAPI_POST, 405, LAPI_OPEN, 0, h_empty_object},
        {"update/check", LAPI_GET, 405, LAPI_OPEN, 0, h_update_check},
        {0},
};
