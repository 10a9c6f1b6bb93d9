#include "daemon/localapi/prefs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/crypto.h"
#include "base/log.h"

enum kind {
        F_STR,
        F_STR_OMIT,     /* left out when "" */
        F_IP,           /* char *: an address or "" */
        F_BOOL,
        F_BOOL_OMIT,    /* left out when false */
        F_OPT,          /* enum prefs_opt */
        F_OPT_OMIT,     /* left out when unset */
        F_MODE,         /* int, PREFS_NETFILTER_* */
        F_STRINGS,      /* char ** */
        F_ROUTES,       /* advertise_routes and its count */
        F_UPDATE,       /* AutoUpdate: both members */
        F_CONNECTOR,    /* AppConnector.Advertise */
        F_RAW,          /* not ours: kept in .unknown, null when absent */
        F_RAW_OMIT,     /* the same, left out when absent */
        F_CONFIG,       /* the identity */
};

struct field {
        const char *key;
        enum kind kind;
        size_t offset;      /* in struct prefs; 0 where the kind says where */
};


#define AT(member) offsetof(struct prefs, member)

#define LOCK_KEY_HEAD "nlpriv:"
enum { LOCK_KEY_DIGITS = 128 };

static const struct field fields[] = {
        {"ControlURL", F_STR, AT(control_url)},
        {"RouteAll", F_BOOL, AT(route_all)},
        {"ExitNodeID", F_STR, AT(exit_node_id)},
        {"ExitNodeIP", F_IP, AT(exit_node_ip)},
        {"AutoExitNode", F_STR_OMIT, AT(auto_exit_node)},
        {"InternalExitNodePrior", F_STR, AT(internal_exit_node_prior)},
        {"ExitNodeAllowLANAccess", F_BOOL, AT(exit_node_allow_lan)},
        {"CorpDNS", F_BOOL, AT(corp_dns)},
        {"RunSSH", F_BOOL, AT(run_ssh)},
        {"RunWebClient", F_BOOL, AT(run_web_client)},
        {"WantRunning", F_BOOL, AT(want_running)},
        {"LoggedOut", F_BOOL, AT(logged_out)},
        {"ShieldsUp", F_BOOL, AT(shields_up)},
        {"AdvertiseTags", F_STRINGS, AT(advertise_tags)},
        {"Hostname", F_STR, AT(hostname)},
        {"NotepadURLs", F_BOOL, AT(notepad_urls)},
        {"ForceDaemon", F_BOOL_OMIT, AT(force_daemon)},
        {"Egg", F_BOOL_OMIT, AT(egg)},
        {"AdvertiseRoutes", F_ROUTES, 0},
        {"AdvertiseServices", F_STRINGS, AT(advertise_services)},
        {"Sync", F_OPT, AT(sync)},
        {"NoSNAT", F_BOOL, AT(no_snat)},
        {"NoStatefulFiltering", F_OPT_OMIT, AT(no_stateful_filtering)},
        {"NetfilterMode", F_MODE, AT(netfilter_mode)},
        {"OperatorUser", F_STR_OMIT, AT(operator_user)},
        {"ProfileName", F_STR_OMIT, AT(profile_name)},
        {"AutoUpdate", F_UPDATE, 0},
        {"AppConnector", F_CONNECTOR, 0},
        {"PostureChecking", F_BOOL, AT(posture_checking)},
        {"NetfilterKind", F_STR, AT(netfilter_kind)},
        {"RemoteConfig", F_BOOL, AT(remote_config)},
        {"DriveShares", F_RAW, 0},
        {"RelayServerPort", F_RAW_OMIT, 0},
        {"RelayServerStaticEndpoints", F_RAW_OMIT, 0},
        {"Config", F_CONFIG, 0},
};

enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };

/* ---- life ---- */

/* Ends the process where no error can be returned: an empty string is all it is asked for. */
static char *empty(void)
{
        char *s = strdup("");
        if (s == NULL) {
                log_err("out of memory");
                abort();
        }
        return s;
}

static void strings_free(char **list)
{
        if (list == NULL)
                return;
        for (char **s = list; *s != NULL; s++)
                free(*s);
        free(list);
}

static void free_secret(char *s)
{
        if (s != NULL)
                crypto_wipe(s, strlen(s));
        free(s);
}

