#include "daemon/api_ping.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetch.h"
#include "base/json.h"
#include "daemon/api.h"
#include "daemon/localapi/status.h"
#include "daemon/view.h"

enum { SIZE_MAX_BYTES = 65467, PAGE_MAX = 64 * 1024, PEERAPI_PATIENCE_MS = 10000 };

enum ping_type { PING_DISCO, PING_TSMP, PING_ICMP, PING_PEERAPI, PING_TYPES };
static const char *const types[PING_TYPES] = {"disco", "TSMP", "ICMP", "peerapi"};

struct wait {
        struct api *api;
        struct lapi_req *req;    /* NULL: the client went away meanwhile */
        struct ip ip;
        int64_t node_id;
        struct fetch *fetch;
        char url[ADDR_STR_MAX + 16];
};

static void reply(const struct api *a, struct lapi_req *r, struct ip ip, const struct netmap_node *n,
        const struct engine_ping_result *res, const char *url)
{
        char name[256] = "";
        const struct netmap *nm = backend_netmap(a->backend);
        const struct derp_region *region =
                nm->derpmap != NULL ? derpmap_region(nm->derpmap, res->relay_region) : NULL;
        struct status_ping p = {
                .ip = ip,
                .node_ip = n != NULL && n->address_count > 0 ? n->addresses[0].ip : (struct ip){0},
                .node_name = n != NULL ? view_node_name(n, name, sizeof(name)) : "",
                .error = res->error,
                .latency_ns = res->latency_ns,
                .endpoint = res->direct,
                .region_id = ip_is_set(res->direct.ip) ? 0 : res->relay_region,
                .region_code = region != NULL ? region->code : "",
                .peerapi_port = res->service_port,
                .peerapi_url = url,
                .is_local = n != NULL && n == nm->self,
        };
        lapi_reply_json(r, 200, status_ping_json(&p), LAPI_COMPACT);
}

static void on_ping(void *arg, const struct engine_ping_result *res)
{
        struct wait *w = arg;
        if (w->req != NULL)
                reply(w->api, w->req, w->ip, netmap_peer(backend_netmap(w->api->backend), w->node_id), res, w->url);
        free(w);
}

static void on_fetched(struct fetch *f, const struct fetch_result *got, void *arg, mono_t now)
{
        (void)f;
        (void)now;
        char text[320];
        struct wait *w = arg;
        struct engine_ping_result res = {.latency_ns = got->first_byte_ns};
        if (got->err != ERR_NONE && got->err != ERR_FULL) {
                snprintf(text, sizeof(text), "%s", got->error != NULL ? got->error : err_str(got->err));
                res.error = text;
        } else if (got->err == ERR_NONE && got->status != 200) {
                snprintf(text, sizeof(text), "HTTP status %ld", got->status);
                res.error = text;
        }
        on_ping(w, &res);
}

static void on_gone(void *arg)
{
        struct wait *w = arg;
        w->req = NULL;
        if (w->fetch != NULL) {   /* else the engine still answers */
                fetch_cancel(w->fetch);
                free(w);
        }
}

static struct ip address_of(const struct netmap_node *n, uint8_t family)
{
        for (uint32_t i = 0; i < n->address_count; i++)
                if (n->addresses[i].ip.family == family)
                        return n->addresses[i].ip;
        return (struct ip){0};
}

/* Asks the peer's HTTP service for its first page. */
static void ask_peerapi(struct wait *w, const struct netmap_node *n)
{
        char text[ADDR_STR_MAX];
        uint16_t port = w->ip.family == IP_V4 ? n->peerapi4_port : n->peerapi6_port;
        struct ip at = address_of(n, w->ip.family);   /* the one that was asked for may be behind it */
        struct engine_ping_result res = {0};
        struct dial_opts o = {.no_proxy = true, .timeout_ms = PEERAPI_PATIENCE_MS};
        snprintf(w->url, sizeof(w->url), "http://%s", addr_str((struct addr){at, port}, text));
        if (port == 0 || !ip_is_set(at))
                res.error = "the peer has no PeerAPI at that address";
        else if (w->api->inside == NULL || (w->fetch = fetch_get(w->api->inside, w->url, &o, PAGE_MAX, on_fetched, w)) == NULL)
                res.error = "no connection can be made through the tunnel: out of memory";
        if (res.error != NULL)
                on_ping(w, &res);
}

static void start(struct api *a, struct lapi_req *r, struct ip ip, const struct netmap_node *n, enum ping_type type,
        size_t size)
{
        struct engine *e = backend_engine(a->backend);
        struct ip own = address_of(backend_netmap(a->backend)->self, ip.family);
        struct wait *w = calloc(1, sizeof(*w));
        if (w == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        *w = (struct wait){.api = a, .req = r, .ip = ip, .node_id = n->id};
        lapi_on_gone(r, on_gone, w);
        if (type == PING_DISCO)
                engine_ping(e, n->id, size, on_ping, w);
        else if (type == PING_PEERAPI)
                ask_peerapi(w, n);
        else if (ip_is_set(own))
                engine_ping_inside(e, n->id, type == PING_ICMP ? MESHPING_ICMP : MESHPING_TSMP, own, ip, on_ping, w);
        else
                on_ping(w, &(struct engine_ping_result){.error = "this node has no address of that family"});
}

static enum ping_type type_of(const char *text)
{
        enum ping_type t = PING_DISCO;
        while (t < PING_TYPES && (text == NULL || strcmp(text, types[t]) != 0))
                t++;
        return t;
}

static bool parse_size(const char *s, size_t *ret)
{
        char *end;
        errno = 0;
        unsigned long v = strtoul(s, &end, 10);
        *ret = v;
        return *s >= '0' && *s <= '9' && *end == '\0' && errno == 0 && v <= SIZE_MAX_BYTES;
}

void api_ping(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *ip_text = lapi_param(r, "ip"), *size_text = lapi_param(r, "size");
        enum ping_type type = type_of(lapi_param(r, "type"));
        struct ip ip;
        size_t size = 0;
        if (ip_text == NULL || ip_parse(ip_text, &ip) != ERR_NONE) {
                lapi_reply_text(r, 400, "invalid 'ip' parameter");
                return;
        }
        if (type == PING_TYPES) {
                lapi_reply_text(r, 400, "invalid 'type' parameter: want disco, TSMP, ICMP or peerapi");
                return;
        }
        if (size_text != NULL && !parse_size(size_text, &size)) {
                lapi_reply_text(r, 400, "invalid 'size' parameter: 0 to %d", SIZE_MAX_BYTES);
                return;
        }
        const struct netmap *nm = backend_netmap(a->backend);
        const struct netmap_node *n = view_node_for_ip(a->backend, ip);
        struct engine_ping_result none = {0};
        char text[IP_STR_MAX], local[IP_STR_MAX + 32];
        if (backend_state(a->backend) == IPN_STOPPED) {
                none.error = "Tailscale is stopped: run 'tailscale up'";
        } else if (n == NULL) {
                none.error = "no matching peer";
        } else if (n == nm->self) {
                snprintf(local, sizeof(local), "%s is local Tailscale IP", ip_str(ip, text));
                none.error = local;
        } else {
                start(a, r, ip, n, type, size);
                return;
        }
        reply(a, r, ip, n, &none, "");
}
