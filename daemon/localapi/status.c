#include "daemon/localapi/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mono.h"
#include "base/timetext.h"

#define CAPS_DEPRECATED \
        "HTTPS://TAILSCALE.COM/s/DEPRECATED-NODE-CAPS#see-https://github.com/tailscale/tailscale/issues/11508"

static json_t *str(const char *s)
{
        return json_string(s != NULL ? s : "");
}

static json_t *time_json(int64_t ns)
{
        char text[TIME_STR_MAX];
        return json_string(time_str(ns, text));
}

static json_t *ips_json(const struct prefix *at, size_t n)
{
        char text[IP_STR_MAX];
        json_t *a = NULL;
        for (size_t i = 0; i < n; i++) {
                if (!prefix_is_host(at[i]) || !ip_is_tailnet(at[i].ip))
                        continue;
                if (a == NULL)
                        a = json_array();
                json_array_append_new(a, json_string(ip_str(at[i].ip, text)));
        }
        return a != NULL ? a : json_null();
}

static json_t *prefixes_json(const struct prefix *at, size_t n)
{
        char text[PREFIX_STR_MAX];
        json_t *a = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(a, json_string(prefix_str(at[i], text)));
        return a;
}

static json_t *strings_json(const char *const *at, size_t n)
{
        json_t *a = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(a, str(at[i]));
        return a;
}

static json_t *addrs_json(const struct addr *at, size_t n)
{
        char text[ADDR_STR_MAX];
        json_t *a = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(a, json_string(addr_str(at[i], text)));
        return a;
}

static bool offers_exit(const struct status_peer *p)
{
        bool v4 = false, v6 = false;
        for (size_t i = 0; i < p->allowed_count; i++) {
                v4 |= p->allowed[i].bits == 0 && p->allowed[i].ip.family == IP_V4;
                v6 |= p->allowed[i].bits == 0 && p->allowed[i].ip.family == IP_V6;
        }
        return v4 && v6;
}

