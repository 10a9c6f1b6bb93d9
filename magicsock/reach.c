#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "magicsock/internal.h"
#include "magicsock/localaddr.h"

#define IDLE_NS       (45 * NS_PER_SEC)
#define FRESH_NS      (27 * NS_PER_SEC)
#define REBIND_GAP_NS (5 * NS_PER_SEC)
#define PORTMAP_GAP_NS (10 * NS_PER_SEC)

enum {
        RESTUN_MIN_MS = 20000,
        RESTUN_MAX_MS = 26000,
        PUBLISH_FIRST_MS = 300, /* without any answer: at least what the interfaces say */
        PUBLISH_ANSWER_MS = 20, /* answers of the two families come together */
};

/* ---- endpoints ---- */

static void tell_peers(struct ms *ms, mono_t now)
{
        for (size_t i = 0; i < ms->slot_cap; i++) {
                struct ms_slot *s = ms->slots[i];
                if (!s)
                        continue;
                ms_peer_on_own_endpoints(&s->peer, now, &ms->out);
                if (ms->out.count > 0)
                        ms_settle(ms, s, now);
        }
}

static void update_endpoints(struct ms *ms, const struct netcheck_report *r, mono_t now)
{
        struct localaddrs local = {.count = 0};
        struct addr stun4[NC_COUNTERS_MAX], stun6[NC_COUNTERS_MAX];
        (void)localaddr_list(ms->tun_name, &local);
        /* A port that somebody else has is no candidate for a static forward. */
        uint16_t port = ms->udp[0].sock.port;
        struct endpoints_input in = {
                .stun4 = stun4,
                .stun4_count = r ? nc_report_endpoints(r, IP_V4, stun4) : 0,
                .stun6 = stun6,
                .stun6_count = r ? nc_report_endpoints(r, IP_V6, stun6) : 0,
                .hard_nat = r && r->mapping_varies == NC_TRUE,
                .fixed_port = port == ms->want_port ? port : 0,
                .local = local.ip,
                .local_count = local.count,
                .port4 = port,
                .port6 = ms->udp[1].sock.port,
                .statics = ms->statics,
                .static_count = ms->static_count,
        };
        /* What the router says of its own address counts if others see us there; it may have a NAT before it. */
        const struct addr *mapped = mapper_mapping(ms->mapper);
        if (mapped && endpoints_seen_at(&ms->tracker, &in, mapped->ip))
                in.portmap = mapped;
        struct ms_endpoint eps[MS_ENDPOINTS_MAX];
        size_t n = endpoints_build(&ms->tracker, &in, now, eps);
        ms->eps_at = now;
        if (endpoints_same(eps, n, ms->eps, ms->ep_count))
                return;
        memcpy(ms->eps, eps, n * sizeof(eps[0]));
        ms->ep_count = n;
        tell_peers(ms, now);
        if (ms->cb.on_endpoints)
                ms->cb.on_endpoints(ms->arg, ms->eps, n, now);
}

static void on_publish_timer(struct timer *t, mono_t now)
{
        struct ms *ms = container_of(t, struct ms, publish_timer);
        update_endpoints(ms, netrun_running(ms->netrun) ? netrun_report(ms->netrun) : NULL, now);
}

/* ---- reports ---- */

/* The host knows no way there, which says nothing of the socket. */
static bool is_no_way(int error)
{
        return error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL;
}

static bool nc_send(void *arg, bool second, struct addr to, const void *data, size_t len)
{
        struct ms *ms = arg;
        if (second)
                return ms_second_send(ms, to, data, len);
        struct ms_udp *u = ms_udp_for(ms, to);
        ms_hn_sent_stun(ms, to);
        if (!u)
                return false;
        if (sock_send_bytes(&u->sock, to, data, len) || errno == EPERM || errno == EAGAIN)
                return true;
        ms->stun_refused |= u == &ms->udp[0] && !is_no_way(errno);
        return false;
}

