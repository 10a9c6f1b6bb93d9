#include "cli/upflags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/json.h"
#include "cli/routeflags.h"

#define DEFAULT_SERVER "https://controlplane.tailscale.com"
#define OTHER_DEFAULT_SERVER "https://login.tailscale.com"

static const char *const not_login[] = {"force-reauth", "reset", "json", "accept-risk"};
static const char *const not_up[] = {"nickname"};
static const char *const not_set[] = {"login-server", "auth-key", "force-reauth", "reset", "timeout", "advertise-tags",
        "json", "qr", "qr-format", "host-routes", "unattended"};
static const char *const set_only[] = {"update-check", "auto-update", "webclient", "relay-server-port",
        "relay-server-static-endpoints"};

static bool among(const char *name, const char *const *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(name, list[i]) == 0)
                        return true;
        return false;
}
#define AMONG(name, list) among(name, list, sizeof(list) / sizeof(list[0]))

enum verb { VERB_UP, VERB_LOGIN, VERB_SET };

static bool belongs(const char *name, enum verb verb)
{
        if (verb == VERB_SET)
                return !AMONG(name, not_set);
        return !AMONG(name, set_only) && !(verb == VERB_UP ? AMONG(name, not_up) : AMONG(name, not_login));
}

static void init(struct up *u, enum verb verb)
{
        *u = (struct up){
                .login_server = DEFAULT_SERVER, .hostname = "", .operator = "", .exit_node = "",
                .advertise_routes = "", .advertise_tags = "", .netfilter_mode = "on", .hard_nat = "own", .accept_dns = true,
                .snat_subnet_routes = true, .auth_key = "", .accept_risk = "", .qr_format = "auto",
                .nickname = "", .host_routes = true, .update_check = true, .relay_port = "", .relay_endpoints = "",
                .login = verb == VERB_LOGIN, .set = verb == VERB_SET,
        };
        struct flag all[] = {
                FLAG_STRING("login-server", &u->login_server, "URL of the control server"),
                FLAG_SECRET("auth-key", &u->auth_key, "log in with this key; file:PATH reads it"),
                FLAG_STRING("hostname", &u->hostname, "name to show instead of the host's"),
                FLAG_BOOL("force-reauth", &u->force_reauth, "log in again although logged in"),
                FLAG_BOOL("reset", &u->reset, "settings not mentioned go back to their default"),
                FLAG_DURATION("timeout", &u->timeout_ns, "give up after this long; 0 = never"),
                FLAG_BOOL("accept-routes", &u->accept_routes, "use the subnets that peers advertise"),
                FLAG_BOOL("accept-dns", &u->accept_dns, "take DNS settings from the server"),
                FLAG_BOOL("shields-up", &u->shields_up, "let no connection in"),
                FLAG_STRING("operator", &u->operator, "user who may control the daemon"),
                FLAG_STRING("advertise-routes", &u->advertise_routes, "subnets to offer, comma-separated"),
                FLAG_STRING("advertise-tags", &u->advertise_tags, "tags to ask for, comma-separated"),
                FLAG_STRING("nickname", &u->nickname, "what to call this account"),
                FLAG_BOOL("json", &u->json, "print JSON"),
                FLAG_BOOL("qr", &u->qr, NULL),
                FLAG_STRING("qr-format", &u->qr_format, NULL),
                FLAG_STRING("accept-risk", &u->accept_risk, NULL),
                FLAG_STRING("exit-node", &u->exit_node, "send all traffic through this peer (address, name, or auto:any)"),
                FLAG_BOOL("exit-node-allow-lan-access", &u->exit_node_allow_lan, "reach the local network directly nevertheless"),
                FLAG_BOOL("advertise-exit-node", &u->advertise_exit_node, "offer to be an exit node"),
                FLAG_BOOL("advertise-connector", &u->advertise_connector, NULL),
                FLAG_BOOL("ssh", &u->ssh, NULL),
                FLAG_BOOL("report-posture", &u->report_posture, NULL),
                FLAG_BOOL("snat-subnet-routes", &u->snat_subnet_routes, "forwarded traffic leaves with this host's address"),
                FLAG_BOOL("stateful-filtering", &u->stateful_filtering, "let only answers into the tunnel when forwarding"),
                FLAG_STRING("netfilter-mode", &u->netfilter_mode, "rules in the host's firewall: on, nodivert, off"),
                FLAG_STRING("hard-nat", &u->hard_nat, "search for peers through a hard NAT: own (those that take part), on, off"),
                FLAG_BOOL("host-routes", &u->host_routes, NULL),
                FLAG_BOOL("unattended", &u->unattended, NULL),
                FLAG_BOOL("update-check", &u->update_check, NULL),
                FLAG_BOOL("auto-update", &u->auto_update, NULL),
                FLAG_BOOL("webclient", &u->webclient, NULL),
                FLAG_STRING("relay-server-port", &u->relay_port, NULL),
                FLAG_STRING("relay-server-static-endpoints", &u->relay_endpoints, NULL),
        };
        _Static_assert(sizeof(all) / sizeof(all[0]) <= UP_FLAGS, "the table has room");
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                if (belongs(all[i].name, verb))
                        memcpy(&u->flags[u->flag_count++], &all[i], sizeof(all[i]));
}

