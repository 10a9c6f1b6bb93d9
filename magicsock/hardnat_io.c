/* The sockets of the search for a path through a hard NAT, and those that found one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "magicsock/internal.h"

enum {
        PINS_MAX = 64,              /* peers reached that way at a time */
        PIN_QUIET_MS = 10000,       /* a peer trusts a path for 6.5 s */
        MET_MAX = 8,
        TRY_BUFFER = 1 << 16,       /* bytes; the socket that is kept gets what the others have */
};

/* ---- sockets ---- */

static struct ms_udp *open_socket(struct ms *ms, unsigned number)
{
        struct ms_udp *u = calloc(1, sizeof(*u));
        if (!u)
                return NULL;
        u->ms = ms;
        u->number = number;
        sock_init(&u->sock, IP_V4);
        u->sock.buffer_bytes = TRY_BUFFER;
        u->sock.wanted = ms->udp[0].sock.wanted;
        watch_init(&u->watch, ms_on_udp);
        if (sock_open(&u->sock, 0, ms->mark) == ERR_NONE &&
            loop_watch(ms->loop, &u->watch, u->sock.fd, LOOP_READ) == ERR_NONE)
                return u;
        sock_close(&u->sock);
        free(u);
        return NULL;
}

/* A datagram of it may be under way on the stack. */
static void close_socket(struct ms *ms, struct ms_udp *u)
{
        if (!u)
                return;
        loop_unwatch(&u->watch);
        sock_close(&u->sock);
        u->next = ms->hardnat->closed;
        ms->hardnat->closed = u;
        loop_timer_at(ms->loop, &ms->hardnat->timer, loop_now(ms->loop));
}

static void free_closed(struct ms_hardnat *hn)
{
        while (hn->closed) {
                struct ms_udp *u = hn->closed;
                hn->closed = u->next;
                free(u);
        }
}

/* Those that were quiet until then. */
static void close_met(struct ms *ms, mono_t quiet_at)
{
        for (struct ms_udp **at = &ms->hardnat->met; *at;) {
                struct ms_udp *u = *at;
                if (u->heard.ns > quiet_at.ns) {
                        at = &u->next;
                        continue;
                }
                *at = u->next;
                close_socket(ms, u);
        }
}

/* Where both sides search, each may find a socket of its own, and uses it for as long as the other's is there. */
static void retire(struct ms *ms, struct ms_udp *u)
{
        struct ms_hardnat *hn = ms->hardnat;
        unsigned count = 0;
        for (const struct ms_udp *m = hn->met; m; m = m->next)
                count++;
        if (u && u->met && count < MET_MAX && mono_diff_ms(loop_now(ms->loop), u->heard) < PIN_QUIET_MS) {
                u->next = hn->met;
                hn->met = u;
        } else {
                close_socket(ms, u);
        }
}

static void end_try(struct ms *ms)
{
        for (size_t i = 0; i < HN_SOCKETS; i++) {
                retire(ms, ms->hardnat->sockets[i]);
                ms->hardnat->sockets[i] = NULL;
        }
}

static void unpin(struct ms *ms, struct ms_slot *s)
{
        if (s->pin.udp) {
                ms->hardnat->pins--;
                s->pin.udp->met = true;   /* a peer that got there lately may be sending to it */
                retire(ms, s->pin.udp);
        }
        s->pin = (struct ms_pin){.udp = NULL};
        s->hardnat.status.pinned = false;
}

static void pin(struct ms *ms, struct ms_slot *s, const struct hn_action *a)
{
        struct ms_hardnat *hn = ms->hardnat;
        unpin(ms, s);
        s->pin = (struct ms_pin){.udp = hn->sockets[a->socket], .to = a->addr};
        hn->sockets[a->socket] = NULL;
        hn->pins++;
        s->hardnat.status.pinned = true;
        sock_want_buffers(&s->pin.udp->sock, ms->udp[0].sock.buffer_bytes);
}

/* NULL: what goes there leaves by the socket for all. */
static struct ms_udp *pinned_to(const struct ms_slot *s, struct addr to)
{
        return s->pin.udp && addr_eq(to, s->pin.to) ? s->pin.udp : NULL;
}

