/* Nodes as the reference shows them in whois and debug output. */
#include "daemon/control/netmap.h"

#include <string.h>

#include "base/json.h"
#include "base/timetext.h"

static json_t *prefixes_json(const struct prefix *p, uint32_t n)
{
        json_t *a = json_array();
        for (uint32_t i = 0; i < n; i++) {
                char text[PREFIX_STR_MAX];
                (void)json_array_append_new(a, json_string(prefix_str(p[i], text)));
        }
        return a;
}

static json_t *strings_json(const char *const *list, uint32_t n)
{
        json_t *a = json_array();
        for (uint32_t i = 0; i < n; i++)
                (void)json_array_append_new(a, json_string(list[i]));
        return a;
}

static json_t *endpoints_json(const struct netmap_node *n)
{
        json_t *a = json_array();
        for (uint32_t i = 0; i < n->endpoint_count; i++) {
                char text[ADDR_STR_MAX];
                (void)json_array_append_new(a, json_string(addr_str(n->endpoints[i], text)));
        }
        return a;
}

static void add_service(json_t *list, const char *proto, uint16_t port)
{
        if (port != 0)
                (void)json_array_append_new(list, json_pack("{s:s, s:i}", "Proto", proto, "Port", (int)port));
}

static json_t *hostinfo_json(const struct netmap_node *n)
{
        json_t *h = json_object();
        json_t *services = json_array();
        if (n->os[0] != '\0')
                (void)json_object_set_new(h, "OS", json_string(n->os));
        if (n->os_version[0] != '\0')
                (void)json_object_set_new(h, "OSVersion", json_string(n->os_version));
        if (n->hostname[0] != '\0')
                (void)json_object_set_new(h, "Hostname", json_string(n->hostname));
        if (n->sharee)
                (void)json_object_set_new(h, "ShareeNode", json_true());
        add_service(services, "peerapi4", n->peerapi4_port);
        add_service(services, "peerapi6", n->peerapi6_port);
        add_service(services, "peerapi-dns-proxy", n->peerapi_dns_proxy ? 1 : 0);
        if (json_array_size(services) > 0)
                (void)json_object_set(h, "Services", services);
        json_decref(services);
        if (n->ssh_key_count > 0)
                (void)json_object_set_new(h, "sshHostKeys", strings_json(n->ssh_keys, n->ssh_key_count));
        if (n->location[0] != '\0')
                (void)json_object_set_new(h, "Location", json_parse(n->location, strlen(n->location)));
        return h;
}

static void set_time(json_t *obj, const char *key, int64_t ns)
{
        char text[TIME_STR_MAX];
        if (ns != 0)
                (void)json_object_set_new(obj, key, json_string(time_str(ns, text)));
}

static void set_flag(json_t *obj, const char *key, bool on)
{
        if (on)
                (void)json_object_set_new(obj, key, json_true());
}

static void set_keys(json_t *o, const struct netmap_node *n)
{
        char text[KEY_TEXT_MAX];
        (void)json_object_set_new(o, "Key", json_string(node_public_text(&n->key, text)));
        set_time(o, "KeyExpiry", n->key_expiry_ns);
        (void)json_object_set_new(o, "Machine", json_string(machine_public_text(&n->machine, text)));
        if (!disco_public_is_zero(&n->disco))
                (void)json_object_set_new(o, "DiscoKey", json_string(disco_public_text(&n->disco, text)));
}

json_t *netmap_node_to_json(const struct netmap_node *n)
{
        json_t *o = json_object();
        (void)json_object_set_new(o, "ID", json_integer(n->id));
        (void)json_object_set_new(o, "StableID", json_string(n->stable_id));
        (void)json_object_set_new(o, "Name", json_string(n->name));
        (void)json_object_set_new(o, "User", json_integer(n->user));
        if (n->sharer != 0)
                (void)json_object_set_new(o, "Sharer", json_integer(n->sharer));
        set_keys(o, n);
        (void)json_object_set_new(o, "Addresses", prefixes_json(n->addresses, n->address_count));
        (void)json_object_set_new(o, "AllowedIPs", prefixes_json(n->allowed, n->allowed_count));
        if (n->endpoint_count > 0)
                (void)json_object_set_new(o, "Endpoints", endpoints_json(n));
        if (n->home_derp != 0)
                (void)json_object_set_new(o, "HomeDERP", json_integer(n->home_derp));
        (void)json_object_set_new(o, "Hostinfo", hostinfo_json(n));
        set_time(o, "Created", n->created_ns);
        if (n->cap != 0)
                (void)json_object_set_new(o, "Cap", json_integer(n->cap));
        if (n->tag_count > 0)
                (void)json_object_set_new(o, "Tags", strings_json(n->tags, n->tag_count));
        if (n->primary_count > 0)
                (void)json_object_set_new(o, "PrimaryRoutes", prefixes_json(n->primary, n->primary_count));
        set_time(o, "LastSeen", n->last_seen_ns);
        if (n->online != NETMAP_UNKNOWN)
                (void)json_object_set_new(o, "Online", json_boolean(n->online == NETMAP_YES));
        set_flag(o, "MachineAuthorized", n->machine_authorized);
        if (n->cap_map[0] != '\0')
                (void)json_object_set_new(o, "CapMap", json_parse(n->cap_map, strlen(n->cap_map)));
        set_flag(o, "UnsignedPeerAPIOnly", n->unsigned_peerapi_only);
        set_flag(o, "Expired", n->expired);
        set_flag(o, "IsWireGuardOnly", n->wireguard_only);
        set_flag(o, "IsJailed", n->jailed);
        return o;
}