static void identity_done(struct prefs_identity *id)
{
        key_wipe(&id->node_key);
        key_wipe(&id->old_node_key);
        free(id->login_name);
        free(id->display_name);
        free(id->profile_pic_url);
        free_secret(id->network_lock_key);
        free(id->node_id);
        json_decref(id->unknown);
        *id = (struct prefs_identity){0};
}

static bool is_string(enum kind k)
{
        return k == F_STR || k == F_STR_OMIT || k == F_IP;
}

static void *field_at(struct prefs *p, const struct field *f)
{
        return (char *)p + f->offset;
}

static const void *field_of(const struct prefs *p, const struct field *f)
{
        return (const char *)p + f->offset;
}

static void zero(struct prefs *p)
{
        *p = (struct prefs){0};
        for (size_t i = 0; i < FIELDS; i++)
                if (is_string(fields[i].kind))
                        *(char **)field_at(p, &fields[i]) = empty();
        struct prefs_identity *id = &p->identity;
        char **const strings[] = {&id->login_name, &id->display_name, &id->profile_pic_url, &id->network_lock_key,
                &id->node_id};
        for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
                *strings[i] = empty();
}

void prefs_init(struct prefs *p)
{
        zero(p);
        p->corp_dns = true;
        p->logged_out = true;
        p->no_stateful_filtering = PREFS_TRUE;
        p->netfilter_mode = PREFS_NETFILTER_ON;
        p->auto_update_check = true;
}

void prefs_done(struct prefs *p)
{
        for (size_t i = 0; i < FIELDS; i++) {
                const struct field *f = &fields[i];
                if (is_string(f->kind))
                        free(*(char **)field_at(p, f));
                else if (f->kind == F_STRINGS)
                        strings_free(*(char ***)field_at(p, f));
        }
        free(p->advertise_routes);
        identity_done(&p->identity);
        json_decref(p->unknown);
        *p = (struct prefs){0};
}

/* ---- copies ---- */

static enum err copy_string(const char *from, char **to)
{
        char *s = strdup(from);
        if (s == NULL)
                return ERR_FULL;
        free_secret(*to);
        *to = s;
        return ERR_NONE;
}

static enum err copy_strings(char *const *from, char ***to)
{
        size_t n = 0;
        while (from != NULL && from[n] != NULL)
                n++;
        char **list = NULL;
        if (n > 0) {
                list = calloc(n + 1, sizeof(*list));
                for (size_t i = 0; list != NULL && i < n; i++) {
                        if ((list[i] = strdup(from[i])) == NULL) {
                                strings_free(list);
                                list = NULL;
                        }
                }
                if (list == NULL)
                        return ERR_FULL;
        }
        strings_free(*to);
        *to = list;
        return ERR_NONE;
}

static enum err copy_routes(const struct prefs *from, struct prefs *to)
{
        struct prefix *routes = NULL;
        size_t n = from->advertise_route_count;
        if (n > 0) {
                routes = calloc(n, sizeof(*routes));
                if (routes == NULL)
                        return ERR_FULL;
                memcpy(routes, from->advertise_routes, n * sizeof(*routes));
        }
        free(to->advertise_routes);
        to->advertise_routes = routes;
        to->advertise_route_count = n;
        return ERR_NONE;
}

static enum err copy_identity(const struct prefs_identity *from, struct prefs_identity *to)
{
        struct prefs_identity id = {
                .present = from->present,
                .node_key = from->node_key,
                .old_node_key = from->old_node_key,
                .user_id = from->user_id,
                .login_name = strdup(from->login_name),
                .display_name = strdup(from->display_name),
                .profile_pic_url = strdup(from->profile_pic_url),
                .network_lock_key = strdup(from->network_lock_key),
                .node_id = strdup(from->node_id),
                .unknown = from->unknown != NULL ? json_deep_copy(from->unknown) : NULL,
        };
        bool whole = id.login_name != NULL && id.display_name != NULL && id.profile_pic_url != NULL &&
                id.network_lock_key != NULL && id.node_id != NULL && (from->unknown == NULL || id.unknown != NULL);
        identity_done(whole ? to : &id);
        if (whole)
                *to = id;
        key_wipe(&id.node_key);
        key_wipe(&id.old_node_key);
        return whole ? ERR_NONE : ERR_FULL;
}

