#include "daemon/api_metrics.h"

#include <stdlib.h>

#include "daemon/api.h"
#include "daemon/metrics.h"

struct wait {
        struct api *api;
        struct lapi_req *req;   /* NULL: the client went away meanwhile */
        bool in_full;
};

static void on_client_gone(void *arg)
{
        struct wait *w = arg;
        w->req = NULL;
}

static bool has(const struct prefix *list, size_t n, const struct prefix *p)
{
        for (size_t i = 0; i < n; i++)
                if (prefix_eq(list[i], *p))
                        return true;
        return false;
}

static struct metrics_view view_of(const struct backend *b)
{
        const struct prefs *p = backend_prefs(b);
        const struct netmap_node *self = backend_netmap(b)->self;
        json_t *health = backend_health(b);
        struct metrics_view v = {.health_messages = json_array_size(health)};
        json_decref(health);
        for (size_t i = 0; i < p->advertise_route_count; i++)
                v.advertised_routes += p->advertise_routes[i].bits != 0;
        for (size_t i = 0; self != NULL && i < self->allowed_count; i++)
                v.approved_routes += self->allowed[i].bits != 0 &&
                        !has(self->addresses, self->address_count, &self->allowed[i]);
        return v;
}

static void on_counters(void *arg, const struct counters *c)
{
        struct wait *w = arg;
        struct buf text;
        buf_init(&text, METRICS_MAX);
        if (w->req != NULL && w->in_full) {
                metrics_debug(c, &text);
        } else if (w->req != NULL) {
                struct metrics_view v = view_of(w->api->backend);
                metrics_user(c, &v, &text);
        }
        if (w->req != NULL && !buf_ok(&text))
                lapi_reply_text(w->req, 500, "out of memory");
        else if (w->req != NULL)
                lapi_reply_body(w->req, 200, w->in_full ? "text/plain" : "text/plain;version=0.0.4;charset=utf-8", text.data);
        buf_done(&text);
        free(w);
}

static void ask(struct api *a, struct lapi_req *r, bool in_full)
{
        struct wait *w = calloc(1, sizeof(*w));
        if (w == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        *w = (struct wait){a, r, in_full};
        lapi_on_gone(r, on_client_gone, w);
        engine_counters(backend_engine(a->backend), on_counters, w);
}

void api_user_metrics(void *arg, struct lapi_req *r)
{
        ask(arg, r, false);
}

void api_debug_metrics(void *arg, struct lapi_req *r)
{
        ask(arg, r, true);
}
