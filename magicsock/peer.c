#include "magicsock/peer.h"

#include <string.h>

#include "magicsock/plain.h"
#include "magicsock/search.h"

#define PONG_COST_NS        (NS_PER_SEC / 50) /* 50 a second, see may_pong() */
#define PING_BACK_COST_NS   (NS_PER_SEC / 8)
#define PING_BACK_GAP_NS    (200 * NS_PER_MS) /* to one address */
#define CALL_COST_NS        (NS_PER_SEC / 10) /* calls taken from the peer */
#define DOUBT_GAP_NS        (2 * NS_PER_SEC)  /* between searches for something else */

static const struct addr no_addr = {.port = 0};

bool ms_peer_is_active(const struct ms_peer *p, mono_t now)
{
        return mono_is_set(p->last_send) && mono_diff_ns(now, p->last_send) <= MS_PEER_ACTIVE_NS;
}

bool ms_peer_is_direct(const struct ms_peer *p, mono_t now)
{
        return addr_is_set(p->best.addr) && now.ns <= p->trust_until.ns && !p->live.in_doubt;
}

void ms_peer_init(struct ms_peer *p)
{
        memset(p, 0, sizeof(*p));
}

void ms_peer_done(struct ms_peer *p)
{
        path_set_done(&p->paths);
        pings_done(&p->pings);
        memset(p, 0, sizeof(*p));
}

static struct ms_action *cli_result(struct ms_peer *p, size_t i, enum err e, struct ms_actions *out)
{
        struct ms_action *a = ms_action_add(out, MS_ACT_CLI_RESULT);
        a->cookie = p->cli[i].cookie;
        a->err = e;
        p->cli[i] = p->cli[--p->cli_count];
        return a;
}

/* It may have been told of us just now: the answer to a last knock shows what was sent too early. */
static void knows_us(struct ms_peer *p, mono_t now)
{
        if (p->answered)
                p->knock_at = (mono_t){0};
        else if (!p->knows_us && mono_is_set(p->knock_started))
                p->knock_at = now;
        p->knows_us = true;
        p->renamed = false;
}

static void arm_heartbeat(struct ms_peer *p, mono_t now)
{
        p->last_send = now;
        if (!mono_is_set(p->heartbeat_at) && p->has_disco)
                p->heartbeat_at = mono_add_ns(now, MS_PEER_HEARTBEAT_NS);
}

/* ---- the path in use ---- */

static void clear_best(struct ms_peer *p)
{
        p->best = (struct path_best){.latency_ns = 0};
        p->live = (struct liveness){.rtt_ns = 0};
        p->trust_until = (mono_t){0};
}

static void ping_best(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        struct path *c = path_find(&p->paths, p->best.addr);
        if (c)
                c->pinged = now;
        live_on_ping(&p->live, now);
        ms_search_ping(p, p->best.addr, 0, NULL, now, out);
}

/* Relay alone from here on.  The peer may go on trusting the path for seconds: whoever forgets the address leaves it
 * at once, and the search starts anew on both sides. */
static void lose_best(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        p->last_good = p->best.addr;
        clear_best(p);
        ms_search_lost(p, now);
        if (!ms_search_relay(p))
                return;
        ms_action_add(out, MS_ACT_WITHDRAW)->region = ms_search_relay(p);
        ms_search_call(p, now, out);
}

static void take_step(struct ms_peer *p, enum live_step step, mono_t now, struct ms_actions *out)
{
        if (step == LIVE_NOTHING)
                return;
        if (step == LIVE_LOST) {
                lose_best(p, now, out);
                return;
        }
        ping_best(p, now, out);
        if (step != LIVE_DOUBT || !mono_older(p->doubted, DOUBT_GAP_NS, now))
                return;
        /* Another one may still work, or this one from another port of the peer's. */
        p->doubted = now;
        for (size_t i = 0; i < p->paths.count; i++)
                if (!addr_eq(p->paths.p[i].addr, p->best.addr))
                        p->paths.p[i].pinged = (mono_t){0};
        ms_search_round(p, true, now, out);
        ms_search_burst(p, SEARCH_BURST_AFTER_PING_NS, now);
}

