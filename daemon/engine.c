#include "daemon/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/ring.h"
#include "base/thread.h"
#include "daemon/counters.h"
#include "daemon/data.h"
#include "daemon/dpmsg.h"
#include "daemon/sizes.h"
#include "daemon/slots.h"
#include "tun/filter.h"

/* Packets are not to stand behind whoever computes, and a burst takes less. */
enum { DATA_TURN_US = 200 };

struct request {
        uint32_t id;
        enum dp_msg_kind kind;
        union {
                engine_status_fn status;
                engine_counters_fn counters;
                engine_ping_fn ping;
                engine_paths_fn paths;
                engine_netcheck_fn netcheck;
        } fn;
        void *arg;
        struct request *next;
};

struct engine {
        struct loop *loop;
        struct engine_callbacks cb;
        void *arg;
        struct ring *to_data, *from_data;
        struct pktring *to_service, *from_service;   /* as the data thread sees them */
        struct watch from_watch, service_watch;
        struct timer service_wake;   /* packets of one round share one wake-up */
        uint64_t service_refused;
        struct data *data;
        pthread_t thread;
        struct slots *slots;
        struct request *requests;
        uint32_t next_id;
        struct disco_public disco;
};

/* The data thread never waits for us, so a full ring empties by itself; we may wait for that. */
static void post(struct engine *e, struct dp_msg m)
{
        while (!ring_push(e->to_data, &m)) {
                struct timespec ts = {.tv_nsec = 200 * NS_PER_US};
                nanosleep(&ts, NULL);
        }
}

static struct request *request_new(struct engine *e, enum dp_msg_kind kind, void *arg)
{
        struct request *r = calloc(1, sizeof(*r));
        if (r == NULL)
                return NULL;
        r->id = ++e->next_id;
        r->kind = kind;
        r->arg = arg;
        r->next = e->requests;
        e->requests = r;
        return r;
}

static struct request *request_take(struct engine *e, uint32_t id)
{
        for (struct request **at = &e->requests; *at != NULL; at = &(*at)->next) {
                if ((*at)->id == id) {
                        struct request *r = *at;
                        *at = r->next;
                        return r;
                }
        }
        return NULL;
}

static void reply_status(struct engine *e, struct request *r, struct dp_status *s)
{
        /* Rows are renumbered in place: a peer removed since is left out. */
        struct engine_peer_status *rows = calloc(s->row_count ? s->row_count : 1, sizeof(*rows));
        size_t n = 0;
        for (size_t i = 0; rows != NULL && i < s->row_count; i++) {
                int64_t node_id = slots_node(e->slots, s->rows[i].slot, s->rows[i].gen);
                if (node_id == 0)
                        continue;
                rows[n] = s->rows[i].st;
                rows[n++].node_id = node_id;
        }
        s->st.peers = rows;
        s->st.peer_count = n;
        r->fn.status(r->arg, &s->st);
        free(rows);
}

static void reply_counters(const struct request *r, const struct counters *c)
{
        static const struct counters none;
        r->fn.counters(r->arg, c != NULL ? c : &none);
}

static void reply_ping(struct request *r, const struct dp_ping_reply *p)
{
        struct engine_ping_result res = {
                .error = p->error,
                .latency_ns = p->latency_ns,
                .direct = p->direct,
                .relay_region = p->relay_region,
                .service_port = p->service_port,
        };
        r->fn.ping(r->arg, &res);
}

static void on_report(struct engine *e, uint32_t id, const struct netcheck_report *rep, int announce)
{
        struct request *r = id != 0 ? request_take(e, id) : NULL;
        if (r != NULL)
                r->fn.netcheck(r->arg, rep);
        else if (id == 0 && e->cb.on_report != NULL)
                e->cb.on_report(e->arg, rep, announce);
        free(r);
}

