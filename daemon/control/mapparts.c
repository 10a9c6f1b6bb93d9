#include "daemon/control/mapparts.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mono.h"
#include "base/timetext.h"

#define SKEW_IGNORED_NS (60 * NS_PER_SEC)
/* A server's clock between 1970 and 2200 may be right or wrong; any other is none, and could not be reckoned with. */
#define CLOCK_LAST_NS (INT64_C(7258118400) * NS_PER_SEC)

/* --- users --- */

struct netmap_user *user_from_json(const json_t *obj)
{
        const char *text[3] = {
                json_str(obj, "LoginName", ""),
                json_str(obj, "DisplayName", ""),
                json_str(obj, "ProfilePicURL", ""),
        };
        size_t len[3];
        size_t size = sizeof(struct netmap_user);
        for (size_t i = 0; i < 3; i++) {
                len[i] = strlen(text[i]) + 1;
                size += len[i];
        }
        char *block = malloc(size);
        if (block == NULL)
                return NULL;
        struct netmap_user *u = (struct netmap_user *)(void *)block;
        const char **field[3] = {&u->login_name, &u->display_name, &u->profile_pic_url};
        char *at = block + sizeof(*u);
        u->id = json_int(obj, "ID", 0);
        for (size_t i = 0; i < 3; i++) {
                memcpy(at, text[i], len[i]);
                *field[i] = at;
                at += len[i];
        }
        return u;
}

static bool user_eq(const struct netmap_user *a, const struct netmap_user *b)
{
        return a->id == b->id && strcmp(a->login_name, b->login_name) == 0 &&
               strcmp(a->display_name, b->display_name) == 0 &&
               strcmp(a->profile_pic_url, b->profile_pic_url) == 0;
}

static size_t user_place(struct netmap_user *const *users, size_t count, int64_t id)
{
        size_t lo = 0;
        size_t hi = count;
        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (users[mid]->id < id)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo;
}

/* Takes u.  Returns whether anything differs now; the array must have room for one more. */
static bool user_upsert(struct netmap_user **users, size_t *count, struct netmap_user *u)
{
        size_t i = user_place(users, *count, u->id);
        if (i < *count && users[i]->id == u->id) {
                if (user_eq(users[i], u)) {
                        free(u);
                        return false;
                }
                free(users[i]);
                users[i] = u;
                return true;
        }
        memmove(users + i + 1, users + i, (*count - i) * sizeof(*users));
        users[i] = u;
        (*count)++;
        return true;
}

void users_free(struct netmap_user **users, size_t count)
{
        for (size_t i = 0; i < count; i++)
                free(users[i]);
        free(users);
}

static bool users_eq(const struct netmap_user *const *a, size_t an, const struct netmap_user *const *b,
                     size_t bn)
{
        if (an != bn)
                return false;
        for (size_t i = 0; i < an; i++)
                if (!user_eq(a[i], b[i]))
                        return false;
        return true;
}

static enum err merge_users(struct mapsession *s, struct message *m, bool first, unsigned *parts)
{
        size_t old_count = first ? 0 : s->map.user_count;
        if (m->user_count == 0 && !first)
                return ERR_NONE;
        struct netmap_user **users = malloc((old_count + m->user_count + 1) * sizeof(*users));
        if (users == NULL)
                return ERR_FULL;
        if (old_count > 0)
                memcpy(users, s->map.users, old_count * sizeof(*users));
        size_t count = old_count;
        bool differs = false;
        for (size_t i = 0; i < m->user_count; i++)
                differs |= user_upsert(users, &count, m->users[i]);
        m->user_count = 0;
        if (first) {
                differs = !users_eq((const struct netmap_user *const *)s->map.users, s->map.user_count,
                                    (const struct netmap_user *const *)users, count);
                users_free(s->map.users, s->map.user_count);
        } else {
                free(s->map.users);
        }
        s->map.users = users;
        s->map.user_count = count;
        if (differs)
                *parts |= NETMAP_USERS;
        return ERR_NONE;
}

/* --- the other parts --- */

static bool same_json(const json_t *a, const json_t *b)
{
        return a == b || (a != NULL && b != NULL && json_equal(a, b));
}

/* Replaces *place by the member when it is there, or when a stream starts. */
static void merge_object(json_t **place, const json_t *rest, const char *key, bool first, unsigned bit,
                         unsigned *parts)
{
        json_t *next = json_obj(rest, key);
        if ((next == NULL && !first) || same_json(*place, next))
                return;
        json_decref(*place);
        *place = json_incref(next);
        *parts |= bit;
}

static void merge_self(struct mapsession *s, struct message *m, unsigned *parts)
{
        if (m->self == NULL)
                return;
        if (s->map.self == NULL || netmap_node_diff(s->map.self, m->self) != 0)
                *parts |= NETMAP_SELF;
        free(s->map.self);
        s->map.self = m->self;
        m->self = NULL;

        const char *dot = strchr(s->map.self->name, '.');
        size_t len = dot != NULL ? strlen(dot + 1) : 0;
        if (len > 0 && dot[len] == '.')
                len--;
        free(s->map.magic_dns_suffix);
        s->map.magic_dns_suffix = strndup(dot != NULL ? dot + 1 : "", len);
}