static bool is_trusted(const struct ms_peer *p, mono_t now)
{
        return addr_is_set(p->best.addr) && now.ns <= p->trust_until.ns;
}

/* ---- events ---- */

void ms_peer_on_config(struct ms_peer *p, bool has_disco, bool expired, int home, const struct addr *eps,
                       size_t n, mono_t now)
{
        size_t had = p->paths.count;
        p->has_disco = has_disco;
        p->expired = expired;
        if (p->home && home != p->home)
                p->learned = 0;   /* it has left: a relay may hold a dead connection of it for a minute */
        p->home = home;
        if (!has_disco || expired) {     /* nothing can be asked any more */
                p->live = (struct liveness){.rtt_ns = 0};
                ms_search_stop(p);
        }
        if (!has_disco && !p->plain)
                clear_best(p);
        path_forget_origin(&p->paths, PATH_FROM_MAP);
        for (size_t i = 0; i < n; i++)
                path_add(&p->paths, eps[i], PATH_FROM_MAP, p->best.addr, now);
        bool is_new = p->paths.count > had;
        path_prune(&p->paths, p->best.addr, now);
        p->quiet_until = (mono_t){0};
        if (is_new && has_disco && ms_peer_is_active(p, now) && !ms_peer_is_direct(p, now))
                p->more_at = now;
}

struct ms_route ms_peer_route(const struct ms_peer *p, mono_t now)
{
        struct ms_route r = {.addr = p->best.addr, .region = p->plain ? 0 : ms_search_relay(p)};
        if (p->expired)
                r.kind = MS_ROUTE_NONE;
        else if (!addr_is_set(p->best.addr))
                r.kind = r.region ? MS_ROUTE_RELAY : MS_ROUTE_NONE;
        else if (ms_peer_is_direct(p, now) || !r.region)
                r.kind = MS_ROUTE_DIRECT;
        else
                r.kind = MS_ROUTE_BOTH;
        return r;
}

struct ms_route ms_peer_on_send(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        if (p->plain && !p->expired)
                plain_on_send(p, now);
        struct ms_route r = ms_peer_route(p, now);
        if (p->expired)
                return r;
        arm_heartbeat(p, now);
        ms_search_knock(p, now);
        if (p->has_disco && addr_is_set(p->best.addr))
                take_step(p, is_trusted(p, now) ? live_on_sent(&p->live, now) : live_resume(&p->live, now), now, out);
        if (p->has_disco && !ms_peer_is_direct(p, now) && mono_reached(now, p->quiet_until)) {
                ms_search_round(p, true, now, out);
                ms_search_burst(p, SEARCH_BURST_AFTER_SEND_NS, now);
        }
        return r;
}

/* The same id twice is a packet delivered twice, or a replay: a peer never reuses one. */
static bool was_seen(struct ms_peer *p, const struct disco_txid *txid)
{
        for (size_t i = 0; i < p->seen_count; i++)
                if (disco_txid_eq(&p->seen[i], txid))
                        return true;
        p->seen[p->seen_next] = *txid;
        p->seen_next = (p->seen_next + 1) % MS_PEER_SEEN_MAX;
        if (p->seen_count < MS_PEER_SEEN_MAX)
                p->seen_count++;
        return false;
}

/* Whoever just pinged us has opened its NAT for us; and an address we never tried may be a better one. */
static void ping_back(struct ms_peer *p, struct path *c, mono_t now, struct ms_actions *out)
{
        if (p->expired || (ms_peer_is_direct(p, now) && mono_is_set(c->pinged)))
                return;
        if (!mono_older(c->ping_back, PING_BACK_GAP_NS, now) || !ms_bucket_take(&p->backs, PING_BACK_COST_NS, NS_PER_SEC, now))
                return;
        c->ping_back = now;
        c->pinged = now;
        ms_search_ping(p, c->addr, 0, NULL, now, out);
        ms_search_burst(p, SEARCH_BURST_AFTER_PING_NS, now);
}

