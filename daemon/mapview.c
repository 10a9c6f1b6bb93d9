/* The network map as watchers and `debug netmap` see it: the reference's NetworkMap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/backend_state.h"
#include "daemon/localapi/status.h"
#include "daemon/view.h"
#include "tun/cover.h"

static json_t *node_json(const struct netmap *nm, const struct netmap_node *n)
{
        json_t *o = netmap_node_to_json(n);
        status_name_node(o, nm->magic_dns_suffix);
        return o;
}

static json_t *caps_json(const struct netmap_node *self)
{
        json_t *map = self->cap_map[0] != '\0' ? json_parse(self->cap_map, strlen(self->cap_map)) : NULL;
        json_t *caps = json_array();
        size_t n;
        const char **names = json_keys(map, &n);
        for (size_t i = 0; i < n; i++)
                json_array_append_new(caps, json_string(names[i]));
        free(names);
        json_decref(map);
        return caps;
}

/* ---- the filter, as it is meant ---- */

static void add_prefixes(json_t *list, const struct ip_range *r)
{
        struct prefix p[COVER_SPLIT_MAX];
        char text[PREFIX_STR_MAX];
        size_t n = cover_split(r->first, r->last, p);
        for (size_t i = 0; i < n; i++)
                json_array_append_new(list, json_string(prefix_str(p[i], text)));
}

static json_t *dsts_json(const struct filter_rule *r)
{
        json_t *list = json_array();
        for (uint32_t i = 0; i < r->dst_count; i++) {
                const struct filter_dst *d = &r->dsts[i];
                json_t *nets = json_array();
                add_prefixes(nets, &d->ips);
                for (size_t k = 0; k < json_array_size(nets); k++)
                        json_array_append_new(list, json_pack("{s:O, s:{s:i, s:i}}", "Net", json_array_get(nets, k), "Ports",
                                "First", (int)d->port_first, "Last", (int)d->port_last));
                json_decref(nets);
        }
        return list;
}

/* One entry a destination and capability of each grant. */
static json_t *grants_json(const struct filter_rule *r)
{
        json_t *list = json_array(), *grant, *dst, *values;
        size_t i, k, c;
        const char *cap;
        json_array_foreach((json_t *)(uintptr_t)r->grants, i, grant)
        {
                json_array_foreach(json_arr(grant, "Dsts"), k, dst)
                {
                        json_array_foreach(json_arr(grant, "Caps"), c, values)   /* the old form, without values */
                                json_array_append_new(list, json_pack("{s:O, s:O, s:n}", "Dst", dst, "Cap", values, "Values"));
                        json_object_foreach(json_obj(grant, "CapMap"), cap, values)
                                json_array_append_new(list, json_pack("{s:O, s:s, s:O}", "Dst", dst, "Cap", cap, "Values", values));
                }
        }
        return list;
}

static json_t *filter_json(const struct netmap *nm)
{
        json_t *list = json_array();
        for (size_t i = 0; i < nm->rule_count; i++) {
                const struct filter_rule *r = nm->rules[i];
                json_t *protos = json_array(), *srcs = json_array(), *caps = r->src_cap_count > 0 ? json_array() : json_null();
                for (uint32_t k = 0; k < r->proto_count; k++)
                        json_array_append_new(protos, json_integer(r->protos[k]));
                for (uint32_t k = 0; k < r->src_count; k++)
                        add_prefixes(srcs, &r->srcs[k]);
                for (uint32_t k = 0; k < r->src_cap_count; k++)
                        json_array_append_new(caps, json_string(r->src_caps[k]));
                json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:o}", "IPProto", protos, "Srcs", srcs, "SrcCaps", caps,
                        "Dsts", dsts_json(r), "Caps", grants_json(r)));
        }
        return list;
}

/* ---- the walk ---- */

struct walk {
        const struct backend *b;
        enum { WALK_HEAD, WALK_PEERS, WALK_USERS, WALK_DONE } stage;
        int64_t last;   /* id shown */
        struct jtext text;
};

static void write_taken(struct jtext *j, json_t *v)
{
        jtext_value(j, v);
        json_decref(v);
}

static void add_taken(struct jtext *j, const char *name, json_t *v)
{
        jtext_name(j, name);
        write_taken(j, v);
}

