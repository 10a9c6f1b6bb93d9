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

/* ---- status ---- */

static void add_time(struct jtext *j, const char *name, int64_t ns)
{
        char text[TIME_STR_MAX];
        jtext_add_str(j, name, time_str(ns, text));
}

/* The addresses of the mesh, at most `most`. */
static void add_ips(struct jtext *j, const char *name, const struct prefix *at, size_t n, size_t most)
{
        char text[IP_STR_MAX];
        size_t shown = 0;
        jtext_name(j, name);
        for (size_t i = 0; i < n && shown < most; i++) {
                if (!prefix_is_host(at[i]) || !ip_is_tailnet(at[i].ip))
                        continue;
                if (shown++ == 0)
                        jtext_open(j, '[');
                jtext_str(j, ip_str(at[i].ip, text));
        }
        if (shown > 0)
                jtext_close(j, ']');
        else
                jtext_null(j);
}

static void add_prefixes(struct jtext *j, const char *name, const struct prefix *at, size_t n)
{
        char text[PREFIX_STR_MAX];
        jtext_name(j, name);
        jtext_open(j, '[');
        for (size_t i = 0; i < n; i++)
                jtext_str(j, prefix_str(at[i], text));
        jtext_close(j, ']');
}

static void add_strings(struct jtext *j, const char *name, const char *const *at, size_t n)
{
        jtext_name(j, name);
        jtext_open(j, '[');
        for (size_t i = 0; i < n; i++)
                jtext_str(j, at[i]);
        jtext_close(j, ']');
}