/* Somebody who has recorded pings of the peer's can send them again from anywhere.  That must not cost the path in use
 * its answers, nor those by the relay, which says who sent them: two allowances. */
static bool may_pong(struct ms_peer *p, bool home, mono_t now)
{
        if (ms_bucket_take(home ? &p->pongs_home : &p->pongs, PONG_COST_NS, NS_PER_SEC, now))
                return true;
        p->limited++;
        return false;
}

bool ms_peer_on_ping(struct ms_peer *p, struct addr src, const struct disco_txid *txid, bool reply,
                     mono_t now, struct ms_actions *out)
{
        if (was_seen(p, txid) || !path_addr_usable(src))
                return false;
        if (!p->renamed)
                knows_us(p, now);
        if (!may_pong(p, addr_eq(src, p->best.addr), now))
                return false;
        if (reply) {
                struct ms_action *a = ms_action_add(out, MS_ACT_PONG);
                a->addr = src;
                a->txid = *txid;
        }
        p->heard_ping = now;
        struct path *c = path_add(&p->paths, src, PATH_FROM_PING, p->best.addr, now);
        if (c)
                ping_back(p, c, now, out);
        return true;
}

void ms_peer_on_relay_ping(struct ms_peer *p, int region, const struct disco_txid *txid, mono_t now,
                           struct ms_actions *out)
{
        if (was_seen(p, txid))
                return;
        knows_us(p, now);
        if (!may_pong(p, true, now))
                return;
        struct ms_action *a = ms_action_add(out, MS_ACT_PONG_RELAY);
        a->region = region;
        a->txid = *txid;
}

static void answer_cli(struct ms_peer *p, const struct ping *g, int region, mono_t now,
                       struct ms_actions *out)
{
        for (size_t i = 0; i < p->cli_count; i++) {
                if (p->cli[i].cookie != g->cookie)
                        continue;
                struct ms_action *a = cli_result(p, i, ERR_NONE, out);
                a->addr = g->to;
                a->region = addr_is_set(g->to) ? 0 : region;
                a->latency_ns = mono_diff_ns(now, g->sent);
                return;
        }
}

/* Another one has answered: is it to be used? */
static bool wants(const struct ms_peer *p, const struct path_best *found, mono_t now)
{
        return !ms_peer_is_direct(p, now) || path_worth_a_move(found, &p->best);
}

/* What the answer of `from` means for what we look for. */
static void note_found(struct ms_peer *p, struct addr before, bool was_in_doubt, mono_t sent, mono_t now,
                       struct ms_actions *out)
{
        struct addr from = p->best.addr;
        /* A call makes the peer look for it, too, if the last one may have come too early. */
        if (!addr_is_set(before) && mono_is_set(p->lost) && p->call_sent.ns < sent.ns)
                ms_search_call(p, now, out);
        p->burst_at = p->call_again_at = (mono_t){0};
        if (addr_eq(from, p->last_good)) {
                p->lost = p->probe_at = (mono_t){0};
        } else if (was_in_doubt && addr_is_set(before) && !addr_eq(from, before)) {
                p->last_good = before;
                ms_search_lost(p, now);
        }
}

/* A direct pong: the address we pinged works both ways, whatever else it looked like. */
static void on_direct_pong(struct ms_peer *p, struct path_best found, mono_t sent, mono_t now, struct ms_actions *out)
{
        struct path_best before = p->best;
        bool same = addr_eq(before.addr, found.addr), was_in_doubt = p->live.in_doubt;
        struct path *c = path_find(&p->paths, found.addr);
        if (!c)
                c = path_add(&p->paths, found.addr, PATH_FROM_PING, before.addr, now);
        if (c) {
                c->proven = now;
                c->latency_ns = c->latency_ns ? (c->latency_ns + found.latency_ns) / 2 : found.latency_ns;
                found.latency_ns = c->latency_ns;
        }
        if (!same && !wants(p, &found, now))
                return;
        if (same) {
                live_on_pong(&p->live, sent, now);
        } else {
                live_start(&p->live, sent, now);
                p->chosen_ns = p->live.rtt_ns;
        }
        p->best = (struct path_best){found.addr, p->live.rtt_ns};
        p->trust_until = mono_add_ns(now, MS_PEER_TRUST_NS);
        if (!p->live.in_doubt)
                note_found(p, before.addr, was_in_doubt, sent, now, out);
}