static json_t *peerapi_json(const struct status_peer *p)
{
        json_t *a = NULL;
        for (size_t i = 0; i < p->address_count; i++) {
                struct addr at = {p->addresses[i].ip,
                        p->addresses[i].ip.family == IP_V6 ? p->peerapi6_port : p->peerapi4_port};
                char text[ADDR_STR_MAX], url[ADDR_STR_MAX + 8];
                if (at.port == 0)
                        continue;
                snprintf(url, sizeof(url), "http://%s", addr_str(at, text));
                if (a == NULL)
                        a = json_array();
                json_array_append_new(a, json_string(url));
        }
        return a != NULL ? a : json_null();
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The capability map, sorted; self also gets the names as a list, behind a note that the list is deprecated. */
static void add_caps(json_t *o, const struct status_peer *p, bool self)
{
        if (p->cap_map == NULL || p->cap_map[0] == '\0')
                return;
        json_t *map = json_parse(p->cap_map, strlen(p->cap_map)), *v;
        size_t n = 0, count = json_object_size(map);
        const char **names = count > 0 ? calloc(count, sizeof(*names)) : NULL;
        const char *k;
        if (names == NULL) {
                json_decref(map);
                return;
        }
        json_object_foreach(map, k, v) names[n++] = k;
        qsort(names, n, sizeof(*names), by_name);
        json_t *list = json_array(), *sorted = json_object();
        json_array_append_new(list, json_string(CAPS_DEPRECATED));
        for (size_t i = 0; i < n; i++) {
                json_array_append_new(list, json_string(names[i]));
                json_object_set(sorted, names[i], json_object_get(map, names[i]));
        }
        if (self)
                json_object_set(o, "Capabilities", list);
        json_object_set_new(o, "CapMap", sorted);
        json_decref(list);
        json_decref(map);
        free(names);
}

static void add_location(json_t *o, const struct status_peer *p)
{
        if (p->location == NULL || p->location[0] == '\0')
                return;
        json_t *loc = json_parse(p->location, strlen(p->location));
        if (json_is_object(loc))
                json_object_set(o, "Location", loc);
        json_decref(loc);
}

static json_t *peer_json(const struct status_peer *p, bool self)
{
        char text[ADDR_STR_MAX], key[KEY_TEXT_MAX];
        json_t *o = json_object();
        json_object_set_new(o, "ID", str(p->id));
        json_object_set_new(o, "NodeID", json_integer(p->node_id));
        json_object_set_new(o, "PublicKey", json_string(node_public_text(&p->key, key)));
        json_object_set_new(o, "HostName", str(p->host_name));
        json_object_set_new(o, "DNSName", str(p->dns_name));
        json_object_set_new(o, "OS", str(p->os));
        json_object_set_new(o, "UserID", json_integer(p->user_id));
        if (p->sharer_id != 0)
                json_object_set_new(o, "AltSharerUserID", json_integer(p->sharer_id));
        json_object_set_new(o, "TailscaleIPs", ips_json(p->addresses, p->address_count));
        if (p->allowed_count > 0)
                json_object_set_new(o, "AllowedIPs", prefixes_json(p->allowed, p->allowed_count));
        if (p->tag_count > 0)
                json_object_set_new(o, "Tags", strings_json(p->tags, p->tag_count));
        if (p->primary_count > 0)
                json_object_set_new(o, "PrimaryRoutes", prefixes_json(p->primary, p->primary_count));
        json_object_set_new(o, "Addrs", self ? addrs_json(p->endpoints, p->endpoint_count) : json_null());
        json_object_set_new(o, "CurAddr", json_string(addr_str(p->cur_addr, text)));
        json_object_set_new(o, "Relay", str(p->relay));
        json_object_set_new(o, "PeerRelay", json_string(""));
        json_object_set_new(o, "RxBytes", json_integer(p->rx_bytes));
        json_object_set_new(o, "TxBytes", json_integer(p->tx_bytes));
        json_object_set_new(o, "Created", time_json(p->created_ns));
        json_object_set_new(o, "LastWrite", time_json(p->last_write_ns));
        json_object_set_new(o, "LastSeen", time_json(p->online ? 0 : p->last_seen_ns));
        json_object_set_new(o, "LastHandshake", time_json(p->last_handshake_ns));
        json_object_set_new(o, "Online", json_boolean(p->online));
        json_object_set_new(o, "ExitNode", json_boolean(p->exit_node));
        json_object_set_new(o, "ExitNodeOption", json_boolean(offers_exit(p)));
        json_object_set_new(o, "Active", json_boolean(p->active));
        json_object_set_new(o, "PeerAPIURL", peerapi_json(p));
        json_object_set_new(o, "TaildropTarget", json_integer(p->taildrop));
        json_object_set_new(o, "NoFileSharingReason", json_string(""));
        add_caps(o, p, self);
        if (p->ssh_key_count > 0)
                json_object_set_new(o, "sshHostKeys", strings_json(p->ssh_keys, p->ssh_key_count));
        if (p->sharee)
                json_object_set_new(o, "ShareeNode", json_true());
        json_object_set_new(o, "InNetworkMap", json_boolean(p->in_map));
        json_object_set_new(o, "InMagicSock", json_boolean(p->in_magicsock));
        json_object_set_new(o, "InEngine", json_boolean(p->in_engine));
        if (p->expired)
                json_object_set_new(o, "Expired", json_true());
        if (p->key_expiry_ns != 0)
                json_object_set_new(o, "KeyExpiry", time_json(p->key_expiry_ns / NS_PER_SEC * NS_PER_SEC));
        add_location(o, p);
        return o;
}

json_t *status_user_json(const struct status_user *u)
{
        json_t *o = json_object();
        json_object_set_new(o, "ID", json_integer(u->id));
        json_object_set_new(o, "LoginName", str(u->login_name));
        json_object_set_new(o, "DisplayName", str(u->display_name));
        json_object_set_new(o, "ProfilePicURL", str(u->profile_pic_url));
        return o;
}

struct keyed {
        char key[KEY_TEXT_MAX];
        const struct status_peer *peer;
};

static int by_key(const void *a, const void *b)
{
        const struct keyed *x = a, *y = b;
        return strcmp(x->key, y->key);
}

static json_t *peers_json(const struct status *s)
{
        json_t *o = json_object();
        struct keyed *k = calloc(s->peer_count + 1, sizeof(*k));
        for (size_t i = 0; k != NULL && i < s->peer_count; i++) {
                node_public_text(&s->peers[i].key, k[i].key);
                k[i].peer = &s->peers[i];
        }
        if (k != NULL)
                qsort(k, s->peer_count, sizeof(*k), by_key);
        for (size_t i = 0; k != NULL && i < s->peer_count; i++)
                json_object_set_new(o, k[i].key, peer_json(k[i].peer, false));
        free(k);
        return o;
}

static json_t *users_json(const struct status *s)
{
        json_t *o = json_object();
        for (size_t i = 0; i < s->user_count; i++) {
                char id[24];
                snprintf(id, sizeof(id), "%lld", (long long)s->users[i].id);
                json_object_set_new(o, id, status_user_json(&s->users[i]));
        }
        return o;
}

static json_t *tailnet_json(const struct status *s)
{
        if (!s->have_tailnet)
                return json_null();
        json_t *o = json_object();
        json_object_set_new(o, "Name", str(s->tailnet_name));
        json_object_set_new(o, "MagicDNSSuffix", str(s->magic_dns_suffix));
        json_object_set_new(o, "MagicDNSEnabled", json_boolean(s->magic_dns));
        return o;
}

static json_t *borrow(const json_t *j)
{
        return j != NULL ? json_incref((json_t *)(uintptr_t)j) : json_null();
}

json_t *status_to_json(const struct status *s)
{
        json_t *o = json_object();
        json_object_set_new(o, "Version", str(s->version));
        json_object_set_new(o, "TUN", json_boolean(s->tun));
        json_object_set_new(o, "BackendState", str(s->state));
        if (s->have_node_key)
                json_object_set_new(o, "HaveNodeKey", json_true());
        json_object_set_new(o, "AuthURL", str(s->auth_url));
        json_object_set_new(o, "TailscaleIPs", ips_json(s->self.addresses, s->self.address_count));
        json_object_set_new(o, "Self", peer_json(&s->self, true));
        if (s->exit_node != NULL) {
                const struct status_peer *x = s->exit_node;
                json_object_set_new(o, "ExitNodeStatus", json_pack("{s:o, s:b, s:o}", "ID", str(x->id), "Online",
                        x->online, "TailscaleIPs", prefixes_json(x->addresses, x->address_count)));
        }
        json_object_set_new(o, "Health", s->health != NULL ? borrow(s->health) : json_array());
        json_object_set_new(o, "MagicDNSSuffix", str(s->magic_dns_suffix));
        json_object_set_new(o, "CurrentTailnet", tailnet_json(s));
        json_object_set_new(o, "CertDomains", borrow(s->cert_domains));
        json_object_set_new(o, "ExtraRecords", borrow(s->extra_records));
        json_object_set_new(o, "Peer", peers_json(s));
        json_object_set_new(o, "User", users_json(s));
        json_object_set_new(o, "ClientVersion", json_null());
        return o;
}

/* ---- whois ---- */

/* A host name as a DNS label would have it: no local domain, lower case, blanks and the like as '-', the rest
 * dropped. */
static void sanitise_host(const char *host, char *out, size_t cap)
{
        static const char *const tails[] = {".localdomain", ".local", ".lan"};
        size_t len = strlen(host), n = 0;
        for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
                size_t t = strlen(tails[i]);
                if (len > t && strcasecmp(host + len - t, tails[i]) == 0) {
                        len -= t;
                        break;
                }
        }
        for (size_t i = 0; i < len && n + 1 < cap && n < 63; i++) {
                char c = host[i];
                if (c >= 'A' && c <= 'Z')
                        c = (char)(c - 'A' + 'a');
                bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
                if (alnum)
                        out[n++] = c;
                else if (n > 0 && c != '\0' && strchr(" .@_-", c) != NULL)
                        out[n++] = '-';
        }
        while (n > 0 && out[n - 1] == '-')
                n--;
        out[n] = '\0';
}