static enum err copy_raw(const char *key, const struct prefs *from, struct prefs *to)
{
        json_t *v = json_object_get(from->unknown, key);
        if (v == NULL) {
                (void)json_object_del(to->unknown, key);
                return ERR_NONE;
        }
        if (to->unknown == NULL && (to->unknown = json_object()) == NULL)
                return ERR_FULL;
        return json_object_set_new(to->unknown, key, json_deep_copy(v)) == 0 ? ERR_NONE : ERR_FULL;
}

static enum err copy_field(const struct field *f, const struct prefs *from, struct prefs *to)
{
        switch (f->kind) {
        case F_STR:
        case F_STR_OMIT:
        case F_IP:
                return copy_string(*(char *const *)field_of(from, f), field_at(to, f));
        case F_BOOL:
        case F_BOOL_OMIT:
                *(bool *)field_at(to, f) = *(const bool *)field_of(from, f);
                return ERR_NONE;
        case F_OPT:
        case F_OPT_OMIT:
                *(enum prefs_opt *)field_at(to, f) = *(const enum prefs_opt *)field_of(from, f);
                return ERR_NONE;
        case F_MODE:
                *(int *)field_at(to, f) = *(const int *)field_of(from, f);
                return ERR_NONE;
        case F_STRINGS:
                return copy_strings(*(char *const *const *)field_of(from, f), field_at(to, f));
        case F_ROUTES:
                return copy_routes(from, to);
        case F_UPDATE:
                to->auto_update_check = from->auto_update_check;
                to->auto_update_apply = from->auto_update_apply;
                return ERR_NONE;
        case F_CONNECTOR:
                to->app_connector = from->app_connector;
                return ERR_NONE;
        case F_RAW:
        case F_RAW_OMIT:
                return copy_raw(f->key, from, to);
        case F_CONFIG:
                return copy_identity(&from->identity, &to->identity);
        }
        return ERR_FORMAT;
}

enum err prefs_copy(const struct prefs *p, struct prefs *ret)
{
        struct prefs copy = {0};
        enum err err = ERR_NONE;
        for (size_t i = 0; i < FIELDS && err == ERR_NONE; i++)
                err = copy_field(&fields[i], p, &copy);
        if (err == ERR_NONE && p->unknown != NULL) {
                json_decref(copy.unknown);
                if ((copy.unknown = json_deep_copy(p->unknown)) == NULL)
                        err = ERR_FULL;
        }
        if (err != ERR_NONE)
                prefs_done(&copy);
        else
                *ret = copy;
        return err;
}

/* ---- from JSON ---- */

/* A new object with the same members, their names in lower case;
 * NULL: no object, or out of memory. */
static json_t *fold(const json_t *obj)
{
        const char *key;
        json_t *v;
        char name[64];
        json_t *o = json_is_object(obj) ? json_object() : NULL;
        if (o == NULL)
                return NULL;
        json_object_foreach((json_t *)(uintptr_t)obj, key, v)
        {
                size_t n = strlen(key);
                if (n >= sizeof(name))   /* longer than any of ours */
                        continue;
                for (size_t i = 0; i <= n; i++)
                        name[i] = (char)(key[i] >= 'A' && key[i] <= 'Z' ? key[i] - 'A' + 'a' : key[i]);
                if (json_object_set_nocheck(o, name, v) != 0) {
                        json_decref(o);
                        return NULL;
                }
        }
        return o;
}

/* The member `key` + `tail` of an object folded like that; borrowed. */
static json_t *member(const json_t *folded, const char *key, const char *tail)
{
        char name[64];
        snprintf(name, sizeof(name), "%s%s", key, tail);
        for (char *c = name; *c != '\0'; c++)
                *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
        return json_object_get(folded, name);
}

static enum err read_bool(const json_t *v, bool *ret)
{
        if (json_is_null(v))
                return ERR_NONE;
        if (!json_is_boolean(v))
                return ERR_FORMAT;
        *ret = json_is_true(v);
        return ERR_NONE;
}

static enum err read_opt(const json_t *v, enum prefs_opt *ret)
{
        if (!json_is_null(v) && !json_is_boolean(v))
                return ERR_FORMAT;
        *ret = json_is_null(v) ? PREFS_UNSET : json_is_true(v) ? PREFS_TRUE : PREFS_FALSE;
        return ERR_NONE;
}

static enum err read_string(const json_t *v, char **ret)
{
        if (json_is_null(v))
                return ERR_NONE;
        return json_is_string(v) ? copy_string(json_string_value(v), ret) : ERR_FORMAT;
}