/* What the answer to g says of what was sent before.  One by another way says nothing of what is under way by the relay, which
 * keeps order, but that whatever answers to what was sent before we moved goes where we were. */
static void note_answer(struct ms_peer *p, const struct ping *g, bool by_relay, mono_t now, struct ms_actions *out)
{
        bool moved = mono_is_set(p->moved) && g->sent.ns >= p->moved.ns, tells = by_relay || !p->knows_us;
        if (p->renamed && !by_relay)
                return;
        if (tells && (moved || !p->answered))
                ms_action_add(out, MS_ACT_KNOWN)->sent = g->sent;
        else if (moved)
                ms_action_add(out, MS_ACT_KNOWN)->sent = p->moved;
        if (moved)
                p->moved = (mono_t){0};
        p->answered |= tells;
        knows_us(p, now);
}

bool ms_peer_on_pong(struct ms_peer *p, const struct disco_txid *txid, bool by_relay, int region, mono_t now,
                     struct ms_actions *out)
{
        struct ping g;
        if (!pings_take(&p->pings, txid, &g))
                return false;
        note_answer(p, &g, by_relay, now, out);
        if (g.is_cli)
                answer_cli(p, &g, region, now, out);
        if (!by_relay && addr_is_set(g.to))
                on_direct_pong(p, (struct path_best){g.to, mono_diff_ns(now, g.sent)}, g.sent, now, out);
        return true;
}

static bool is_named(struct addr a, const struct addr *eps, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (addr_eq(eps[i], a))
                        return true;
        return false;
}

/* A peer that does not name the address at which it is reached may have moved; one that names none has left the path. */
void ms_peer_on_call(struct ms_peer *p, const struct addr *eps, size_t n, mono_t now, struct ms_actions *out)
{
        if (!ms_bucket_take(&p->calls, CALL_COST_NS, NS_PER_SEC, now)) {
                p->limited++;
                return;
        }
        knows_us(p, now);
        if (p->expired)
                return;
        if (is_trusted(p, now) && !is_named(p->best.addr, eps, n))
                take_step(p, n == 0 ? live_on_hint(&p->live, now) : live_resume(&p->live, now), now, out);
        path_forget_origin(&p->paths, PATH_FROM_CALL);
        for (size_t i = 0; i < n; i++)
                path_add(&p->paths, eps[i], PATH_FROM_CALL, p->best.addr, now);
        for (size_t i = 0; i < p->paths.count; i++)
                p->paths.p[i].pinged = (mono_t){0};
        ms_search_round(p, false, now, out);
        if (ms_peer_is_direct(p, now))
                return;
        /* The peer is there and its NAT is open: our call makes it ping again, past its own gate, and
         * now our NAT is open too. */
        if (mono_older(p->call_sent, SEARCH_CALL_GAP_NS, now) && p->paths.count > 0)
                ms_search_call(p, now, out);
        ms_search_burst(p, SEARCH_BURST_AFTER_CALL_NS, now);
}

void ms_peer_on_proof(struct ms_peer *p, struct addr src, mono_t now)
{
        if (p->plain) {
                plain_on_proof(p, src, now);
                return;
        }
        p->answered = true;
        knows_us(p, now);
        if (addr_is_set(src) && addr_eq(src, p->best.addr))
                live_on_heard(&p->live, now);
}

