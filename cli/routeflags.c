#include "cli/routeflags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/via6.h"
#include "cli/command.h"

enum { ROUTES_MAX = 1024 };

static const char all4[] = "0.0.0.0/0", all6[] = "::/0";

/* ---- routes ---- */

/* A bare address is no network, as little as one with host bits set. */
static bool route_parse(const char *text, size_t len, struct prefix *ret, char *why, size_t cap)
{
        char one[PREFIX_STR_MAX + 16], want[PREFIX_STR_MAX];
        snprintf(one, sizeof(one), "%.*s", (int)len, text);
        if (len >= sizeof(one) || strchr(one, '/') == NULL || prefix_parse(one, ret) != ERR_NONE) {
                snprintf(why, cap, "--advertise-routes \"%.*s\": not a network in CIDR form such as 192.168.1.0/24 or fd00:1::/64",
                        (int)(len < 80 ? len : 80), text);
                return false;
        }
        if (!prefix_eq(*ret, prefix_masked(*ret))) {
                snprintf(why, cap, "--advertise-routes \"%s\": has host bits set; the network is %s", one,
                        prefix_str(prefix_masked(*ret), want));
                return false;
        }
        return true;
}

static int by_length(const void *a, const void *b)
{
        const struct prefix *x = a, *y = b;
        return x->bits != y->bits ? (int)x->bits - (int)y->bits : ip_cmp(x->ip, y->ip);
}

static bool exit_pair_whole(const struct prefix *at, size_t n, char *why, size_t cap)
{
        bool v4 = false, v6 = false;
        for (size_t i = 0; i < n; i++)
                if (at[i].bits == 0)
                        *(at[i].ip.family == IP_V6 ? &v6 : &v4) = true;
        if (v4 == v6)
                return true;
        snprintf(why, cap, "--advertise-routes %s: default routes come in pairs, %s and %s; use --advertise-exit-node",
                v4 ? all4 : all6, all4, all6);
        return false;
}

static json_t *routes_json(struct prefix *at, size_t n)
{
        char text[PREFIX_STR_MAX];
        json_t *out = json_array();
        qsort(at, n, sizeof(*at), by_length);
        for (size_t i = 0; i < n; i++)
                if (i == 0 || !prefix_eq(at[i - 1], at[i]))
                        json_array_append_new(out, json_string(prefix_str(at[i], text)));
        if (n > 0)
                return out;
        json_decref(out);
        return json_null();
}

json_t *routes_parse(const char *list, bool exit_node, char *why, size_t cap)
{
        struct prefix at[ROUTES_MAX + 2];
        size_t n = 0;
        const char *s = list;
        for (bool more = *s != '\0'; more;) {
                size_t len = strcspn(s, ",");
                if (n == ROUTES_MAX) {
                        snprintf(why, cap, "--advertise-routes: more than %d networks", ROUTES_MAX);
                        return NULL;
                }
                if (!route_parse(s, len, &at[n], why, cap))
                        return NULL;
                if (via6_is(at[n].ip) && (at[n].bits < VIA6_BITS || via6_site(at[n].ip) > VIA6_SITE_MAX)) {
                        snprintf(why, cap, "--advertise-routes \"%.*s\": a 4via6 network has 96 bits at least and a site up to %d; "
                                "'tailscale debug via SITE NETWORK' makes one", (int)len, s, VIA6_SITE_MAX);
                        return NULL;
                }
                n++;
                more = s[len] == ',';
                s += len + more;
        }
        if (!exit_pair_whole(at, n, why, cap))
                return NULL;
        if (exit_node && prefix_parse(all4, &at[n]) == ERR_NONE && prefix_parse(all6, &at[n + 1]) == ERR_NONE)
                n += 2;
        return routes_json(at, n);
}

static bool has(const json_t *routes, const char *route)
{
        for (size_t i = 0; i < json_array_size(routes); i++)
                if (strcmp(json_string_value(json_array_get(routes, i)), route) == 0)
                        return true;
        return false;
}

bool routes_have_exit(const json_t *routes)
{
        return has(routes, all4) && has(routes, all6);
}

void routes_list(const json_t *routes, char *out, size_t cap)
{
        bool exit = routes_have_exit(routes);
        size_t at = 0;
        out[0] = '\0';
        for (size_t i = 0; i < json_array_size(routes); i++) {
                const char *r = json_string_value(json_array_get(routes, i));
                if (r == NULL || (exit && (strcmp(r, all4) == 0 || strcmp(r, all6) == 0)))
                        continue;
                int n = snprintf(out + at, cap - at, "%s%s", at > 0 ? "," : "", r);
                if (n < 0 || (size_t)n >= cap - at)
                        return;
                at += (size_t)n;
        }
}