static void nc_answer(void *arg, const struct netcheck_report *so_far, mono_t now)
{
        struct ms *ms = arg;
        ms_hn_report(ms, so_far, now);
        ms_home_on_answer(ms, so_far, now);
        mono_t soon = mono_add_ms(now, PUBLISH_ANSWER_MS);
        if (!timer_is_armed(&ms->publish_timer) || soon.ns < ms->publish_timer.at.ns)
                loop_timer_at(ms->loop, &ms->publish_timer, soon);
}

static bool has_traffic(const struct ms *ms, mono_t now)
{
        return ms->peer_count > 0 && mono_is_set(ms->last_traffic) &&
               mono_diff_ns(now, ms->last_traffic) <= IDLE_NS;
}

static void arm_periodic(struct ms *ms)
{
        loop_timer_in(ms->loop, &ms->restun_timer,
                      RESTUN_MIN_MS + (int64_t)crypto_random_below(RESTUN_MAX_MS - RESTUN_MIN_MS));
}

static bool is_another(struct addr before, struct addr now, bool ports_vary)
{
        return addr_is_set(before) && addr_is_set(now) &&
               (!ip_eq(before.ip, now.ip) || (before.port != now.port && !ports_vary));
}

/* A router that has started anew, or another one, knows nothing of our connections to relays either.  So it may be where
 * nobody answers any more, or somebody does again, or UDP passed and does not. */
void ms_reach_note_seen(struct ms *ms, const struct netcheck_report *r, mono_t now)
{
        bool vary = r->mapping_varies == NC_TRUE;
        bool answers = r->udp || r->latency_count > 0;
        bool is_hint = answers == ms->saw_nobody || (answers && ms->saw_udp && !r->udp);
        if (is_hint || is_another(ms->seen4, r->global_v4, vary) || is_another(ms->seen6, r->global_v6, vary))
                derp_mgr_ask(ms->derp, now);
        ms->saw_nobody = !answers;
        if (answers)
                ms->saw_udp = r->udp;
        if (addr_is_set(r->global_v4))
                ms->seen4 = r->global_v4;
        if (addr_is_set(r->global_v6))
                ms->seen6 = r->global_v6;
}

static void nc_done(void *arg, const struct netcheck_report *r, mono_t now)
{
        struct ms *ms = arg;
        loop_timer_stop(&ms->publish_timer);
        ms_second_close(ms);
        ms_reach_note_seen(ms, r, now);
        ms_home_on_report(ms, r, now);
        update_endpoints(ms, r, now);
        ms_hn_report(ms, r, now);
        if (has_traffic(ms, now))
                arm_periodic(ms);
        if (ms->restun_again) {
                ms->restun_again = false;
                loop_timer_at(ms->loop, &ms->restun_timer, now);
        }
        ms_home_tell(ms, now);
}

static void note_portmap(struct ms *ms, mono_t now)
{
        struct nc_portmap found = mapper_report(ms->mapper, now);
        static const struct endpoints_input none = {0};
        const struct addr *mapped = mapper_mapping(ms->mapper);
        found.have = mapped && endpoints_seen_at(&ms->tracker, &none, mapped->ip);
        netrun_set_portmap(ms->netrun, &found);
}