void up_init(struct up *u, bool login)
{
        init(u, login ? VERB_LOGIN : VERB_UP);
}

void up_init_set(struct up *u)
{
        init(u, VERB_SET);
}

/* ---- preferences ---- */

static json_t *tags_json(const char *s)
{
        if (s[0] == '\0')
                return json_null();
        json_t *a = json_array();
        while (*s != '\0') {
                size_t n = strcspn(s, ",");
                char tag[300];
                snprintf(tag, sizeof(tag), "%s%.*s", memchr(s, ':', n) != NULL ? "" : "tag:", (int)(n < 280 ? n : 280), s);
                json_array_append_new(a, json_string(tag));
                s += n + (s[n] == ',');
        }
        return a;
}

static int netfilter_number(const char *mode)
{
        return strcmp(mode, "off") == 0 ? 0 : strcmp(mode, "nodivert") == 0 ? 1 : 2;
}

static const char *netfilter_name(int64_t mode)
{
        return mode == 0 ? "off" : mode == 1 ? "nodivert" : "on";
}

/* One row a flag with a preference: how it goes into prefs, and how the current ones are written as a flag. */
enum row_kind {
        ROW_BOOL, ROW_BOOL_NOT, ROW_STRING, ROW_TAGS, ROW_NETFILTER,
        ROW_HARD_NAT,                  /* own, the default, is the empty string */
        ROW_ROUTES, ROW_EXIT_ROUTES,   /* two halves of one preference */
        ROW_EXIT_NODE,                 /* address; goes with the id that replaces it */
        ROW_EXIT_NODE_ID,              /* no flag's value: emptied when an address is set */
        ROW_AUTO_EXIT,                 /* what stands behind "auto:" */
        ROW_OFF,                       /* a bool that up_check() wants to be false: another program may have set it */
        ROW_UPDATE_CHECK, ROW_AUTO_UPDATE,   /* two members of one preference */
};