struct ms_udp *ms_hn_udp(struct ms *ms, const struct ms_slot *s, struct addr to)
{
        if (ms->via && addr_eq(to, ms->via_src))
                return ms->via;
        struct ms_udp *own = pinned_to(s, to);
        return own ? own : ms_udp_for(ms, to);
}

bool ms_hn_is_data_by(const struct ms *ms, const struct ms_slot *s, struct addr src)
{
        if (!ms->via)
                return true;
        const struct ms_udp *own = pinned_to(s, src);
        if (own)
                return ms->via == own;
        const struct ms_udp *common = &ms->udp[src.ip.family == IP_V6];   /* or the one it took over from, at the same port */
        return !ms->via->number && common->sock.port == ms->via->sock.port;
}

void ms_hn_want_offloads(struct ms *ms, unsigned wanted)
{
        for (size_t i = 0; i < ms->slot_cap; i++)
                if (ms->slots[i] && ms->slots[i]->pin.udp)
                        sock_want_offloads(&ms->slots[i]->pin.udp->sock, wanted);
}

/* ---- what the machine wants ---- */

static void ask_stun(struct ms *ms, unsigned socket)
{
        struct ms_hardnat *hn = ms->hardnat;
        /* If one of two servers is dead, the other still has half of the samples. */
        size_t servers = addr_is_set(hn->stun[1]) ? 2 : 1;
        uint8_t request[STUN_REQUEST_LEN];
        crypto_random(hn->asked[socket].b, sizeof(hn->asked[socket].b));
        stun_request(&hn->asked[socket], request);
        if (hn->sockets[socket])
                (void)sock_send_bytes(&hn->sockets[socket]->sock, hn->stun[socket / 16 % servers], request,
                                      sizeof(request));
}

static void ping_from(struct ms *ms, struct ms_slot *s, const struct hn_action *a)
{
        ms->msg = (struct disco_msg){.type = DISCO_PING};
        ms->msg.ping.txid = a->txid;
        ms->msg.ping.has_key = true;
        ms->msg.ping.key = ms->node_public;
        (void)ms_disco_send(ms, s, ms->hardnat->sockets[a->socket], a->addr);
}

static void call(struct ms *ms, struct ms_slot *s, const struct hn_action *a, mono_t now)
{
        struct addr guesses[HN_GUESSES];
        for (size_t i = 0; i < a->count; i++)
                guesses[i] = (struct addr){.ip = a->ip, .port = ms->hardnat->m.ports[i]};
        ms_send_call(ms, s, guesses, a->count, now);
        ms_reach_check_fresh(ms, now);
}

static void do_action(struct ms *ms, const struct hn_action *a, mono_t now)
{
        struct ms_hardnat *hn = ms->hardnat;
        struct ms_slot *s = container_of(a->peer, struct ms_slot, hardnat);
        switch (a->kind) {
        case HN_ACT_ASK:
                ms_peer_probe(&s->peer, (struct addr){.port = 0}, now, &ms->out);
                ms_settle(ms, s, now);
                break;
        case HN_ACT_OPEN:
                hn->asked[a->socket] = (struct stun_txid){{0}};
                hn->sockets[a->socket] = open_socket(ms, a->socket + 1);
                if (!hn->sockets[a->socket])
                        hn_on_open_failed(&hn->m, a->socket);
                break;
        case HN_ACT_STUN:
                ask_stun(ms, a->socket);
                break;
        case HN_ACT_PING:
                ping_from(ms, s, a);
                break;
        case HN_ACT_CALL:
                call(ms, s, a, now);
                break;
        case HN_ACT_PIN:
                pin(ms, s, a);
                break;
        case HN_ACT_PROBE:
                ms_peer_probe(&s->peer, a->addr, now, &ms->out);
                ms_settle(ms, s, now);
                break;
        case HN_ACT_UNPIN:
                unpin(ms, s);
                break;
        case HN_ACT_CLOSE:
                end_try(ms);
                break;
        }
}