static void start_report(struct ms *ms, mono_t now)
{
        struct localaddrs local = {.count = 0};
        const struct netcheck_report *last = netrun_report(ms->netrun);
        (void)localaddr_list(ms->tun_name, &local);
        /* A socket that could send to nobody is dead, whatever it says. */
        bool is_dead = last && ms->stun_refused && !last->ipv4_can_send;
        if (!ms->no_udp && (is_dead || !sock_is_open(&ms->udp[0].sock)))
                ms_reach_socket_error(ms, now);

        struct nc_start_args args = {
                .map = ms->map,
                .have_v4 = local.have_v4,
                .have_v6 = local.have_v6 && sock_is_open(&ms->udp[1].sock),
                .os_has_ipv6 = localaddr_os_has_ipv6(),
                .full = ms->restun_full,
                .no_udp = ms->no_udp,
                .home = derp_mgr_home(ms->derp),
                .port4 = ms->udp[0].sock.port,
                .local = local.ip,
                .local_count = local.count,
        };
        ms->restun_full = ms->stun_refused = false;
        if (ms->ep_count == 0 && !timer_is_armed(&ms->publish_timer))
                loop_timer_in(ms->loop, &ms->publish_timer, PUBLISH_FIRST_MS);
        ms_home_start_waiting(ms);
        bool is_looking = mapper_look(ms->mapper, ms->udp[0].sock.port, args.full, now);
        note_portmap(ms, now);
        if (is_looking)
                netrun_hold(ms->netrun);
        enum err e = netrun_start(ms->netrun, &args, now);
        if (e != ERR_NONE)
                log_debug(1, "netcheck did not start: %s", err_str(e));
}

void ms_restun(struct ms *ms, bool full, mono_t now)
{
        if (!ms_can_send(ms) || !ms->map)
                return;
        ms->restun_full = ms->restun_full || full;
        loop_timer_stop(&ms->restun_timer);
        if (netrun_running(ms->netrun))
                ms->restun_again = true;
        else
                start_report(ms, now);
}

static void on_restun_timer(struct timer *t, mono_t now)
{
        struct ms *ms = container_of(t, struct ms, restun_timer);
        ms_restun(ms, false, now);
}

/* Not at once: this comes from the middle of sending. */
void ms_reach_check_fresh(struct ms *ms, mono_t now)
{
        bool is_stale = !mono_is_set(ms->eps_at) || mono_diff_ns(now, ms->eps_at) >= FRESH_NS;
        if (is_stale && !netrun_running(ms->netrun))
                loop_timer_at(ms->loop, &ms->restun_timer, now);
}

void ms_reach_traffic(struct ms *ms, mono_t now)
{
        ms->last_traffic = now;
        if (!timer_is_armed(&ms->restun_timer) && !netrun_running(ms->netrun) && ms_can_send(ms) && ms->map)
                arm_periodic(ms);
}

/* ---- a port of the router ---- */

static void on_portmap_found(void *arg, mono_t now)
{
        struct ms *ms = arg;
        note_portmap(ms, now);
        netrun_release(ms->netrun, now);
}

void ms_reach_portmap_changed(void *arg, mono_t now)
{
        struct ms *ms = arg;
        note_portmap(ms, now);
        endpoints_forget(&ms->tracker, MS_ENDPOINT_PORTMAP);
        if (!ms_can_send(ms) || !ms->map)
                return;
        /* A router that names another address each time it is asked, which a report does, would keep us at it without a
         * pause. */
        if (mono_older(ms->portmap_restun, PORTMAP_GAP_NS, now))
                ms->portmap_restun = now;
        else if (mono_reached(now, ms->portmap_restun))
                ms->portmap_restun = mono_add_ns(ms->portmap_restun, PORTMAP_GAP_NS);
        if (!timer_is_armed(&ms->restun_timer) || ms->portmap_restun.ns < ms->restun_timer.at.ns)
                loop_timer_at(ms->loop, &ms->restun_timer, ms->portmap_restun);
}

void ms_set_portmap_off(struct ms *ms, unsigned ways, mono_t now)
{
        mapper_set_off(ms->mapper, (PORTMAP_ALL & ~ms->portmap) | ways, now);
}

bool ms_is_quiet(const struct ms *ms)
{
        return !ms->active && mapper_is_quiet(ms->mapper);
}

void ms_portmap_counts(const struct ms *ms, struct portmap_counts *ret)
{
        *ret = mapper_state(ms->mapper)->counts;
}

/* ---- changes ---- */