static void on_message(struct engine *e, struct dp_msg *m)
{
        struct request *r = NULL;
        switch (m->kind) {
        case DP_ENDPOINTS: {
                const struct dp_endpoints *eps = m->ptr;
                if (e->cb.on_endpoints != NULL)
                        e->cb.on_endpoints(e->arg, eps->eps, eps->count);
                break;
        }
        case DP_REPORT:
                on_report(e, m->id, m->ptr, (int)m->num);
                break;
        case DP_LIVE:
                if (e->cb.on_live != NULL)
                        e->cb.on_live(e->arg, (int)m->slot, (int)m->num);
                break;
        case DP_RELAY: {
                const struct dp_relay *rel = m->ptr;
                if (e->cb.on_relay != NULL)
                        e->cb.on_relay(e->arg, rel->region, rel->connected, rel->text);
                break;
        }
        case DP_STATUS_REPLY:
                r = request_take(e, m->id);
                if (r != NULL)
                        reply_status(e, r, m->ptr);
                break;
        case DP_COUNTERS_REPLY:
                r = request_take(e, m->id);
                if (m->ptr != NULL)
                        ((struct counters *)m->ptr)->service_refused = e->service_refused;
                if (r != NULL)
                        reply_counters(r, m->ptr);
                break;
        case DP_PING_REPLY:
                r = request_take(e, m->id);
                if (r != NULL)
                        reply_ping(r, m->ptr);
                break;
        case DP_PATHS_REPLY:
                r = request_take(e, m->id);
                if (r != NULL)
                        r->fn.paths(r->arg, m->ptr);
                break;
        case DP_TUN_GONE:
                if (e->cb.on_tun_gone != NULL)
                        e->cb.on_tun_gone(e->arg);
                break;
        case DP_PORT:
                if (e->cb.on_port != NULL)
                        e->cb.on_port(e->arg, (uint16_t)m->num);
                break;
        case DP_SET_KEY:
        case DP_SET_UP:
        case DP_SET_DERPMAP:
        case DP_SET_FILTER:
        case DP_PEER_SET:
        case DP_PEER_REMOVE:
        case DP_LINK_CHANGED:
        case DP_RESTUN:
        case DP_STATUS:
        case DP_COUNTERS:
        case DP_PING:
        case DP_PATHS:
        case DP_PING_INSIDE:
        case DP_NETCHECK:
        case DP_POLLING:
        case DP_SET_OFFLOADS:
        case DP_SET_PORTOFF:
        case DP_SET_HARDNAT:
        case DP_STOP:
                break;   /* never sent this way */
        }
        free(r);
        free(m->ptr);
}

static void on_readable(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct engine *e = container_of(w, struct engine, from_watch);
        ring_drain_fd(e->from_data);
        struct dp_msg m;
        while (ring_pop(e->from_data, &m))
                on_message(e, &m);
}

/* A bounded number a round, so that a flood of queries leaves time for everything else on this thread. */
static void on_service(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct engine *e = container_of(w, struct engine, service_watch);
        uint8_t pkt[PKTRING_PACKET_MAX];
        size_t n = 1;
        pktring_drain_fd(e->to_service);
        for (int i = 0; i < DP_SERVICE_ROUND && (n = pktring_pop(e->to_service, pkt)) > 0; i++)
                if (e->cb.on_service_packet != NULL)
                        e->cb.on_service_packet(e->arg, pkt, n);
        if (n > 0)
                pktring_wake(e->to_service);
}

bool engine_service_send(struct engine *e, const uint8_t *pkt, size_t len)
{
        if (!timer_is_armed(&e->service_wake))
                loop_timer_in(e->loop, &e->service_wake, 0);
        bool taken = pktring_push(e->from_service, pkt, len);
        e->service_refused += !taken;
        return taken;
}

static void on_service_wake(struct timer *t, mono_t now)
{
        (void)now;
        pktring_wake(container_of(t, struct engine, service_wake)->from_service);
}

static void *thread_main(void *arg)
{
        (void)thread_short_turns(DATA_TURN_US);
        data_run(arg);
        return NULL;
}

static void release(struct engine *e)
{
        loop_unwatch(&e->from_watch);
        loop_unwatch(&e->service_watch);
        loop_timer_stop(&e->service_wake);
        data_free(e->data);
        slots_free(e->slots);
        ring_free(e->to_data);
        ring_free(e->from_data);
        pktring_free(e->to_service);
        pktring_free(e->from_service);
        free(e);
}

struct engine *engine_new(struct loop *control, const struct engine_opts *opts,
        const struct engine_callbacks *cb, void *arg)
{
        struct engine *e = calloc(1, sizeof(*e));
        if (e == NULL)
                return NULL;
        e->loop = control;
        e->cb = *cb;
        e->arg = arg;
        watch_init(&e->from_watch, on_readable);
        watch_init(&e->service_watch, on_service);
        timer_init(&e->service_wake, on_service_wake);
        e->to_data = ring_new(DP_RING, sizeof(struct dp_msg));
        e->from_data = ring_new(DP_RING, sizeof(struct dp_msg));
        e->slots = slots_new();
        const struct sizes *sizes = opts->sizes != NULL ? opts->sizes : &sizes_normal;
        size_t ring = opts->tun != NULL ? sizes->service_bytes : sizes->stack_bytes;
        e->to_service = pktring_new(ring);
        e->from_service = pktring_new(ring);
        if (e->to_data == NULL || e->from_data == NULL || e->slots == NULL || e->to_service == NULL ||
                e->from_service == NULL)
                goto fail;
        struct data_rings rings = {e->to_data, e->from_data, e->to_service, e->from_service};
        e->data = data_new(opts, &rings);
        if (e->data == NULL)
                goto fail;
        e->disco = data_disco_public(e->data);
        if (loop_watch(control, &e->from_watch, ring_fd(e->from_data), LOOP_READ) != ERR_NONE ||
                loop_watch(control, &e->service_watch, pktring_fd(e->to_service), LOOP_READ) != ERR_NONE)
                goto fail;
        int rc = thread_start(&e->thread, thread_main, e->data);
        if (rc == 0)
                return e;
        errno = rc;
fail:;
        int error = errno;
        release(e);
        errno = error;
        return NULL;
}

