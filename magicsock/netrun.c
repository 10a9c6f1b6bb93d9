#include "magicsock/netrun.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/crypto.h"
#include "base/fetch.h"
#include "base/log.h"
#include "base/lookup.h"
#include "magicsock/echo.h"

enum { FETCH_BODY_MAX = 4096 };

struct fetching {
        struct fetching *next;
        struct netrun *owner;
        struct fetch *fetch;
        uint32_t id;
        bool captive;
};

struct netrun {
        struct timer timer;
        struct loop *loop;
        struct dialer *dialer;
        struct netrun_callbacks cb;
        void *arg;
        struct netcheck *nc;
        struct lookup *lookup;
        struct echo *echo;
        struct fetching *fetches;
        struct nc_portmap portmap;
        bool is_held;
};

static void advance(struct netrun *n, mono_t now);

static void drop_fetch(struct netrun *n, struct fetching *f)
{
        for (struct fetching **at = &n->fetches; *at; at = &(*at)->next) {
                if (*at != f)
                        continue;
                *at = f->next;
                free(f);
                return;
        }
}

static void cancel_fetches(struct netrun *n)
{
        while (n->fetches) {
                fetch_cancel(n->fetches->fetch);
                drop_fetch(n, n->fetches);
        }
}

static void on_fetched(struct fetch *fetch, const struct fetch_result *res, void *arg, mono_t now)
{
        (void)fetch;
        struct fetching *f = arg;
        struct netrun *n = f->owner;
        long status = res->err == ERR_NONE ? res->status : 0;
        int64_t rtt = res->first_byte_ns - res->connect_ns;
        if (f->captive)   /* the page of a portal may be long */
                nc_on_captive(n->nc, f->id, res->err == ERR_FULL ? res->status : status, res->header);
        else
                nc_on_fetched(n->nc, f->id, status, (enum ip_family)res->remote.ip.family, rtt > 0 ? rtt : 1);
        drop_fetch(n, f);
        advance(n, now);
}

static const char *field_or_null(const char *s)
{
        return s[0] ? s : NULL;
}

/* A relay's latency page, from where the map says it is. */
static struct fetch *fetch_latency(struct fetching *f, const struct nc_action *a)
{
        struct dial_opts o = {
                .connect_ip4 = field_or_null(a->node->ipv4),
                .connect_ip6 = field_or_null(a->node->ipv6),
                .cert_name = field_or_null(a->node->cert_name),
                .insecure = a->node->insecure,
                .timeout_ms = a->timeout_ms,
        };
        return fetch_get(f->owner->dialer, a->url, &o, FETCH_BODY_MAX, on_fetched, f);
}

/* What stands between us and the relay is to answer, so no proxy and no cache may. */
static struct fetch *fetch_captive(struct fetching *f, const struct nc_action *a)
{
        static const char *const names[] = {"X-Tailscale-Challenge", "Cache-Control"};
        const char *const values[] = {a->captive->challenge, "no-cache, no-store, must-revalidate, no-transform, max-age=0"};
        struct fetch_head head = {.names = names, .values = values, .count = 2, .want = "X-Tailscale-Response"};
        struct dial_opts o = {.timeout_ms = a->timeout_ms, .no_proxy = true};
        return fetch_get_with(f->owner->dialer, a->captive->url, &o, &head, FETCH_BODY_MAX, on_fetched, f);
}

static void start_fetch(struct netrun *n, const struct nc_action *a)
{
        struct fetching *f = calloc(1, sizeof(*f));
        if (f) {
                f->owner = n;
                f->id = a->id;
                f->captive = a->kind == NC_CAPTIVE;
                f->fetch = f->captive ? fetch_captive(f, a) : fetch_latency(f, a);
        }
        if (!f || !f->fetch) {
                free(f);
                if (a->kind == NC_CAPTIVE)
                        nc_on_captive(n->nc, a->id, 0, "");
                else
                        nc_on_fetched(n->nc, a->id, 0, IP_V4, 1);
                return;
        }
        f->next = n->fetches;
        n->fetches = f;
}

static void start_lookup(struct netrun *n, const struct nc_action *a, mono_t now)
{
        if (lookup_start(n->lookup, a->id, a->host, a->family) != ERR_NONE)
                nc_on_resolved(n->nc, a->id, (struct ip){.family = IP_NONE}, now);
}

static void finish(struct netrun *n, mono_t now)
{
        cancel_fetches(n);
        lookup_forget(n->lookup);
        echo_forget(n->echo);
        nc_set_portmap(n->nc, &n->portmap);
        const struct netcheck_report *r = nc_finish(n->nc, n->cb.home_heard(n->arg), now);
        char line[512];
        log_debug(1, "netcheck: %s", nc_report_line(r, line, sizeof(line)));
        n->cb.on_done(n->arg, r, now);
}

