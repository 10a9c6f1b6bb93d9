#include "daemon/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mono.h"
#include "base/timetext.h"

/* A login that has not got its first map yet; ours alone, so that a crash does not lose a key already sent. */
#define PENDING_KEY "_pending-profile"

struct profiles {
        struct state_file *store;
        struct key_private machine;
        struct prefs prefs;
        char id[16];        /* "" = fresh, not stored */
        json_t *list;       /* id -> LoginProfile */
};

static json_t *get_json(const struct state_file *s, const char *key)
{
        size_t len;
        const char *text = state_file_get(s, key, &len);
        return text != NULL ? json_parse(text, len) : NULL;
}

static enum err put_json(struct state_file *s, const char *key, const json_t *v, size_t flags)
{
        char *text = json_dumps(v, flags);
        if (text == NULL)
                return ERR_FULL;
        enum err e = state_file_set(s, key, text, strlen(text));
        crypto_wipe(text, strlen(text));
        free(text);
        return e;
}

/* *ret_why: which part of which file, and what to do. */
static enum err damaged(const struct profiles *p, const char *what, const char *member, const char **ret_why)
{
        static char why[1024];
        snprintf(why, sizeof(why), "%s in the state file %s is damaged%s%s%s: restore the file from a backup, or move it away "
                                   "and log in again",
                what, state_file_path(p->store), member[0] != '\0' ? " (" : "", member, member[0] != '\0' ? ")" : "");
        *ret_why = why;
        return ERR_FORMAT;
}

/* A damaged list is refused: writing a new one over it would lose the other profiles. */
static enum err load_list(struct profiles *p, const char **ret_why)
{
        size_t len;
        const char *id;
        json_t *entry;
        if (state_file_get(p->store, "_profiles", &len) == NULL) {
                p->list = json_object();
                return ERR_NONE;
        }
        p->list = get_json(p->store, "_profiles");
        bool ok = json_is_object(p->list);
        json_object_foreach(p->list, id, entry) ok = ok && json_is_object(entry);
        return ok ? ERR_NONE : damaged(p, "the list of profiles (_profiles)", "", ret_why);
}

/* The last to be loaded, as it may be written: a file that is refused stays as it was. */
static enum err load_machine_key(struct profiles *p, const char **ret_why)
{
        size_t len;
        const char *text = state_file_get(p->store, "_machinekey", &len);
        if (text != NULL) {
                enum err e = key_private_parse(text, &p->machine);
                return e == ERR_NONE ? e : damaged(p, "the machine key (_machinekey)", "", ret_why);
        }
        *ret_why = "out of memory";
        char fresh[KEY_TEXT_MAX];
        key_generate(&p->machine);
        key_private_text(&p->machine, fresh);
        enum err e = state_file_set(p->store, "_machinekey", fresh, strlen(fresh));
        crypto_wipe(fresh, sizeof(fresh));
        if (e == ERR_NONE && (e = state_file_save(p->store)) != ERR_NONE)
                *ret_why = state_file_trouble(p->store);
        return e;
}

/* Preferences stored under key become the current ones. ERR_NOT_FOUND: nothing there. */
static enum err load_prefs(struct profiles *p, const char *key, const char **ret_why)
{
        const char *member = "JSON";
        size_t len;
        if (state_file_get(p->store, key, &len) == NULL)
                return ERR_NOT_FOUND;
        json_t *j = get_json(p->store, key);
        struct prefs prefs;
        enum err e = j != NULL ? prefs_from_json(j, &prefs, &member) : ERR_FORMAT;
        json_decref(j);
        if (e != ERR_NONE) {
                char what[96];
                snprintf(what, sizeof(what), "the profile %.64s", key);
                return damaged(p, what, member, ret_why);
        }
        prefs_done(&p->prefs);
        p->prefs = prefs;
        return ERR_NONE;
}

static enum err load_current(struct profiles *p, const char **ret_why)
{
        size_t len;
        char key[64] = "";
        const char *current = state_file_get(p->store, "_current-profile", &len);
        if (current != NULL && strncmp(current, "profile-", 8) == 0 && str_copy(key, sizeof(key), current) &&
                strlen(key + 8) < sizeof(p->id)) {
                enum err e = load_prefs(p, key, ret_why);
                if (e == ERR_NONE)
                        (void)str_copy(p->id, sizeof(p->id), key + 8);
                if (e != ERR_NOT_FOUND)
                        return e;
        }
        enum err e = load_prefs(p, PENDING_KEY, ret_why);
        if (e == ERR_NOT_FOUND && current == NULL && json_object_size(p->list) == 0)
                e = load_prefs(p, "_daemon", ret_why);
        return e == ERR_NOT_FOUND ? ERR_NONE : e;
}

enum err profiles_open(struct state_file *store, struct profiles **ret, const char **ret_why)
{
        struct profiles *p = calloc(1, sizeof(*p));
        if (p == NULL) {
                *ret_why = "out of memory";
                return ERR_FULL;
        }
        p->store = store;
        prefs_init(&p->prefs);
        enum err e = load_list(p, ret_why);
        if (e == ERR_NONE)
                e = load_current(p, ret_why);
        if (e == ERR_NONE)
                e = load_machine_key(p, ret_why);
        if (e != ERR_NONE) {
                profiles_free(p);
                return e;
        }
        *ret = p;
        return ERR_NONE;
}