static void fail_request(struct request *r)
{
        struct dp_ping_reply stopped = {.error = "the daemon is shutting down"};
        struct engine_status none = {0};
        struct netcheck_report empty = {0};
        if (r->kind == DP_PING)
                reply_ping(r, &stopped);
        else if (r->kind == DP_STATUS)
                r->fn.status(r->arg, &none);
        else if (r->kind == DP_COUNTERS)
                reply_counters(r, NULL);
        else if (r->kind == DP_PATHS)
                r->fn.paths(r->arg, NULL);
        else
                r->fn.netcheck(r->arg, &empty);
}

void engine_free(struct engine *e)
{
        if (e == NULL)
                return;
        post(e, (struct dp_msg){.kind = DP_STOP});
        pthread_join(e->thread, NULL);
        struct dp_msg m;
        while (ring_pop(e->from_data, &m))
                free(m.ptr);
        for (struct request *r; (r = e->requests) != NULL;) {
                e->requests = r->next;
                fail_request(r);
                free(r);
        }
        release(e);
}

struct disco_public engine_disco_public(const struct engine *e)
{
        return e->disco;
}

void engine_set_key(struct engine *e, const struct key_private *node)
{
        struct key_private *k = malloc(sizeof(*k));
        if (k == NULL) {
                log_err("out of memory: the node key was not changed");
                return;
        }
        *k = *node;
        post(e, (struct dp_msg){.kind = DP_SET_KEY, .ptr = k});
}

void engine_set_up(struct engine *e, bool up)
{
        post(e, (struct dp_msg){.kind = DP_SET_UP, .num = up});
}

void engine_set_polling(struct engine *e, bool polling)
{
        post(e, (struct dp_msg){.kind = DP_POLLING, .num = polling});
}

void engine_set_hardnat(struct engine *e, enum hn_pref pref)
{
        post(e, (struct dp_msg){.kind = DP_SET_HARDNAT, .num = pref});
}

void engine_set_offloads(struct engine *e, unsigned allowed)
{
        post(e, (struct dp_msg){.kind = DP_SET_OFFLOADS, .num = allowed});
}

void engine_set_portoff(struct engine *e, unsigned ways)
{
        post(e, (struct dp_msg){.kind = DP_SET_PORTOFF, .num = ways});
}

void engine_set_derpmap(struct engine *e, const struct derpmap *m)
{
        post(e, (struct dp_msg){.kind = DP_SET_DERPMAP, .ptr = m != NULL ? derpmap_copy(m) : NULL});
}

void engine_peer_set(struct engine *e, const struct engine_peer *p)
{
        uint32_t slot, gen;
        if (slots_take(e->slots, p->node_id, &slot, &gen) != ERR_NONE) {
                log_warn("too many peers: node %lld is left out", (long long)p->node_id);
                return;
        }
        size_t eps = p->endpoint_count * sizeof(struct addr);
        size_t allowed = p->allowed_count * sizeof(struct prefix);
        struct dp_peer *d = malloc(sizeof(*d) + eps + allowed);
        if (d == NULL) {
                log_err("out of memory: peer %lld was not changed", (long long)p->node_id);
                return;
        }
        *d = (struct dp_peer){
                .key = p->key,
                .disco = p->disco,
                .home_region = p->home_region,
                .plain = p->plain,
                .expired = p->expired,
                .endpoint_count = p->endpoint_count,
                .allowed_count = p->allowed_count,
                .endpoints = (struct addr *)(void *)(d + 1),
        };
        _Static_assert(sizeof(struct dp_peer) % _Alignof(struct addr) == 0 && _Alignof(struct prefix) == 1,
                "both arrays are aligned behind the struct");
        d->allowed = (struct prefix *)(void *)(d->endpoints + p->endpoint_count);
        if (eps > 0)
                memcpy(d->endpoints, p->endpoints, eps);
        if (allowed > 0)
                memcpy(d->allowed, p->allowed, allowed);
        post(e, (struct dp_msg){.kind = DP_PEER_SET, .slot = slot, .gen = gen, .ptr = d});
}