static void write_head(struct jtext *j, const struct backend *b, const struct netmap *nm)
{
        char key[KEY_TEXT_MAX], machine[KEY_TEXT_MAX];
        struct machine_public mp = key_machine_public(profiles_machine_key(b->o.profiles));
        jtext_open(j, '{');
        jtext_add_bool(j, "Cached", false);
        add_taken(j, "SelfNode", node_json(nm, nm->self));
        add_taken(j, "AllCaps", caps_json(nm->self));
        jtext_add_str(j, "NodeKey", node_public_text(&nm->self->key, key));
        jtext_add_str(j, "MachineKey", machine_public_text(&mp, machine));
        jtext_name(j, "Peers");
        jtext_open(j, '[');
}

static void write_rest(struct jtext *j, const struct netmap *nm)
{
        char no_head[52 + 1];
        memset(no_head, 'A', sizeof(no_head) - 1);   /* 32 zero bytes in base32 */
        no_head[sizeof(no_head) - 1] = '\0';
        jtext_close(j, ']');
        jtext_add_value(j, "DNS", nm->dns);
        add_taken(j, "PacketFilter", filter_json(nm));
        jtext_add_value(j, "PacketFilterRules", nm->packet_filter);
        jtext_add_value(j, "SSHPolicy", nm->ssh_policy);
        jtext_add_bool(j, "CollectServices", nm->collect_services);
        add_taken(j, "DERPMap", nm->derpmap != NULL ? derpmap_to_json(nm->derpmap) : json_null());
        jtext_add_value(j, "DisplayMessages", nm->display_messages);
        jtext_add_bool(j, "TKAEnabled", nm->tailnet_lock);
        jtext_add_str(j, "TKAHead", no_head);
        jtext_add_str(j, "Domain", nm->domain);
        jtext_add_str(j, "DomainAuditLogID", "");
        jtext_name(j, "UserProfiles");
        jtext_open(j, '{');
}

static bool write_next_peer(struct walk *w, const struct netmap *nm)
{
        const struct netmap_node *n = netmap_peer_after(nm, w->last);
        if (n == NULL)
                return false;
        write_taken(&w->text, node_json(nm, n));
        w->last = n->id;
        return true;
}

static bool next_piece(void *arg, struct buf *out)
{
        struct walk *w = arg;
        const struct netmap *nm = backend_netmap(w->b);
        w->text.out = out;
        if (w->stage == WALK_HEAD && nm->self == NULL) {   /* logged out meanwhile */
                jtext_null(&w->text);
                w->stage = WALK_DONE;
        } else if (w->stage == WALK_HEAD) {
                write_head(&w->text, w->b, nm);
                w->stage = WALK_PEERS;
        } else if (w->stage == WALK_PEERS && !write_next_peer(w, nm)) {
                write_rest(&w->text, nm);
                w->last = INT64_MIN;
                w->stage = WALK_USERS;
        } else if (w->stage == WALK_USERS && !view_next_user(nm, &w->last, &w->text)) {
                jtext_close(&w->text, '}');
                jtext_close(&w->text, '}');
                w->stage = WALK_DONE;
        }
        return w->stage != WALK_DONE;
}

struct lapi_source view_netmap(const struct backend *b)
{
        struct walk *w = calloc(1, sizeof(*w));
        if (w != NULL) {
                w->b = b;
                w->last = INT64_MIN;
                jtext_init(&w->text, NULL, false);
        }
        return (struct lapi_source){next_piece, free, w};
}

/* ---- some of its peers ---- */

struct some {
        const struct backend *b;
        bool begun;
        size_t count, at;
        struct jtext text;
        int64_t ids[];
};

/* Of one that is gone meanwhile it is told elsewhere. */
static bool next_some(void *arg, struct buf *out)
{
        struct some *s = arg;
        s->text.out = out;
        if (!s->begun)
                jtext_open(&s->text, '[');
        s->begun = true;
        const struct netmap_node *n = s->at < s->count ? netmap_peer(backend_netmap(s->b), s->ids[s->at++]) : NULL;
        if (n != NULL)
                write_taken(&s->text, netmap_node_to_json(n));
        if (s->at == s->count)
                jtext_close(&s->text, ']');
        return s->at < s->count;
}

struct lapi_source view_peers(const struct backend *b, const int64_t *ids, size_t n)
{
        struct some *s = calloc(1, sizeof(*s) + n * sizeof(s->ids[0]));
        if (s != NULL) {
                s->b = b;
                s->count = n;
                if (n > 0)
                        memcpy(s->ids, ids, n * sizeof(s->ids[0]));
                jtext_init(&s->text, NULL, false);
        }
        return (struct lapi_source){next_some, free, s};
}
