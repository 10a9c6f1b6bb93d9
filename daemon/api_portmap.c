#include "daemon/api_portmap.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/duration.h"
#include "daemon/api.h"
#include "magicsock/mapper.h"
#include "portmap/gateway.h"

enum {
        TEXT_MAX = 1 << 20,
        STEP_MS = 50,            /* how soon it is noticed that nothing more is to come */
        GIVE_BACK_MS = 1500,
        DURATION_MAX_S = 120,
};

struct run {
        struct timer timer;
        struct api *api;
        struct lapi_req *req;
        struct mapper *mapper;
        struct buf text;
        mono_t began, end;
        int64_t duration_ns;
        int fd;                  /* holds the port that is asked for */
        bool is_found, is_mapped, is_leaving;
};

static void run_free(struct run *x)
{
        loop_timer_stop(&x->timer);
        mapper_free(x->mapper);
        if (x->fd >= 0)
                close(x->fd);
        buf_done(&x->text);
        free(x);
}

static void finish(struct run *x)
{
        if (buf_ok(&x->text))
                lapi_reply_body(x->req, 200, "text/plain", x->text.data);
        else
                lapi_reply_text(x->req, 500, "out of memory, or the router said more than a mebibyte");
        run_free(x);
}

/* A mapping by UPnP then lasts as long as it was given for: to give it back takes answers. */
static void on_gone(void *arg)
{
        struct run *x = arg;
        mapper_stop(x->mapper, loop_now(x->api->loop));
        run_free(x);
}

/* ---- what happens ---- */

static void on_trace(void *arg, const char *line)
{
        struct run *x = arg;
        double s = (double)mono_diff_ns(loop_now(x->api->loop), x->began) / 1e9;
        buf_printf(&x->text, "%.3f s %s\n", s, line);
}

/* What follows is done by the timer, as the mapper is in the middle of something. */
static void on_found(void *arg, mono_t now)
{
        struct run *x = arg;
        x->is_found = true;
        loop_timer_at(x->api->loop, &x->timer, now);
}

static void on_changed(void *arg, mono_t now)
{
        struct run *x = arg;
        x->is_mapped |= mapper_mapping(x->mapper) != NULL;
        loop_timer_at(x->api->loop, &x->timer, now);
}

static const char *yes(enum nc_tri t)
{
        return t == NC_TRUE ? "true" : "false";
}

static struct nc_portmap say_probe(struct run *x, mono_t now)
{
        struct nc_portmap found = mapper_report(x->mapper, now);
        buf_printf(&x->text, "Probe: {PCP:%s PMP:%s UPnP:%s}\n", yes(found.pcp), yes(found.pmp), yes(found.upnp));
        return found;
}

static void leave(struct run *x, mono_t now)
{
        x->is_leaving = true;
        x->end = mono_add_ms(now, GIVE_BACK_MS);
        mapper_stop(x->mapper, now);
}

static void say_mapping(struct run *x, mono_t now)
{
        const struct portmap_lease *l = &mapper_state(x->mapper)->lease;
        char outside[ADDR_STR_MAX];
        (void)say_probe(x, now);
        buf_printf(&x->text, "mapping: %s (%s), for %lld s; it is given back now\n", addr_str(l->outside, outside),
                   portmap_way_str(l->way), (long long)(mono_diff_ms(l->end, now) + 500) / 1000);
}

static void say_nothing_came(struct run *x, mono_t now)
{
        struct nc_portmap found = say_probe(x, now);
        bool is_any = found.pcp == NC_TRUE || found.pmp == NC_TRUE || found.upnp == NC_TRUE;
        buf_puts(&x->text, is_any ? "no mapping: the router answers and gives none that is of use\n" :
                                    "no portmapping services available\n");
}

static void on_timer(struct timer *t, mono_t now)
{
        struct run *x = container_of(t, struct run, timer);
        if (x->is_leaving) {
                if (mapper_is_quiet(x->mapper) || mono_reached(now, x->end)) {
                        finish(x);
                        return;
                }
        } else if (x->is_mapped && mapper_mapping(x->mapper) != NULL) {
                say_mapping(x, now);
                leave(x, now);
        } else if (x->is_found && mapper_is_quiet(x->mapper)) {
                say_nothing_came(x, now);
                leave(x, now);
        } else if (mono_reached(now, x->end)) {
                char text[DURATION_STR_MAX];
                say_nothing_came(x, now);
                buf_printf(&x->text, "that is as far as it got in %s: try a longer --duration\n",
                           duration_str(x->duration_ns, text));
                leave(x, now);
        }
        loop_timer_in(x->api->loop, &x->timer, STEP_MS);
}

/* ---- the request ---- */

static bool is_true(const char *v)
{
        bool on = false;
        return v != NULL && str_bool(v, &on) && on;
}

