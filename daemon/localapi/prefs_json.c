/* The preferences from and to JSON. */
#include "daemon/localapi/prefs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/crypto.h"
#include "daemon/localapi/prefs_fields.h"

#define LOCK_KEY_HEAD "nlpriv:"
enum { LOCK_KEY_DIGITS = 128 };

/* ---- from JSON ---- */

json_t *prefs_fold(const json_t *obj)
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

json_t *prefs_member(const json_t *folded, const char *key, const char *tail)
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
        return json_is_string(v) ? prefs_copy_string(json_string_value(v), ret) : ERR_FORMAT;
}

static enum err read_ip(const json_t *v, char **ret)
{
        struct ip ip;
        char text[IP_STR_MAX] = "";
        const char *s = json_is_null(v) ? "" : json_string_value(v);
        if (s == NULL || (s[0] != '\0' && ip_parse(s, &ip) != ERR_NONE))
                return ERR_FORMAT;
        return prefs_copy_string(s[0] != '\0' ? ip_str(ip, text) : "", ret);
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
                prefs_strings_free(list);
                list = NULL;
        }
        if (err != ERR_NONE)
                return err;
        prefs_strings_free(*ret);
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
        return prefs_copy_string(none ? "" : s, ret);
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

static bool is_user_key(const char *key)
{
        static const char *const names[] = {"ID", "LoginName", "DisplayName", "ProfilePicURL"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcasecmp(key, names[i]) == 0)
                        return true;
        return false;
}

/* *ret_rest: the members that are not ours; NULL: none. */
static enum err read_user(const json_t *v, struct prefs_identity *id, json_t **ret_rest)
{
        if (v == NULL || json_is_null(v))
                return ERR_NONE;
        json_t *u = prefs_fold(v);
        const json_t *n = prefs_member(u, "ID", "");
        char **const to[] = {&id->login_name, &id->display_name, &id->profile_pic_url};
        static const char *const keys[] = {"LoginName", "DisplayName", "ProfilePicURL"};
        enum err err = u == NULL || (n != NULL && !json_is_null(n) && !json_is_integer(n)) ? ERR_FORMAT : ERR_NONE;
        if (err == ERR_NONE)
                id->user_id = json_integer_value(n);
        for (size_t i = 0; i < 3 && err == ERR_NONE; i++) {
                const json_t *m = prefs_member(u, keys[i], "");
                if (m != NULL)
                        err = read_string(m, to[i]);
        }
        json_decref(u);
        return err == ERR_NONE ? read_rest(v, is_user_key, ret_rest) : err;
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
        json_t *c = prefs_fold(v);
        const json_t *node = prefs_member(c, "NodeID", "");
        json_t *user_rest = NULL;
        enum err err = c != NULL ? ERR_NONE : ERR_FORMAT;
        if (err == ERR_NONE)
                err = read_key(prefs_member(c, "PrivateNodeKey", ""), &id->node_key);
        if (err == ERR_NONE)
                err = read_key(prefs_member(c, "OldPrivateNodeKey", ""), &id->old_node_key);
        if (err == ERR_NONE)
                err = read_user(prefs_member(c, "UserProfile", ""), id, &user_rest);
        if (err == ERR_NONE)
                err = read_lock_key(prefs_member(c, "NetworkLockKey", ""), &id->network_lock_key);
        if (err == ERR_NONE && node != NULL)
                err = read_string(node, &id->node_id);
        if (err == ERR_NONE)
                err = read_rest(v, is_config_key, &id->unknown);
        if (err == ERR_NONE && json_object_size(user_rest) > 0)
                (void)json_object_set(id->unknown, "UserProfile", user_rest);
        json_decref(user_rest);
        id->present = err == ERR_NONE;
        json_decref(c);
        return err;
}

static enum err read_update(const json_t *v, struct prefs *p)
{
        if (json_is_null(v))
                return ERR_NONE;
        json_t *o = prefs_fold(v);
        const json_t *check = prefs_member(o, "Check", "");
        const json_t *apply = prefs_member(o, "Apply", "");
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
        json_t *o = prefs_fold(v);
        const json_t *advertise = prefs_member(o, "Advertise", "");
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

static enum err read_field(const struct prefs_field *f, const json_t *v, struct prefs *p)
{
        switch (f->kind) {
        case F_STR:
        case F_STR_OMIT:
                return read_string(v, prefs_field_at(p, f));
        case F_IP:
                return read_ip(v, prefs_field_at(p, f));
        case F_BOOL:
        case F_BOOL_OMIT:
                return read_bool(v, prefs_field_at(p, f));
        case F_OPT:
        case F_OPT_OMIT:
                return read_opt(v, prefs_field_at(p, f));
        case F_MODE:
                return read_mode(v, prefs_field_at(p, f));
        case F_STRINGS:
                return read_strings(v, prefs_field_at(p, f));
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
        for (size_t i = 0; i < PREFS_FIELDS; i++)
                if (strcasecmp(key, prefs_fields[i].key) == 0)
                        return true;
        return false;
}

enum err prefs_overlay(struct prefs *p, const json_t *obj, const char **ret_why)
{
        json_t *o = prefs_fold(obj);
        enum err err = o != NULL ? ERR_NONE : ERR_FORMAT;
        *ret_why = "a JSON object was expected";
        for (size_t i = 0; i < PREFS_FIELDS && err == ERR_NONE; i++) {
                const json_t *v = prefs_member(o, prefs_fields[i].key, "");
                *ret_why = prefs_fields[i].key;
                if (v != NULL)
                        err = read_field(&prefs_fields[i], v, p);
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
                err = prefs_overlay(&p, obj, &why);
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
                (void)json_object_update_recursive(c, id->unknown);
        return c;
}

static json_t *raw_json(const struct prefs *p, const char *key)
{
        json_t *v = json_object_get(p->unknown, key);
        return v != NULL ? json_deep_copy(v) : NULL;
}

/* NULL: to be left out. */
static json_t *field_json(const struct prefs_field *f, const struct prefs *p, bool secrets)
{
        json_t *v;
        switch (f->kind) {
        case F_STR:
        case F_IP:
                return json_string(*(char *const *)prefs_field_of(p, f));
        case F_STR_OMIT:
                return **(char *const *)prefs_field_of(p, f) != '\0' ? json_string(*(char *const *)prefs_field_of(p, f)) : NULL;
        case F_BOOL:
                return json_boolean(*(const bool *)prefs_field_of(p, f));
        case F_BOOL_OMIT:
                return *(const bool *)prefs_field_of(p, f) ? json_true() : NULL;
        case F_OPT:
                return opt_json(*(const enum prefs_opt *)prefs_field_of(p, f));
        case F_OPT_OMIT:
                v = opt_json(*(const enum prefs_opt *)prefs_field_of(p, f));
                return json_is_null(v) ? NULL : v;
        case F_MODE:
                return json_integer(*(const int *)prefs_field_of(p, f));
        case F_STRINGS:
                return strings_json(*(char *const *const *)prefs_field_of(p, f));
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
        for (size_t i = 0; o != NULL && i < PREFS_FIELDS; i++) {
                json_t *v = field_json(&prefs_fields[i], p, secrets);
                if (v != NULL && json_object_set_new(o, prefs_fields[i].key, v) != 0) {
                        json_decref(o);
                        o = NULL;
                }
        }
        if (secrets && o != NULL && p->unknown != NULL)
                (void)json_object_update_missing(o, p->unknown);
        return o;
}
