#include "daemon/data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/dial.h"
#include "base/log.h"
#include "base/loop.h"
#include "daemon/counters.h"
#include "daemon/datapath.h"
#include "daemon/dpmsg.h"
#include "daemon/offload.h"
#include "daemon/sizes.h"
#include "daemon/slots.h"

enum {
        NETCHECKS_MAX = 16,        /* CLI requests that wait for one report */
        NETCHECK_PATIENCE_MS = 12000,   /* one under way is waited for first */
        FAREWELL_MS = 1000,        /* until the router has taken back what it gave us */
        SPILL_MS = 5,            /* the ring was full: another try */
};

struct data {
        struct loop *loop;
        struct dialer *dialer;
        struct ring *in, *out;
        struct pktring *from_service;
        struct watch in_watch, tun_watch, service_watch;
        struct timer round_timer, netcheck_timer;
        struct aead_crew *crew;           /* NULL: none */
        struct datapath dp;
        struct derpmap *map;
        uint32_t gen[SLOTS_MAX];          /* of the present tenant; 0 = none */
        uint32_t slot_end;                /* one past the highest slot ever used */
        unsigned offloads;                /* that the administrator and the kernel leave us */
        int relays_up;
        bool relay_up[UINT16_MAX + 1];
        bool session_seen;                /* since we are up, by a handshake beyond so many */
        uint64_t handshakes_before;
        struct {
                uint32_t id;
                mono_t asked;
        } netchecks[NETCHECKS_MAX];     /* the oldest first */
        size_t netcheck_count;
        struct dp_msg *spill;             /* what the ring had no room for, oldest first */
        size_t spill_count, spill_cap;
        uint16_t port;                    /* the one the control thread knows of */
        bool stop;
};

/* Never blocks and never loses a message: what does not fit is tried again at the end of every round. */
static void post(struct data *d, struct dp_msg m)
{
        if (d->spill_count == 0 && ring_push(d->out, &m))
                return;
        if (d->spill_count == d->spill_cap) {
                size_t cap = d->spill_cap ? d->spill_cap * 2 : 64;
                struct dp_msg *p = realloc(d->spill, cap * sizeof(*p));
                if (p == NULL) {
                        free(m.ptr);
                        return;
                }
                d->spill = p;
                d->spill_cap = cap;
        }
        d->spill[d->spill_count++] = m;
}

static void flush_spill(struct data *d)
{
        size_t n = 0;
        while (n < d->spill_count && ring_push(d->out, &d->spill[n]))
                n++;
        memmove(d->spill, d->spill + n, (d->spill_count - n) * sizeof(*d->spill));
        d->spill_count -= n;
}

/* ---- from magicsock ---- */

static void post_live(struct data *d)
{
        post(d, (struct dp_msg){.kind = DP_LIVE, .slot = d->session_seen, .num = d->relays_up});
}

static bool on_wg(void *arg, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t now)
{
        struct data *d = arg;
        bool kept = datapath_in(&d->dp, pkts, srcs, n, may_keep, now);
        if (!d->session_seen && d->dp.handshakes > d->handshakes_before) {
                d->session_seen = true;
                post_live(d);
        }
        return kept;
}

static size_t fill_endpoints(struct engine_endpoint *ret, const struct ms_endpoint *eps, size_t n)
{
        _Static_assert((int)ENGINE_ENDPOINTS_MAX >= (int)MS_ENDPOINTS_MAX, "all of them fit");
        for (size_t i = 0; i < n; i++)
                ret[i] = (struct engine_endpoint){.addr = eps[i].addr, .type = (int)eps[i].type};
        return n;
}

static void on_endpoints(void *arg, const struct ms_endpoint *eps, size_t n, mono_t now)
{
        (void)now;
        struct dp_endpoints *m = calloc(1, sizeof(*m));
        if (m == NULL)
                return;
        m->count = fill_endpoints(m->eps, eps, n);
        post(arg, (struct dp_msg){.kind = DP_ENDPOINTS, .ptr = m});
}

