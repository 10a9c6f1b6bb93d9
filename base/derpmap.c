#include "base/derpmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"

enum { STUN_PORT_DEFAULT = 3478, DERP_PORT_DEFAULT = 443, ID_MAX = 65535 };

/* --- from JSON --- */

/* False: longer than its field. */
static bool copy_text(char *dst, size_t cap, const json_t *obj, const char *key)
{
        return str_copy(dst, cap, json_str(obj, key, ""));
}

/* 0 or absent is the default; false: no port. */
static bool take_port(const json_t *obj, const char *key, uint16_t dflt, uint16_t *ret)
{
        int64_t port = json_int(obj, key, 0);
        if (port < 0 || port > UINT16_MAX)
                return false;
        *ret = port == 0 ? dflt : (uint16_t)port;
        return true;
}

static bool node_from_json(const json_t *obj, struct derp_node *n)
{
        *n = (struct derp_node){0};
        if (!json_is_object(obj) || !copy_text(n->name, sizeof(n->name), obj, "Name") ||
                !copy_text(n->hostname, sizeof(n->hostname), obj, "HostName") ||
                !copy_text(n->cert_name, sizeof(n->cert_name), obj, "CertName") ||
                !copy_text(n->ipv4, sizeof(n->ipv4), obj, "IPv4") ||
                !copy_text(n->ipv6, sizeof(n->ipv6), obj, "IPv6") ||
                !copy_text(n->stun_test_ip, sizeof(n->stun_test_ip), obj, "STUNTestIP"))
                return false;
        if (json_int(obj, "STUNPort", 0) < 0)
                n->stun_port = 0;   /* -1: no STUN here */
        else if (!take_port(obj, "STUNPort", STUN_PORT_DEFAULT, &n->stun_port))
                return false;
        n->stun_only = json_bool(obj, "STUNOnly", false);
        n->insecure = json_bool(obj, "InsecureForTests", false);
        n->can_port80 = json_bool(obj, "CanPort80", false);
        return n->hostname[0] != '\0' && take_port(obj, "DERPPort", DERP_PORT_DEFAULT, &n->derp_port);
}

static enum err nodes_from_json(const json_t *arr, struct derp_region *r)
{
        size_t count = json_array_size(arr);
        if (count > DERPMAP_NODES_MAX)
                count = DERPMAP_NODES_MAX;
        if (count == 0)
                return ERR_NONE;
        r->nodes = calloc(count, sizeof(r->nodes[0]));
        if (r->nodes == NULL)
                return ERR_FULL;
        for (size_t i = 0; i < json_array_size(arr) && r->node_count < count; i++)
                if (node_from_json(json_array_get(arr, i), &r->nodes[r->node_count]))
                        r->node_count++;
        return ERR_NONE;
}

/* Names of regions are only shown, so they are cut to fit. */
static void copy_cut(char *dst, size_t cap, const json_t *obj, const char *key)
{
        const char *s = json_str(obj, key, "");
        size_t n = strlen(s);
        if (n >= cap)
                for (n = cap - 1; n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80; n--)
                        ;   /* not within a character */
        memcpy(dst, s, n);
        dst[n] = '\0';
}

/* The member's name is the id as the map's owner sees it; RegionID must agree when it is there. */
static int region_id(const char *key, const json_t *obj)
{
        if (key[0] < '1' || key[0] > '9')
                return 0;
        char *end;
        long id = strtol(key, &end, 10);
        if (*end != '\0' || id > ID_MAX || json_int(obj, "RegionID", id) != id)
                return 0;
        return (int)id;
}

static double region_score(const json_t *map, const char *key)
{
        double score = json_num(json_obj(json_obj(map, "HomeParams"), "RegionScore"), key, 1);
        return score > 0 ? score : 1;
}

static enum err region_from_json(const json_t *map, const char *key, const json_t *obj, struct derp_region *r)
{
        *r = (struct derp_region){.id = region_id(key, obj), .score = region_score(map, key)};
        copy_cut(r->code, sizeof(r->code), obj, "RegionCode");
        copy_cut(r->name, sizeof(r->name), obj, "RegionName");
        r->avoid = json_bool(obj, "Avoid", false);
        r->no_measure_no_home = json_bool(obj, "NoMeasureNoHome", false);
        return nodes_from_json(json_arr(obj, "Nodes"), r);
}

static int region_cmp(const void *a, const void *b)
{
        const struct derp_region *x = a;
        const struct derp_region *y = b;
        return (x->id > y->id) - (x->id < y->id);
}