void engine_peer_remove(struct engine *e, int64_t node_id)
{
        uint32_t slot;
        if (slots_release(e->slots, node_id, &slot))
                post(e, (struct dp_msg){.kind = DP_PEER_REMOVE, .slot = slot});
}

void engine_peers_clear(struct engine *e)
{
        for (int64_t node_id; (node_id = slots_any(e->slots)) != 0;)
                engine_peer_remove(e, node_id);
}

void engine_set_filter(struct engine *e, struct filter *f)
{
        post(e, (struct dp_msg){.kind = DP_SET_FILTER, .ptr = f});
}

void engine_link_changed(struct engine *e, int64_t slept_ms)
{
        post(e, (struct dp_msg){.kind = DP_LINK_CHANGED, .num = slept_ms});
}

void engine_restun(struct engine *e)
{
        post(e, (struct dp_msg){.kind = DP_RESTUN});
}

void engine_status(struct engine *e, engine_status_fn fn, void *arg)
{
        struct request *r = request_new(e, DP_STATUS, arg);
        if (r == NULL) {
                struct engine_status none = {0};
                fn(arg, &none);
                return;
        }
        r->fn.status = fn;
        post(e, (struct dp_msg){.kind = DP_STATUS, .id = r->id});
}

void engine_counters(struct engine *e, engine_counters_fn fn, void *arg)
{
        struct request *r = request_new(e, DP_COUNTERS, arg);
        if (r == NULL) {
                static const struct counters none;
                fn(arg, &none);
                return;
        }
        r->fn.counters = fn;
        post(e, (struct dp_msg){.kind = DP_COUNTERS, .id = r->id});
}

/* NULL: answered that it cannot be. */
static struct request *ping_request(struct engine *e, int64_t node_id, uint32_t *ret_slot, engine_ping_fn fn, void *arg)
{
        struct request *r = slots_find(e->slots, node_id, ret_slot) ? request_new(e, DP_PING, arg) : NULL;
        if (r == NULL) {
                struct engine_ping_result res = {.error = "unknown peer"};
                fn(arg, &res);
                return NULL;
        }
        r->fn.ping = fn;
        return r;
}

void engine_ping(struct engine *e, int64_t node_id, size_t size, engine_ping_fn fn, void *arg)
{
        uint32_t slot;
        struct request *r = ping_request(e, node_id, &slot, fn, arg);
        if (r != NULL)
                post(e, (struct dp_msg){.kind = DP_PING, .id = r->id, .slot = slot, .num = (int64_t)size});
}

void engine_ping_inside(struct engine *e, int64_t node_id, enum meshping_kind kind, struct ip from, struct ip to,
        engine_ping_fn fn, void *arg)
{
        uint32_t slot;
        struct request *r = ping_request(e, node_id, &slot, fn, arg);
        struct meshping *ask = r != NULL ? calloc(1, sizeof(*ask)) : NULL;
        if (ask != NULL) {
                *ask = (struct meshping){.id = r->id, .peer = slot, .kind = kind, .src = from, .dst = to};
                post(e, (struct dp_msg){.kind = DP_PING_INSIDE, .id = r->id, .slot = slot, .ptr = ask});
        } else if (r != NULL) {
                struct dp_ping_reply none = {.error = "out of memory"};
                reply_ping(request_take(e, r->id), &none);
                free(r);
        }
}

void engine_paths(struct engine *e, int64_t node_id, engine_paths_fn fn, void *arg)
{
        uint32_t slot;
        struct request *r = slots_find(e->slots, node_id, &slot) ? request_new(e, DP_PATHS, arg) : NULL;
        if (r == NULL) {
                fn(arg, NULL);
                return;
        }
        r->fn.paths = fn;
        post(e, (struct dp_msg){.kind = DP_PATHS, .id = r->id, .slot = slot});
}

void engine_netcheck(struct engine *e, engine_netcheck_fn fn, void *arg)
{
        struct request *r = request_new(e, DP_NETCHECK, arg);
        if (r == NULL) {
                struct netcheck_report empty = {0};
                fn(arg, &empty);
                return;
        }
        r->fn.netcheck = fn;
        post(e, (struct dp_msg){.kind = DP_NETCHECK, .id = r->id});
}
