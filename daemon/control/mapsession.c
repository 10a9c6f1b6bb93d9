#include "daemon/control/mapsession.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/json.h"
#include "base/mono.h"
#include "daemon/control/mapparts.h"

/* Before this (January 2023) a clock is taken to be wrong, and nobody is expired by it. */
#define CLOCK_SANE_NS (INT64_C(1673373066) * NS_PER_SEC)

struct mapsession *mapsession_new(void)
{
        struct mapsession *s = calloc(1, sizeof(*s));
        if (s != NULL) {
                s->fresh = true;
                crypto_random(s->hash_key, sizeof(s->hash_key));
        }
        return s;
}

static void publish_peers(struct mapsession *s)
{
        s->map.peers = s->peers.at;
        s->map.peer_count = s->peers.count;
}

void mapsession_clear(struct mapsession *s)
{
        uint64_t generation = s->map.generation;
        s->map.peers = NULL;
        s->map.peer_count = 0;
        netmap_done(&s->map);
        peerset_done(&s->peers);
        json_decref(s->derp);
        json_decref(s->chunks);
        json_decref(s->rest);
        struct mapsession next = {.fresh = true, .map = {.generation = generation + 1}};
        memcpy(next.hash_key, s->hash_key, sizeof(next.hash_key));
        *s = next;
}

void mapsession_free(struct mapsession *s)
{
        if (s == NULL)
                return;
        mapsession_clear(s);
        free(s);
}

const struct netmap *mapsession_map(const struct mapsession *s)
{
        return &s->map;
}

void mapsession_restart(struct mapsession *s)
{
        s->fresh = true;
}

void mapsession_told(struct mapsession *s)
{
        peerset_told(&s->peers);
}

/* --- decoding --- */

static void message_done(struct message *m)
{
        node_list_done(&m->full);
        node_list_done(&m->changed);
        users_free(m->users, m->user_count);
        free(m->self);
        jview_done(&m->room);
        json_decref(m->rest);
}

static enum err take_user(struct message *m, const json_t *obj)
{
        if (m->user_count == m->user_cap) {
                size_t cap = m->user_cap == 0 ? 8 : m->user_cap * 2;
                struct netmap_user **users =
                        m->user_count < NETMAP_PEERS_MAX ? realloc(m->users, cap * sizeof(*users)) : NULL;
                if (users == NULL)
                        return ERR_FULL;
                m->users = users;
                m->user_cap = cap;
        }
        struct netmap_user *u = user_from_json(obj);
        if (u == NULL)
                return ERR_FULL;
        m->users[m->user_count++] = u;
        return ERR_NONE;
}

/* With a secret key, as nodes choose much of their texts.  Never 0. */
static uint64_t text_hash(const struct mapsession *s, const char *text, size_t len)
{
        uint64_t h = crypto_short_hash(s->hash_key, text, len);
        return h != 0 ? h : 1;
}

/* A server that sends its whole list again mostly says of each peer what it said before, in the same order: what it
 * says in the same words need not be read again. */
static bool is_told_again(const struct message *m, uint64_t hash)
{
        const struct peerset *peers = &m->s->peers;
        return m->at < peers->count && peers->at[m->at]->text_hash == hash;
}

static enum err take_node(struct message *m, bool of_all, const char *text, size_t len)
{
        const struct peerset *peers = &m->s->peers;
        struct node_list *list = of_all ? &m->full : &m->changed;
        struct netmap_node *n;
        uint64_t hash = text_hash(m->s, text, len);
        if (of_all && is_told_again(m, hash))
                return node_list_add(list, peers->at[m->at++]);
        enum err e = netmap_node_read(&m->room, text, len, false, &n);
        if (e != ERR_NONE)
                return e;
        n->text_hash = hash;
        m->at = peerset_index(peers, n->id);
        m->at += m->at < peers->count && peers->at[m->at]->id == n->id;
        return node_list_add(list, n);
}