static void post_report(struct data *d, uint32_t id, const struct netcheck_report *report, int announce)
{
        struct netcheck_report *copy = malloc(sizeof(*copy));
        if (copy == NULL)
                return;
        *copy = *report;
        post(d, (struct dp_msg){.kind = DP_REPORT, .id = id, .num = announce, .ptr = copy});
}

/* Those asked until then: what was seen before a question is no answer to it. */
static void answer_netchecks(struct data *d, const struct netcheck_report *report, mono_t until)
{
        size_t n = 0;
        while (n < d->netcheck_count && d->netchecks[n].asked.ns <= until.ns)
                post_report(d, d->netchecks[n++].id, report, 0);
        d->netcheck_count -= n;
        memmove(d->netchecks, d->netchecks + n, d->netcheck_count * sizeof(d->netchecks[0]));
        if (d->netcheck_count == 0)
                loop_timer_stop(&d->netcheck_timer);
        else
                loop_timer_at(d->loop, &d->netcheck_timer, mono_add_ms(d->netchecks[0].asked, NETCHECK_PATIENCE_MS));
}

static void on_report(void *arg, const struct netcheck_report *report, int announce, mono_t now)
{
        (void)now;
        struct data *d = arg;
        post_report(d, 0, report, announce);
        if (report->full)
                answer_netchecks(d, report, report->began);
}

static void on_netcheck_late(struct timer *t, mono_t now)
{
        struct data *d = container_of(t, struct data, netcheck_timer);
        struct netcheck_report none = {0};
        answer_netchecks(d, &none, mono_add_ms(now, -NETCHECK_PATIENCE_MS));
}

static const char *ping_error(enum err e)
{
        switch (e) {
        case ERR_NONE:
                return NULL;
        case ERR_TIMEOUT:
                return "timed out";
        case ERR_NOT_FOUND:
                return "no way to reach the peer: it has no relay and no known address";
        case ERR_STATE:
                return "the peer's key has expired, or this node is stopped";
        case ERR_SHORT:
        case ERR_FORMAT:
        case ERR_AUTH:
        case ERR_REPLAY:
        case ERR_FULL:
        case ERR_AGAIN:
        case ERR_CLOSED:
        case ERR_PERMISSION:
        case ERR_UNSUPPORTED:
        case ERR_IO:
                break;
        }
        return "the ping could not be sent";
}

static void post_ping(struct data *d, uint32_t id, const struct dp_ping_reply *r)
{
        struct dp_ping_reply *copy = malloc(sizeof(*copy));
        if (copy == NULL)
                return;
        *copy = *r;
        post(d, (struct dp_msg){.kind = DP_PING_REPLY, .id = id, .ptr = copy});
}

static void on_ping(void *arg, const struct ms_ping_result *res, mono_t now)
{
        (void)now;
        struct dp_ping_reply r = {
                .error = ping_error(res->err),
                .latency_ns = res->latency_ns,
                .direct = res->addr,
                .relay_region = res->region,
        };
        post_ping(arg, (uint32_t)res->cookie, &r);
}

static void on_inside_ping(void *arg, const struct meshping *p, uint16_t service_port, mono_t now)
{
        struct dp_ping_reply r = {.latency_ns = mono_diff_ns(now, p->sent), .service_port = service_port};
        post_ping(arg, p->id, &r);
}

static void on_relay_state(void *arg, int region, enum ms_relay_state st, const char *detail, mono_t now)
{
        (void)now;
        struct data *d = arg;
        bool up = st == MS_RELAY_UP || st == MS_RELAY_UNHEALTHY;
        if (region > 0 && region <= UINT16_MAX && d->relay_up[region] != up) {
                d->relay_up[region] = up;
                d->relays_up += up ? 1 : -1;
                post_live(d);
        }
        if (st == MS_RELAY_CONNECTING)
                return;
        struct dp_relay *m = calloc(1, sizeof(*m));
        if (m == NULL)
                return;
        m->region = region;
        m->connected = up;
        (void)str_copy(m->text, sizeof(m->text), detail != NULL ? detail : "");
        post(d, (struct dp_msg){.kind = DP_RELAY, .ptr = m});
}