static enum err read_ip(const json_t *v, char **ret)
{
        struct ip ip;
        char text[IP_STR_MAX] = "";
        const char *s = json_is_null(v) ? "" : json_string_value(v);
        if (s == NULL || (s[0] != '\0' && ip_parse(s, &ip) != ERR_NONE))
                return ERR_FORMAT;
        return copy_string(s[0] != '\0' ? ip_str(ip, text) : "", ret);
}

static enum err read_strings(const json_t *v, char ***ret)
{
        size_t n = json_array_size(v);
        if (!json_is_null(v) && !json_is_array(v))
                return ERR_FORMAT;
        char **list = calloc(n + 1, sizeof(*list));
        if (list == NULL)
                return ERR_FULL;
        enum err err = ERR_NONE;
        for (size_t i = 0; i < n && err == ERR_NONE; i++) {
                const char *s = json_string_value(json_array_get(v, i));
                err = s == NULL ? ERR_FORMAT : (list[i] = strdup(s)) == NULL ? ERR_FULL : ERR_NONE;
        }
        if (err != ERR_NONE || n == 0) {
                strings_free(list);
                list = NULL;
        }
        if (err != ERR_NONE)
                return err;
        strings_free(*ret);
        *ret = list;
        return ERR_NONE;
}

static enum err read_routes(const json_t *v, struct prefs *p)
{
        size_t n = json_array_size(v);
        if (!json_is_null(v) && !json_is_array(v))
                return ERR_FORMAT;
        struct prefix *routes = n > 0 ? calloc(n, sizeof(*routes)) : NULL;
        if (n > 0 && routes == NULL)
                return ERR_FULL;
        for (size_t i = 0; i < n; i++) {
                const char *s = json_string_value(json_array_get(v, i));
                if (s == NULL || strchr(s, '/') == NULL || prefix_parse(s, &routes[i]) != ERR_NONE) {
                        free(routes);
                        return ERR_FORMAT;
                }
        }
        free(p->advertise_routes);
        p->advertise_routes = routes;
        p->advertise_route_count = n;
        return ERR_NONE;
}

static enum err read_key(const json_t *v, struct key_private *ret)
{
        if (v == NULL || json_is_null(v))
                return ERR_NONE;
        return json_is_string(v) ? key_private_parse(json_string_value(v), ret) : ERR_FORMAT;
}

/* The lock key is not used, only kept: its form is checked, and zeros are as good as none. */
static enum err read_lock_key(const json_t *v, char **ret)
{
        const char *s = v == NULL || json_is_null(v) ? "" : json_string_value(v);
        size_t head = strlen(LOCK_KEY_HEAD);
        if (s == NULL)
                return ERR_FORMAT;
        if (s[0] != '\0' && (strncmp(s, LOCK_KEY_HEAD, head) != 0 || strlen(s) != head + LOCK_KEY_DIGITS ||
                                    strspn(s + head, "0123456789abcdefABCDEF") != LOCK_KEY_DIGITS))
                return ERR_FORMAT;
        bool none = s[0] == '\0' || strspn(s + head, "0") == LOCK_KEY_DIGITS;
        return copy_string(none ? "" : s, ret);
}

static enum err read_user(const json_t *v, struct prefs_identity *id)
{
        if (v == NULL || json_is_null(v))
                return ERR_NONE;
        json_t *u = fold(v);
        const json_t *n = member(u, "ID", "");
        char **const to[] = {&id->login_name, &id->display_name, &id->profile_pic_url};
        static const char *const keys[] = {"LoginName", "DisplayName", "ProfilePicURL"};
        enum err err = u == NULL || (n != NULL && !json_is_null(n) && !json_is_integer(n)) ? ERR_FORMAT : ERR_NONE;
        if (err == ERR_NONE)
                id->user_id = json_integer_value(n);
        for (size_t i = 0; i < 3 && err == ERR_NONE; i++) {
                const json_t *m = member(u, keys[i], "");
                if (m != NULL)
                        err = read_string(m, to[i]);
        }
        json_decref(u);
        return err;
}