static const struct row {
        const char *flag, *pref;
        enum row_kind kind;
} rows[] = {   /* in alphabetical order, as the suggested line shows them */
        {"accept-dns", "CorpDNS", ROW_BOOL},
        {"accept-routes", "RouteAll", ROW_BOOL},
        {"advertise-exit-node", "AdvertiseRoutes", ROW_EXIT_ROUTES},
        {"advertise-routes", "AdvertiseRoutes", ROW_ROUTES},
        {"advertise-tags", "AdvertiseTags", ROW_TAGS},
        {"auto-update", "AutoUpdate", ROW_AUTO_UPDATE},
        {"exit-node", "ExitNodeIP", ROW_EXIT_NODE},
        {"exit-node", "ExitNodeID", ROW_EXIT_NODE_ID},
        {"exit-node", "AutoExitNode", ROW_AUTO_EXIT},
        {"exit-node-allow-lan-access", "ExitNodeAllowLANAccess", ROW_BOOL},
        {"hard-nat", "HardNATSearch", ROW_HARD_NAT},
        {"hostname", "Hostname", ROW_STRING},
        {"login-server", "ControlURL", ROW_STRING},
        {"netfilter-mode", "NetfilterMode", ROW_NETFILTER},
        {"nickname", "ProfileName", ROW_STRING},
        {"operator", "OperatorUser", ROW_STRING},
        {"report-posture", "PostureChecking", ROW_OFF},
        {"shields-up", "ShieldsUp", ROW_BOOL},
        {"snat-subnet-routes", "NoSNAT", ROW_BOOL_NOT},
        {"ssh", "RunSSH", ROW_OFF},
        {"stateful-filtering", "NoStatefulFiltering", ROW_BOOL_NOT},
        {"update-check", "AutoUpdate", ROW_UPDATE_CHECK},
        {"webclient", "RunWebClient", ROW_OFF},
};
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static const struct flag *flag_of(const struct up *u, const char *name)
{
        for (size_t i = 0; i < u->flag_count; i++)
                if (strcmp(u->flags[i].name, name) == 0)
                        return &u->flags[i];
        return NULL;
}

static json_t *row_value(const struct up *u, const struct row *r)
{
        const struct flag *f = flag_of(u, r->flag);
        char why[UP_WHY_MAX];
        switch (r->kind) {
        case ROW_BOOL:
        case ROW_OFF:
                return json_boolean(*f->to.b);
        case ROW_BOOL_NOT:
                return json_boolean(!*f->to.b);
        case ROW_STRING:
                return json_string(*f->to.s);
        case ROW_TAGS:
                return tags_json(*f->to.s);
        case ROW_NETFILTER:
                return json_integer(netfilter_number(*f->to.s));
        case ROW_HARD_NAT:
                return json_string(strcmp(*f->to.s, "own") == 0 ? "" : *f->to.s);
        case ROW_ROUTES:
        case ROW_EXIT_ROUTES:
                return routes_parse(u->advertise_routes, u->advertise_exit_node, why, sizeof(why));
        case ROW_EXIT_NODE:
                return json_string(u->exit_node_ip);
        case ROW_EXIT_NODE_ID:
                return json_string("");
        case ROW_AUTO_EXIT:
                return json_string(exit_node_is_auto(u->exit_node) ? u->exit_node + strlen("auto:") : "");
        case ROW_UPDATE_CHECK:
        case ROW_AUTO_UPDATE:
                return json_pack("{s:b, s:b}", "Check", u->update_check, "Apply", u->auto_update);
        }
        return NULL;
}

static bool is_given(const struct up *u, const struct row *r)
{
        const struct flag *f = flag_of(u, r->flag);
        return f != NULL && f->given;
}

/* What is to be set of the row's preference. */
static json_t *row_mask(const struct up *u, const struct row *r)
{
        if (r->kind != ROW_UPDATE_CHECK && r->kind != ROW_AUTO_UPDATE)
                return json_true();
        return json_pack("{s:b, s:b}", "CheckSet", flags_given(u->flags, u->flag_count, "update-check"), "ApplySet",
                flags_given(u->flags, u->flag_count, "auto-update"));
}

json_t *up_prefs(const struct up *u, const json_t *base)
{
        json_t *defaults = json_pack("{s:b, s:{s:b, s:n}}", "NoStatefulFiltering", 1, "AutoUpdate", "Check", 1, "Apply");
        json_t *o = base != NULL ? json_deep_copy(base) : json_object();
        json_object_del(o, "Config");
        for (size_t i = 0; i < ROWS; i++)
                if (flag_of(u, rows[i].flag) != NULL)
                        json_object_set_new(o, rows[i].pref, row_value(u, &rows[i]));
        json_object_set_new(o, "WantRunning", json_true());
        json_object_set_new(o, "LoggedOut", json_false());
        json_object_update_missing(o, defaults);
        json_decref(defaults);
        return o;
}

