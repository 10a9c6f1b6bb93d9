#include "magicsock/mapper.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fetch.h"
#include "base/log.h"
#include "portmap/gateway.h"
#include "portmap/trace.h"

enum {
        READS_A_ROUND = 32,     /* whoever sends us more waits */
        DATAGRAM_MAX = 1500,
        HTTP_MS = 3000,         /* one request; small routers take their time */
};

struct mapper {
        struct portmap p;
        struct loop *loop;
        struct dialer *dialer;
        uint32_t mark;
        struct mapper_callbacks cb;
        void *arg;
        struct timer timer;
        struct watch watch;
        int fd;                 /* -1: nobody is asked */
        struct fetch *fetch;
        bool has_logged;        /* that there is a mapping */
};

static void pump(struct mapper *m, mono_t now);

/* ---- in words ---- */

static void trace_action(struct mapper *m, const struct portmap_action *a)
{
        char line[PORTMAP_TRACE_MAX];
        if (m->cb.on_trace == NULL)
                return;
        m->cb.on_trace(m->arg, portmap_trace_action(a, line));
        if (m->cb.trace_bodies && a->kind == PORTMAP_FETCH && a->fetch.body[0] != '\0')
                m->cb.on_trace(m->arg, a->fetch.body);
}

static void trace_answer(struct mapper *m, const struct fetch_result *res)
{
        char line[PORTMAP_TRACE_MAX];
        if (m->cb.on_trace == NULL)
                return;
        if (res->err != ERR_NONE)
                snprintf(line, sizeof(line), "<- UPnP: no answer: %s", res->error != NULL ? res->error : err_str(res->err));
        else
                snprintf(line, sizeof(line), "<- UPnP: HTTP status %ld, %zu bytes", res->status, res->body_len);
        m->cb.on_trace(m->arg, line);
        if (m->cb.trace_bodies && res->err == ERR_NONE)
                m->cb.on_trace(m->arg, res->body);
}

static void trace_packet(struct mapper *m, struct addr from, const void *data, size_t len)
{
        char line[PORTMAP_TRACE_MAX];
        if (m->cb.on_trace != NULL)
                m->cb.on_trace(m->arg, portmap_trace_packet(m->p.net.router, from, data, len, line));
}

/* ---- datagrams ---- */

static void close_socket(struct mapper *m)
{
        loop_unwatch(&m->watch);
        if (m->fd >= 0)
                close(m->fd);
        m->fd = -1;
}

static bool set_options(int fd, uint32_t mark, struct ip self)
{
        struct in_addr from;
        int hops = 2;
        memcpy(&from, self.b, sizeof(from));
        /* Without the right to set it there is no policy routing to get past either. */
        if (mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 && errno != EPERM)
                return false;
        return (!ip_is_set(self) || setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof(from)) == 0) &&
               setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &hops, sizeof(hops)) == 0;
}

static bool open_socket(struct mapper *m)
{
        if (m->fd >= 0)
                return true;
        m->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (m->fd >= 0 && set_options(m->fd, m->mark, m->p.net.self) &&
                loop_watch(m->loop, &m->watch, m->fd, LOOP_READ) == ERR_NONE)
                return true;
        close_socket(m);
        return false;
}

/* What cannot be sent is as good as lost on the way. */
static void send_datagram(struct mapper *m, const struct portmap_action *a)
{
        struct sockaddr_storage to;
        socklen_t len = addr_to_sockaddr(a->to, &to);
        if (open_socket(m))
                (void)sendto(m->fd, a->data, a->len, MSG_NOSIGNAL, (const struct sockaddr *)&to, len);
}

static void on_readable(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct mapper *m = container_of(w, struct mapper, watch);
        uint8_t data[DATAGRAM_MAX];
        struct sockaddr_storage from;
        for (int i = 0; i < READS_A_ROUND; i++) {
                socklen_t from_len = sizeof(from);
                ssize_t n = recvfrom(m->fd, data, sizeof(data), MSG_TRUNC, (struct sockaddr *)&from, &from_len);
                if (n < 0)
                        break;
                if ((size_t)n > sizeof(data))
                        continue;
                struct addr src = addr_from_sockaddr((const struct sockaddr *)&from);
                trace_packet(m, src, data, (size_t)n);
                portmap_on_packet(&m->p, src, data, (size_t)n, now);
        }
        if (portmap_ways(&m->p, now) & PORTMAP_BIT(PORTMAP_UPNP))
                upnp_xml_load();
        pump(m, now);
}

/* ---- HTTP ---- */

static void on_fetched(struct fetch *f, const struct fetch_result *res, void *arg, mono_t now)
{
        (void)f;
        struct mapper *m = arg;
        m->fetch = NULL;
        bool ok = res->err == ERR_NONE;
        log_debug(1, "port mapping: the router answered with %ld %s", ok ? res->status : 0, ok ? "" : res->error);
        trace_answer(m, res);
        portmap_on_answer(&m->p, ok ? res->status : 0, ok ? res->body : "", ok ? res->body_len : 0, now);
        pump(m, now);
}