static void arm(struct ms *ms, mono_t now)
{
        mono_t at = ms->hardnat->closed ? now : hn_deadline(&ms->hardnat->m, now);
        for (const struct ms_udp *u = ms->hardnat->met; u; u = u->next)
                at = mono_min(at, mono_add_ms(u->heard, PIN_QUIET_MS));
        loop_timer_at(ms->loop, &ms->hardnat->timer, at);
}

static void log_start(const struct ms_slot *s, const struct hn_facts *f)
{
        char key[KEY_SHORT_MAX], to[ADDR_STR_MAX];
        log_debug(1, "peer %s: search through our hard NAT, towards %s%s", node_public_short(&s->key, key),
                  addr_str(f->targets[0], to), f->target_count > 1 ? " and another" : "");
}

static void log_end(const struct ms_slot *s)
{
        const struct hn_status *st = &s->hardnat.status;
        char key[KEY_SHORT_MAX];
        log_debug(1, "peer %s: search through our hard NAT: %s after %.2f s, %u sockets, ports %u-%u, %u guesses, %u pings",
                  node_public_short(&s->key, key), hn_outcome_str(st->outcome), (double)st->took_ns / 1e9, st->sockets,
                  st->low, st->high, st->guesses, st->pings);
}

/* What one action brings about may add others. */
static void run(struct ms *ms, mono_t now)
{
        struct ms_hardnat *hn = ms->hardnat;
        if (hn->is_running)
                return;
        hn->is_running = true;
        for (size_t i = 0; i < hn->out.count; i++) {
                const struct hn_action a = hn->out.a[i];
                do_action(ms, &a, now);
        }
        hn->out.count = 0;
        hn->is_running = false;
        arm(ms, now);
}

/* ---- facts ---- */

static struct ip our_public4(const struct ms *ms)
{
        for (size_t i = 0; i < ms->ep_count; i++)
                if (ms->eps[i].type == MS_ENDPOINT_STUN && ms->eps[i].addr.ip.family == IP_V4)
                        return ms->eps[i].addr.ip;
        return (struct ip){.family = IP_NONE};
}

/* What the peer itself named last counts for more than what the map says. */
static void add_targets(const struct ms_slot *s, enum path_origin from, struct hn_facts *f)
{
        for (size_t i = 0; i < s->peer.paths.count && f->target_count < HN_TARGETS_MAX; i++) {
                const struct path *p = &s->peer.paths.p[i];
                bool has = false;
                for (size_t j = 0; j < f->target_count; j++)
                        has = has || addr_eq(f->targets[j], p->addr);
                if (!has && p->origin & from && p->addr.ip.family == IP_V4 && ip_is_public(p->addr.ip) && !ip_eq(p->addr.ip, f->ours))
                        f->targets[f->target_count++] = p->addr;
        }
}

/* No NAT remembers a socket that was idle for so long.  It is kept all the same, as nothing else could use it, until all are
 * taken. */
static void free_idle_pin(struct ms *ms, mono_t now)
{
        struct ms_slot *idle = NULL;
        for (size_t i = 0; i < ms->slot_cap && ms->hardnat->pins >= PINS_MAX; i++) {
                struct ms_slot *s = ms->slots[i];
                if (s && s->pin.udp && (!idle || s->peer.last_send.ns < idle->peer.last_send.ns))
                        idle = s;
        }
        if (idle && mono_diff_ns(now, idle->peer.last_send) >= HN_UNPIN_NS)
                unpin(ms, idle);
}

static struct hn_facts facts_of(struct ms *ms, struct ms_slot *s)
{
        struct hn_facts f = {.ours = our_public4(ms), .has_stun = addr_is_set(ms->hardnat->stun[0]),
                .can_call = derp_mgr_is_up(ms->derp, ms_relay_for(ms, s))};
        if (ms->no_udp || !sock_is_open(&ms->udp[0].sock) || (ms->hardnat->pins >= PINS_MAX && !s->pin.udp) || !s->peer.has_disco)
                return f;
        add_targets(s, PATH_FROM_CALL, &f);
        add_targets(s, PATH_FROM_MAP, &f);
        return f;
}