static enum err see_element(void *arg, const char *key, const char *text, size_t len, bool *ret_taken)
{
        *ret_taken = strcmp(key, "UserProfiles") != 0;
        return *ret_taken ? take_node(arg, strcmp(key, "Peers") == 0, text, len) : ERR_NONE;
}

static enum err take_element(void *arg, const char *key, json_t *element)
{
        (void)key;
        return take_user(arg, element);
}

static enum err message_decode(struct message *m, const char *text, size_t len)
{
        static const char *const STREAMED[] = {"Peers", "PeersChanged", "UserProfiles", NULL};
        enum err e = json_each_seen(text, len, STREAMED, see_element, take_element, m, &m->rest);
        if (e == ERR_NONE && json_has(m->rest, "Node"))
                e = netmap_node_from_json(json_obj(m->rest, "Node"), true, &m->self);
        return e;
}

/* --- peers --- */

static int64_t corrected(const struct mapsession *s, int64_t wall_ns)
{
        return wall_ns + s->map.control_skew_ns;
}

/* The patch in the shape of a node, so that it is read with the same bounds and forms. */
static struct netmap_node *patch_as_node(const json_t *patch, const struct netmap_node *old)
{
        static const char *const FIELDS[] = {"DiscoKey", "Endpoints", "CapMap",
                                             "LastSeen", "KeyExpiry", "Online"};
        char old_key[KEY_TEXT_MAX];
        struct node_public key;
        const char *text = json_str(patch, "Key", "");
        if (node_public_parse(text, &key) != ERR_NONE)
                text = node_public_text(&old->key, old_key);
        json_t *shaped = json_pack("{s:I, s:s}", "ID", (json_int_t)old->id, "Key", text);
        for (size_t i = 0; i < sizeof(FIELDS) / sizeof(FIELDS[0]); i++)
                if (json_has(patch, FIELDS[i]))
                        (void)json_object_set(shaped, FIELDS[i], json_object_get(patch, FIELDS[i]));
        struct netmap_node *n = NULL;
        if (shaped == NULL || netmap_node_from_json(shaped, false, &n) != ERR_NONE)
                n = NULL;
        json_decref(shaped);
        return n;
}

static void patch_keys(struct netmap_node *n, const json_t *patch, const struct netmap_node *from,
                       int64_t now_ns)
{
        bool new_key = !node_public_eq(&n->key, &from->key);
        n->key = from->key;
        if (json_has(patch, "DiscoKey"))
                n->disco = from->disco;
        if (json_has(patch, "KeyExpiry")) {
                n->key_expiry_ns = from->key_expiry_ns;
                if (n->key_expiry_ns == 0 || n->key_expiry_ns > now_ns)
                        n->expired = false;
        } else if (new_key) {
                /* A patch cannot say "no expiry any more": with a new key the old one's date means nothing. */
                n->expired = false;
                if (n->key_expiry_ns <= now_ns)
                        n->key_expiry_ns = 0;
        }
}

/* Fields of one PeerChange over the peer it names; unknown peers are ignored. */
static enum err patch_peer(struct mapsession *s, const json_t *patch, int64_t now_ns)
{
        const struct netmap_node *old = peerset_find(&s->peers, json_int(patch, "NodeID", 0));
        if (old == NULL)
                return ERR_NONE;
        struct netmap_node *from = patch_as_node(patch, old);
        if (from == NULL)
                return ERR_FULL;
        struct netmap_node n = *old;
        n.text_hash = 0;
        patch_keys(&n, patch, from, now_ns);
        int64_t home = json_int(patch, "DERPRegion", 0);
        if (home > 0 && home <= UINT16_MAX)
                n.home_derp = (int)home;
        int64_t cap = json_int(patch, "Cap", 0);
        if (cap > 0 && cap <= INT32_MAX)
                n.cap = (int)cap;
        if (json_has(patch, "CapMap"))
                n.cap_map = from->cap_map;
        if (json_has(patch, "Endpoints")) {
                n.endpoints = from->endpoints;
                n.endpoint_count = from->endpoint_count;
        }
        if (json_has(patch, "Online"))
                n.online = from->online;
        if (json_has(patch, "LastSeen"))
                n.last_seen_ns = from->last_seen_ns;
        struct netmap_node *packed = netmap_node_copy(&n);
        free(from);
        if (packed == NULL)
                return ERR_FULL;
        peerset_put(&s->peers, packed);
        return ERR_NONE;
}