static bool parse_duration(const char *s, int64_t *ret)
{
        return s != NULL && duration_parse(s, ret) == ERR_NONE && *ret > 0 && *ret <= DURATION_MAX_S * NS_PER_SEC;
}

/* The ways that are not to be tried. */
static bool parse_type(const char *s, unsigned *ret_off)
{
        static const struct {
                const char *word;
                unsigned ways;
        } types[] = {{"", PORTMAP_ALL}, {"pmp", PORTMAP_BIT(PORTMAP_PMP)}, {"pcp", PORTMAP_BIT(PORTMAP_PCP)},
                {"upnp", PORTMAP_BIT(PORTMAP_UPNP)}};
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                if (strcmp(s != NULL ? s : "", types[i].word) != 0)
                        continue;
                *ret_off = PORTMAP_ALL & ~types[i].ways;
                return true;
        }
        return false;
}

static bool parse_v4(const char *s, size_t len, struct ip *ret)
{
        char text[IP_STR_MAX];
        if (len >= sizeof(text))
                return false;
        memcpy(text, s, len);
        text[len] = '\0';
        return ip_parse(text, ret) == ERR_NONE && ret->family == IP_V4;
}

static bool parse_net(const char *s, struct portmap_net *ret)
{
        const char *slash = strchr(s, '/');
        return slash != NULL && parse_v4(s, (size_t)(slash - s), &ret->router) &&
               parse_v4(slash + 1, strlen(slash + 1), &ret->self);
}

/* A free UDP port, ours until fd is closed; 0: none. */
static uint16_t hold_port(int *ret_fd)
{
        struct sockaddr_in sa = {.sin_family = AF_INET};
        socklen_t len = sizeof(sa);
        *ret_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (*ret_fd < 0 || bind(*ret_fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
                getsockname(*ret_fd, (struct sockaddr *)&sa, &len) != 0)
                return 0;
        return ntohs(sa.sin_port);
}

static void begin(struct run *x, const struct portmap_net *net, unsigned off, mono_t now)
{
        char router[IP_STR_MAX], self[IP_STR_MAX];
        x->began = now;
        x->end = mono_add_ns(now, x->duration_ns);
        buf_printf(&x->text, "gw=%s; self=%s\n", ip_str(net->router, router), ip_str(net->self, self));
        lapi_on_gone(x->req, on_gone, x);
        loop_timer_in(x->api->loop, &x->timer, STEP_MS);
        mapper_set_off(x->mapper, off, now);
        (void)mapper_look_in(x->mapper, net, true, now);
}

static struct run *run_new(struct api *a, struct lapi_req *r, bool bodies)
{
        struct mapper_callbacks cb = {.on_found = on_found, .on_changed = on_changed, .on_trace = on_trace, .trace_bodies = bodies};
        struct run *x = calloc(1, sizeof(*x));
        if (x == NULL)
                return NULL;
        x->api = a;
        x->req = r;
        x->fd = -1;
        timer_init(&x->timer, on_timer);
        buf_init(&x->text, TEXT_MAX);
        x->mapper = mapper_new(a->loop, a->dialer, a->mark, &cb, x);
        if (x->mapper != NULL)
                return x;
        run_free(x);
        return NULL;
}

void api_debug_portmap(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *where = lapi_param(r, "gateway_and_self");
        struct portmap_net net = {0};
        int64_t duration_ns;
        unsigned off;
        if (!parse_duration(lapi_param(r, "duration"), &duration_ns)) {
                lapi_reply_text(r, 400, "invalid 'duration' parameter: want 2m at most, such as 5s");
                return;
        }
        if (!parse_type(lapi_param(r, "type"), &off)) {
                lapi_reply_text(r, 400, "unknown portmap debug type: want pmp, pcp, upnp, or nothing for all");
                return;
        }
        if (where != NULL && where[0] != '\0' && !parse_net(where, &net)) {
                lapi_reply_text(r, 400, "invalid 'gateway_and_self' parameter: want two IPv4 addresses, such as 192.168.1.1/192.168.1.2");
                return;
        }
        if (!ip_is_set(net.router) && !gateway_find(a->mark, &net.router, &net.self)) {
                lapi_reply_body(r, 200, "text/plain", "no gateway or self IP: this host has no default route by IPv4 to a router with a "
                                                      "private address\n");
                return;
        }
        struct run *x = run_new(a, r, is_true(lapi_param(r, "log_http")));
        if (x == NULL || (net.port = hold_port(&x->fd)) == 0) {
                if (x != NULL)
                        run_free(x);
                lapi_reply_text(r, 500, "out of memory or of ports");
                return;
        }
        x->duration_ns = duration_ns;
        begin(x, &net, off, loop_now(a->loop));
}
