/* What is asked while UDP is silent. */
#include "netcheck/internal.h"

#include <stdio.h>
#include <string.h>

/* No answer by UDP for that long: a portal may be in the way. */
static const int64_t CAPTIVE_AFTER_NS = 200 * NS_PER_MS;
enum { CAPTIVE_TIMEOUT_MS = 3000 };

/* For the echoes of all regions together. */
static const int64_t PINGS_NS = NS_PER_SEC;

/* Asked for on full reports alone, and only if UDP is silent. */
void nc_arm_captive(struct netcheck *nc)
{
        const struct nc_start_args *a = &nc->args;
        uint16_t nonce;
        nc->random(&nonce, sizeof(nonce));
        nc->captive = nc->full && nc_captive_pick(a->map, a->home, a->have_v4, a->have_v6, nonce, &nc->page) ? CAPTIVE_ARMED
                                                                                                          : CAPTIVE_NOT;
}

mono_t nc_captive_at(const struct netcheck *nc)
{
        return mono_add_ns(nc->started, CAPTIVE_AFTER_NS);
}

/* Nobody needs to wait for it. */
bool nc_captive_ended(const struct netcheck *nc)
{
        return nc->captive == CAPTIVE_NOT || (nc->captive == CAPTIVE_ARMED && nc->now_report.udp);
}

bool nc_run_captive(struct netcheck *nc, mono_t now, struct nc_action *ret)
{
        if (nc->captive != CAPTIVE_ARMED || !mono_reached(now, nc_captive_at(nc)))
                return false;
        nc->captive = nc->now_report.udp ? CAPTIVE_NOT : CAPTIVE_ASKED;
        if (nc->captive == CAPTIVE_NOT)
                return false;
        ret->kind = NC_CAPTIVE;
        ret->id = nc_make_id(nc, 0);
        ret->captive = &nc->page;
        ret->timeout_ms = CAPTIVE_TIMEOUT_MS;
        return true;
}

static bool needs_https(const struct netcheck *nc, const struct derp_region *r)
{
        return derp_region_may_be_home(r) && nc_report_latency(&nc->now_report, r->id) == NULL;
}

static bool is_home(const struct netcheck *nc, const struct https *h)
{
        return nc->args.map->regions[h->region_index].id == nc->args.home;
}

/* Home first, and for as long as there is: others share places and time where there are many. */
void nc_enter_https(struct netcheck *nc, mono_t now)
{
        const struct derpmap *map = nc->args.map;
        nc->phase = PHASE_HTTPS;
        nc->pings_until = mono_add_ns(now, PINGS_NS);
        if (nc->now_report.udp)
                return;
        for (int home = 1; home >= 0; home--)
                for (size_t i = 0; i < map->region_count; i++)
                        if ((map->regions[i].id == nc->args.home) == home && needs_https(nc, &map->regions[i]))
                                nc->https[nc->https_count++] = (struct https){.region_index = (uint16_t)i};
        size_t homes = nc->https_count > 0 && is_home(nc, &nc->https[0]), places = FETCHES_MAX - homes;
        int64_t turns = (int64_t)((nc->https_count - homes + places - 1) / places);
        nc->https_each_ns = turns > 0 ? mono_diff_ns(mono_add_ns(nc->started, NC_REPORT_NS), now) / turns : 0;
}

static void make_url(const struct derp_node *n, char *out, size_t cap)
{
        const char *open = strchr(n->hostname, ':') != NULL ? "[" : "";
        const char *close = open[0] != '\0' ? "]" : "";
        if (n->derp_port == 443)
                snprintf(out, cap, "https://%s%s%s/derp/latency-check", open, n->hostname, close);
        else
                snprintf(out, cap, "https://%s%s%s:%u/derp/latency-check", open, n->hostname, close, n->derp_port);
}