/* ---- the exit node ---- */

static bool has_address(const json_t *node, const char *ip)
{
        const json_t *ips = json_arr(node, "TailscaleIPs");
        for (size_t i = 0; i < json_array_size(ips); i++)
                if (strcmp(json_string_value(json_array_get(ips, i)), ip) == 0)
                        return true;
        return false;
}

static bool is_named(const json_t *status, const json_t *peer, const char *word)
{
        char full[300], want[300], shorter[300];
        (void)str_copy(full, sizeof(full), json_str(peer, "DNSName", ""));
        (void)str_copy(want, sizeof(want), word);
        full[strlen(full) - (full[0] != '\0' && full[strlen(full) - 1] == '.')] = '\0';
        want[strlen(want) - (want[0] != '\0' && want[strlen(want) - 1] == '.')] = '\0';
        status_short_name(status, json_str(peer, "DNSName", ""), json_str(peer, "HostName", ""), shorter, sizeof(shorter));
        return strcasecmp(full, want) == 0 || strcasecmp(shorter, want) == 0;
}

/* The one peer that `how` matches; *ret_count says how many there are. */
static const json_t *find_peer(const json_t *status, const char *word, bool by_name, size_t *ret_count)
{
        const json_t *found = NULL;
        const char *key;
        json_t *peer;
        *ret_count = 0;
        json_object_foreach(json_obj(status, "Peer"), key, peer)
        {
                if (by_name ? is_named(status, peer, word) : strcmp(json_str(peer, "ID", ""), word) == 0) {
                        found = peer;
                        (*ret_count)++;
                }
        }
        return found;
}

static bool offers(const json_t *peer, const char *word, char *why, size_t cap)
{
        if (json_bool(peer, "ExitNodeOption", false))
                return true;
        snprintf(why, cap, "--exit-node \"%.100s\": that node does not offer to be an exit node; "
                "'tailscale exit-node list' shows those that do", word);
        return false;
}

static bool is_running(const json_t *status)
{
        return strcmp(json_str(status, "BackendState", ""), "Running") == 0;
}

static bool resolve_ip(const json_t *status, struct ip ip, const char *word, char *out, size_t out_cap, char *why,
        size_t cap)
{
        char text[IP_STR_MAX];
        const char *key;
        json_t *peer;
        (void)str_copy(out, out_cap, ip_str(ip, text));
        if (has_address(json_obj(status, "Self"), text)) {
                snprintf(why, cap, "--exit-node %s: that is this node itself; to be an exit node use --advertise-exit-node", text);
                return false;
        }
        if (!is_running(status))
                return true;   /* who has it shows later */
        json_object_foreach(json_obj(status, "Peer"), key, peer)
        {
                if (has_address(peer, text))
                        return offers(peer, word, why, cap);
        }
        snprintf(why, cap, "--exit-node %s: no peer has that address; 'tailscale exit-node list' shows the exit nodes", text);
        return false;
}

bool exit_node_is_auto(const char *word)
{
        return strcmp(word, "auto:any") == 0;
}

bool exit_node_resolve(const json_t *status, const char *word, char *out, size_t out_cap, char *why, size_t cap)
{
        struct ip ip;
        size_t n;
        out[0] = '\0';
        if (word[0] == '\0')
                return true;
        if (exit_node_is_auto(word))
                return true;
        if (strncmp(word, "auto:", 5) == 0) {
                snprintf(why, cap, "--exit-node \"%.100s\": must be auto:any, a name or an address", word);
                return false;
        }
        if (ip_parse(word, &ip) == ERR_NONE)
                return resolve_ip(status, ip, word, out, out_cap, why, cap);
        const json_t *peer = find_peer(status, word, true, &n);
        if (n == 0)
                peer = find_peer(status, word, false, &n);
        if (n > 1) {
                snprintf(why, cap, "--exit-node \"%.100s\": %zu nodes have that name; give an address", word, n);
                return false;
        }
        if (peer == NULL) {
                bool unknown = json_object_size(json_obj(status, "Peer")) == 0 && !is_running(status);
                snprintf(why, cap, "--exit-node \"%.100s\": no peer has that name%s", word, unknown ?
                        " (the peers are not known before the login: give an address)" :
                        "; 'tailscale exit-node list' shows the exit nodes");
                return false;
        }
        const json_t *first = json_array_get(json_arr(peer, "TailscaleIPs"), 0);
        return offers(peer, word, why, cap) && json_is_string(first) && str_copy(out, out_cap, json_string_value(first));
}
