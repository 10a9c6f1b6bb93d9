#include "daemon/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/timetext.h"
#include "daemon/control/peercaps.h"
#include "daemon/localapi/status.h"
#include "daemon/netsync.h"
#include "netcheck/nat.h"

const struct netmap_node *view_node_for_ip(const struct backend *b, struct ip ip)
{
        const struct netmap *nm = backend_netmap(b);
        const struct netmap_node *n = netmap_by_ip(nm, ip);
        if (n != NULL || ip_is_tailnet(ip))
                return n;
        const struct netmap_node *exit = backend_exit_node(b);
        struct netsync_prefs sp = {.accept_routes = backend_prefs(b)->route_all, .exit_node = exit != NULL ? exit->id : 0};
        int best = -1;
        for (size_t i = 0; i < nm->peer_count; i++) {
                for (uint32_t k = 0; k < nm->peers[i]->allowed_count; k++) {
                        struct prefix p = nm->peers[i]->allowed[k];
                        if (p.bits > best && prefix_contains(p, ip) && netsync_allows(nm->peers[i], p, &sp)) {
                                best = p.bits;
                                n = nm->peers[i];
                        }
                }
        }
        return n;
}

const char *view_node_name(const struct netmap_node *n, char *out, size_t cap)
{
        (void)str_copy(out, cap, n->name[0] != '\0' ? n->name : n->hostname);
        out[strcspn(out, ".")] = '\0';
        return out;
}

/* Capabilities are granted by the rules in use: there are none with the shields up or of forged rules. */
static json_t *granted(const struct backend *b, const struct netmap_node *n, const struct ip *dst)
{
        const struct netmap *nm = backend_netmap(b);
        if (n->address_count == 0 || backend_prefs(b)->shields_up || netsync_filter_is_forged(nm))
                return NULL;
        return dst != NULL ? peercaps(nm, n->addresses[0].ip, *dst) : peercaps_self(nm, n->addresses[0].ip);
}

json_t *view_whois(const struct backend *b, const struct netmap_node *n, const struct ip *dst)
{
        const struct netmap *nm = backend_netmap(b);
        const struct netmap_user *u = netmap_user(nm, n->user);
        struct status_user su = {0};
        if (u != NULL)
                su = (struct status_user){u->id, u->login_name, u->display_name, u->profile_pic_url};
        return status_whois_json(netmap_node_to_json(n), u != NULL ? &su : NULL, granted(b, n, dst),
                nm->magic_dns_suffix);
}

/* ---- netcheck ---- */

static json_t *tri_json(enum nc_tri t)
{
        return t == NC_UNKNOWN ? json_null() : json_boolean(t == NC_TRUE);
}

static void add_latency(json_t *o, int region, int64_t ns)
{
        char key[16];
        snprintf(key, sizeof(key), "%d", region);
        if (ns > 0)
                json_object_set_new(o, key, json_integer(ns));
}

static json_t *counters_json(const struct nc_counter *c, size_t n)
{
        if (n == 0)
                return json_null();
        json_t *o = json_object();
        char text[ADDR_STR_MAX];
        for (size_t i = 0; i < n; i++)
                json_object_set_new(o, addr_str(c[i].addr, text), json_integer(c[i].seen));
        return o;
}

static json_t *text_or_null(const char *s)
{
        return s != NULL ? json_string(s) : json_null();
}

/* More than the reference has, so it comes last. */
static json_t *nat_json(const struct netcheck_report *r)
{
        char words[NC_NAT_WORDS_MAX];
        json_t *o = json_object();
        json_object_set_new(o, "Kind", json_string(nc_nat_kind_str(nc_nat_kind(r))));
        json_object_set_new(o, "Mapping", text_or_null(nc_nat_mapping(r)));
        json_object_set_new(o, "Filtering", text_or_null(nc_nat_filtering(r)));
        json_object_set_new(o, "FilteringWhy", json_string(nc_nat_filtering_why(r)));
        json_object_set_new(o, "HairPinning", tri_json(r->hairpin));
        json_object_set_new(o, "HairPinningWhy", json_string(nc_nat_hairpin_why(r)));
        json_object_set_new(o, "PortKept", tri_json(nc_nat_port_kept(r)));
        json_object_set_new(o, "Text", json_string(nc_nat_words(r, words)));
        return o;
}

json_t *view_netcheck(const struct netcheck_report *r)
{
        char now[TIME_STR_MAX], v4[ADDR_STR_MAX], v6[ADDR_STR_MAX];
        json_t *any = json_object(), *l4 = json_object(), *l6 = json_object(), *o = json_object();
        for (size_t i = 0; i < r->latency_count; i++) {
                add_latency(any, r->latency[i].region, r->latency[i].any_ns);
                add_latency(l4, r->latency[i].region, r->latency[i].v4_ns);
                add_latency(l6, r->latency[i].region, r->latency[i].v6_ns);
        }
        json_object_set_new(o, "Now", json_string(time_str(wall_now_ns(), now)));
        json_object_set_new(o, "UDP", json_boolean(r->udp));
        json_object_set_new(o, "IPv6", json_boolean(r->ipv6));
        json_object_set_new(o, "IPv4", json_boolean(r->ipv4));
        json_object_set_new(o, "IPv6CanSend", json_boolean(r->ipv6_can_send));
        json_object_set_new(o, "IPv4CanSend", json_boolean(r->ipv4_can_send));
        json_object_set_new(o, "OSHasIPv6", json_boolean(r->os_has_ipv6));
        json_object_set_new(o, "ICMPv4", json_boolean(r->icmp4));
        json_object_set_new(o, "MappingVariesByDestIP", tri_json(r->mapping_varies));
        json_object_set_new(o, "UPnP", tri_json(r->upnp));
        json_object_set_new(o, "PMP", tri_json(r->pmp));
        json_object_set_new(o, "PCP", tri_json(r->pcp));
        json_object_set_new(o, "PreferredDERP", json_integer(r->preferred));
        json_object_set_new(o, "RegionLatency", any);
        json_object_set_new(o, "RegionV4Latency", l4);
        json_object_set_new(o, "RegionV6Latency", l6);
        json_object_set_new(o, "GlobalV4Counters", counters_json(r->v4, r->v4_count));
        json_object_set_new(o, "GlobalV6Counters", counters_json(r->v6, r->v6_count));
        json_object_set_new(o, "GlobalV4", json_string(addr_str(r->global_v4, v4)));
        json_object_set_new(o, "GlobalV6", json_string(addr_str(r->global_v6, v6)));
        json_object_set_new(o, "CaptivePortal", tri_json(r->captive));
        json_object_set_new(o, "NAT", nat_json(r));
        return o;
}
