/* Nodes: JSON in, one compact block out. */
#include "daemon/control/netmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jview.h"
#include "base/timetext.h"

/* Bytes of the strings' texts and of the array of pointers to them. */
static size_t strings_size(const char *const *list, uint32_t n)
{
        size_t size = n * sizeof(char *);
        for (uint32_t i = 0; i < n; i++)
                size += strlen(list[i]) + 1;
        return size;
}

struct packer {
        char *ptrs;  /* grows over the pointer arrays, aligned */
        char *bytes; /* grows over everything else */
};

static const void *pack_bytes(struct packer *p, const void *src, size_t len)
{
        char *at = p->bytes;
        if (len > 0)
                memcpy(at, src, len);
        p->bytes += len;
        return at;
}

static const char *pack_str(struct packer *p, const char *s)
{
        return pack_bytes(p, s, strlen(s) + 1);
}

static const char *const *pack_strings(struct packer *p, const char *const *list, uint32_t n)
{
        const char **out = (const char **)(void *)p->ptrs;
        p->ptrs += n * sizeof(char *);
        for (uint32_t i = 0; i < n; i++)
                out[i] = pack_str(p, list[i]);
        return out;
}

/* As with most nodes: then there is one copy for both. */
static bool allows_addresses_alone(const struct netmap_node *n)
{
        return n->allowed_count == n->address_count &&
               (n->allowed_count == 0 ||
                memcmp(n->allowed, n->addresses, n->allowed_count * sizeof(struct prefix)) == 0);
}

struct netmap_node *netmap_node_copy(const struct netmap_node *n)
{
        uint32_t allowed = allows_addresses_alone(n) ? 0 : n->allowed_count;
        size_t ptrs = (n->tag_count + n->ssh_key_count) * sizeof(char *);
        size_t size = sizeof(*n) + n->endpoint_count * sizeof(struct addr) +
                      (n->address_count + allowed + n->primary_count) * sizeof(struct prefix) +
                      strings_size(n->tags, n->tag_count) + strings_size(n->ssh_keys, n->ssh_key_count) +
                      strlen(n->stable_id) + strlen(n->name) + strlen(n->hostname) + strlen(n->os) +
                      strlen(n->os_version) + strlen(n->cap_map) + strlen(n->location) + 7;
        char *block = malloc(size);
        if (block == NULL)
                return NULL;
        struct netmap_node *c = (struct netmap_node *)(void *)block;
        struct packer p = {.ptrs = block + sizeof(*n), .bytes = block + sizeof(*n) + ptrs};
        *c = *n;
        /* Widest alignment first: addresses with ports want 2, prefixes and text none. */
        c->endpoints = pack_bytes(&p, n->endpoints, n->endpoint_count * sizeof(struct addr));
        c->addresses = pack_bytes(&p, n->addresses, n->address_count * sizeof(struct prefix));
        c->allowed = allowed > 0 ? pack_bytes(&p, n->allowed, allowed * sizeof(struct prefix)) : c->addresses;
        c->primary = pack_bytes(&p, n->primary, n->primary_count * sizeof(struct prefix));
        c->tags = pack_strings(&p, n->tags, n->tag_count);
        c->ssh_keys = pack_strings(&p, n->ssh_keys, n->ssh_key_count);
        c->stable_id = pack_str(&p, n->stable_id);
        c->name = pack_str(&p, n->name);
        c->hostname = pack_str(&p, n->hostname);
        c->os = pack_str(&p, n->os);
        c->os_version = pack_str(&p, n->os_version);
        c->cap_map = pack_str(&p, n->cap_map);
        c->location = pack_str(&p, n->location);
        return c;
}

/* What a node is read into before it is packed: places in one block with as much room as its arrays may need. */
struct scratch {
        struct prefix *addresses;
        struct prefix *allowed;
        struct prefix *primary;
        struct addr *endpoints;
        const char **tags;
        const char **ssh_keys;
        char *cap_map;
        char *location;
};