/* The members of obj that are not ours, as a new object. */
static enum err read_rest(const json_t *obj, bool (*ours)(const char *key), json_t **ret)
{
        const char *key;
        json_t *v;
        json_t *rest = json_object();
        if (rest == NULL)
                return ERR_FULL;
        json_object_foreach((json_t *)(uintptr_t)obj, key, v)
        {
                if (!ours(key) && json_object_set_new(rest, key, json_deep_copy(v)) != 0) {
                        json_decref(rest);
                        return ERR_FULL;
                }
        }
        json_decref(*ret);
        *ret = rest;
        return ERR_NONE;
}

static bool is_config_key(const char *key)
{
        static const char *const names[] = {"PrivateNodeKey", "OldPrivateNodeKey", "UserProfile", "NetworkLockKey",
                "NodeID"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcasecmp(key, names[i]) == 0)
                        return true;
        return false;
}

static enum err read_config(const json_t *v, struct prefs_identity *id)
{
        if (json_is_null(v))
                return ERR_NONE;
        json_t *c = fold(v);
        const json_t *node = member(c, "NodeID", "");
        enum err err = c != NULL ? ERR_NONE : ERR_FORMAT;
        if (err == ERR_NONE)
                err = read_key(member(c, "PrivateNodeKey", ""), &id->node_key);
        if (err == ERR_NONE)
                err = read_key(member(c, "OldPrivateNodeKey", ""), &id->old_node_key);
        if (err == ERR_NONE)
                err = read_user(member(c, "UserProfile", ""), id);
        if (err == ERR_NONE)
                err = read_lock_key(member(c, "NetworkLockKey", ""), &id->network_lock_key);
        if (err == ERR_NONE && node != NULL)
                err = read_string(node, &id->node_id);
        if (err == ERR_NONE)
                err = read_rest(v, is_config_key, &id->unknown);
        id->present = err == ERR_NONE;
        json_decref(c);
        return err;
}

static enum err read_update(const json_t *v, struct prefs *p)
{
        if (json_is_null(v))
                return ERR_NONE;
        json_t *o = fold(v);
        const json_t *check = member(o, "Check", "");
        const json_t *apply = member(o, "Apply", "");
        enum err err = o != NULL ? ERR_NONE : ERR_FORMAT;
        if (err == ERR_NONE && check != NULL)
                err = read_bool(check, &p->auto_update_check);
        if (err == ERR_NONE && apply != NULL)
                err = read_opt(apply, &p->auto_update_apply);
        json_decref(o);
        return err;
}

static enum err read_connector(const json_t *v, bool *ret)
{
        if (json_is_null(v))
                return ERR_NONE;
        json_t *o = fold(v);
        const json_t *advertise = member(o, "Advertise", "");
        enum err err = o == NULL ? ERR_FORMAT : advertise != NULL ? read_bool(advertise, ret) : ERR_NONE;
        json_decref(o);
        return err;
}

static enum err read_raw(const char *key, const json_t *v, json_t **unknown)
{
        if (json_is_null(v)) {
                (void)json_object_del(*unknown, key);
                return ERR_NONE;
        }
        if (*unknown == NULL && (*unknown = json_object()) == NULL)
                return ERR_FULL;
        return json_object_set_new(*unknown, key, json_deep_copy(v)) == 0 ? ERR_NONE : ERR_FULL;
}

static enum err read_mode(const json_t *v, int *ret)
{
        if (json_is_null(v))
                return ERR_NONE;
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < PREFS_NETFILTER_OFF || n > PREFS_NETFILTER_ON)
                return ERR_FORMAT;
        *ret = (int)n;
        return ERR_NONE;
}

static enum err read_field(const struct field *f, const json_t *v, struct prefs *p)
{
        switch (f->kind) {
        case F_STR:
        case F_STR_OMIT:
                return read_string(v, field_at(p, f));
        case F_IP:
                return read_ip(v, field_at(p, f));
        case F_BOOL:
        case F_BOOL_OMIT:
                return read_bool(v, field_at(p, f));
        case F_OPT:
        case F_OPT_OMIT:
                return read_opt(v, field_at(p, f));
        case F_MODE:
                return read_mode(v, field_at(p, f));
        case F_STRINGS:
                return read_strings(v, field_at(p, f));
        case F_ROUTES:
                return read_routes(v, p);
        case F_UPDATE:
                return read_update(v, p);
        case F_CONNECTOR:
                return read_connector(v, &p->app_connector);
        case F_RAW:
        case F_RAW_OMIT:
                return read_raw(f->key, v, &p->unknown);
        case F_CONFIG:
                return read_config(v, &p->identity);
        }
        return ERR_FORMAT;
}