static enum err regions_from_json(const json_t *map, json_t *regions, struct derpmap *m)
{
        const char *key;
        json_t *obj;
        json_object_foreach(regions, key, obj) {
                if (m->region_count == DERPMAP_REGIONS_MAX)
                        break;
                if (!json_is_object(obj) || region_id(key, obj) == 0)
                        continue;
                enum err err = region_from_json(map, key, obj, &m->regions[m->region_count]);
                if (err != ERR_NONE)
                        return err;
                m->region_count++;
        }
        qsort(m->regions, m->region_count, sizeof(m->regions[0]), region_cmp);
        return ERR_NONE;
}

enum err derpmap_from_json(const json_t *obj, struct derpmap **ret)
{
        if (!json_is_object(obj))
                return ERR_FORMAT;
        json_t *regions = json_obj(obj, "Regions");
        if (regions == NULL && json_has(obj, "Regions"))
                return ERR_FORMAT;
        size_t count = json_object_size(regions);
        if (count > DERPMAP_REGIONS_MAX)
                count = DERPMAP_REGIONS_MAX;
        struct derpmap *m = calloc(1, sizeof(*m));
        if (m == NULL)
                return ERR_FULL;
        m->regions = calloc(count + 1, sizeof(m->regions[0]));
        enum err err = m->regions != NULL ? regions_from_json(obj, regions, m) : ERR_FULL;
        if (err != ERR_NONE) {
                derpmap_free(m);
                return err;
        }
        *ret = m;
        return ERR_NONE;
}

/* --- to JSON --- */

static bool put(json_t *obj, const char *key, json_t *value)
{
        return json_object_set_new(obj, key, value) == 0;
}

static bool put_text(json_t *obj, const char *key, const char *text)
{
        return text[0] == '\0' || put(obj, key, json_string(text));
}

static bool put_flag(json_t *obj, const char *key, bool on)
{
        return !on || put(obj, key, json_true());
}

static bool put_port(json_t *obj, const char *key, uint16_t port, uint16_t dflt)
{
        return port == dflt || put(obj, key, json_integer(port == 0 ? -1 : port));
}

static json_t *node_to_json(const struct derp_region *r, const struct derp_node *n)
{
        json_t *o = json_object();
        if (o != NULL && put(o, "Name", json_string(n->name)) && put(o, "RegionID", json_integer(r->id)) &&
                put(o, "HostName", json_string(n->hostname)) && put_text(o, "CertName", n->cert_name) &&
                put_text(o, "IPv4", n->ipv4) && put_text(o, "IPv6", n->ipv6) &&
                put_port(o, "STUNPort", n->stun_port, STUN_PORT_DEFAULT) && put_flag(o, "STUNOnly", n->stun_only) &&
                put_port(o, "DERPPort", n->derp_port, DERP_PORT_DEFAULT) &&
                put_flag(o, "InsecureForTests", n->insecure) && put_text(o, "STUNTestIP", n->stun_test_ip) &&
                put_flag(o, "CanPort80", n->can_port80))
                return o;
        json_decref(o);
        return NULL;
}

static json_t *region_to_json(const struct derp_region *r)
{
        json_t *o = json_object();
        json_t *nodes = json_array();
        bool ok = o != NULL && nodes != NULL;
        for (size_t i = 0; ok && i < r->node_count; i++)
                ok = json_array_append_new(nodes, node_to_json(r, &r->nodes[i])) == 0;
        ok = ok && put(o, "RegionID", json_integer(r->id)) && put(o, "RegionCode", json_string(r->code)) &&
                put(o, "RegionName", json_string(r->name)) && put_flag(o, "Avoid", r->avoid) &&
                put_flag(o, "NoMeasureNoHome", r->no_measure_no_home) &&
                json_object_set(o, "Nodes", nodes) == 0;
        json_decref(nodes);
        if (ok)
                return o;
        json_decref(o);
        return NULL;
}

/* HomeParams is there only if some region has a score. */
static bool put_scores(json_t *map, const struct derpmap *m)
{
        json_t *scores = json_object();
        bool ok = scores != NULL;
        for (size_t i = 0; ok && i < m->region_count; i++) {
                char key[16];
                snprintf(key, sizeof(key), "%d", m->regions[i].id);
                if (m->regions[i].score < 1 || m->regions[i].score > 1)
                        ok = put(scores, key, json_real(m->regions[i].score));
        }
        if (ok && json_object_size(scores) > 0) {
                json_t *params = json_object();
                ok = params != NULL && json_object_set(params, "RegionScore", scores) == 0 &&
                        json_object_set(map, "HomeParams", params) == 0;
                json_decref(params);
        }
        json_decref(scores);
        return ok;
}