json_t *up_masked(const struct up *u, bool all)
{
        json_t *o = json_object();
        for (size_t i = 0; i < ROWS; i++) {
                char set[64];
                if (flag_of(u, rows[i].flag) == NULL || (!all && !is_given(u, &rows[i])))
                        continue;
                snprintf(set, sizeof(set), "%sSet", rows[i].pref);
                json_object_set_new(o, rows[i].pref, row_value(u, &rows[i]));
                json_object_set_new(o, set, row_mask(u, &rows[i]));
        }
        json_object_set_new(o, "WantRunning", json_true());
        json_object_set_new(o, "WantRunningSet", json_true());
        return o;
}

bool up_resolve(struct up *u, const json_t *status, char why[UP_WHY_MAX])
{
        return exit_node_resolve(status, u->exit_node, u->exit_node_ip, sizeof(u->exit_node_ip), why, UP_WHY_MAX);
}

bool up_keep_other_routes(struct up *u, const json_t *current, char why[UP_WHY_MAX])
{
        const json_t *now = json_object_get(current, "AdvertiseRoutes");
        bool routes = flags_given(u->flags, u->flag_count, "advertise-routes");
        bool exit = flags_given(u->flags, u->flag_count, "advertise-exit-node");
        if (routes == exit)
                return true;
        if (exit) {
                routes_list(now, u->routes_now, sizeof(u->routes_now));
                u->advertise_routes = u->routes_now;
        } else {
                u->advertise_exit_node = routes_have_exit(now);
        }
        json_t *both = routes_parse(u->advertise_routes, u->advertise_exit_node, why, UP_WHY_MAX);
        json_decref(both);
        return both != NULL;
}

/* ---- the revert check ---- */

/* A value that a shell takes as one word. */
static void put_quoted(struct buf *b, const char *s)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@%+=";
        if (strspn(s, plain) == strlen(s)) {
                buf_puts(b, s);
                return;
        }
        buf_puts(b, "'");
        for (; *s != '\0'; s++) {
                if (*s == '\'')
                        buf_puts(b, "'\\''");
                else
                        buf_add(b, s, 1);
        }
        buf_puts(b, "'");
}

static void put_bool(struct buf *b, const char *name, bool v)
{
        buf_printf(b, " --%s%s", name, v ? "" : "=false");
}

static void put_current(struct buf *b, const struct row *r, const json_t *v)
{
        char list[4096];
        switch (r->kind) {
        case ROW_BOOL:
                put_bool(b, r->flag, json_is_true(v));
                break;
        case ROW_BOOL_NOT:
                put_bool(b, r->flag, !json_is_true(v));
                break;
        case ROW_HARD_NAT:
                buf_printf(b, " --%s=", r->flag);
                put_quoted(b, json_string_length(v) > 0 ? json_string_value(v) : "own");
                break;
        case ROW_STRING:
                buf_printf(b, " --%s=", r->flag);
                put_quoted(b, json_is_string(v) ? json_string_value(v) : "");
                break;
        case ROW_TAGS:
                buf_printf(b, " --%s=", r->flag);
                for (size_t i = 0; i < json_array_size(v); i++)
                        buf_printf(b, "%s%s", i > 0 ? "," : "", json_string_value(json_array_get(v, i)));
                break;
        case ROW_NETFILTER:
                buf_printf(b, " --%s=%s", r->flag, netfilter_name(json_integer_value(v)));
                break;
        case ROW_ROUTES:
                routes_list(v, list, sizeof(list));
                buf_printf(b, " --%s=%s", r->flag, list);
                break;
        case ROW_EXIT_ROUTES:
                put_bool(b, r->flag, routes_have_exit(v));
                break;
        case ROW_OFF:
        case ROW_UPDATE_CHECK:
        case ROW_AUTO_UPDATE:
                break;   /* never reverted */
        case ROW_AUTO_EXIT:
                buf_printf(b, " --%s=auto:%s", r->flag, json_is_string(v) ? json_string_value(v) : "");
                break;
        case ROW_EXIT_NODE:
        case ROW_EXIT_NODE_ID:
                buf_printf(b, " --%s=%s", r->flag, json_is_string(v) ? json_string_value(v) : "");
                break;
        }
}