void profiles_free(struct profiles *p)
{
        if (p == NULL)
                return;
        key_wipe(&p->machine);
        prefs_done(&p->prefs);
        json_decref(p->list);
        free(p);
}

const struct key_private *profiles_machine_key(const struct profiles *p)
{
        return &p->machine;
}

const struct prefs *profiles_prefs(const struct profiles *p)
{
        return &p->prefs;
}

/* ---- saving ---- */

static bool is_complete(const struct prefs *p)
{
        return p->identity.present && p->identity.node_id[0] != '\0' && p->identity.login_name[0] != '\0';
}

/* The stored profile of the same user on the same server, else a new id. */
static void choose_id(struct profiles *p)
{
        const char *id;
        json_t *entry;
        json_object_foreach(p->list, id, entry)
        {
                const json_t *user = json_obj(entry, "UserProfile");
                if (strlen(id) < sizeof(p->id) && json_int(user, "ID", 0) == p->prefs.identity.user_id &&
                        strcmp(json_str(user, "LoginName", ""), p->prefs.identity.login_name) == 0 &&
                        strcmp(json_str(entry, "ControlURL", ""), p->prefs.control_url) == 0) {
                        (void)str_copy(p->id, sizeof(p->id), id);
                        return;
                }
        }
        do {
                snprintf(p->id, sizeof(p->id), "%04x", crypto_random_u32() & 0xffff);
        } while (json_object_get(p->list, p->id) != NULL);
}

static json_t *entry_json(const struct profiles *p, const char *suffix, const char *domain)
{
        const struct prefs *pr = &p->prefs;
        const json_t *old = json_object_get(p->list, p->id);
        char key[32], created[TIME_STR_MAX];
        snprintf(key, sizeof(key), "profile-%s", p->id);
        json_t *user = json_pack("{s:I, s:s, s:s}", "ID", (json_int_t)pr->identity.user_id, "LoginName",
                pr->identity.login_name, "DisplayName", pr->identity.display_name);
        if (pr->identity.profile_pic_url[0] != '\0')
                json_object_set_new(user, "ProfilePicURL", json_string(pr->identity.profile_pic_url));
        const json_t *net = json_obj(old, "NetworkProfile");
        json_t *e = json_object();
        json_object_set_new(e, "ID", json_string(p->id));
        json_object_set_new(e, "Name",
                json_string(pr->profile_name[0] ? pr->profile_name : pr->identity.login_name));
        json_object_set_new(e, "NetworkProfile", json_pack("{s:s, s:s, s:s}", "MagicDNSName",
                suffix[0] ? suffix : json_str(net, "MagicDNSName", ""), "DomainName",
                domain[0] ? domain : json_str(net, "DomainName", ""), "DisplayName", json_str(net, "DisplayName", "")));
        json_object_set_new(e, "Key", json_string(key));
        json_object_set_new(e, "UserProfile", user);
        json_object_set_new(e, "NodeID", json_string(pr->identity.node_id));
        json_object_set_new(e, "LocalUserID", json_string(json_str(old, "LocalUserID", "")));
        json_object_set_new(e, "ControlURL", json_string(pr->control_url));
        json_object_set_new(e, "Created", json_string(json_str(old, "Created", time_str(wall_now_ns(), created))));
        if (old == NULL)
                return e;
        /* Members of other versions stay, wherever they are. */
        json_t *whole = json_deep_copy(old);
        if (whole != NULL && json_object_update_recursive(whole, e) == 0) {
                json_decref(e);
                return whole;
        }
        json_decref(whole);
        return e;
}

static enum err store_profile(struct profiles *p, const char *suffix, const char *domain)
{
        char key[32];
        if (p->id[0] == '\0')
                choose_id(p);
        snprintf(key, sizeof(key), "profile-%s", p->id);
        json_object_set_new(p->list, p->id, entry_json(p, suffix, domain));
        json_t *prefs = prefs_to_json(&p->prefs, true);
        enum err e = put_json(p->store, key, prefs, JSON_INDENT(1));
        json_decref(prefs);
        if (e == ERR_NONE)
                e = put_json(p->store, "_profiles", p->list, JSON_COMPACT);
        if (e == ERR_NONE)
                e = state_file_set(p->store, "_current-profile", key, strlen(key));
        if (e == ERR_NONE)
                e = state_file_set(p->store, PENDING_KEY, NULL, 0);
        return e;
}

static enum err store_pending(struct profiles *p)
{
        if (!p->prefs.identity.present || key_private_is_zero(&p->prefs.identity.node_key))
                return ERR_NONE;
        json_t *prefs = prefs_to_json(&p->prefs, true);
        enum err e = put_json(p->store, PENDING_KEY, prefs, JSON_COMPACT);
        json_decref(prefs);
        return e;
}