/* A region's next node is asked once every region has been: first turns are taken in the order of the list. */
bool nc_run_https(struct netcheck *nc, size_t i, mono_t now, struct nc_action *ret)
{
        struct https *h = &nc->https[i];
        const struct derp_region *r = &nc->args.map->regions[h->region_index];
        bool again = i < nc->https_begun;
        if (h->ended || h->asked || nc->https_asked == FETCHES_MAX || (again && nc->https_begun < nc->https_count))
                return false;
        nc->https_begun += !again;
        while (h->node < r->node_count && r->nodes[h->node].stun_only)
                h->node++;
        if (h->node >= r->node_count) {
                h->ended = true;
                return false;
        }
        h->asked = true;
        nc->https_asked++;
        ret->kind = NC_FETCH;
        ret->id = nc_make_id(nc, i);
        ret->region = r->id;
        ret->node = &r->nodes[h->node];
        make_url(ret->node, ret->url, sizeof(ret->url));
        int64_t left = mono_diff_ns(mono_add_ns(nc->started, NC_REPORT_NS), now);
        int64_t ms = (is_home(nc, h) || left < nc->https_each_ns ? left : nc->https_each_ns) / NS_PER_MS;
        ret->timeout_ms = ms > 1 ? (unsigned)ms : 1;
        return true;
}

bool nc_https_ended(const struct netcheck *nc)
{
        for (size_t i = 0; i < nc->https_count; i++)
                if (!nc->https[i].ended)
                        return false;
        return true;
}

/* The first node, as the reference does; false: it has no IPv4 address without a name, or no UDP at all. */
static bool echo_target(const struct netcheck *nc, const struct derp_region *r, struct ip *ret)
{
        const struct derp_node *n = &r->nodes[0];
        const char *const fields[] = {n->stun_test_ip, n->ipv4, n->hostname};
        if (nc->args.no_udp || !nc->args.have_v4 || n->stun_port == 0)
                return false;
        for (size_t i = 0; i < 3; i++)
                if (ip_parse(fields[i], ret) == ERR_NONE && ret->family == IP_V4)
                        return true;
        return false;
}

bool nc_run_ping(struct netcheck *nc, size_t i, struct nc_action *ret)
{
        struct https *h = &nc->https[i];
        const struct derp_region *r = &nc->args.map->regions[h->region_index];
        struct ip ip;
        if (h->pinged)
                return false;
        h->pinged = true;
        h->ping_ended = !echo_target(nc, r, &ip);
        if (h->ping_ended)
                return false;
        ret->kind = NC_PING;
        ret->id = nc_make_id(nc, i);
        ret->region = r->id;
        ret->family = IP_V4;
        ret->addr.ip = ip;
        ret->node = &r->nodes[0];
        return true;
}

/* Who answers by HTTPS needs no echo. */
mono_t nc_pings_until(const struct netcheck *nc)
{
        for (size_t i = 0; i < nc->https_count; i++) {
                int region = nc->args.map->regions[nc->https[i].region_index].id;
                if (nc->https[i].pinged && !nc->https[i].ping_ended && nc_report_latency(&nc->now_report, region) == NULL)
                        return nc->pings_until;
        }
        return (mono_t){0};
}

void nc_on_pinged(struct netcheck *nc, uint32_t id, int64_t rtt_ns)
{
        size_t i;
        if (nc->phase != PHASE_HTTPS || !nc_take_id(nc, id, nc->https_count, &i) || nc->https[i].ping_ended)
                return;
        nc->https[i].ping_ended = true;
        if (rtt_ns > 0)
                nc_report_icmp(&nc->now_report, nc->args.map->regions[nc->https[i].region_index].id, rtt_ns);
}

void nc_on_fetched(struct netcheck *nc, uint32_t id, long status, enum ip_family f, int64_t rtt_ns)
{
        size_t i;
        if (nc->phase != PHASE_HTTPS || !nc_take_id(nc, id, nc->https_count, &i) || !nc->https[i].asked)
                return;
        struct https *h = &nc->https[i];
        h->asked = false;
        nc->https_asked--;
        if (status < 200 || status > 299) {
                h->node++;
                return;
        }
        h->ended = true;
        nc_report_https(&nc->now_report, nc->args.map->regions[h->region_index].id, f, rtt_ns);
}

void nc_on_captive(struct netcheck *nc, uint32_t id, long status, const char *response)
{
        size_t i;
        if (!nc_take_id(nc, id, 1, &i) || nc->captive != CAPTIVE_ASKED)
                return;
        nc->captive = CAPTIVE_NOT;
        bool portal = status != 0 && nc_captive_is_portal(&nc->page, status, response);
        nc->now_report.captive = portal ? NC_TRUE : NC_FALSE;
}