static bool is_prefs_key(const char *key)
{
        for (size_t i = 0; i < FIELDS; i++)
                if (strcasecmp(key, fields[i].key) == 0)
                        return true;
        return false;
}

/* The members of obj over what p has; *p is whole but half done after an error. */
static enum err overlay(struct prefs *p, const json_t *obj, const char **ret_why)
{
        json_t *o = fold(obj);
        enum err err = o != NULL ? ERR_NONE : ERR_FORMAT;
        *ret_why = "a JSON object was expected";
        for (size_t i = 0; i < FIELDS && err == ERR_NONE; i++) {
                const json_t *v = member(o, fields[i].key, "");
                *ret_why = fields[i].key;
                if (v != NULL)
                        err = read_field(&fields[i], v, p);
        }
        json_decref(o);
        return err;
}

enum err prefs_from_json(const json_t *obj, struct prefs *ret, const char **ret_why)
{
        struct prefs p;
        const char *why;
        prefs_init(&p);
        enum err err = read_rest(json_is_object(obj) ? obj : NULL, is_prefs_key, &p.unknown);
        if (err == ERR_NONE)
                err = overlay(&p, obj, &why);
        else
                why = "out of memory";
        if (err != ERR_NONE) {
                *ret_why = why;
                prefs_done(&p);
                return err;
        }
        *ret = p;
        return ERR_NONE;
}

/* ---- to JSON ---- */

static json_t *opt_json(enum prefs_opt o)
{
        return o == PREFS_UNSET ? json_null() : json_boolean(o == PREFS_TRUE);
}

static json_t *strings_json(char *const *list)
{
        if (list == NULL)
                return json_null();
        json_t *a = json_array();
        for (; *list != NULL; list++)
                (void)json_array_append_new(a, json_string(*list));
        return a;
}

static json_t *routes_json(const struct prefs *p)
{
        char text[PREFIX_STR_MAX];
        if (p->advertise_route_count == 0)
                return json_null();
        json_t *a = json_array();
        for (size_t i = 0; i < p->advertise_route_count; i++)
                (void)json_array_append_new(a, json_string(prefix_str(p->advertise_routes[i], text)));
        return a;
}

static json_t *key_json(const struct key_private *k, bool secrets)
{
        static const struct key_private none;
        char text[KEY_TEXT_MAX];
        key_private_text(secrets ? k : &none, text);
        json_t *v = json_string(text);
        crypto_wipe(text, sizeof(text));
        return v;
}

static json_t *lock_key_json(const char *key, bool secrets)
{
        char zeros[sizeof(LOCK_KEY_HEAD) + LOCK_KEY_DIGITS];
        if (secrets && key[0] != '\0')
                return json_string(key);
        snprintf(zeros, sizeof(zeros), "%s%0*d", LOCK_KEY_HEAD, LOCK_KEY_DIGITS, 0);
        return json_string(zeros);
}

static json_t *config_json(const struct prefs_identity *id, bool secrets)
{
        if (!id->present)
                return json_null();
        json_t *c = json_object();
        json_t *u = json_object();
        (void)json_object_set_new(u, "ID", json_integer(id->user_id));
        (void)json_object_set_new(u, "LoginName", json_string(id->login_name));
        (void)json_object_set_new(u, "DisplayName", json_string(id->display_name));
        if (id->profile_pic_url[0] != '\0')
                (void)json_object_set_new(u, "ProfilePicURL", json_string(id->profile_pic_url));
        (void)json_object_set_new(c, "PrivateNodeKey", key_json(&id->node_key, secrets));
        (void)json_object_set_new(c, "OldPrivateNodeKey", key_json(&id->old_node_key, secrets));
        (void)json_object_set_new(c, "UserProfile", u);
        (void)json_object_set_new(c, "NetworkLockKey", lock_key_json(id->network_lock_key, secrets));
        (void)json_object_set_new(c, "NodeID", json_string(id->node_id));
        if (secrets && id->unknown != NULL)   /* nobody knows what is in there */
                (void)json_object_update_missing(c, id->unknown);
        return c;
}

static json_t *raw_json(const struct prefs *p, const char *key)
{
        json_t *v = json_object_get(p->unknown, key);
        return v != NULL ? json_deep_copy(v) : NULL;
}