void ms_hn_sent_stun(struct ms *ms, struct addr to)
{
        struct addr *known = ms->hardnat->stun;
        if (to.ip.family != IP_V4 || addr_eq(to, known[0]))
                return;
        known[1] = known[0];
        known[0] = to;
}

/* A report under way begins with knowing nothing. */
void ms_hn_report(struct ms *ms, const struct netcheck_report *r, mono_t now)
{
        if (r->mapping_varies == NC_UNKNOWN || r->mapping_varies == ms->hardnat->m.varies)
                return;
        hn_set_nat(&ms->hardnat->m, r->mapping_varies);
        run(ms, now);
}

/* ---- events ---- */

static void on_timer(struct timer *t, mono_t now)
{
        struct ms_hardnat *hn = container_of(t, struct ms_hardnat, timer);
        struct ms *ms = hn->ms;
        free_closed(hn);
        close_met(ms, mono_add_ms(now, -PIN_QUIET_MS));
        if (ms_can_send(ms)) {
                struct hn_peer *p = hn_due(&hn->m, now);
                if (p) {
                        free_idle_pin(ms, now);
                        struct hn_facts f = facts_of(ms, container_of(p, struct ms_slot, hardnat));
                        hn_start(&hn->m, p, &f, now, &hn->out);
                        if (hn->m.peer == p)
                                log_start(container_of(p, struct ms_slot, hardnat), &f);
                } else {
                        struct hn_peer *peer = hn->m.peer;
                        hn_expire(&hn->m, now, &hn->out);
                        if (peer && !hn->m.peer)
                                log_end(container_of(peer, struct ms_slot, hardnat));
                }
        }
        run(ms, now);
}

void ms_hn_relayed(struct ms *ms, struct ms_slot *s, mono_t now)
{
        bool was_listed = s->hardnat.is_listed;
        hn_on_relayed(&ms->hardnat->m, &s->hardnat, now, &ms->hardnat->out);
        if (s->hardnat.is_listed != was_listed)
                run(ms, now);
}

void ms_hn_settle(struct ms *ms, struct ms_slot *s, mono_t now)
{
        struct ms_hardnat *hn = ms->hardnat;
        if (!ms_peer_is_direct(&s->peer, now))
                return;
        struct addr best = s->peer.best.addr;
        if (s->hardnat.is_listed || hn->m.peer == &s->hardnat) {
                bool is_tried = hn->m.peer == &s->hardnat;
                hn_on_direct(&hn->m, &s->hardnat, best, now, &hn->out);
                if (is_tried)
                        log_end(s);
                run(ms, now);
        }
        /* The peer may be sending to it for as long as it gets there. */
        if (s->pin.udp && !addr_eq(best, s->pin.to) && mono_diff_ms(now, s->pin.udp->heard) >= PIN_QUIET_MS)
                unpin(ms, s);
}

void ms_hn_say(struct ms *ms)
{
        uint8_t hello;
        bool says = hn_says(&ms->hardnat->m, &hello);
        if (ms->msg.type == DISCO_PING) {
                ms->msg.ping.has_hello = says;
                ms->msg.ping.hello = hello;
        } else {
                ms->msg.pong.has_hello = says;
                ms->msg.pong.hello = hello;
        }
}

static void set_takes_part(const struct ms *ms, struct ms_slot *s)
{
        s->peer.takes_part = s->hardnat.kind == HN_KIND_OWN && ms->hardnat->m.pref != HN_PREF_OFF;
}

void ms_hn_hello(struct ms *ms, struct ms_slot *s, bool has_hello, uint8_t hello, mono_t now)
{
        hn_on_hello(&s->hardnat, has_hello, hello, now);
        set_takes_part(ms, s);
        if (s->hardnat.is_listed)
                run(ms, now);
}

static bool is_tried(const struct ms *ms)
{
        return ms->via && ms->via->number && ms->hardnat->sockets[ms->via->number - 1] == ms->via;
}