/* What changes in the DERPMap object: regions as a whole, scores on their own. */
static json_t *derp_merged(json_t *old, json_t *sent)
{
        json_t *d = old != NULL ? json_copy(old) : json_object();
        if (json_has(sent, "Regions")) {
                (void)json_object_set(d, "Regions", json_object_get(sent, "Regions"));
                if (json_has(sent, "omitDefaultRegions"))
                        (void)json_object_set(d, "omitDefaultRegions",
                                              json_object_get(sent, "omitDefaultRegions"));
                else
                        (void)json_object_del(d, "omitDefaultRegions");
        }
        if (json_has(json_obj(sent, "HomeParams"), "RegionScore"))
                (void)json_object_set(d, "HomeParams", json_object_get(sent, "HomeParams"));
        return d;
}

enum err merge_derp(struct mapsession *s, const json_t *rest, bool first, unsigned *parts)
{
        json_t *sent = json_obj(rest, "DERPMap");
        struct derpmap *map = NULL;
        if (sent == NULL && !first)
                return ERR_NONE;
        json_t *merged = sent != NULL ? derp_merged(first ? NULL : s->derp, sent) : NULL;
        if (merged != NULL && derpmap_from_json(merged, &map) != ERR_NONE) {
                json_decref(merged);
                return ERR_FORMAT;
        }
        json_decref(s->derp);
        s->derp = merged;
        if (map == s->map.derpmap ||
            (map != NULL && s->map.derpmap != NULL && derpmap_eq(map, s->map.derpmap))) {
                derpmap_free(map);
                return ERR_NONE;
        }
        derpmap_free(s->map.derpmap);
        s->map.derpmap = map;
        *parts |= NETMAP_DERPMAP;
        return ERR_NONE;
}

static void merge_chunks(json_t *chunks, const json_t *rest)
{
        const char *name;
        json_t *rules;
        json_t *base = json_arr(rest, "PacketFilter");
        json_t *named = json_obj(rest, "PacketFilters");
        if (base != NULL)
                (void)json_object_set(chunks, "base", base);
        if (json_is_null(json_object_get(named, "*")))
                (void)json_object_clear(chunks);
        json_object_foreach(named, name, rules)
        {
                if (strcmp(name, "*") == 0)
                        continue;
                if (json_is_array(rules))
                        (void)json_object_set(chunks, name, rules);
                else
                        (void)json_object_del(chunks, name);
        }
}