void status_name_node(json_t *node, const char *suffix)
{
        char name[300], with_host[600], label[64];
        const char *host = json_str(json_obj(node, "Hostinfo"), "Hostname", "");
        (void)str_copy(name, sizeof(name), json_str(node, "Name", ""));
        size_t n = strlen(name), s = suffix != NULL ? strlen(suffix) : 0;
        if (n > 0 && name[n - 1] == '.')
                name[--n] = '\0';
        if (s > 0 && n > s + 1 && name[n - s - 1] == '.' && strcmp(name + n - s, suffix) == 0)
                name[n - s - 1] = '\0';
        if (n == 0)
                (void)str_copy(name, sizeof(name), host[0] != '\0' ? host : json_str(node, "Key", ""));
        (void)str_copy(with_host, sizeof(with_host), name);
        sanitise_host(host, label, sizeof(label));
        if (label[0] != '\0' && strcmp(label, name) != 0)
                snprintf(with_host, sizeof(with_host), "%s (%s)", name, label);
        json_object_set_new(node, "ComputedName", json_string(name));
        json_object_set_new(node, "ComputedNameWithHost", json_string(with_host));
}

json_t *status_whois_json(json_t *node, const struct status_user *user, json_t *caps, const char *suffix)
{
        struct status_user nobody = {0};
        if (node == NULL) {
                json_decref(caps);
                return NULL;
        }
        status_name_node(node, suffix);
        json_t *o = json_object();
        json_object_set_new(o, "Node", node);
        json_object_set_new(o, "UserProfile", status_user_json(user != NULL ? user : &nobody));
        json_object_set_new(o, "CapMap", caps != NULL ? caps : json_null());
        return o;
}

json_t *status_ping_json(const struct status_ping *p)
{
        char ip[IP_STR_MAX], node[IP_STR_MAX], ep[ADDR_STR_MAX];
        json_t *o = json_object();
        json_object_set_new(o, "IP", json_string(ip_str(p->ip, ip)));
        json_object_set_new(o, "NodeIP", json_string(ip_str(p->node_ip, node)));
        json_object_set_new(o, "NodeName", str(p->node_name));
        json_object_set_new(o, "Err", str(p->error));
        json_object_set_new(o, "LatencySeconds",
                p->latency_ns != 0 ? json_real((double)p->latency_ns / 1e9) : json_integer(0));
        json_object_set_new(o, "Endpoint", json_string(addr_str(p->endpoint, ep)));
        json_object_set_new(o, "PeerRelay", json_string(""));
        json_object_set_new(o, "DERPRegionID", json_integer(p->region_id));
        json_object_set_new(o, "DERPRegionCode", str(p->region_id != 0 ? p->region_code : ""));
        if (p->peerapi_port != 0)
                json_object_set_new(o, "PeerAPIPort", json_integer(p->peerapi_port));
        if (p->peerapi_url != NULL && p->peerapi_url[0] != '\0')
                json_object_set_new(o, "PeerAPIURL", json_string(p->peerapi_url));
        if (p->is_local)
                json_object_set_new(o, "IsLocalIP", json_true());
        return o;
}