void ms_hn_ping(struct ms *ms, struct ms_slot *s, struct addr src, mono_t now)
{
        if (!is_tried(ms))
                return;
        ms->via->met = true;
        hn_on_hit(&ms->hardnat->m, &s->hardnat, ms->via->number - 1, src, now, &ms->hardnat->out);
        run(ms, now);
}

bool ms_hn_pong(struct ms *ms, struct ms_slot *s, struct addr src, const struct disco_txid *txid, mono_t now)
{
        bool was_try = is_tried(ms) && hn_on_pong(&ms->hardnat->m, &s->hardnat, ms->via->number - 1, src, txid, now,
                                                  &ms->hardnat->out);
        if (was_try)
                run(ms, now);
        return was_try;
}

void ms_hn_seen(struct ms *ms, struct ms_slot *s, struct addr src, struct addr seen, mono_t now)
{
        if (!ms->via || s->pin.udp != ms->via || !addr_eq(src, s->pin.to))
                return;
        bool is_news = addr_is_set(s->pin.outside) && !addr_eq(s->pin.outside, seen);
        s->pin.outside = seen;
        if (is_news)
                ms_send_call(ms, s, NULL, 0, now);
}

void ms_hn_stun(struct ms *ms, const struct pkt *p, mono_t now)
{
        struct stun_txid txid;
        struct addr outside;
        if (!is_tried(ms) || stun_parse_response(pkt_cdata(p), p->len, &txid, &outside) != ERR_NONE)
                return;
        struct stun_txid *asked = &ms->hardnat->asked[ms->via->number - 1];
        static const struct stun_txid none;
        if (memcmp(&txid, &none, sizeof(txid)) == 0 || memcmp(&txid, asked, sizeof(txid)) != 0)
                return;
        *asked = none;
        hn_on_stun(&ms->hardnat->m, outside, ms->via->sock.port, now);
        run(ms, now);
}

/* ---- ends ---- */

void ms_hn_forget(struct ms *ms, struct ms_slot *s, mono_t now)
{
        hn_forget(&ms->hardnat->m, &s->hardnat, now, &ms->hardnat->out);
        unpin(ms, s);
        run(ms, now);
}

void ms_hn_restarted(struct ms *ms, struct ms_slot *s, mono_t now)
{
        hn_on_restart(&ms->hardnat->m, &s->hardnat, now, &ms->hardnat->out);
        set_takes_part(ms, s);
        run(ms, now);
}

static void unpin_all(struct ms *ms)
{
        for (size_t i = 0; i < ms->slot_cap; i++)
                if (ms->slots[i])
                        unpin(ms, ms->slots[i]);
        close_met(ms, MONO_NEVER);
}

void ms_hn_stop(struct ms *ms, mono_t now)
{
        hn_stop(&ms->hardnat->m, now, &ms->hardnat->out);
        run(ms, now);
        unpin_all(ms);
}

void ms_set_hardnat(struct ms *ms, enum hn_pref pref, mono_t now)
{
        hn_set_pref(&ms->hardnat->m, pref, now, &ms->hardnat->out);
        run(ms, now);
        for (size_t i = 0; i < ms->slot_cap; i++)
                if (ms->slots[i])
                        set_takes_part(ms, ms->slots[i]);
}

struct hn_totals ms_hardnat_totals(const struct ms *ms)
{
        return ms->hardnat->m.totals;
}

enum err ms_hn_init(struct ms *ms)
{
        ms->hardnat = calloc(1, sizeof(*ms->hardnat));
        if (!ms->hardnat)
                return ERR_IO;
        ms->hardnat->ms = ms;
        hn_init(&ms->hardnat->m);
        timer_init(&ms->hardnat->timer, on_timer);
        return ERR_NONE;
}

void ms_hn_done(struct ms *ms)
{
        struct ms_hardnat *hn = ms->hardnat;
        if (!hn)
                return;
        end_try(ms);
        unpin_all(ms);
        loop_timer_stop(&hn->timer);
        free_closed(hn);
        hn_done(&hn->m);
        free(hn);
        ms->hardnat = NULL;
}