static void start_fetch(struct mapper *m, const struct upnp_request *r, mono_t now)
{
        struct dial_opts o = {.connect_ip6 = "none", .timeout_ms = HTTP_MS, .no_proxy = true};
        log_debug(1, "port mapping: asking %s %s", r->url, r->action);
        fetch_cancel(m->fetch);
        if (r->action[0] == '\0')
                m->fetch = fetch_get(m->dialer, r->url, &o, r->max, on_fetched, m);
        else
                m->fetch = fetch_soap(m->dialer, r->url, &o, r->action, "text/xml; charset=\"utf-8\"", r->body,
                        strlen(r->body), r->max, on_fetched, m);
        if (m->fetch == NULL)
                portmap_on_answer(&m->p, 0, "", 0, now);
}

/* ---- the whole ---- */

static void log_change(struct mapper *m, mono_t now)
{
        static struct log_limit limit;   /* the router says how often */
        char router[IP_STR_MAX], outside[ADDR_STR_MAX];
        const struct portmap_lease *l = &m->p.lease;
        if ((l->way == PORTMAP_NONE && !m->has_logged) || log_limited(&limit, now))
                return;
        if (l->way != PORTMAP_NONE)
                log_info("port mapping: router %s says that it leads %s to us (%s)", ip_str(l->net.router, router),
                        addr_str(l->outside, outside), portmap_way_str(l->way));
        else
                log_info("port mapping: none any more");
        m->has_logged = l->way != PORTMAP_NONE;
}

static void pump(struct mapper *m, mono_t now)
{
        struct portmap_action a;
        bool found = false, changed = false;
        for (enum portmap_kind k; (k = portmap_next(&m->p, now, &a)) != PORTMAP_IDLE;) {
                if (k == PORTMAP_SEND || k == PORTMAP_FETCH)
                        trace_action(m, &a);
                if (k == PORTMAP_SEND)
                        send_datagram(m, &a);
                else if (k == PORTMAP_FETCH)
                        start_fetch(m, &a.fetch, now);
                found |= k == PORTMAP_FOUND;
                changed |= k == PORTMAP_CHANGED;
        }
        if (m->p.upnp.step == UPNP_QUIET) {
                fetch_cancel(m->fetch);
                m->fetch = NULL;
        }
        if (portmap_is_quiet(&m->p))
                close_socket(m);
        loop_timer_at(m->loop, &m->timer, portmap_deadline(&m->p));
        if (changed) {
                log_change(m, now);
                m->cb.on_changed(m->arg, now);
        }
        if (found)
                m->cb.on_found(m->arg, now);
}

static void on_timer(struct timer *t, mono_t now)
{
        pump(container_of(t, struct mapper, timer), now);
}

struct mapper *mapper_new(struct loop *l, struct dialer *d, uint32_t mark, const struct mapper_callbacks *cb, void *arg)
{
        struct mapper *m = calloc(1, sizeof(*m));
        if (m == NULL)
                return NULL;
        portmap_init(&m->p, crypto_random);
        m->loop = l;
        m->dialer = d;
        m->mark = mark;
        m->cb = *cb;
        m->arg = arg;
        m->fd = -1;
        timer_init(&m->timer, on_timer);
        watch_init(&m->watch, on_readable);
        return m;
}

void mapper_free(struct mapper *m)
{
        if (m == NULL)
                return;
        loop_timer_stop(&m->timer);
        close_socket(m);
        fetch_cancel(m->fetch);
        free(m);
}

void mapper_set_off(struct mapper *m, unsigned ways, mono_t now)
{
        if (ways == m->p.off)
                return;
        portmap_set_off(&m->p, ways, now);
        pump(m, now);
}

bool mapper_look(struct mapper *m, uint16_t port, bool fresh, mono_t now)
{
        struct portmap_net net = {.port = port};
        if ((m->p.off & PORTMAP_ALL) == PORTMAP_ALL || !gateway_find(m->mark, &net.router, &net.self))
                net = (struct portmap_net){0};
        return mapper_look_in(m, &net, fresh, now);
}

bool mapper_look_in(struct mapper *m, const struct portmap_net *net, bool fresh, mono_t now)
{
        if (!ip_eq(net->self, m->p.net.self))
                close_socket(m);
        if (!ip_eq(net->router, m->p.net.router)) {
                char text[IP_STR_MAX];
                log_debug(1, "port mapping: the router is %s now", ip_is_set(net->router) ? ip_str(net->router, text) : "nobody");
        }
        portmap_set_net(&m->p, net, now);
        bool is_looking = portmap_look(&m->p, fresh, now);
        pump(m, now);   /* which may end a look that was over already */
        return is_looking && m->p.looking;
}

void mapper_stop(struct mapper *m, mono_t now)
{
        portmap_stop(&m->p, now);
        pump(m, now);
}

bool mapper_is_quiet(const struct mapper *m)
{
        return portmap_is_quiet(&m->p);
}

const struct addr *mapper_mapping(const struct mapper *m)
{
        return portmap_mapping(&m->p);
}

struct nc_portmap mapper_report(const struct mapper *m, mono_t now)
{
        if (!ip_is_set(m->p.net.router))
                return (struct nc_portmap){0};   /* not checked */
        unsigned ways = portmap_ways(&m->p, now);
        return (struct nc_portmap){
                .upnp = ways & PORTMAP_BIT(PORTMAP_UPNP) ? NC_TRUE : NC_FALSE,
                .pmp = ways & PORTMAP_BIT(PORTMAP_PMP) ? NC_TRUE : NC_FALSE,
                .pcp = ways & PORTMAP_BIT(PORTMAP_PCP) ? NC_TRUE : NC_FALSE,
        };
}

const struct portmap *mapper_state(const struct mapper *m)
{
        return &m->p;
}