static void on_known(void *arg, uint32_t slot, mono_t since, mono_t now)
{
        struct data *d = arg;
        wg_peer_known(d->dp.wg, slot, since, now);
}

/* ---- from the control thread ---- */

static void set_key(struct data *d, struct key_private *k)
{
        wg_set_identity(d->dp.wg, k);
        ms_set_keys(d->dp.ms, k);
        key_wipe(k);
}

static void set_up(struct data *d, bool up, mono_t now)
{
        d->session_seen = false;
        d->handshakes_before = d->dp.handshakes;
        ms_set_active(d->dp.ms, up, now);
}

static void set_offloads(struct data *d, unsigned allowed)
{
        unsigned on = d->offloads & allowed;
        if (d->dp.tun != NULL)
                (void)tun_set_offloads(d->dp.tun, on & OFFLOAD_TUN);
        ms_want_offloads(d->dp.ms, on >> OFFLOAD_SOCK_SHIFT);
}

static void set_derpmap(struct data *d, struct derpmap *m, mono_t now)
{
        ms_set_derp_map(d->dp.ms, m, now);
        derpmap_free(d->map);
        d->map = m;
}

static void peer_set(struct data *d, const struct dp_msg *m, mono_t now)
{
        const struct dp_peer *p = m->ptr;
        struct ms_peer_config c = {
                .key = p->key,
                .disco = p->disco,
                .home = p->home_region,
                .plain = p->plain,
                .endpoints = p->endpoints,
                .endpoint_count = p->endpoint_count,
                .expired = p->expired,
        };
        struct disco_public before = ms_peer_disco(d->dp.ms, m->slot);
        enum err e = ms_peer_set(d->dp.ms, m->slot, &c, now);
        if (e == ERR_NONE)
                e = wg_peer_set(d->dp.wg, m->slot, &p->key, p->allowed, p->allowed_count);
        if (e != ERR_NONE) {
                log_warn("a peer of the network map could not be set up: %s", err_str(e));
                return;
        }
        /* A disco key lives as long as its process.  Without this, what we send to a peer that restarted is
         * lost until the session's own timer finds that nobody answers, 15 s later. */
        if (!disco_public_is_zero(&before) && !disco_public_is_zero(&p->disco) &&
                !disco_public_eq(&before, &p->disco))
                wg_peer_refresh(d->dp.wg, m->slot, now);
        d->gen[m->slot] = m->gen;
        if (m->slot >= d->slot_end)
                d->slot_end = m->slot + 1;
}

static void peer_remove(struct data *d, uint32_t slot, mono_t now)
{
        wg_peer_remove(d->dp.wg, slot);
        ms_peer_remove(d->dp.ms, slot, now);
        d->gen[slot] = 0;
}

static int64_t wall_of(mono_t t, mono_t now)
{
        return mono_is_set(t) ? wall_now_ns() - mono_diff_ns(now, t) : 0;
}

/* False: this peer never talked. */
static bool fill_row(struct data *d, uint32_t slot, struct dp_status_row *row, mono_t now)
{
        struct ms_peer_status ms;
        struct wg_peer_stats wg;
        if (d->gen[slot] == 0 || !ms_peer_status(d->dp.ms, slot, &ms, now) ||
                !wg_peer_stats(d->dp.wg, slot, now, wall_now_ns(), &wg))
                return false;
        if (!ms.active && !mono_is_set(ms.last_send) && wg.rx_bytes == 0 && wg.tx_bytes == 0)
                return false;
        *row = (struct dp_status_row){
                .slot = slot,
                .gen = d->gen[slot],
                .st = {
                        .direct = ms.cur_addr,
                        .rx_bytes = (int64_t)wg.rx_bytes,
                        .tx_bytes = (int64_t)wg.tx_bytes,
                        .last_write_ns = wall_of(ms.last_send, now),
                        .last_handshake_ns = wg.last_handshake_ns,
                        .active = ms.active,
                },
        };
        return true;
}

