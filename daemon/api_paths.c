#include "daemon/api_paths.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/timetext.h"
#include "daemon/api.h"
#include "daemon/view.h"

/* ---- the object ---- */

static const char *route_word(enum ms_route_kind k)
{
        switch (k) {
        case MS_ROUTE_NONE:
                break;
        case MS_ROUTE_DIRECT:
                return "direct";
        case MS_ROUTE_BOTH:
                return "doubt";
        case MS_ROUTE_RELAY:
                return "relay";
        }
        return "none";
}

/* Seconds since then; null: never. */
static json_t *ago(const struct ms_explain *x, mono_t t)
{
        return mono_is_set(t) ? json_real((double)mono_diff_ns(x->now, t) / 1e9) : json_null();
}

static json_t *seconds(int64_t ns)
{
        return ns > 0 ? json_real((double)ns / 1e9) : json_null();
}

static json_t *addr_json(struct addr a)
{
        char text[ADDR_STR_MAX];
        return json_string(addr_is_set(a) ? addr_str(a, text) : "");
}

static json_t *region_json(const struct derpmap *map, int id)
{
        const struct derp_region *r = map != NULL && id != 0 ? derpmap_region(map, id) : NULL;
        return json_string(r != NULL ? r->code : "");
}

static json_t *origins(uint8_t origin)
{
        static const char *const words[] = {"map", "call", "ping"};
        json_t *a = json_array();
        for (size_t i = 0; i < 3; i++)
                if (origin & (1U << i))
                        json_array_append_new(a, json_string(words[i]));
        return a;
}

static json_t *candidates(const struct ms_explain *x)
{
        _Static_assert(PATH_FROM_MAP == 1 && PATH_FROM_CALL == 2 && PATH_FROM_PING == 4, "as in origins()");
        json_t *a = json_array();
        for (size_t i = 0; i < x->path_count; i++) {
                const struct path *p = &x->paths[i];
                json_t *o = json_object();
                json_object_set_new(o, "Addr", addr_json(p->addr));
                json_object_set_new(o, "From", origins(p->origin));
                json_object_set_new(o, "Pings", json_integer(p->tried));
                json_object_set_new(o, "LastPingAgo", ago(x, p->pinged));
                json_object_set_new(o, "HeardAgo", ago(x, p->proven));
                json_object_set_new(o, "LatencySeconds", seconds(p->latency_ns));
                json_array_append_new(a, o);
        }
        return a;
}

static json_t *whys(const struct ms_explain *x)
{
        enum ms_why why[MS_WHY_MAX];
        char text[MS_WHY_TEXT_MAX];
        json_t *a = json_array();
        size_t n = ms_why(x, why);
        for (size_t i = 0; i < n; i++)
                json_array_append_new(a, json_pack("{s:s, s:s}", "Why", ms_why_word(why[i]), "Text", ms_why_text(why[i], x, text)));
        return a;
}

static json_t *history(const struct ms_explain *x, int64_t wall_ns)
{
        char when[TIME_STR_MAX], text[HISTORY_TEXT_MAX];
        json_t *a = json_array();
        for (size_t i = 0; i < x->history.count; i++) {
                const struct history_entry *e = history_at(&x->history, i);
                json_t *o = json_object();
                json_object_set_new(o, "When", json_string(time_str(wall_ns - mono_diff_ns(x->now, e->at), when)));
                json_object_set_new(o, "What", json_string(history_word((enum history_kind)e->kind)));
                json_object_set_new(o, "Addr", addr_json(e->addr));
                json_object_set_new(o, "Value", json_integer(e->value));
                json_object_set_new(o, "Times", json_integer(e->times));
                json_object_set_new(o, "LastAgo", ago(x, mono_add_ms(e->at, e->last_ms)));
                json_object_set_new(o, "Text", json_string(history_text(e, text)));
                json_array_append_new(a, o);
        }
        return a;
}

/* The search for a path through our own NAT, if it is a hard one. */
static json_t *hard_nat(const struct ms_explain *x)
{
        const struct hn_status *h = &x->hard_nat;
        json_t *o = json_object();
        json_object_set_new(o, "Outcome", json_string(hn_outcome_str(h->outcome)));
        json_object_set_new(o, "WhyNot", json_string(hn_why_str(h->why)));
        json_object_set_new(o, "Tries", json_integer(h->tries));
        json_object_set_new(o, "Found", json_integer(h->found));
        json_object_set_new(o, "StartedAgo", ago(x, h->started));
        json_object_set_new(o, "TookSeconds", seconds(h->took_ns));
        json_object_set_new(o, "Sockets", json_integer(h->sockets));
        json_object_set_new(o, "Pings", json_integer(h->pings));
        json_object_set_new(o, "Calls", json_integer(h->calls));
        json_object_set_new(o, "Guesses", json_integer(h->guesses));
        json_object_set_new(o, "Pinned", json_boolean(h->pinned));
        json_object_set_new(o, "Outside", addr_json(h->outside));
        return o;
}