/* At most max elements of an array count; what is beyond is dropped. */
static size_t array_room(const struct jview *obj, const char *key, size_t max)
{
        const struct jview *arr = jview_arr(obj, key);
        size_t n = arr != NULL ? arr->span - 1 : 0;    /* none of them is less than one value */
        return n < max ? n : max;
}

/* NULL: out of memory.  Widest alignment first. */
static void *scratch_init(struct scratch *s, const struct jview *obj)
{
        size_t tags = array_room(obj, "Tags", NETMAP_STRINGS_MAX);
        size_t ssh_keys = array_room(jview_obj(obj, "Hostinfo"), "sshHostKeys", NETMAP_STRINGS_MAX);
        size_t endpoints = array_room(obj, "Endpoints", NETMAP_ENDPOINTS_MAX);
        size_t addresses = array_room(obj, "Addresses", NETMAP_PREFIXES_MAX);
        size_t allowed = array_room(obj, "AllowedIPs", NETMAP_PREFIXES_MAX);
        size_t primary = array_room(obj, "PrimaryRoutes", NETMAP_PREFIXES_MAX);
        size_t prefixes = addresses + allowed + primary;
        char *block = malloc((tags + ssh_keys) * sizeof(char *) + endpoints * sizeof(struct addr) +
                             prefixes * sizeof(struct prefix) + 1);
        if (block == NULL)
                return NULL;
        *s = (struct scratch){.tags = (const char **)(void *)block};
        s->ssh_keys = s->tags + tags;
        s->endpoints = (struct addr *)(void *)(s->ssh_keys + ssh_keys);
        s->addresses = (struct prefix *)(void *)(s->endpoints + endpoints);
        s->allowed = s->addresses + addresses;
        s->primary = s->allowed + allowed;
        return block;
}

static uint32_t read_prefixes(const struct jview *obj, const char *key, struct prefix *out)
{
        uint32_t n = 0;
        const struct jview *arr = jview_arr(obj, key);
        size_t i = 0;
        for (const struct jview *v = jview_first(arr); v != NULL; v = jview_next(arr, v), i++) {
                const char *s = jview_text(v);
                if (i < NETMAP_PREFIXES_MAX && s != NULL && prefix_parse(s, &out[n]) == ERR_NONE)
                        n++;
        }
        return n;
}

static uint32_t read_endpoints(const struct jview *obj, struct addr *out)
{
        uint32_t n = 0;
        const struct jview *arr = jview_arr(obj, "Endpoints");
        size_t i = 0;
        for (const struct jview *v = jview_first(arr); v != NULL; v = jview_next(arr, v), i++) {
                const char *s = jview_text(v);
                if (i < NETMAP_ENDPOINTS_MAX && s != NULL && addr_parse(s, &out[n]) == ERR_NONE)
                        n++;
        }
        return n;
}

static uint32_t read_strings(const struct jview *obj, const char *key, const char **out)
{
        uint32_t n = 0;
        const struct jview *arr = jview_arr(obj, key);
        size_t i = 0;
        for (const struct jview *v = jview_first(arr); v != NULL; v = jview_next(arr, v), i++) {
                const char *s = jview_text(v);
                if (i < NETMAP_STRINGS_MAX && s != NULL)
                        out[n++] = s;
        }
        return n;
}

static int64_t read_time(const struct jview *obj, const char *key)
{
        int64_t ns = 0;
        if (time_parse(jview_str(obj, key, ""), &ns) != ERR_NONE)
                return 0;
        return ns;
}

static enum netmap_opt read_opt(const struct jview *obj, const char *key)
{
        if (!jview_has(obj, key))
                return NETMAP_UNKNOWN;
        return jview_bool(obj, key, false) ? NETMAP_YES : NETMAP_NO;
}

static struct ip read_ip(const struct jview *obj, const char *key)
{
        struct ip ip = {0};
        if (ip_parse(jview_str(obj, key, ""), &ip) != ERR_NONE)
                return (struct ip){0};
        return ip;
}