static void post_status(struct data *d, uint32_t id, mono_t now)
{
        struct dp_status *s = calloc(1, sizeof(*s) + d->slot_end * sizeof(s->rows[0]));
        if (s == NULL)
                return;
        for (uint32_t slot = 0; slot < d->slot_end; slot++)
                if (fill_row(d, slot, &s->rows[s->row_count], now))
                        s->row_count++;
        const struct ms_endpoint *eps;
        size_t n = ms_endpoints(d->dp.ms, &eps);
        s->st.endpoint_count = fill_endpoints(s->st.endpoints, eps, n);
        s->st.home_region = ms_home(d->dp.ms);
        s->st.home_connected = s->st.home_region > 0 && d->relay_up[s->st.home_region];
        s->st.port = ms_port(d->dp.ms, IP_V4);
        s->st.live_relays = d->relays_up;
        for (size_t i = 0; i < s->row_count; i++)
                s->st.live_sessions += s->rows[i].st.active && s->rows[i].st.last_handshake_ns != 0;
        post(d, (struct dp_msg){.kind = DP_STATUS_REPLY, .id = id, .ptr = s});
}

static void post_counters(struct data *d, uint32_t id)
{
        struct counters *c = malloc(sizeof(*c));
        if (c != NULL)
                counters_read(c, &d->dp);
        post(d, (struct dp_msg){.kind = DP_COUNTERS_REPLY, .id = id, .ptr = c});
}

static void post_paths(struct data *d, const struct dp_msg *m, mono_t now)
{
        struct ms_explain *x = malloc(sizeof(*x));
        if (x != NULL && !ms_explain(d->dp.ms, m->slot, x, now)) {
                free(x);
                x = NULL;
        }
        post(d, (struct dp_msg){.kind = DP_PATHS_REPLY, .id = m->id, .ptr = x});
}

static void ping(struct data *d, const struct dp_msg *m, mono_t now)
{
        enum err e = ms_ping(d->dp.ms, m->slot, m->id, (size_t)m->num, now);
        if (e != ERR_NONE)
                post_ping(d, m->id, &(struct dp_ping_reply){.error = ping_error(e)});
}

static void ping_inside(struct data *d, const struct meshping *ask, mono_t now)
{
        if (!datapath_ping(&d->dp, ask, now))
                post_ping(d, ask->id, &(struct dp_ping_reply){.error = "too many pings are on their way"});
}

static void expire_pings(struct data *d, mono_t now)
{
        for (struct meshping p; meshping_expired(&d->dp.pings, now, &p);)
                post_ping(d, p.id, &(struct dp_ping_reply){.error = ping_error(ERR_TIMEOUT)});
}

static void netcheck(struct data *d, uint32_t id, mono_t now)
{
        struct netcheck_report none = {0};
        if (d->map == NULL || d->netcheck_count == NETCHECKS_MAX) {
                post_report(d, id, &none, 0);
                return;
        }
        d->netchecks[d->netcheck_count].id = id;
        d->netchecks[d->netcheck_count++].asked = now;
        if (d->netcheck_count == 1)
                loop_timer_in(d->loop, &d->netcheck_timer, NETCHECK_PATIENCE_MS);
        ms_restun(d->dp.ms, true, now);
}