static void add_addrs(struct jtext *j, const char *name, const struct addr *at, size_t n)
{
        char text[ADDR_STR_MAX];
        jtext_name(j, name);
        jtext_open(j, '[');
        for (size_t i = 0; i < n; i++)
                jtext_str(j, addr_str(at[i], text));
        jtext_close(j, ']');
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

static void add_peerapi(struct jtext *j, const struct status_peer *p)
{
        bool some = false;
        jtext_name(j, "PeerAPIURL");
        for (size_t i = 0; i < p->address_count; i++) {
                struct addr at = {p->addresses[i].ip,
                        p->addresses[i].ip.family == IP_V6 ? p->peerapi6_port : p->peerapi4_port};
                char text[ADDR_STR_MAX], url[ADDR_STR_MAX + 8];
                if (at.port == 0)
                        continue;
                snprintf(url, sizeof(url), "http://%s", addr_str(at, text));
                if (!some)
                        jtext_open(j, '[');
                some = true;
                jtext_str(j, url);
        }
        if (some)
                jtext_close(j, ']');
        else
                jtext_null(j);
}

/* The capability map; self also gets the names as a list, behind a note that the list is deprecated. */
static void add_caps(struct jtext *j, const struct status_peer *p, bool self)
{
        if (p->cap_map == NULL || p->cap_map[0] == '\0')
                return;
        json_t *map = self ? json_parse(p->cap_map, strlen(p->cap_map)) : NULL, *v;
        const char *k;
        if (self) {
                jtext_name(j, "Capabilities");
                jtext_open(j, '[');
                jtext_str(j, CAPS_DEPRECATED);
                json_object_foreach(map, k, v) jtext_str(j, k);
                jtext_close(j, ']');
        }
        jtext_name(j, "CapMap");
        jtext_raw(j, p->cap_map);
        json_decref(map);
}

static void write_peer(struct jtext *j, const struct status_peer *p, bool self)
{
        char text[ADDR_STR_MAX], key[KEY_TEXT_MAX];
        jtext_open(j, '{');
        jtext_add_str(j, "ID", p->id);
        jtext_add_int(j, "NodeID", p->node_id);
        jtext_add_str(j, "PublicKey", node_public_text(&p->key, key));
        jtext_add_str(j, "HostName", p->host_name);
        jtext_add_str(j, "DNSName", p->dns_name);
        jtext_add_str(j, "OS", p->os);
        jtext_add_int(j, "UserID", p->user_id);
        if (p->sharer_id != 0)
                jtext_add_int(j, "AltSharerUserID", p->sharer_id);
        add_ips(j, "TailscaleIPs", p->addresses, p->address_count, SIZE_MAX);
        if (p->allowed_count > 0)
                add_prefixes(j, "AllowedIPs", p->allowed, p->allowed_count);
        if (p->tag_count > 0)
                add_strings(j, "Tags", p->tags, p->tag_count);
        if (p->primary_count > 0)
                add_prefixes(j, "PrimaryRoutes", p->primary, p->primary_count);
        if (self)
                add_addrs(j, "Addrs", p->endpoints, p->endpoint_count);
        else
                jtext_add_null(j, "Addrs");
        jtext_add_str(j, "CurAddr", addr_str(p->cur_addr, text));
        jtext_add_str(j, "Relay", p->relay);
        jtext_add_str(j, "PeerRelay", "");
        jtext_add_int(j, "RxBytes", p->rx_bytes);
        jtext_add_int(j, "TxBytes", p->tx_bytes);
        add_time(j, "Created", p->created_ns);
        add_time(j, "LastWrite", p->last_write_ns);
        add_time(j, "LastSeen", p->online ? 0 : p->last_seen_ns);
        add_time(j, "LastHandshake", p->last_handshake_ns);
        jtext_add_bool(j, "Online", p->online);
        jtext_add_bool(j, "ExitNode", p->exit_node);
        jtext_add_bool(j, "ExitNodeOption", offers_exit(p));
        jtext_add_bool(j, "Active", p->active);
        add_peerapi(j, p);
        jtext_add_int(j, "TaildropTarget", p->taildrop);
        jtext_add_str(j, "NoFileSharingReason", "");
        add_caps(j, p, self);
        if (p->ssh_key_count > 0)
                add_strings(j, "sshHostKeys", p->ssh_keys, p->ssh_key_count);
        if (p->sharee)
                jtext_add_bool(j, "ShareeNode", true);
        jtext_add_bool(j, "InNetworkMap", p->in_map);
        jtext_add_bool(j, "InMagicSock", p->in_magicsock);
        jtext_add_bool(j, "InEngine", p->in_engine);
        if (p->expired)
                jtext_add_bool(j, "Expired", true);
        if (p->key_expiry_ns != 0)
                add_time(j, "KeyExpiry", p->key_expiry_ns / NS_PER_SEC * NS_PER_SEC);
        if (p->location != NULL && p->location[0] != '\0') {
                jtext_name(j, "Location");
                jtext_raw(j, p->location);
        }
        jtext_close(j, '}');
}

static void add_some(struct jtext *j, const char *name, bool value)
{
        if (value)
                jtext_add_bool(j, name, true);
}

/* Of each member that is missing the reader takes the zero value. */
static void write_peer_brief(struct jtext *j, const struct status_peer *p)
{
        char text[ADDR_STR_MAX];
        jtext_open(j, '{');
        jtext_add_str(j, "HostName", p->host_name);
        jtext_add_str(j, "DNSName", p->dns_name);
        jtext_add_str(j, "OS", p->os);
        jtext_add_int(j, "UserID", p->user_id);
        if (p->login_name != NULL)
                jtext_add_str(j, "LoginName", p->login_name);
        add_ips(j, "TailscaleIPs", p->addresses, p->address_count, 1);
        if (p->active) {
                jtext_add_str(j, "CurAddr", addr_str(p->cur_addr, text));
                jtext_add_str(j, "Relay", p->relay);
        }
        if (p->rx_bytes != 0 || p->tx_bytes != 0) {
                jtext_add_int(j, "RxBytes", p->rx_bytes);
                jtext_add_int(j, "TxBytes", p->tx_bytes);
        }
        if (!p->online && p->last_seen_ns != 0)
                add_time(j, "LastSeen", p->last_seen_ns);
        add_some(j, "Online", p->online);
        add_some(j, "ExitNode", p->exit_node);
        add_some(j, "ExitNodeOption", offers_exit(p));
        add_some(j, "Active", p->active);
        add_some(j, "ShareeNode", p->sharee);
        jtext_close(j, '}');
}

void status_write_peer(struct jtext *j, const struct status_peer *p, bool brief)
{
        char key[KEY_TEXT_MAX];
        if (brief) {
                write_peer_brief(j, p);
                return;
        }
        jtext_name(j, node_public_text(&p->key, key));
        write_peer(j, p, false);
}

static void write_user(struct jtext *j, const struct status_user *u)
{
        jtext_open(j, '{');
        jtext_add_int(j, "ID", u->id);
        jtext_add_str(j, "LoginName", u->login_name);
        jtext_add_str(j, "DisplayName", u->display_name);
        jtext_add_str(j, "ProfilePicURL", u->profile_pic_url);
        jtext_close(j, '}');
}

void status_write_user(struct jtext *j, const struct status_user *u)
{
        char id[24];
        snprintf(id, sizeof(id), "%lld", (long long)u->id);
        jtext_name(j, id);
        write_user(j, u);
}

static void add_tailnet(struct jtext *j, const struct status *s)
{
        jtext_name(j, "CurrentTailnet");
        if (!s->have_tailnet) {
                jtext_null(j);
                return;
        }
        jtext_open(j, '{');
        jtext_add_str(j, "Name", s->tailnet_name);
        jtext_add_str(j, "MagicDNSSuffix", s->magic_dns_suffix);
        jtext_add_bool(j, "MagicDNSEnabled", s->magic_dns);
        jtext_close(j, '}');
}

static void add_exit_node(struct jtext *j, const struct status_peer *x)
{
        if (x == NULL)
                return;
        jtext_name(j, "ExitNodeStatus");
        jtext_open(j, '{');
        jtext_add_str(j, "ID", x->id);
        jtext_add_bool(j, "Online", x->online);
        add_prefixes(j, "TailscaleIPs", x->addresses, x->address_count);
        jtext_close(j, '}');
}

static void add_health(struct jtext *j, const struct status *s)
{
        jtext_name(j, "Health");
        if (s->health != NULL)
                jtext_value(j, s->health);
        else
                jtext_raw(j, "[]");
}

void status_write_head(struct jtext *j, const struct status *s, bool brief)
{
        jtext_open(j, '{');
        jtext_add_str(j, "Version", s->version);
        jtext_add_bool(j, "TUN", s->tun);
        jtext_add_str(j, "BackendState", s->state);
        if (s->have_node_key)
                jtext_add_bool(j, "HaveNodeKey", true);
        jtext_add_str(j, "AuthURL", s->auth_url);
        add_ips(j, "TailscaleIPs", s->self.addresses, s->self.address_count, SIZE_MAX);
        jtext_name(j, "Self");
        if (brief)
                write_peer_brief(j, &s->self);
        else
                write_peer(j, &s->self, true);
        if (!brief)
                add_exit_node(j, s->exit_node);
        add_health(j, s);
        jtext_add_str(j, "MagicDNSSuffix", s->magic_dns_suffix);
        if (!brief) {
                add_tailnet(j, s);
                jtext_add_value(j, "CertDomains", s->cert_domains);
                jtext_add_value(j, "ExtraRecords", s->extra_records);
        }
        jtext_name(j, brief ? "Peers" : "Peer");
        jtext_open(j, brief ? '[' : '{');
}

void status_write_users(struct jtext *j)
{
        jtext_close(j, '}');
        jtext_name(j, "User");
        jtext_open(j, '{');
}

void status_write_end(struct jtext *j, bool brief)
{
        jtext_close(j, brief ? ']' : '}');
        if (!brief)
                jtext_add_null(j, "ClientVersion");
        jtext_close(j, '}');
}

/* ---- whois ---- */

static json_t *str(const char *s)
{
        return json_string(s != NULL ? s : "");
}

static json_t *user_json(const struct status_user *u)
{
        json_t *o = json_object();
        json_object_set_new(o, "ID", json_integer(u->id));
        json_object_set_new(o, "LoginName", str(u->login_name));
        json_object_set_new(o, "DisplayName", str(u->display_name));
        json_object_set_new(o, "ProfilePicURL", str(u->profile_pic_url));
        return o;
}

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
        json_object_set_new(o, "UserProfile", user_json(user != NULL ? user : &nobody));
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