/* HomeDERP, or its legacy twin "127.3.3.40:N". */
static int read_home(const struct jview *obj)
{
        struct addr legacy;
        int64_t home = jview_int(obj, "HomeDERP", 0);
        if (home == 0 && addr_parse(jview_str(obj, "DERP", ""), &legacy) == ERR_NONE &&
            ip_eq(legacy.ip, ip_v4(127, 3, 3, 40)))
                home = legacy.port;
        return home > 0 && home <= UINT16_MAX ? (int)home : 0;
}

static json_t *tree_of(const struct jview *obj)
{
        return obj != NULL ? json_parse(obj->text, obj->len) : NULL;
}

/* Consumes obj.  Its text, sorted, or NULL when there is none (or no memory: shown as none). */
static char *object_text(json_t *obj)
{
        char *text = json_object_size(obj) > 0 ? json_dumps(obj, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
        json_decref(obj);
        return text;
}

static bool is_as_dumped(const struct jview *v);

/* Of a value as object_text() would write it; 0: it may not stand like that.  Escapes and space only make it longer. */
static size_t dumped_length(const struct jview *v)
{
        switch (v->type) {
        case JVIEW_NULL:
        case JVIEW_TRUE:
                return 4;
        case JVIEW_FALSE:
                return 5;
        case JVIEW_STRING:
                return v->len + 2;
        case JVIEW_ARRAY:
        case JVIEW_OBJECT:
                return is_as_dumped(v) ? v->len : 0;
        case JVIEW_INT:
        case JVIEW_REAL:
                break;
        }
        return 0;
}

static bool is_as_dumped(const struct jview *v)
{
        const char *before = NULL;
        size_t len = v->span == 1 ? 2 : 1;
        for (const struct jview *e = v + 1; e < v + v->span; e += e->span) {
                if (v->type == JVIEW_OBJECT) {
                        if (before != NULL && strcmp(before, e->text) >= 0)
                                return false;
                        before = e->text;
                        len += e->len + 3;
                        e++;
                }
                size_t part = dumped_length(e);
                if (part == 0)
                        return false;
                len += part + 1;
        }
        return len == v->len;
}

static char *read_caps(const struct jview *obj, bool self)
{
        const struct jview *map = jview_obj(obj, "CapMap");
        if (!self && map != NULL && map->span > 1 && is_as_dumped(map))
                return strndup(map->text, map->len);   /* as with most: no need of a tree */
        json_t *caps = tree_of(map);
        const struct jview *more = self ? jview_arr(obj, "Capabilities") : NULL;
        if (caps == NULL)
                caps = json_object();
        for (const struct jview *v = jview_first(more); v != NULL; v = jview_next(more, v)) {
                const char *name = jview_text(v);
                if (name != NULL && json_object_get(caps, name) == NULL)
                        (void)json_object_set_new(caps, name, json_null());
        }
        return object_text(caps);
}

static void read_hostinfo(const struct jview *obj, struct netmap_node *n, struct scratch *s)
{
        const struct jview *host = jview_obj(obj, "Hostinfo");
        n->hostname = jview_str(host, "Hostname", "");
        n->os = jview_str(host, "OS", "");
        n->os_version = jview_str(host, "OSVersion", "");
        n->sharee = jview_bool(host, "ShareeNode", false);
        n->ssh_key_count = read_strings(host, "sshHostKeys", s->ssh_keys);
        n->ssh_keys = s->ssh_keys;
        s->location = object_text(tree_of(jview_obj(host, "Location")));
        n->location = s->location != NULL ? s->location : "";
        const struct jview *services = jview_arr(host, "Services");
        for (const struct jview *v = jview_first(services); v != NULL; v = jview_next(services, v)) {
                const char *proto = jview_str(v, "Proto", "");
                int64_t port = jview_int(v, "Port", 0);
                if (port <= 0 || port > UINT16_MAX)
                        continue;
                if (strcmp(proto, "peerapi4") == 0)
                        n->peerapi4_port = (uint16_t)port;
                else if (strcmp(proto, "peerapi6") == 0)
                        n->peerapi6_port = (uint16_t)port;
                else if (strcmp(proto, "peerapi-dns-proxy") == 0)
                        n->peerapi_dns_proxy = true;
        }
}

static void read_addresses(const struct jview *obj, struct netmap_node *n, struct scratch *s)
{
        n->address_count = read_prefixes(obj, "Addresses", s->addresses);
        n->addresses = s->addresses;
        n->primary_count = read_prefixes(obj, "PrimaryRoutes", s->primary);
        n->primary = s->primary;
        n->endpoint_count = read_endpoints(obj, s->endpoints);
        n->endpoints = s->endpoints;
        /* Absent means the addresses; an empty array means nothing at all. */
        if (!jview_has(obj, "AllowedIPs") || n->unsigned_peerapi_only) {
                n->allowed_count = n->address_count;
                n->allowed = s->addresses;
        } else {
                n->allowed_count = read_prefixes(obj, "AllowedIPs", s->allowed);
                n->allowed = s->allowed;
        }
}

static void read_scalars(const struct jview *obj, struct netmap_node *n)
{
        n->user = jview_int(obj, "User", 0);
        n->sharer = jview_int(obj, "Sharer", 0);
        n->created_ns = read_time(obj, "Created");
        n->last_seen_ns = read_time(obj, "LastSeen");
        n->key_expiry_ns = read_time(obj, "KeyExpiry");
        n->home_derp = read_home(obj);
        int64_t cap = jview_int(obj, "Cap", 0);
        n->cap = cap > 0 && cap <= INT32_MAX ? (int)cap : 0;
        n->online = read_opt(obj, "Online");
        n->expired = jview_bool(obj, "Expired", false);
        n->machine_authorized = jview_bool(obj, "MachineAuthorized", false);
        n->wireguard_only = jview_bool(obj, "IsWireGuardOnly", false);
        n->jailed = jview_bool(obj, "IsJailed", false);
        n->unsigned_peerapi_only = jview_bool(obj, "UnsignedPeerAPIOnly", false);
        n->masq_v4 = read_ip(obj, "SelfNodeV4MasqAddrForThisPeer");
        n->masq_v6 = read_ip(obj, "SelfNodeV6MasqAddrForThisPeer");
        n->stable_id = jview_str(obj, "StableID", "");
        n->name = jview_str(obj, "Name", "");
}

static enum err node_read(const struct jview *obj, bool self, struct scratch *s, struct netmap_node **ret)
{
        struct netmap_node n = {.id = jview_int(obj, "ID", 0)};
        if (n.id <= 0 || node_public_parse(jview_str(obj, "Key", ""), &n.key) != ERR_NONE)
                return ERR_FORMAT;
        /* A missing or odd machine or disco key makes a node without that, not a bad node. */
        if (machine_public_parse(jview_str(obj, "Machine", ""), &n.machine) != ERR_NONE)
                memset(&n.machine, 0, sizeof(n.machine));
        if (disco_public_parse(jview_str(obj, "DiscoKey", ""), &n.disco) != ERR_NONE)
                memset(&n.disco, 0, sizeof(n.disco));
        read_scalars(obj, &n);
        read_addresses(obj, &n, s);
        read_hostinfo(obj, &n, s);
        n.tag_count = read_strings(obj, "Tags", s->tags);
        n.tags = s->tags;
        s->cap_map = read_caps(obj, self);
        n.cap_map = s->cap_map != NULL ? s->cap_map : "";
        struct netmap_node *packed = netmap_node_copy(&n);
        free(s->cap_map);
        free(s->location);
        if (packed == NULL)
                return ERR_FULL;
        *ret = packed;
        return ERR_NONE;
}

enum err netmap_node_read(struct jview_room *room, const char *text, size_t len, bool self, struct netmap_node **ret)
{
        const struct jview *obj;
        struct scratch s;
        enum err e = jview_read(room, text, len, &obj);
        if (e != ERR_NONE)
                return e;
        void *block = scratch_init(&s, obj);
        if (block == NULL)
                return ERR_FULL;
        e = node_read(obj, self, &s, ret);
        free(block);
        return e;
}

enum err netmap_node_from_json(const json_t *obj, bool self, struct netmap_node **ret)
{
        struct jview_room room = {0};
        char *text = json_dumps(obj, JSON_COMPACT);
        if (text == NULL)
                return ERR_FULL;
        enum err e = netmap_node_read(&room, text, strlen(text), self, ret);
        jview_done(&room);
        free(text);
        return e;
}

static bool prefixes_eq(const struct prefix *a, uint32_t an, const struct prefix *b, uint32_t bn)
{
        if (an != bn)
                return false;
        for (uint32_t i = 0; i < an; i++)
                if (!prefix_eq(a[i], b[i]))
                        return false;
        return true;
}

static bool strings_eq(const char *const *a, uint32_t an, const char *const *b, uint32_t bn)
{
        if (an != bn)
                return false;
        for (uint32_t i = 0; i < an; i++)
                if (strcmp(a[i], b[i]) != 0)
                        return false;
        return true;
}

static bool endpoints_eq(const struct netmap_node *a, const struct netmap_node *b)
{
        if (a->endpoint_count != b->endpoint_count)
                return false;
        for (uint32_t i = 0; i < a->endpoint_count; i++)
                if (!addr_eq(a->endpoints[i], b->endpoints[i]))
                        return false;
        return true;
}

static bool info_eq(const struct netmap_node *a, const struct netmap_node *b)
{
        return a->user == b->user && a->sharer == b->sharer && a->created_ns == b->created_ns &&
               memcmp(a->machine.b, b->machine.b, KEY_LEN) == 0 && a->cap == b->cap &&
               a->machine_authorized == b->machine_authorized && a->wireguard_only == b->wireguard_only &&
               a->jailed == b->jailed && a->unsigned_peerapi_only == b->unsigned_peerapi_only &&
               a->sharee == b->sharee && a->peerapi_dns_proxy == b->peerapi_dns_proxy &&
               a->peerapi4_port == b->peerapi4_port && a->peerapi6_port == b->peerapi6_port &&
               ip_eq(a->masq_v4, b->masq_v4) && ip_eq(a->masq_v6, b->masq_v6) &&
               prefixes_eq(a->primary, a->primary_count, b->primary, b->primary_count) &&
               strings_eq(a->tags, a->tag_count, b->tags, b->tag_count) &&
               strings_eq(a->ssh_keys, a->ssh_key_count, b->ssh_keys, b->ssh_key_count) &&
               strcmp(a->stable_id, b->stable_id) == 0 && strcmp(a->name, b->name) == 0 &&
               strcmp(a->hostname, b->hostname) == 0 && strcmp(a->os, b->os) == 0 &&
               strcmp(a->os_version, b->os_version) == 0 && strcmp(a->cap_map, b->cap_map) == 0 &&
               strcmp(a->location, b->location) == 0;
}

unsigned netmap_node_diff(const struct netmap_node *a, const struct netmap_node *b)
{
        unsigned what = 0;
        if (!node_public_eq(&a->key, &b->key))
                what |= NETMAP_PEER_KEY;
        if (!disco_public_eq(&a->disco, &b->disco))
                what |= NETMAP_PEER_DISCO;
        if (!prefixes_eq(a->allowed, a->allowed_count, b->allowed, b->allowed_count) ||
            !prefixes_eq(a->addresses, a->address_count, b->addresses, b->address_count))
                what |= NETMAP_PEER_ALLOWED;
        if (!endpoints_eq(a, b))
                what |= NETMAP_PEER_ENDPOINTS;
        if (a->home_derp != b->home_derp)
                what |= NETMAP_PEER_HOME;
        if (a->expired != b->expired || a->key_expiry_ns != b->key_expiry_ns)
                what |= NETMAP_PEER_EXPIRY;
        if (a->online != b->online || a->last_seen_ns != b->last_seen_ns)
                what |= NETMAP_PEER_ONLINE;
        if (!info_eq(a, b))
                what |= NETMAP_PEER_INFO;
        return what;
}