void ms_peer_on_heard(struct ms_peer *p, int region, mono_t now, struct ms_actions *out)
{
        p->learned = region;
        if (is_trusted(p, now) && !p->expired)
                take_step(p, live_on_elsewhere(&p->live, now), now, out);
        /* It talks to us by relay: no need to wait for something to send. */
        if (p->has_disco && !p->expired && !ms_peer_is_direct(p, now) &&
            mono_older(p->round_started, PATH_PING_GAP_NS, now)) {
                ms_search_round(p, true, now, out);
                ms_search_burst(p, SEARCH_BURST_AFTER_SEND_NS, now);
        }
}

void ms_peer_on_relay_gone(struct ms_peer *p, int region)
{
        if (p->learned == region)
                p->learned = 0;
}

void ms_peer_on_ping_failed(struct ms_peer *p, const struct disco_txid *txid)
{
        struct ping gone;
        (void)pings_take(&p->pings, txid, &gone);
}

void ms_peer_on_unreachable(struct ms_peer *p, struct addr a, mono_t now, struct ms_actions *out)
{
        if (p->plain || !addr_eq(p->best.addr, a))
                return;
        struct path *c = path_find(&p->paths, a);
        if (c)
                c->pinged = (mono_t){0};
        lose_best(p, now, out);
}

void ms_peer_on_own_endpoints(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        if (p->has_disco && !ms_peer_is_direct(p, now) && mono_is_set(p->call_sent) &&
            !mono_older(p->call_sent, PATH_PING_GAP_NS, now))
                ms_search_call(p, now, out);
}

/* For whatever reason: every path has to. */
static void prove_anew(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        bool goes_on = p->has_disco && !p->expired && ms_peer_is_active(p, now);
        if (p->plain) {
                plain_on_rebind(p);
                return;
        }
        if (!goes_on || !is_trusted(p, now))
                clear_best(p);
        path_reset_gates(&p->paths);
        p->lost = p->probe_at = p->call_sent = p->burst_at = p->burst_started = p->quiet_until = (mono_t){0};
        p->doubted = (mono_t){0};
        if (!goes_on)
                return;
        if (addr_is_set(p->best.addr))   /* it may work from here, too: both ways until that is known */
                take_step(p, live_resume(&p->live, now), now, out);
        ms_search_round(p, true, now, out);
        ms_search_burst(p, SEARCH_BURST_AFTER_SEND_NS, now);
}

void ms_peer_on_rebind(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        p->moved = now;
        prove_anew(p, now, out);
}

/* The server has yet to tell it of us. */
static void be_unknown(struct ms_peer *p)
{
        p->knows_us = p->answered = false;
        p->knock_started = p->knock_at = (mono_t){0};
}

void ms_peer_on_own_key(struct ms_peer *p)
{
        be_unknown(p);
        p->renamed = true;
}

void ms_peer_on_restart(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        ms_peer_on_relay_gone(p, p->learned);   /* the connection there was its former self's */
        be_unknown(p);
        prove_anew(p, now, out);
}

void ms_peer_stop(struct ms_peer *p, struct ms_actions *out)
{
        while (p->cli_count > 0)
                cli_result(p, 0, ERR_STATE, out);
        clear_best(p);
        path_reset_gates(&p->paths);
        pings_done(&p->pings);
        p->learned = 0;
        p->unanswered = p->last_send = p->heartbeat_at = p->round_started = p->quiet_until = (mono_t){0};
        p->burst_started = p->call_sent = p->doubted = p->moved = (mono_t){0};
        ms_search_stop(p);
        be_unknown(p);
}

enum err ms_peer_ping(struct ms_peer *p, uint64_t cookie, size_t wire_mtu, mono_t now, struct ms_actions *out)
{
        if (p->expired)
                return ERR_STATE;
        if (!p->has_disco)
                return ERR_NOT_FOUND;
        if (p->cli_count == MS_PEER_CLI_MAX)
                return ERR_FULL;