static void put_given(struct buf *b, const struct flag *f)
{
        char d[DURATION_STR_MAX];
        switch (f->kind) {
        case FLAG_BOOL:
                put_bool(b, f->name, *f->to.b);
                break;
        case FLAG_STRING:
                buf_printf(b, " --%s=", f->name);
                put_quoted(b, *f->to.s);
                break;
        case FLAG_SECRET:   /* a line that people paste into tickets must not carry the key */
                buf_printf(b, " --%s=", f->name);
                put_quoted(b, **f->to.s != '\0' && strncmp(*f->to.s, "file:", 5) != 0 ? "..." : *f->to.s);
                break;
        case FLAG_INT:
                buf_printf(b, " --%s=%lld", f->name, (long long)*f->to.i);
                break;
        case FLAG_DURATION:
                buf_printf(b, " --%s=%s", f->name, duration_str(*f->to.ns, d));
                break;
        }
}

static bool same(const json_t *a, const json_t *b)
{
        bool a_empty = a == NULL || json_is_null(a) || (json_is_string(a) && json_string_length(a) == 0) || json_is_false(a);
        bool b_empty = b == NULL || json_is_null(b) || (json_is_string(b) && json_string_length(b) == 0) || json_is_false(b);
        return (a_empty && b_empty) || json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
}

static bool both_default_server(const json_t *a, const json_t *b)
{
        const char *x = json_string_value(a), *y = json_string_value(b);
        return x != NULL && y != NULL && (strcmp(x, DEFAULT_SERVER) == 0 || strcmp(x, OTHER_DEFAULT_SERVER) == 0) &&
                (strcmp(y, DEFAULT_SERVER) == 0 || strcmp(y, OTHER_DEFAULT_SERVER) == 0);
}

/* Each half by itself: the other one may well be mentioned. */
static bool routes_revert(const struct up *u, const struct row *r, const json_t *now)
{
        char list[4096];
        if (r->kind == ROW_EXIT_ROUTES)
                return routes_have_exit(now) && !u->advertise_exit_node;
        routes_list(now, list, sizeof(list));
        return list[0] != '\0' && u->advertise_routes[0] == '\0';
}

static bool reverts(const struct up *u, const struct row *r, const json_t *current)
{
        const json_t *now = json_object_get(current, r->pref);
        const char *user = getenv("USER");
        if (flag_of(u, r->flag) == NULL || is_given(u, r) || r->kind == ROW_OFF)
                return false;
        if (r->kind == ROW_ROUTES || r->kind == ROW_EXIT_ROUTES)
                return routes_revert(u, r, now);
        /* Nobody asks for a filter to go back to off: that is where it stands. */
        if (strcmp(r->flag, "stateful-filtering") == 0 && (now == NULL || !json_is_false(now)))
                return false;
        json_t *next = row_value(u, r);
        bool differs = !same(now, next) && !both_default_server(now, next);
        json_decref(next);
        if (differs && strcmp(r->flag, "operator") == 0 && user != NULL && json_is_string(now) &&
                strcmp(json_string_value(now), user) == 0)
                return false;   /* keeping oneself is never a surprise */
        return differs;
}

static int by_name(const void *a, const void *b)
{
        const struct flag *x = *(const struct flag *const *)a, *y = *(const struct flag *const *)b;
        return strcmp(x->name, y->name);
}

size_t up_reverted(const struct up *u, const json_t *current, struct buf *line)
{
        size_t missing = 0, given = 0;
        for (size_t i = 0; i < ROWS; i++)
                missing += reverts(u, &rows[i], current);
        if (missing == 0)
                return 0;
        const struct flag *sorted[UP_FLAGS];
        for (size_t i = 0; i < u->flag_count; i++)
                if (u->flags[i].given)
                        sorted[given++] = &u->flags[i];
        qsort(sorted, given, sizeof(sorted[0]), by_name);
        for (size_t i = 0; i < given; i++)
                put_given(line, sorted[i]);
        for (size_t i = 0; i < ROWS; i++)
                if (reverts(u, &rows[i], current))
                        put_current(line, &rows[i], json_object_get(current, rows[i].pref));
        return missing;
}