static json_t *own(const struct ms_explain *x)
{
        json_t *o = json_object();
        json_object_set_new(o, "NAT", json_string(nc_nat_kind_str(x->nat)));
        json_object_set_new(o, "Addresses", json_integer((json_int_t)x->own_endpoints));
        json_object_set_new(o, "UDP4", json_boolean(x->udp4));
        json_object_set_new(o, "UDP6", json_boolean(x->udp6));
        json_object_set_new(o, "IPv6", json_boolean(x->ipv6));
        return o;
}

json_t *paths_json(const struct ms_explain *x, const struct derpmap *map, int64_t wall_ns)
{
        bool direct = x->route.kind == MS_ROUTE_DIRECT || x->route.kind == MS_ROUTE_BOTH;
        json_t *o = json_object();
        json_object_set_new(o, "State", json_string(route_word(x->route.kind)));
        json_object_set_new(o, "Addr", addr_json(direct ? x->route.addr : (struct addr){.port = 0}));
        json_object_set_new(o, "LatencySeconds", direct ? seconds(x->latency_ns) : json_null());
        json_object_set_new(o, "TrustedFor", direct ? seconds(mono_diff_ns(x->trust_until, x->now)) : json_null());
        json_object_set_new(o, "Relay", region_json(map, x->route.region));
        json_object_set_new(o, "RelayID", json_integer(x->route.region));
        json_object_set_new(o, "RelayFrom", json_string(x->home != 0 ? "map" : x->learned != 0 ? "heard" : x->likely != 0 ? "own" : ""));
        json_object_set_new(o, "Awake", json_boolean(x->awake));
        json_object_set_new(o, "Active", json_boolean(x->active));
        json_object_set_new(o, "KnowsUs", json_boolean(x->knows_us));
        json_object_set_new(o, "Disco", json_boolean(x->has_disco));
        json_object_set_new(o, "Expired", json_boolean(x->expired));
        json_object_set_new(o, "SentAgo", ago(x, x->last_send));
        json_object_set_new(o, "HeardAgo", ago(x, x->heard));
        json_object_set_new(o, "SearchAgo", ago(x, x->round_started));
        json_object_set_new(o, "CallAgo", ago(x, x->call_sent));
        json_object_set_new(o, "PingInAgo", ago(x, x->heard_ping));
        json_object_set_new(o, "TxDirect", json_integer((json_int_t)x->tx_direct));
        json_object_set_new(o, "TxRelay", json_integer((json_int_t)x->tx_relay));
        json_object_set_new(o, "Candidates", candidates(x));
        json_object_set_new(o, "Own", own(x));
        json_object_set_new(o, "HardNAT", hard_nat(x));
        json_object_set_new(o, "NotDirect", whys(x));
        json_object_set_new(o, "History", history(x, wall_ns));
        return o;
}

/* ---- the request ---- */

struct wait {
        struct api *api;
        struct lapi_req *req;    /* NULL: the client went away meanwhile */
        int64_t node_id;
};

static void on_paths(void *arg, const struct ms_explain *x)
{
        struct wait *w = arg;
        const struct netmap *nm = backend_netmap(w->api->backend);
        const struct netmap_node *n = netmap_peer(nm, w->node_id);
        char name[256], ip[IP_STR_MAX];
        if (w->req != NULL && (x == NULL || n == NULL)) {
                lapi_reply_text(w->req, 404, "no matching peer");
        } else if (w->req != NULL) {
                json_t *o = paths_json(x, nm->derpmap, wall_now_ns());
                json_object_set_new(o, "NodeName", json_string(view_node_name(n, name, sizeof(name))));
                json_object_set_new(o, "NodeIP", json_string(n->address_count > 0 ? ip_str(n->addresses[0].ip, ip) : ""));
                lapi_reply_json(w->req, 200, o, LAPI_TABS);
        }
        free(w);
}

static void on_gone(void *arg)
{
        ((struct wait *)arg)->req = NULL;
}

void api_debug_paths(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *ip_text = lapi_param(r, "ip");
        struct ip ip;
        if (ip_text == NULL || ip_parse(ip_text, &ip) != ERR_NONE) {
                lapi_reply_text(r, 400, "invalid 'ip' parameter");
                return;
        }
        const struct netmap_node *n = view_node_for_ip(a->backend, ip);
        if (n == NULL || n == backend_netmap(a->backend)->self) {
                lapi_reply_text(r, 404, n == NULL ? "no matching peer" : "that is an address of this node, to which no path leads");
                return;
        }
        struct wait *w = calloc(1, sizeof(*w));
        if (w == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        *w = (struct wait){.api = a, .req = r, .node_id = n->id};
        lapi_on_gone(r, on_gone, w);
        engine_paths(backend_engine(a->backend), n->id, on_paths, w);
}