static void advance(struct netrun *n, mono_t now)
{
        struct nc_action a;
        for (;;) {
                switch (nc_next(n->nc, now, &a)) {
                case NC_SEND:
                        nc_on_sent(n->nc, a.id, n->cb.send(n->arg, a.second, a.addr, a.data, sizeof(a.data)), now);
                        continue;
                case NC_RESOLVE:
                        start_lookup(n, &a, now);
                        continue;
                case NC_FETCH:
                case NC_CAPTIVE:
                        start_fetch(n, &a);
                        continue;
                case NC_PING:
                        if (!echo_ask(n->echo, a.id, a.addr.ip, a.node->name, now))
                                nc_on_pinged(n->nc, a.id, 0);
                        continue;
                case NC_DONE:
                        /* Its callback may start the next one, which arms the timer itself. */
                        loop_timer_stop(&n->timer);
                        if (!n->is_held)
                                finish(n, now);
                        return;
                case NC_IDLE:
                        break;
                }
                break;
        }
        loop_timer_at(n->loop, &n->timer, nc_deadline(n->nc));
}

static void on_echo(void *arg, uint32_t id, int64_t rtt_ns, mono_t now)
{
        struct netrun *n = arg;
        nc_on_pinged(n->nc, id, rtt_ns);
        if (nc_running(n->nc))
                advance(n, now);
}

static void on_timer(struct timer *t, mono_t now)
{
        advance(container_of(t, struct netrun, timer), now);
}

static void on_resolved(void *arg, uint32_t id, struct ip ip, mono_t now)
{
        struct netrun *n = arg;
        if (!nc_running(n->nc))
                return;
        nc_on_resolved(n->nc, id, ip, now);
        advance(n, now);
}

struct netrun *netrun_new(struct loop *l, struct dialer *d, uint32_t mark, const struct netrun_callbacks *cb, void *arg)
{
        struct netrun *n = calloc(1, sizeof(*n));
        if (!n)
                return NULL;
        n->loop = l;
        n->dialer = d;
        n->cb = *cb;
        n->arg = arg;
        timer_init(&n->timer, on_timer);
        n->nc = nc_new(crypto_random);
        n->lookup = lookup_new(l, on_resolved, n);
        n->echo = echo_new(l, mark, on_echo, n);
        if (!n->nc || !n->lookup || !n->echo) {
                netrun_free(n);
                return NULL;
        }
        return n;
}

void netrun_free(struct netrun *n)
{
        if (!n)
                return;
        loop_timer_stop(&n->timer);
        cancel_fetches(n);
        lookup_free(n->lookup);
        echo_free(n->echo);
        nc_free(n->nc);
        free(n);
}

enum err netrun_start(struct netrun *n, const struct nc_start_args *args, mono_t now)
{
        enum err e = nc_start(n->nc, args, now);
        if (e == ERR_NONE)
                advance(n, now);
        return e;
}

void netrun_hold(struct netrun *n)
{
        n->is_held = true;
}

void netrun_release(struct netrun *n, mono_t now)
{
        bool was_held = n->is_held;
        n->is_held = false;
        if (was_held && nc_running(n->nc))
                advance(n, now);
}

void netrun_set_portmap(struct netrun *n, const struct nc_portmap *found)
{
        n->portmap = *found;
}

bool netrun_running(const struct netrun *n)
{
        return nc_running(n->nc);
}

void netrun_cancel(struct netrun *n)
{
        n->is_held = false;
        loop_timer_stop(&n->timer);
        cancel_fetches(n);
        lookup_forget(n->lookup);
        echo_forget(n->echo);
        nc_cancel(n->nc);
}

void netrun_forget(struct netrun *n)
{
        nc_forget(n->nc);
}

void netrun_on_unasked(struct netrun *n, struct ip from)
{
        nc_on_unasked(n->nc, from);
}

void netrun_on_stun(struct netrun *n, const void *data, size_t len, mono_t now)
{
        if (!nc_running(n->nc))
                return;
        if (nc_on_stun(n->nc, data, len, now))
                n->cb.on_answer(n->arg, nc_report(n->nc), now);
        /* The callback may have cancelled it. */
        if (nc_running(n->nc))
                advance(n, now);
}

void netrun_on_second(struct netrun *n, struct addr src, const void *data, size_t len, mono_t now)
{
        if (!nc_running(n->nc))
                return;
        nc_on_second(n->nc, src, data, len, now);
        advance(n, now);
}

const struct netcheck_report *netrun_report(const struct netrun *n)
{
        return nc_report(n->nc);
}

const struct netcheck_report *netrun_last(const struct netrun *n)
{
        return nc_last(n->nc);
}