/* NULL: to be left out. */
static json_t *field_json(const struct field *f, const struct prefs *p, bool secrets)
{
        json_t *v;
        switch (f->kind) {
        case F_STR:
        case F_IP:
                return json_string(*(char *const *)field_of(p, f));
        case F_STR_OMIT:
                return **(char *const *)field_of(p, f) != '\0' ? json_string(*(char *const *)field_of(p, f)) : NULL;
        case F_BOOL:
                return json_boolean(*(const bool *)field_of(p, f));
        case F_BOOL_OMIT:
                return *(const bool *)field_of(p, f) ? json_true() : NULL;
        case F_OPT:
                return opt_json(*(const enum prefs_opt *)field_of(p, f));
        case F_OPT_OMIT:
                v = opt_json(*(const enum prefs_opt *)field_of(p, f));
                return json_is_null(v) ? NULL : v;
        case F_MODE:
                return json_integer(*(const int *)field_of(p, f));
        case F_STRINGS:
                return strings_json(*(char *const *const *)field_of(p, f));
        case F_ROUTES:
                return routes_json(p);
        case F_UPDATE:
                return json_pack("{s:b, s:o}", "Check", p->auto_update_check, "Apply", opt_json(p->auto_update_apply));
        case F_CONNECTOR:
                return json_pack("{s:b}", "Advertise", p->app_connector);
        case F_RAW:
                v = raw_json(p, f->key);
                return v != NULL ? v : json_null();
        case F_RAW_OMIT:
                return raw_json(p, f->key);
        case F_CONFIG:
                return config_json(&p->identity, secrets);
        }
        return NULL;
}

json_t *prefs_to_json(const struct prefs *p, bool secrets)
{
        json_t *o = json_object();
        for (size_t i = 0; o != NULL && i < FIELDS; i++) {
                json_t *v = field_json(&fields[i], p, secrets);
                if (v != NULL && json_object_set_new(o, fields[i].key, v) != 0) {
                        json_decref(o);
                        o = NULL;
                }
        }
        if (secrets && o != NULL && p->unknown != NULL)
                (void)json_object_update_missing(o, p->unknown);
        return o;
}

const char *prefs_control_url(const struct prefs *p)
{
        return p->control_url[0] != '\0' ? p->control_url : PREFS_DEFAULT_CONTROL_URL;
}

bool prefs_equal(const struct prefs *a, const struct prefs *b)
{
        json_t *ja = prefs_to_json(a, true);
        json_t *jb = prefs_to_json(b, true);
        (void)json_object_del(ja, "Config");
        (void)json_object_del(jb, "Config");
        bool equal = ja != NULL && json_equal(ja, jb) == 1;
        json_decref(ja);
        json_decref(jb);
        return equal;
}

/* ---- what is refused ---- */

static bool advertises_exit_node(const struct prefs *p)
{
        for (size_t i = 0; i < p->advertise_route_count; i++)
                if (p->advertise_routes[i].bits == 0)
                        return true;
        return false;
}

static bool uses_exit_node(const struct prefs *p)
{
        return p->exit_node_id[0] != '\0' || p->exit_node_ip[0] != '\0' || p->auto_exit_node[0] != '\0';
}

const char *prefs_check(const struct prefs *p)
{
        static char why[2 * PREFIX_STR_MAX + 64];
        for (size_t i = 0; i < p->advertise_route_count; i++) {
                struct prefix r = p->advertise_routes[i];
                char is[PREFIX_STR_MAX], should[PREFIX_STR_MAX];
                if (prefix_eq(r, prefix_masked(r)))
                        continue;
                snprintf(why, sizeof(why), "route %s has non-address bits set; expected %s", prefix_str(r, is),
                        prefix_str(prefix_masked(r), should));
                return why;
        }
        if (uses_exit_node(p) && advertises_exit_node(p))
                return "a node cannot use an exit node and advertise itself as one at the same time; "
                       "unset one of the two";
        return NULL;
}