static int name_cmp(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All rules, the chunks in the order of their names. */
static json_t *chunks_joined(json_t *chunks)
{
        json_t *all = json_array();
        size_t n = json_object_size(chunks);
        const char **names = malloc((n + 1) * sizeof(*names));
        const char *name;
        json_t *rules;
        size_t i = 0;
        if (names == NULL || all == NULL) {
                free(names);
                json_decref(all);
                return NULL;
        }
        json_object_foreach(chunks, name, rules) names[i++] = name;
        qsort(names, n, sizeof(*names), name_cmp);
        for (i = 0; i < n; i++)
                (void)json_array_extend(all, json_object_get(chunks, names[i]));
        free(names);
        return all;
}

/* A source or port given by a bit count is a form nobody must meet: then the filter as a whole permits nothing. */
static bool rule_has_bits(const json_t *rule)
{
        size_t i;
        json_t *v;
        if (json_array_size(json_arr(rule, "SrcBits")) > 0)
                return true;
        json_array_foreach(json_arr(rule, "DstPorts"), i, v)
        {
                if (json_has(v, "Bits"))
                        return true;
        }
        return false;
}

static void rules_free(struct filter_rule **rules, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(rules[i]);
        free(rules);
}

static enum err rules_from_json(const json_t *all, struct filter_rule ***ret, size_t *ret_n)
{
        size_t n = 0;
        size_t i;
        json_t *v;
        if (json_array_size(all) > NETMAP_RULES_MAX)
                return ERR_FULL;
        struct filter_rule **rules = malloc((json_array_size(all) + 1) * sizeof(*rules));
        if (rules == NULL)
                return ERR_FULL;
        json_array_foreach(all, i, v)
        {
                enum err e = rule_has_bits(v) ? ERR_UNSUPPORTED : filter_rule_from_json(v, &rules[n]);
                if (e == ERR_NONE) {
                        n++;
                } else {
                        rules_free(rules, n);
                        rules = NULL;
                        n = 0;
                        if (e != ERR_UNSUPPORTED)
                                return e;
                        break;
                }
        }
        *ret = rules;
        *ret_n = n;
        return ERR_NONE;
}

static enum err merge_filter(struct mapsession *s, const json_t *rest, bool first, unsigned *parts)
{
        struct filter_rule **rules;
        size_t n;
        if (first || s->chunks == NULL) {
                json_decref(s->chunks);
                s->chunks = json_object();
        }
        if (!first && json_arr(rest, "PacketFilter") == NULL && json_obj(rest, "PacketFilters") == NULL)
                return ERR_NONE;
        merge_chunks(s->chunks, rest);
        json_t *all = chunks_joined(s->chunks);
        if (all == NULL)
                return ERR_FULL;
        if (same_json(s->map.packet_filter, all)) {
                json_decref(all);
                return ERR_NONE;
        }
        enum err e = rules_from_json(all, &rules, &n);
        if (e != ERR_NONE) {
                json_decref(all);
                return e;
        }
        rules_free(s->map.rules, s->map.rule_count); /* they borrow from the array that goes next */
        json_decref(s->map.packet_filter);
        s->map.packet_filter = all;
        s->map.rules = rules;
        s->map.rule_count = n;
        *parts |= NETMAP_FILTER;
        return ERR_NONE;
}

static bool health_same(char **old, const json_t *list)
{
        size_t n = json_array_size(list);
        size_t i = 0;
        for (; old != NULL && old[i] != NULL; i++) {
                const char *s = json_string_value(json_array_get(list, i));
                if (i >= n || s == NULL || strcmp(old[i], s) != 0)
                        return false;
        }
        return i == n;
}

static enum err merge_health(struct mapsession *s, const json_t *rest, bool first, unsigned *parts)
{
        const json_t *list = json_arr(rest, "Health");
        size_t i;
        json_t *v;
        if ((list == NULL && !first) || health_same(s->map.health, list))
                return ERR_NONE;
        size_t n = 0;
        char **texts = calloc(json_array_size(list) + 1, sizeof(*texts));
        if (texts == NULL)
                return ERR_FULL;
        json_array_foreach(list, i, v)
        {
                if (json_is_string(v) && (texts[n] = strdup(json_string_value(v))) != NULL)
                        n++;
        }
        for (char **h = s->map.health; h != NULL && *h != NULL; h++)
                free(*h);
        free(s->map.health);
        s->map.health = texts;
        *parts |= NETMAP_HEALTH;
        return ERR_NONE;
}

static void merge_display(struct mapsession *s, const json_t *rest, bool first, unsigned *parts)
{
        const char *id;
        json_t *message;
        json_t *sent = json_obj(rest, "DisplayMessages");
        if (sent == NULL && !first)
                return;
        json_t *next =
                first || s->map.display_messages == NULL ? json_object() : json_copy(s->map.display_messages);
        if (json_is_null(json_object_get(sent, "*")))
                (void)json_object_clear(next);
        json_object_foreach(sent, id, message)
        {
                if (json_is_object(message))
                        (void)json_object_set(next, id, message);
                else
                        (void)json_object_del(next, id);
        }
        if (json_object_size(next) == 0) {
                json_decref(next);
                next = NULL;
        }
        if (!same_json(s->map.display_messages, next))
                *parts |= NETMAP_HEALTH;
        json_decref(s->map.display_messages);
        s->map.display_messages = next;
}

static void merge_domain(struct mapsession *s, const json_t *rest, bool first, unsigned *parts)
{
        const char *domain = json_str(rest, "Domain", "");
        if (domain[0] == '\0' && !first)
                return;
        if (s->map.domain != NULL && strcmp(s->map.domain, domain) == 0)
                return;
        free(s->map.domain);
        s->map.domain = strdup(domain);
        *parts |= NETMAP_DOMAIN;
}

static void set_skew(struct mapsession *s, int64_t skew)
{
        s->map.control_skew_ns = skew > SKEW_IGNORED_NS || skew < -SKEW_IGNORED_NS ? skew : 0;
}

void merge_clock(struct mapsession *s, const json_t *rest, int64_t wall_ns)
{
        int64_t theirs;
        if (!json_has(rest, "ControlTime") ||
            time_parse(json_str(rest, "ControlTime", ""), &theirs) != ERR_NONE || theirs < 0 ||
            theirs > CLOCK_LAST_NS)
                return;
        set_skew(s, theirs - wall_ns);
}

void mapsession_clock_stepped(struct mapsession *s, int64_t step_ns)
{
        set_skew(s, s->map.control_skew_ns - step_ns);
}

enum err merge_rest(struct mapsession *s, struct message *m, bool first, unsigned *parts)
{
        merge_self(s, m, parts);
        merge_object(&s->map.dns, m->rest, "DNSConfig", first, NETMAP_DNS, parts);
        merge_object(&s->map.ssh_policy, m->rest, "SSHPolicy", first, NETMAP_SSH, parts);
        merge_domain(s, m->rest, first, parts);
        merge_display(s, m->rest, first, parts);
        if (json_has(m->rest, "CollectServices") || first)
                s->map.collect_services = json_bool(m->rest, "CollectServices", false);
        json_t *lock = json_obj(m->rest, "TKAInfo");
        if (lock != NULL || first)
                s->map.tailnet_lock =
                        json_str(lock, "Head", "")[0] != '\0' && !json_bool(lock, "Disabled", false);
        enum err e = merge_users(s, m, first, parts);
        if (e == ERR_NONE)
                e = merge_health(s, m->rest, first, parts);
        if (e == ERR_NONE)
                e = merge_filter(s, m->rest, first, parts);
        return e;
}