void ms_reach_start(struct ms *ms, mono_t now)
{
        if (!ms_can_send(ms) || !ms->map)
                return;
        ms_home_choose(ms, 0, false, now);
        ms_restun(ms, true, now);
}

void ms_reach_stop(struct ms *ms)
{
        netrun_cancel(ms->netrun);
        ms_second_close(ms);
        loop_timer_stop(&ms->restun_timer);
        loop_timer_stop(&ms->publish_timer);
        ms_home_stop(ms);
        ms->restun_again = false;
}

static void reset_paths(struct ms *ms, mono_t now)
{
        for (size_t i = 0; i < ms->slot_cap; i++) {
                struct ms_slot *s = ms->slots[i];
                if (!s)
                        continue;
                history_add(&s->history, HISTORY_REBIND, (struct addr){.port = 0}, 0, now);
                ms_peer_on_rebind(&s->peer, now, &ms->out);
                ms_settle(ms, s, now);
        }
}

static void renew_sockets(struct ms *ms)
{
        if (ms_open_sockets(ms) != ERR_NONE)
                log_warn("new UDP sockets: %s; %s", strerror(errno), sock_is_open(&ms->udp[0].sock)
                         ? "those of before go on" : "only relays can be used");
}

void ms_rebind(struct ms *ms, int64_t slept_ms, mono_t now)
{
        if (!ms->no_udp)
                renew_sockets(ms);
        derp_mgr_check(ms->derp, slept_ms, now);
        ms_reach_stop(ms);
        netrun_forget(ms->netrun);
        ms->tracker.count = 0;   /* what STUN saw in the network that was */
        ms->seen4 = ms->seen6 = (struct addr){.port = 0};
        ms->saw_udp = ms->saw_nobody = false;
        ms_hn_stop(ms, now);
        reset_paths(ms, now);
        ms_restun(ms, true, now);
}

/* Opened anew at most every 5 s, or the search for paths would never get anywhere. */
void ms_reach_socket_error(struct ms *ms, mono_t now)
{
        if (mono_is_set(ms->rebound) && mono_diff_ns(now, ms->rebound) < REBIND_GAP_NS)
                return;
        ms->rebound = now;
        log_info("UDP sockets are opened anew");
        renew_sockets(ms);
}

void ms_set_derp_map(struct ms *ms, const struct derpmap *map, mono_t now)
{
        ms_reach_stop(ms);
        ms->map = map;
        derp_mgr_set_map(ms->derp, map, now);
        ms_reach_start(ms, now);
}

size_t ms_endpoints(const struct ms *ms, const struct ms_endpoint **ret)
{
        *ret = ms->eps;
        return ms->ep_count;
}

enum err ms_reach_init(struct ms *ms)
{
        static const struct netrun_callbacks cb = {
                .send = nc_send,
                .on_answer = nc_answer,
                .on_done = nc_done,
                .home_heard = ms_home_heard,
        };
        static const struct mapper_callbacks mapper_cb = {.on_found = on_portmap_found, .on_changed = ms_reach_portmap_changed};
        timer_init(&ms->restun_timer, on_restun_timer);
        timer_init(&ms->publish_timer, on_publish_timer);
        ms_home_init(ms);
        ms->netrun = netrun_new(ms->loop, ms->dialer, ms->mark, &cb, ms);
        ms->mapper = mapper_new(ms->loop, ms->dialer, ms->mark, &mapper_cb, ms);
        if (!ms->netrun || !ms->mapper)
                return ERR_IO;
        ms_set_portmap_off(ms, 0, loop_now(ms->loop));
        return ERR_NONE;
}

void ms_reach_done(struct ms *ms)
{
        loop_timer_stop(&ms->restun_timer);
        loop_timer_stop(&ms->publish_timer);
        ms_home_stop(ms);
        ms_second_close(ms);
        netrun_free(ms->netrun);
        mapper_free(ms->mapper);
        ms->netrun = NULL;
        ms->mapper = NULL;
}