/* {"id": bool}: what the server saw of peers, and whether they are connected to it. */
static enum err merge_seen(struct mapsession *s, json_t *seen, bool is_online, int64_t wall_ns)
{
        const char *id;
        json_t *v;
        json_object_foreach(seen, id, v)
        {
                const struct netmap_node *old = peerset_find(&s->peers, strtoll(id, NULL, 10));
                if (old == NULL || !json_is_boolean(v))
                        continue;
                struct netmap_node *n = netmap_node_copy(old);
                if (n == NULL)
                        return ERR_FULL;
                n->text_hash = 0;
                if (is_online)
                        n->online = json_is_true(v) ? NETMAP_YES : NETMAP_NO;
                else
                        n->last_seen_ns = json_is_true(v) ? wall_ns : 0;
                peerset_put(&s->peers, n);
        }
        return ERR_NONE;
}

static enum err merge_deltas(struct mapsession *s, struct message *m, int64_t wall_ns)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_arr(m->rest, "PeersRemoved"), i, v)
        {
                if (json_is_integer(v))
                        peerset_remove(&s->peers, json_integer_value(v));
        }
        enum err e = peerset_merge(&s->peers, &m->changed);
        if (e == ERR_NONE)
                e = merge_seen(s, json_obj(m->rest, "PeerSeenChange"), false, wall_ns);
        if (e == ERR_NONE)
                e = merge_seen(s, json_obj(m->rest, "OnlineChange"), true, wall_ns);
        json_array_foreach(json_arr(m->rest, "PeersChangedPatch"), i, v)
        {
                if (e == ERR_NONE)
                        e = patch_peer(s, v, corrected(s, wall_ns));
        }
        return e;
}

static bool must_expire(const struct netmap_node *n, int64_t now_ns)
{
        return n->key_expiry_ns != 0 && n->key_expiry_ns <= now_ns &&
               (!n->expired || n->endpoint_count > 0 || n->home_derp != 0);
}

/* A peer whose key ran out gets no address to send to; its key is not to be used. */
static enum err expire_peers(struct mapsession *s, int64_t now_ns)
{
        if (now_ns < CLOCK_SANE_NS || now_ns < s->peers.expiry_floor)
                return ERR_NONE;
        int64_t next = INT64_MAX;
        for (size_t i = 0; i < s->peers.next_count; i++) {
                const struct netmap_node *old = s->peers.next[i];
                if (old->key_expiry_ns > now_ns && old->key_expiry_ns < next)
                        next = old->key_expiry_ns;
                if (!must_expire(old, now_ns))
                        continue;
                struct netmap_node n = *old;
                n.text_hash = 0;
                n.expired = true;
                n.endpoint_count = 0;
                n.home_derp = 0;
                struct netmap_node *packed = netmap_node_copy(&n);
                if (packed == NULL)
                        return ERR_FULL;
                peerset_put(&s->peers, packed);
        }
        s->peers.expiry_floor = next;
        return ERR_NONE;
}

static enum err merge_peers(struct mapsession *s, struct message *m, bool first, int64_t wall_ns)
{
        enum err e = peerset_begin(&s->peers, first || m->full.count > 0);
        if (e != ERR_NONE)
                return e;
        /* A full list makes every other word about peers in the message void; an empty one says nothing. */
        e = m->full.count > 0 ? peerset_merge(&s->peers, &m->full) : merge_deltas(s, m, wall_ns);
        if (e == ERR_NONE)
                e = expire_peers(s, corrected(s, wall_ns));
        if (e != ERR_NONE) {
                peerset_rollback(&s->peers);
                return e;
        }
        return peerset_commit(&s->peers);
}