enum err profiles_save(struct profiles *p, const struct prefs *prefs, const char *suffix, const char *domain)
{
        struct prefs copy;
        enum err e = prefs_copy(prefs, &copy);
        if (e != ERR_NONE)
                return e;
        prefs_done(&p->prefs);
        p->prefs = copy;
        e = p->id[0] != '\0' || is_complete(&p->prefs) ? store_profile(p, suffix, domain) : store_pending(p);
        return e == ERR_NONE ? state_file_save(p->store) : e;
}

/* Removing a value cannot fail. */
static void forget(struct state_file *s, const char *key)
{
        if (state_file_set(s, key, NULL, 0) != ERR_NONE)
                abort();
}

static void start_afresh(struct profiles *p)
{
        forget(p->store, PENDING_KEY);
        p->id[0] = '\0';
        prefs_done(&p->prefs);
        prefs_init(&p->prefs);
}

static enum err drop_stored(struct profiles *p, const char *id)
{
        char key[32];
        snprintf(key, sizeof(key), "profile-%s", id);
        forget(p->store, key);
        json_object_del(p->list, id);
        return put_json(p->store, "_profiles", p->list, JSON_COMPACT);
}

enum err profiles_delete_current(struct profiles *p)
{
        enum err e = ERR_NONE;
        if (p->id[0] != '\0') {
                e = drop_stored(p, p->id);
                forget(p->store, "_current-profile");
        }
        start_afresh(p);
        return e == ERR_NONE ? state_file_save(p->store) : e;
}

enum err profiles_new(struct profiles *p)
{
        start_afresh(p);
        return state_file_save(p->store);
}

static bool is_stored(const struct profiles *p, const char *id)
{
        return strlen(id) < sizeof(p->id) && json_object_get(p->list, id) != NULL;
}

enum err profiles_switch(struct profiles *p, const char *id, const char **ret_why)
{
        char key[32];
        if (!is_stored(p, id))
                return ERR_NOT_FOUND;
        snprintf(key, sizeof(key), "profile-%s", id);
        enum err e = load_prefs(p, key, ret_why);
        if (e != ERR_NONE)
                return e;
        (void)str_copy(p->id, sizeof(p->id), id);
        forget(p->store, PENDING_KEY);
        e = state_file_set(p->store, "_current-profile", key, strlen(key));
        return e == ERR_NONE ? state_file_save(p->store) : e;
}

enum err profiles_delete(struct profiles *p, const char *id)
{
        if (!is_stored(p, id) || strcmp(id, p->id) == 0)
                return ERR_NONE;
        enum err e = drop_stored(p, id);
        return e == ERR_NONE ? state_file_save(p->store) : e;
}

enum err profiles_retry_save(struct profiles *p)
{
        return state_file_save(p->store);
}

const char *profiles_trouble(const struct profiles *p)
{
        return state_file_trouble(p->store);
}

const char *profiles_current_id(const struct profiles *p)
{
        return p->id;
}

/* ---- to look at ---- */

json_t *profiles_current_json(const struct profiles *p)
{
        json_t *e = p->id[0] != '\0' ? json_object_get(p->list, p->id) : NULL;
        if (e != NULL)
                return json_incref(e);
        return json_pack("{s:s, s:s, s:{s:s, s:s, s:s}, s:s, s:{s:i, s:s, s:s}, s:s, s:s, s:s}", "ID", "", "Name", "",
                "NetworkProfile", "MagicDNSName", "", "DomainName", "", "DisplayName", "", "Key", "", "UserProfile",
                "ID", 0, "LoginName", "", "DisplayName", "", "NodeID", "", "LocalUserID", "", "ControlURL", "");
}

static int by_age(const void *a, const void *b)
{
        const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
        int64_t tx = 0, ty = 0;   /* without a time: the oldest */
        if (time_parse(json_str(x, "Created", ""), &tx) != ERR_NONE)
                tx = 0;
        if (time_parse(json_str(y, "Created", ""), &ty) != ERR_NONE)
                ty = 0;
        if (tx != ty)
                return tx < ty ? -1 : 1;
        int c = strcmp(json_str(x, "Name", ""), json_str(y, "Name", ""));
        return c != 0 ? c : strcmp(json_str(json_obj(x, "NetworkProfile"), "DomainName", ""),
                json_str(json_obj(y, "NetworkProfile"), "DomainName", ""));
}

json_t *profiles_list_json(const struct profiles *p)
{
        json_t *a = json_array(), *e;
        const char *id;
        size_t n = 0;
        json_t **sorted = calloc(json_object_size(p->list) + 1, sizeof(json_t *));
        if (sorted == NULL)
                return a;
        json_object_foreach(p->list, id, e) sorted[n++] = e;
        qsort(sorted, n, sizeof(json_t *), by_age);
        for (size_t i = 0; i < n; i++)
                json_array_append(a, sorted[i]);
        free(sorted);
        return a;
}

json_t *profiles_json(const struct profiles *p, const char *id)
{
        return json_incref(json_object_get(p->list, id));
}