        size_t before = out->count;
        struct addr best = p->best.addr;
        if (ms_peer_is_direct(p, now)) {
                ms_search_ping(p, best, disco_ping_padding(wire_mtu, best.ip.family), &cookie, now, out);
        } else {
                if (ms_search_relay(p))
                        ms_search_ping(p, no_addr, disco_ping_padding(wire_mtu, IP_V4), &cookie, now, out);
                for (size_t i = 0; i < p->paths.count; i++) {
                        struct addr to = p->paths.p[i].addr;
                        ms_search_ping(p, to, disco_ping_padding(wire_mtu, to.ip.family), &cookie, now, out);
                }
        }
        if (out->count == before)
                return ERR_NOT_FOUND;

        p->cli[p->cli_count].cookie = cookie;
        p->cli[p->cli_count++].until = mono_add_ns(now, MS_PEER_PING_TIMEOUT_NS);
        arm_heartbeat(p, now);
        ms_search_knock(p, now);
        if (!ms_peer_is_direct(p, now) && p->paths.count > 0) {
                if (mono_older(p->call_sent, SEARCH_CALL_GAP_NS, now))
                        ms_search_call(p, now, out);
                ms_search_burst(p, SEARCH_BURST_AFTER_SEND_NS, now);
        }
        return ERR_NONE;
}

void ms_peer_probe(struct ms_peer *p, struct addr to, mono_t now, struct ms_actions *out)
{
        if (p->has_disco && !p->expired && (addr_is_set(to) || ms_search_relay(p)))
                ms_search_ping(p, to, 0, NULL, now, out);
}

/* ---- time ---- */

static void heartbeat(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        p->heartbeat_at = (mono_t){0};
        if (!ms_peer_is_active(p, now) || p->expired || !p->has_disco)
                return;
        p->heartbeat_at = mono_add_ns(now, MS_PEER_HEARTBEAT_NS);
        bool direct = ms_peer_is_direct(p, now);
        if (addr_is_set(p->best.addr) && !direct)
                take_step(p, p->live.in_doubt ? LIVE_PING : live_resume(&p->live, now), now, out);
        else if (direct && mono_older(p->live.proven, MS_PEER_HEARTBEAT_NS / 2, now)) /* else traffic saw to it */
                take_step(p, LIVE_PING, now, out);
        bool is_worse = p->best.latency_ns > 2 * p->chosen_ns;
        bool wants_better = p->best.latency_ns > MS_PEER_GOOD_LATENCY_NS &&
                            mono_older(p->round_started, is_worse ? MS_PEER_WORSE_GAP_NS : MS_PEER_UPGRADE_NS, now);
        if (!direct || wants_better || !mono_is_set(p->round_started)) {
                p->chosen_ns = p->best.latency_ns;
                ms_search_round(p, true, now, out);
        }
}

static void expire_pings(struct ms_peer *p, mono_t now)
{
        struct ping g;
        while (pings_take_sent(&p->pings, mono_add_ns(now, -MS_PEER_PING_TIMEOUT_NS), &g))
                if (addr_is_set(g.to) && addr_eq(g.to, p->best.addr) && !ms_peer_is_direct(p, now) &&
                    !mono_is_set(p->live.asked))
                        clear_best(p);
}

void ms_peer_expire(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        expire_pings(p, now);
        for (size_t i = p->cli_count; i-- > 0;)
                if (mono_reached(now, p->cli[i].until))
                        cli_result(p, i, ERR_TIMEOUT, out);
        if (is_due(p->heartbeat_at, now))
                heartbeat(p, now, out);
        take_step(p, live_expire(&p->live, now), now, out);
        ms_search_expire(p, now, out);
}

mono_t ms_peer_deadline(const struct ms_peer *p)
{
        mono_t first = ms_search_deadline(p);
        first = mono_min(first, live_deadline(&p->live));
        if (mono_is_set(p->heartbeat_at))
                first = mono_min(first, p->heartbeat_at);
        if (p->pings.count > 0)
                first = mono_min(first, mono_add_ns(p->pings.p[0].sent, MS_PEER_PING_TIMEOUT_NS));
        for (size_t i = 0; i < p->cli_count; i++)
                first = mono_min(first, p->cli[i].until);
        return first;
}