static void fill_delta(struct mapsession *s, bool first, unsigned parts, struct netmap_delta *ret)
{
        if (parts != 0 || s->peers.change_count > 0)
                s->map.generation++;
        *ret = (struct netmap_delta){
                .first = first,
                .parts = parts,
                .peer_count = s->peers.change_count,
                .peers = s->peers.changes,
        };
}

static void fill_news(const json_t *rest, struct map_news *ret)
{
        const json_t *ping = json_obj(rest, "PingRequest");
        ret->ping_url = json_str(ping, "URL", "");
        ret->ping_noise = json_bool(ping, "URLIsNoise", false);
        ret->ping_types = json_str(ping, "Types", "");
        ret->ping_payload = json_str(ping, "Payload", "");
        ret->browser_url = json_str(rest, "PopBrowserURL", "");
}

/* Peers come last: once they are committed nothing can be refused any more, so that every one that came or went is
 * in a delta.  Of the other parts those that differ are remembered. */
static enum err merge(struct mapsession *s, struct message *m, int64_t wall_ns, struct map_news *ret)
{
        bool first = s->fresh;
        if (first && m->self == NULL)
                return ERR_FORMAT;
        enum err e = merge_derp(s, m->rest, first, &s->untold);
        if (e == ERR_NONE)
                e = merge_rest(s, m, first, &s->untold);
        if (e == ERR_NONE)
                e = merge_peers(s, m, first, wall_ns);
        if (e != ERR_NONE)
                return e;
        publish_peers(s);
        s->fresh = false;
        fill_delta(s, first, s->untold, &ret->delta);
        s->untold = 0;
        return ERR_NONE;
}

enum err mapsession_apply(struct mapsession *s, const char *text, size_t len, int64_t wall_ns,
                          struct map_news *ret)
{
        struct message m = {.s = s, .full.shares = &s->peers};
        struct map_news news = {0};
        enum err e = message_decode(&m, text, len);
        if (e == ERR_NONE) {
                merge_clock(s, m.rest, wall_ns);
                news.keepalive = json_bool(m.rest, "KeepAlive", false);
                if (!news.keepalive)
                        e = merge(s, &m, wall_ns, &news);
        }
        if (e == ERR_NONE) {
                json_decref(s->rest);
                s->rest = json_incref(m.rest);
                fill_news(s->rest, &news);
                *ret = news;
        }
        message_done(&m);
        return e;
}

enum err mapsession_expire(struct mapsession *s, int64_t wall_ns, struct netmap_delta *ret)
{
        enum err e = peerset_begin(&s->peers, false);
        if (e == ERR_NONE)
                e = expire_peers(s, corrected(s, wall_ns));
        if (e != ERR_NONE) {
                peerset_rollback(&s->peers);
                return e;
        }
        e = peerset_commit(&s->peers);
        if (e != ERR_NONE)
                return e;
        publish_peers(s);
        fill_delta(s, false, 0, ret);
        return ERR_NONE;
}

/* May be too early by a key that is gone meanwhile: then there is nothing to do, and the next is known. */
int64_t mapsession_next_expiry(const struct mapsession *s, int64_t wall_ns)
{
        bool sane = corrected(s, wall_ns) >= CLOCK_SANE_NS;
        int64_t next = sane && s->map.peer_count > 0 ? s->peers.expiry_floor : INT64_MAX;
        if (next != INT64_MAX && __builtin_sub_overflow(next, s->map.control_skew_ns, &next))
                next = INT64_MAX; /* beyond the end of time; what has run out already is marked so */
        /* Our own goes by the local clock alone, as mapsession_self_expired() does. */
        const struct netmap_node *self = s->map.self;
        if (self != NULL && self->key_expiry_ns > wall_ns && self->key_expiry_ns < next)
                next = self->key_expiry_ns;
        return next;
}

bool mapsession_self_expired(const struct mapsession *s, int64_t wall_ns)
{
        const struct netmap_node *self = s->map.self;
        return self != NULL &&
               (self->expired || (self->key_expiry_ns != 0 && self->key_expiry_ns <= wall_ns));
}