static void on_message(struct data *d, struct dp_msg *m, mono_t now)
{
        switch (m->kind) {
        case DP_SET_KEY:
                set_key(d, m->ptr);
                break;
        case DP_SET_UP:
                set_up(d, m->num != 0, now);
                break;
        case DP_SET_DERPMAP:
                set_derpmap(d, m->ptr, now);
                m->ptr = NULL;
                break;
        case DP_SET_FILTER:
                filter_free(d->dp.filter);
                d->dp.filter = m->ptr;
                m->ptr = NULL;
                break;
        case DP_PEER_SET:
                peer_set(d, m, now);
                break;
        case DP_PEER_REMOVE:
                peer_remove(d, m->slot, now);
                break;
        case DP_LINK_CHANGED:
                ms_rebind(d->dp.ms, m->num, now);
                break;
        case DP_RESTUN:
                ms_restun(d->dp.ms, false, now);
                break;
        case DP_STATUS:
                post_status(d, m->id, now);
                break;
        case DP_COUNTERS:
                post_counters(d, m->id);
                break;
        case DP_PING:
                ping(d, m, now);
                break;
        case DP_PATHS:
                post_paths(d, m, now);
                break;
        case DP_PING_INSIDE:
                ping_inside(d, m->ptr, now);
                break;
        case DP_NETCHECK:
                netcheck(d, m->id, now);
                break;
        case DP_POLLING:
                ms_set_map_polling(d->dp.ms, m->num != 0, now);
                break;
        case DP_SET_HARDNAT:
                ms_set_hardnat(d->dp.ms, (enum hn_pref)m->num, now);
                break;
        case DP_SET_OFFLOADS:
                set_offloads(d, (unsigned)m->num);
                break;
        case DP_SET_PORTOFF:
                ms_set_portmap_off(d->dp.ms, (unsigned)m->num, now);
                break;
        case DP_STOP:
                d->stop = true;
                loop_stop(d->loop);
                break;
        case DP_ENDPOINTS:
        case DP_REPORT:
        case DP_LIVE:
        case DP_RELAY:
        case DP_STATUS_REPLY:
        case DP_COUNTERS_REPLY:
        case DP_PING_REPLY:
        case DP_PATHS_REPLY:
        case DP_TUN_GONE:
        case DP_PORT:
                break;   /* never sent this way */
        }
        free(m->ptr);
}

static void on_ring(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct data *d = container_of(w, struct data, in_watch);
        ring_drain_fd(d->in);
        struct dp_msg m;
        while (ring_pop(d->in, &m))
                on_message(d, &m, now);
}

static void on_tun(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct data *d = container_of(w, struct data, tun_watch);
        datapath_out(&d->dp, now);
        if (tun_is_gone(d->dp.tun)) {
                loop_unwatch(w);
                post(d, (struct dp_msg){.kind = DP_TUN_GONE});
        }
}

static void on_service(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct data *d = container_of(w, struct data, service_watch);
        pktring_drain_fd(d->from_service);
        if (!datapath_from_service(&d->dp, d->from_service, now))
                pktring_wake(d->from_service);
}

static void on_round_timer(struct timer *t, mono_t now)
{
        (void)t;
        (void)now;   /* the end of the round, which it brings about, does the work */
}

/* End of a round: WireGuard's own messages and what the ring had no room for go out, the next one is arranged. */
static void on_idle(void *arg, mono_t now)
{
        struct data *d = arg;
        datapath_service(&d->dp, now);
        expire_pings(d, now);
        if (d->port != ms_port(d->dp.ms, IP_V4)) {
                d->port = ms_port(d->dp.ms, IP_V4);
                post(d, (struct dp_msg){.kind = DP_PORT, .num = d->port});
        }
        mono_t next = mono_min(wg_deadline(d->dp.wg), meshping_deadline(&d->dp.pings));
        if (d->spill_count > 0)
                flush_spill(d);
        if (d->spill_count > 0)
                next = mono_min(next, mono_add_ms(now, SPILL_MS));
        loop_timer_at(d->loop, &d->round_timer, next);
}

static const struct ms_callbacks ms_cb = {
        .on_wg = on_wg,
        .on_endpoints = on_endpoints,
        .on_report = on_report,
        .on_ping = on_ping,
        .on_relay_state = on_relay_state,
        .on_known = on_known,
};