const char *prefs_check_new(const struct prefs *before, const struct prefs *after)
{
        if (after->run_ssh && !before->run_ssh)
                return "this daemon has no SSH server; leave --ssh off and use the host's own";
        if (after->run_web_client && !before->run_web_client)
                return "this daemon has no web interface; leave --webclient off";
        if (uses_exit_node(after) && !uses_exit_node(before))
                return "this daemon cannot use exit nodes; leave --exit-node empty";
        if (after->app_connector && !before->app_connector)
                return "this daemon cannot be an app connector; leave --advertise-connector off";
        if (after->posture_checking && !before->posture_checking)
                return "this daemon does not report the device's posture; leave --report-posture off";
        if (after->auto_update_apply == PREFS_TRUE && before->auto_update_apply != PREFS_TRUE)
                return "this daemon does not update itself; leave --auto-update off and use the package manager";
        return prefs_check(after);
}

/* ---- MaskedPrefs ---- */

/* 1: set, 0: not, -1: no boolean. */
static int mask_bit(const json_t *folded, const char *key)
{
        const json_t *v = member(folded, key, "Set");
        if (v == NULL || json_is_null(v))
                return 0;
        return json_is_boolean(v) ? json_is_true(v) : -1;
}

/* AutoUpdateSet has a bit for each of the two members. */
static enum err apply_update(struct prefs *p, const struct prefs *from, const json_t *folded, const char **ret_why)
{
        json_t *set = member(folded, "AutoUpdate", "Set");
        if (set == NULL || json_is_null(set))
                return ERR_NONE;
        json_t *bits = fold(set);
        int check = mask_bit(bits, "Check");
        int apply = mask_bit(bits, "Apply");
        bool object = bits != NULL;
        json_decref(bits);
        if (!object || check < 0 || apply < 0) {
                *ret_why = "AutoUpdateSet must be an object of booleans";
                return ERR_FORMAT;
        }
        if (check)
                p->auto_update_check = from->auto_update_check;
        if (apply)
                p->auto_update_apply = from->auto_update_apply;
        return ERR_NONE;
}

static enum err apply_field(const struct field *f, struct prefs *p, const struct prefs *from,
        const json_t *folded, const char **ret_why)
{
        static char why[64];
        if (f->kind == F_CONFIG)   /* the identity is not to be edited */
                return ERR_NONE;
        if (f->kind == F_UPDATE)
                return apply_update(p, from, folded, ret_why);
        int bit = mask_bit(folded, f->key);
        if (bit < 0) {
                snprintf(why, sizeof(why), "%sSet must be a boolean", f->key);
                *ret_why = why;
                return ERR_FORMAT;
        }
        if (bit == 0)
                return ERR_NONE;
        if (strncmp(f->key, "Internal", strlen("Internal")) == 0) {
                *ret_why = "fields whose names begin with Internal cannot be set";
                return ERR_PERMISSION;
        }
        *ret_why = "out of memory";
        return copy_field(f, from, p);
}

/* An exit node chosen by hand ends the automatic choice; none at all also forgets the last one. */
static void apply_exit_node(struct prefs *p, const json_t *folded)
{
        bool id = mask_bit(folded, "ExitNodeID") == 1;
        bool ip = mask_bit(folded, "ExitNodeIP") == 1;
        if ((id || ip) && mask_bit(folded, "AutoExitNode") != 1)
                p->auto_exit_node[0] = '\0';
        if (id && p->exit_node_id[0] == '\0')
                p->internal_exit_node_prior[0] = '\0';
}

enum err prefs_apply_masked(struct prefs *p, const json_t *masked, bool *ret_changed, const char **ret_why)
{
        struct prefs from, next;
        zero(&from);
        json_t *folded = fold(masked);
        enum err err = overlay(&from, masked, ret_why);
        if (err != ERR_NONE || folded == NULL || prefs_copy(p, &next) != ERR_NONE) {
                if (err == ERR_NONE) {
                        *ret_why = "out of memory";
                        err = ERR_FULL;
                }
                prefs_done(&from);
                json_decref(folded);
                return err;
        }
        for (size_t i = 0; i < FIELDS && err == ERR_NONE; i++)
                err = apply_field(&fields[i], &next, &from, folded, ret_why);
        if (err == ERR_NONE) {
                apply_exit_node(&next, folded);
                const char *why = prefs_check_new(p, &next);
                if (why != NULL) {
                        *ret_why = why;
                        err = ERR_UNSUPPORTED;
                }
        }
        if (err == ERR_NONE) {
                *ret_changed = !prefs_equal(p, &next);
                prefs_done(p);
                *p = next;
        } else {
                prefs_done(&next);
        }
        prefs_done(&from);
        json_decref(folded);
        return err;
}