json_t *derpmap_to_json(const struct derpmap *m)
{
        json_t *map = json_object();
        json_t *regions = json_object();
        bool ok = map != NULL && regions != NULL && put_scores(map, m);
        for (size_t i = 0; ok && i < m->region_count; i++) {
                char key[16];
                snprintf(key, sizeof(key), "%d", m->regions[i].id);
                ok = put(regions, key, region_to_json(&m->regions[i]));
        }
        ok = ok && json_object_set(map, "Regions", regions) == 0;
        json_decref(regions);
        if (ok)
                return map;
        json_decref(map);
        return NULL;
}

/* --- as a value --- */

struct derpmap *derpmap_copy(const struct derpmap *m)
{
        struct derpmap *c = calloc(1, sizeof(*c));
        if (c == NULL)
                return NULL;
        c->regions = calloc(m->region_count + 1, sizeof(c->regions[0]));
        for (size_t i = 0; c->regions != NULL && i < m->region_count; i++) {
                const struct derp_region *from = &m->regions[i];
                struct derp_region *to = &c->regions[c->region_count++];
                *to = *from;
                to->nodes = NULL;
                if (from->node_count == 0)
                        continue;
                to->nodes = calloc(from->node_count, sizeof(to->nodes[0]));
                if (to->nodes == NULL)
                        break;
                memcpy(to->nodes, from->nodes, from->node_count * sizeof(to->nodes[0]));
        }
        bool whole = c->regions != NULL && c->region_count == m->region_count &&
                (c->region_count == 0 || c->regions[c->region_count - 1].nodes != NULL ||
                        c->regions[c->region_count - 1].node_count == 0);
        if (!whole) {
                derpmap_free(c);
                return NULL;
        }
        return c;
}

void derpmap_free(struct derpmap *m)
{
        if (m == NULL)
                return;
        for (size_t i = 0; i < m->region_count; i++)
                free(m->regions[i].nodes);
        free(m->regions);
        free(m);
}

static bool node_eq(const struct derp_node *a, const struct derp_node *b)
{
        return strcmp(a->name, b->name) == 0 && strcmp(a->hostname, b->hostname) == 0 &&
                strcmp(a->cert_name, b->cert_name) == 0 && strcmp(a->ipv4, b->ipv4) == 0 &&
                strcmp(a->ipv6, b->ipv6) == 0 && strcmp(a->stun_test_ip, b->stun_test_ip) == 0 &&
                a->stun_port == b->stun_port && a->derp_port == b->derp_port && a->stun_only == b->stun_only &&
                a->insecure == b->insecure && a->can_port80 == b->can_port80;
}

static bool region_eq(const struct derp_region *a, const struct derp_region *b)
{
        if (a->id != b->id || strcmp(a->code, b->code) != 0 || strcmp(a->name, b->name) != 0 ||
                a->score < b->score || a->score > b->score || a->avoid != b->avoid ||
                a->no_measure_no_home != b->no_measure_no_home || a->node_count != b->node_count)
                return false;
        for (size_t i = 0; i < a->node_count; i++)
                if (!node_eq(&a->nodes[i], &b->nodes[i]))
                        return false;
        return true;
}

bool derpmap_eq(const struct derpmap *a, const struct derpmap *b)
{
        if (a == NULL || b == NULL)
                return a == b;
        if (a->region_count != b->region_count)
                return false;
        for (size_t i = 0; i < a->region_count; i++)
                if (!region_eq(&a->regions[i], &b->regions[i]))
                        return false;
        return true;
}

const struct derp_region *derpmap_region(const struct derpmap *m, int id)
{
        if (m == NULL)
                return NULL;
        struct derp_region key = {.id = id};
        return bsearch(&key, m->regions, m->region_count, sizeof(m->regions[0]), region_cmp);
}

bool derp_region_has_relay(const struct derp_region *r)
{
        for (size_t i = 0; i < r->node_count; i++)
                if (!r->nodes[i].stun_only)
                        return true;
        return false;
}

bool derp_region_may_be_home(const struct derp_region *r)
{
        return derp_region_has_relay(r) && !r->avoid && !r->no_measure_no_home;
}
