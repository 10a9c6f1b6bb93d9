/* The network map as watchers and `debug netmap` see it: the reference's NetworkMap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/backend_state.h"
#include "daemon/localapi/status.h"
#include "tun/cover.h"

static json_t *node_json(const struct netmap *nm, const struct netmap_node *n)
{
        json_t *o = netmap_node_to_json(n);
        status_name_node(o, nm->magic_dns_suffix);
        return o;
}

static json_t *users_json(const struct netmap *nm)
{
        json_t *users = json_object();
        for (size_t i = 0; i < nm->user_count; i++) {
                char id[24];
                snprintf(id, sizeof(id), "%lld", (long long)nm->users[i]->id);
                json_object_set_new(users, id, json_pack("{s:I, s:s, s:s, s:s}", "ID", (json_int_t)nm->users[i]->id,
                        "LoginName", nm->users[i]->login_name, "DisplayName", nm->users[i]->display_name,
                        "ProfilePicURL", nm->users[i]->profile_pic_url));
        }
        return users;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *caps_json(const struct netmap_node *self)
{
        json_t *map = self->cap_map[0] != '\0' ? json_parse(self->cap_map, strlen(self->cap_map)) : NULL, *v;
        json_t *caps = json_array();
        const char **names = calloc(json_object_size(map) + 1, sizeof(*names)), *key;
        size_t n = 0;
        json_object_foreach(map, key, v)
        {
                if (names != NULL)
                        names[n++] = key;
        }
        if (n > 1)
                qsort(names, n, sizeof(*names), by_text);
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

static void set_borrowed(json_t *o, const char *key, json_t *v)
{
        if (v != NULL)
                json_object_set(o, key, v);
        else
                json_object_set_new(o, key, json_null());
}

json_t *backend_netmap_json(const struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        if (nm->self == NULL)
                return json_null();
        json_t *peers = json_array(), *o = json_object();
        for (size_t i = 0; i < nm->peer_count; i++)
                json_array_append_new(peers, node_json(nm, nm->peers[i]));
        char node_key[KEY_TEXT_MAX], machine[KEY_TEXT_MAX], no_head[52 + 1];
        struct machine_public mp = key_machine_public(profiles_machine_key(b->o.profiles));
        memset(no_head, 'A', sizeof(no_head) - 1);   /* 32 zero bytes in base32 */
        no_head[sizeof(no_head) - 1] = '\0';
        json_object_set_new(o, "Cached", json_false());
        json_object_set_new(o, "SelfNode", node_json(nm, nm->self));
        json_object_set_new(o, "AllCaps", caps_json(nm->self));
        json_object_set_new(o, "NodeKey", json_string(node_public_text(&nm->self->key, node_key)));
        json_object_set_new(o, "MachineKey", json_string(machine_public_text(&mp, machine)));
        json_object_set_new(o, "Peers", peers);
        set_borrowed(o, "DNS", nm->dns);
        json_object_set_new(o, "PacketFilter", filter_json(nm));
        set_borrowed(o, "PacketFilterRules", nm->packet_filter);
        set_borrowed(o, "SSHPolicy", nm->ssh_policy);
        json_object_set_new(o, "CollectServices", json_boolean(nm->collect_services));
        json_object_set_new(o, "DERPMap", nm->derpmap != NULL ? derpmap_to_json(nm->derpmap) : json_null());
        set_borrowed(o, "DisplayMessages", nm->display_messages);
        json_object_set_new(o, "TKAEnabled", json_boolean(nm->tailnet_lock));
        json_object_set_new(o, "TKAHead", json_string(no_head));
        json_object_set_new(o, "Domain", json_string(nm->domain));
        json_object_set_new(o, "DomainAuditLogID", json_string(""));
        json_object_set_new(o, "UserProfiles", users_json(nm));
        return o;
}