struct data *data_new(const struct engine_opts *opts, const struct data_rings *rings)
{
        struct data *d = calloc(1, sizeof(*d));
        if (d == NULL)
                return NULL;
        d->in = rings->in;
        d->out = rings->out;
        d->from_service = rings->from_service;
        d->dp.service = rings->to_service;
        d->dp.tun = opts->tun;
        d->dp.on_ping = on_inside_ping;
        d->dp.arg = d;
        watch_init(&d->in_watch, on_ring);
        watch_init(&d->tun_watch, on_tun);
        watch_init(&d->service_watch, on_service);
        timer_init(&d->round_timer, on_round_timer);
        timer_init(&d->netcheck_timer, on_netcheck_late);
        if ((d->loop = loop_new()) == NULL || (d->dialer = dialer_new(d->loop)) == NULL)
                goto fail;
        dialer_set_mark(d->dialer, opts->mark);
        const struct sizes *sizes = opts->sizes != NULL ? opts->sizes : &sizes_normal;
        d->dp.pool = pkt_pool_new(sizes->packets);
        if (d->dp.pool == NULL || (d->dp.wg = wg_new(d->dp.pool, SLOTS_MAX)) == NULL)
                goto fail;
        if (opts->threads > 0 && (d->crew = aead_crew_new(opts->threads)) == NULL)
                log_warn("the data thread encrypts alone, for there are no %u threads to help it: %s", opts->threads,
                         strerror(errno));
        wg_set_crew(d->dp.wg, d->crew);
        wg_set_mtu(d->dp.wg, TUN_MTU);
        wg_set_stamp_floor(d->dp.wg, opts->stamp_floor_ns);
        if ((d->dp.flows = filter_state_new()) == NULL || (d->dp.room = malloc(sizeof(*d->dp.room))) == NULL)
                goto fail;
        /* So that it is there from the start, and nothing grows under traffic.  Of zeros the compiler would make a calloc(). */
        memset(d->dp.room, 1, sizeof(*d->dp.room));
        struct ms_opts mo = {
                .port = opts->port,
                .mark = opts->mark,
                .tun_name = opts->tun_name,
                .room = d->dp.room->in,
                .socket_bytes = sizes->socket_bytes,
                .portmap = opts->portmap,
                .statics = opts->statics,
                .static_count = opts->static_count,
                .cb = &ms_cb,
                .arg = d,
        };
        if ((d->dp.ms = ms_new(d->loop, d->dp.pool, d->dialer, &mo)) == NULL)
                goto fail;
        d->offloads = opts->offloads;
        set_offloads(d, OFFLOAD_ALL);
        loop_on_idle(d->loop, on_idle, d);
        if (loop_watch(d->loop, &d->in_watch, ring_fd(d->in), LOOP_READ) != ERR_NONE ||
                loop_watch(d->loop, &d->service_watch, pktring_fd(d->from_service), LOOP_READ) != ERR_NONE ||
                (opts->tun != NULL && loop_watch(d->loop, &d->tun_watch, tun_fd(opts->tun), LOOP_READ) != ERR_NONE))
                goto fail;
        return d;
fail:;
        int error = errno;
        data_free(d);
        errno = error;
        return NULL;
}

void data_free(struct data *d)
{
        if (d == NULL)
                return;
        if (d->loop != NULL) {
                loop_timer_stop(&d->round_timer);
                loop_timer_stop(&d->netcheck_timer);
                loop_unwatch(&d->in_watch);
                loop_unwatch(&d->tun_watch);
                loop_unwatch(&d->service_watch);
        }
        ms_free(d->dp.ms);
        wg_free(d->dp.wg);
        aead_crew_free(d->crew);
        filter_free(d->dp.filter);
        filter_state_free(d->dp.flows);
        free(d->dp.room);
        dialer_free(d->dialer);
        loop_free(d->loop);
        pkt_pool_free(d->dp.pool);
        derpmap_free(d->map);
        for (size_t i = 0; i < d->spill_count; i++)
                free(d->spill[i].ptr);
        free(d->spill);
        free(d);
}

struct disco_public data_disco_public(const struct data *d)
{
        return ms_disco_public(d->dp.ms);
}

void data_run(struct data *d)
{
        while (!d->stop)
                loop_run(d->loop);
        /* Say goodbye: sessions and relays are wiped by data_free(). */
        ms_set_active(d->dp.ms, false, loop_now(d->loop));
        mono_t end = mono_add_ms(mono_now(), FAREWELL_MS);
        while (!ms_is_quiet(d->dp.ms) && !mono_reached(mono_now(), end))
                loop_once(d->loop, FAREWELL_MS);
}
