#include "magicsock/hardnat.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

enum {
        SAMPLE_EVERY = HN_SOCKETS / HN_SAMPLES_MAX,
        ASKS_SOON = 3,
        ASKS_OFTEN = 12,
        ACTIONS_OF_A_STEP = 4 * HN_TICK_MAX,
};
#define LACKS_NS        (5 * NS_PER_SEC)
#define NO_STUN_WAIT_NS (20 * NS_PER_MS)
#define PROBE_GAP_NS    (100 * NS_PER_MS)   /* the first; then each twice the last */

static const int64_t rest_ns[] = {60 * NS_PER_SEC, 300 * NS_PER_SEC, 1800 * NS_PER_SEC};   /* after a miss */
enum { RESTS = sizeof(rest_ns) / sizeof(rest_ns[0]) };

_Static_assert(ACTIONS_OF_A_STEP < HN_ACTIONS_MAX / 2 + 8, "a step and what goes with it have room");

static struct hn_action *act(struct hn_actions *out, enum hn_action_kind kind, struct hn_peer *p)
{
        static struct hn_action spill;
        struct hn_action *a = out->count < HN_ACTIONS_MAX ? &out->a[out->count++] : &spill;
        *a = (struct hn_action){.kind = kind, .peer = p};
        return a;
}

static mono_t later(mono_t a, mono_t b)
{
        return a.ns > b.ns ? a : b;
}

void hn_init(struct hardnat *h)
{
        memset(h, 0, sizeof(*h));
}

void hn_done(struct hardnat *h)
{
        free(h->aim);
        memset(h, 0, sizeof(*h));
}

bool hn_says(const struct hardnat *h, uint8_t *ret)
{
        *ret = h->varies == NC_TRUE ? HN_HELLO_HARD : h->varies == NC_FALSE ? HN_HELLO_EASY : 0;
        return h->pref != HN_PREF_OFF;
}

void hn_set_nat(struct hardnat *h, enum nc_tri varies)
{
        h->varies = varies;
}

/* ---- who wants a path ---- */

static void enlist(struct hardnat *h, struct hn_peer *p, mono_t now)
{
        p->prev = h->last;
        p->next = NULL;
        *(p->prev ? &p->prev->next : &h->first) = p;
        h->last = p;
        p->is_listed = true;
        p->since = now;
        if (mono_older(p->asked, HN_ASK_AGAIN_NS, now))
                p->asks = 0;
        if (mono_is_set(p->found_at) && mono_older(p->found_at, HN_HELD_NS, now)) {
                p->tries[0] = p->tries[1] = p->not_before = (mono_t){0};
                p->misses = 0;
        }
        p->found_at = (mono_t){0};
}

static void delist(struct hardnat *h, struct hn_peer *p)
{
        if (!p->is_listed)
                return;
        *(p->prev ? &p->prev->next : &h->first) = p->next;
        *(p->next ? &p->next->prev : &h->last) = p->prev;
        p->prev = p->next = NULL;
        p->is_listed = false;
        p->since = (mono_t){0};
}

static bool may_be_hard(const struct hardnat *h)
{
        return h->pref != HN_PREF_OFF && h->varies != NC_FALSE;
}

/* Its turn as far as time goes. */
static mono_t ready_at(const struct hardnat *h, const struct hn_peer *p)
{
        int64_t first = h->varies != NC_TRUE ? HN_FIRST_UNSURE_NS : p->status.pinned ? HN_FIRST_AGAIN_NS : HN_FIRST_NS;
        mono_t at = later(mono_add_ns(p->since, first), p->not_before);
        if (mono_is_set(p->tries[0]) && p->tries[0].ns >= p->session.ns)
                at = later(at, mono_add_ns(p->tries[0], HN_HOUR_NS));
        return at;
}

static bool wants_part(const struct hardnat *h, const struct hn_peer *p)
{
        if (p->kind == HN_KIND_OWN)
                return !(p->hello & HN_HELLO_HARD);
        return h->pref == HN_PREF_ON;
}

/* Nobody is searched for who may not be there any more; some of another kind never answer. */
static bool knows_enough(const struct hardnat *h, const struct hn_peer *p, mono_t now)
{
        if (mono_is_set(p->answered) && !mono_older(p->answered, HN_HELLO_OLD_NS, now))
                return true;
        return h->pref == HN_PREF_ON && p->kind == HN_KIND_UNKNOWN && p->asks >= ASKS_SOON;
}

static mono_t next_ask(const struct hardnat *h, const struct hn_peer *p)
{
        if (!may_be_hard(h) || !p->is_listed)
                return MONO_NEVER;
        mono_t at = later(p->since, mono_add_ns(ready_at(h, p), -HN_FIRST_NS));
        if (mono_is_set(p->answered))
                at = later(at, mono_add_ns(p->answered, wants_part(h, p) ? HN_HELLO_OLD_NS : HN_REFUSED_OLD_NS));
        if (mono_is_set(p->asked))
                at = later(at, mono_add_ns(p->asked, p->asks < ASKS_SOON    ? HN_ASK_GAP_NS
                                                     : p->asks < ASKS_OFTEN ? HN_ASK_LATER_NS
                                                                            : HN_ASK_AGAIN_NS));
        return at;
}

static void ask(struct hn_peer *p, mono_t now, struct hn_actions *out)
{
        p->asked = now;
        p->asks++;
        act(out, HN_ACT_ASK, p);
}

/* When its turn may be, and what stands in the way until then. */
static mono_t due_at(const struct hardnat *h, const struct hn_peer *p, mono_t now, enum hn_why *why)
{
        *why = HN_WHY_NOTHING;
        if (!mono_is_set(p->last_send) || h->peer == p)
                return MONO_NEVER;
        if (!may_be_hard(h))
                *why = h->pref == HN_PREF_OFF ? HN_WHY_OFF : HN_WHY_EASY;
        else if (!p->is_listed)
                return MONO_NEVER;
        else if (p->kind == HN_KIND_OWN && p->hello & HN_HELLO_HARD)
                *why = HN_WHY_BOTH_HARD;
        else if (p->kind == HN_KIND_FOREIGN && h->pref == HN_PREF_OWN)
                *why = HN_WHY_FOREIGN;
        else if (!knows_enough(h, p, now) || !wants_part(h, p))
                *why = HN_WHY_ASKED;
        if (*why != HN_WHY_NOTHING)
                return MONO_NEVER;

        mono_t at = ready_at(h, p);
        if (mono_reached(now, at))
                *why = h->state != HN_IDLE ? HN_WHY_TURN : HN_WHY_NOTHING;
        else if (p->lacks != HN_WHY_NOTHING)
                *why = p->lacks;
        else
                *why = mono_is_set(p->tries[1]) && at.ns > p->since.ns + HN_FIRST_UNSURE_NS ? HN_WHY_LATER : HN_WHY_FIRST;
        return at;
}

void hn_on_relayed(struct hardnat *h, struct hn_peer *p, mono_t now, struct hn_actions *out)
{
        if (mono_older(p->last_send, HN_IDLE_NS, now))
                p->session = now;
        p->last_send = now;
        if (p->is_listed || !(may_be_hard(h) || p->status.pinned))
                return;
        enlist(h, p, now);
        if (mono_reached(now, next_ask(h, p)))
                ask(p, now, out);
}

void hn_on_hello(struct hn_peer *p, bool has_hello, uint8_t hello, mono_t now)
{
        p->kind = has_hello ? HN_KIND_OWN : HN_KIND_FOREIGN;
        p->hello = has_hello ? hello : 0;
        p->answered = now;
        p->asks = 0;
}

struct hn_peer *hn_due(struct hardnat *h, mono_t now)
{
        enum hn_why why;
        if (h->state != HN_IDLE)
                return NULL;
        for (struct hn_peer *p = h->first; p; p = p->next)
                if (mono_reached(now, due_at(h, p, now, &why)))
                        return p;
        return NULL;
}

/* ---- the end of a try ---- */

static void end_try(struct hardnat *h, enum hn_outcome outcome, mono_t now, struct hn_actions *out)
{
        struct hn_peer *p = h->peer;
        bool was_proving = h->state == HN_PROVING;
        p->status.outcome = outcome;
        p->status.took_ns = mono_diff_ns(now, p->status.started);
        h->totals.found += outcome == HN_FOUND;
        h->totals.missed += outcome == HN_MISSED;
        h->totals.stopped += outcome == HN_STOPPED;
        act(out, HN_ACT_CLOSE, p);
        if (outcome == HN_FOUND) {
                p->status.found++;
                p->found_at = now;
                p->misses = 0;
                p->not_before = (mono_t){0};
        } else if (was_proving) {
                act(out, HN_ACT_UNPIN, p);
                p->status.pinned = false;
        }
        /* With the outside address that was found, or at least without the guesses: the peer would go on pinging them. */
        if (p->status.calls > 0 || outcome == HN_FOUND)
                act(out, HN_ACT_CALL, p);
        h->state = HN_IDLE;
        h->peer = NULL;
        free(h->aim);
        h->aim = NULL;
}

static void rest(struct hn_peer *p, mono_t now)
{
        p->not_before = mono_add_ns(now, rest_ns[p->misses < RESTS ? p->misses : RESTS - 1]);
        p->misses++;
}

static void miss(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        rest(h->peer, now);
        end_try(h, HN_MISSED, now, out);
}

void hn_on_direct(struct hardnat *h, struct hn_peer *p, struct addr via, mono_t now, struct hn_actions *out)
{
        if (h->peer == p && h->state == HN_PROVING && addr_eq(via, h->via))
                end_try(h, HN_FOUND, now, out);
        else if (h->peer == p)
                end_try(h, HN_STOPPED, now, out);
        delist(h, p);
}

void hn_forget(struct hardnat *h, struct hn_peer *p, mono_t now, struct hn_actions *out)
{
        if (h->peer == p)
                end_try(h, HN_STOPPED, now, out);
        delist(h, p);
        *p = (struct hn_peer){.is_listed = false};
}

void hn_on_restart(struct hardnat *h, struct hn_peer *p, mono_t now, struct hn_actions *out)
{
        if (h->peer == p) {
                end_try(h, HN_STOPPED, now, out);
                p->tries[1] = p->tries[0];
                p->tries[0] = (mono_t){0};
        }
        p->kind = HN_KIND_UNKNOWN;
        p->asks = 0;
        p->asked = p->answered = (mono_t){0};
        if (p->is_listed)
                p->since = now;
}

void hn_stop(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        if (h->peer)
                end_try(h, HN_STOPPED, now, out);
        while (h->first)
                delist(h, h->first);
        h->varies = NC_UNKNOWN;
}

void hn_set_pref(struct hardnat *h, enum hn_pref pref, mono_t now, struct hn_actions *out)
{
        if (pref == h->pref)
                return;
        h->pref = pref;
        if (h->peer)
                end_try(h, HN_STOPPED, now, out);
}

/* ---- the try ---- */

static enum hn_why lack_of(const struct hn_facts *f)
{
        if (!f->can_call)
                return HN_WHY_NO_RELAY;
        return f->target_count == 0 || (!ip_is_set(f->ours) && !f->has_stun) ? HN_WHY_NO_ADDRESS : HN_WHY_NOTHING;
}

void hn_start(struct hardnat *h, struct hn_peer *p, const struct hn_facts *f, mono_t now, struct hn_actions *out)
{
        p->lacks = lack_of(f);
        if (p->lacks != HN_WHY_NOTHING) {
                p->not_before = mono_add_ns(now, LACKS_NS);
                return;
        }
        h->aim = malloc(sizeof(*h->aim));
        if (!h->aim) {
                rest(p, now);
                return;
        }
        hn_aim_init(h->aim);
        h->facts = *f;
        h->peer = p;
        h->state = HN_OPENING;
        h->next = now;
        h->opened = h->pinged = h->kept = h->stuns = h->probes = 0;
        h->want = HN_SOCKETS;
        crypto_random(h->txid, sizeof(h->txid));
        ask(p, now, out);       /* it may have forgotten that we take part, and what we name then is pinged */
        h->totals.tries++;
        p->tries[0] = p->tries[1];
        p->tries[1] = now;
        struct hn_status *s = &p->status;
        *s = (struct hn_status){
                .outcome = HN_SEARCHING, .tries = s->tries + 1, .found = s->found, .pinned = s->pinned, .started = now};
        hn_expire(h, now, out);
}

static void open_next(struct hardnat *h, struct hn_actions *out)
{
        unsigned i = h->opened++;
        act(out, HN_ACT_OPEN, h->peer)->socket = i;
        h->peer->status.sockets++;
        h->totals.sockets++;
        if (!h->facts.has_stun || i % SAMPLE_EVERY != 0)
                return;
        act(out, HN_ACT_STUN, h->peer)->socket = i;
        h->stuns++;
}

static void ping_next(struct hardnat *h, struct hn_actions *out)
{
        unsigned targets = (unsigned)h->facts.target_count, i = h->pinged / targets, to = h->pinged % targets;
        if (to == 0)
                open_next(h, out);
        h->pinged++;
        struct hn_action *a = act(out, HN_ACT_PING, h->peer);
        a->socket = i;
        a->addr = h->facts.targets[to];
        memcpy(a->txid.b, h->txid, sizeof(h->txid));
        const uint8_t tail[] = {(uint8_t)(i >> 8), (uint8_t)i, 0, (uint8_t)to};
        _Static_assert(sizeof(h->txid) + sizeof(tail) == DISCO_TXID_LEN, "the whole id");
        memcpy(a->txid.b + sizeof(h->txid), tail, sizeof(tail));
        h->peer->status.pings++;
        h->totals.pings++;
}

static void send_pings(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        int64_t due = mono_diff_ns(now, h->peer->status.started) / HN_PING_GAP_NS + 1;
        unsigned all = h->want * (unsigned)h->facts.target_count;
        for (int n = 0; n < HN_TICK_MAX && h->pinged < all && h->pinged < due; n++)
                ping_next(h, out);
        h->next = mono_add_ns(now, HN_PING_GAP_NS);
        if (h->pinged < all)
                return;
        h->state = HN_AIMING;
        h->next = mono_add_ns(now, h->stuns > 0 ? HN_SAMPLE_WAIT_NS : NO_STUN_WAIT_NS);
}

/* Every sample has the port of its socket: whatever keeps us apart, it is not that. */
static bool turned_out_easy(const struct hardnat *h)
{
        return h->varies != NC_TRUE && h->aim->seen_count >= HN_SAMPLES_MIN && h->kept == h->aim->seen_count;
}

static void take_aim(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        struct ip seen = hn_aim_ip(h->aim);
        if (ip_is_set(seen))
                h->facts.ours = seen;
        if (h->want < HN_SOCKETS_MIN || turned_out_easy(h) || !ip_is_set(h->facts.ours)) {
                miss(h, now, out);
                return;
        }
        hn_aim_fix(h->aim);
        h->peer->status.low = h->aim->low;
        h->peer->status.high = h->aim->high;
        h->state = HN_GUESSING;
        h->next = now;
}

static void call(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        struct hn_action *a = act(out, HN_ACT_CALL, h->peer);
        struct hn_status *s = &h->peer->status;
        a->count = hn_aim_pick(h->aim, h->ports, HN_GUESSES);
        a->ip = h->facts.ours;
        s->guesses += (uint32_t)a->count;
        h->totals.guesses += a->count;
        h->totals.calls++;
        s->calls++;
        h->next = mono_add_ns(now, HN_CALL_GAP_NS);
        if (s->calls < HN_CALLS_MAX)
                return;
        h->state = HN_CATCHING;
        h->next = mono_add_ns(now, HN_CATCH_NS);
}

static void prove(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        if (mono_reached(now, h->until)) {
                miss(h, now, out);
                return;
        }
        act(out, HN_ACT_PROBE, h->peer)->addr = h->via;
        h->next = mono_min(h->until, mono_add_ns(now, PROBE_GAP_NS << h->probes++));
}

static void step(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        switch (h->state) {
        case HN_IDLE:
                break;
        case HN_OPENING:
                send_pings(h, now, out);
                break;
        case HN_AIMING:
                take_aim(h, now, out);
                break;
        case HN_GUESSING:
                call(h, now, out);
                break;
        case HN_CATCHING:
                miss(h, now, out);
                break;
        case HN_PROVING:
                prove(h, now, out);
                break;
        }
}

static void hit(struct hardnat *h, unsigned socket, struct addr src, mono_t now, struct hn_actions *out)
{
        h->winner = socket;
        h->via = src;
        h->state = HN_PROVING;
        h->until = mono_add_ns(now, HN_PROVE_NS);
        h->probes = 0;
        struct hn_action *a = act(out, HN_ACT_PIN, h->peer);
        a->socket = socket;
        a->addr = src;
        h->peer->status.pinned = true;
        act(out, HN_ACT_CLOSE, h->peer);
        prove(h, now, out);
}

static bool may_hit(const struct hardnat *h, const struct hn_peer *p, unsigned socket)
{
        return h->peer == p && h->state != HN_IDLE && h->state != HN_PROVING && socket < h->opened;
}

void hn_on_hit(struct hardnat *h, struct hn_peer *p, unsigned socket, struct addr src, mono_t now, struct hn_actions *out)
{
        if (may_hit(h, p, socket))
                hit(h, socket, src, now, out);
}

bool hn_on_pong(struct hardnat *h, struct hn_peer *p, unsigned socket, struct addr src, const struct disco_txid *txid,
                mono_t now, struct hn_actions *out)
{
        const uint8_t *number = txid->b + sizeof(h->txid);
        if (!may_hit(h, p, socket) || memcmp(txid->b, h->txid, sizeof(h->txid)) != 0 ||
            ((unsigned)number[0] << 8 | number[1]) != socket)
                return false;
        hit(h, socket, src, now, out);
        return true;
}

void hn_on_open_failed(struct hardnat *h, unsigned socket)
{
        if (h->state != HN_OPENING || socket >= h->want)
                return;
        h->want = socket;
        h->peer->status.sockets = socket;
}

void hn_on_stun(struct hardnat *h, struct addr outside, uint16_t own_port, mono_t now)
{
        if ((h->state != HN_OPENING && h->state != HN_AIMING) || outside.ip.family != IP_V4)
                return;
        hn_aim_seen(h->aim, outside);
        h->kept += outside.port == own_port;
        h->peer->status.answers++;
        if (h->state == HN_AIMING && h->aim->seen_count == h->stuns)
                h->next = now;
}

/* ---- time ---- */

/* Through a NAT that is not hard any more the socket for all does better, which a pinned one keeps from being tried.  A path
 * that was found stays when no others are wanted. */
static mono_t unpin_at(const struct hardnat *h, const struct hn_peer *p)
{
        if (!p->status.pinned)
                return MONO_NEVER;
        return h->varies != NC_FALSE ? mono_add_ns(p->since, HN_UNPIN_NS) : p->since;
}

static void look_after(struct hardnat *h, struct hn_peer *p, mono_t now, struct hn_actions *out)
{
        if (mono_older(p->last_send, HN_IDLE_NS, now) && h->peer != p) {
                delist(h, p);
                return;
        }
        if (mono_reached(now, next_ask(h, p)))
                ask(p, now, out);
        if (mono_reached(now, unpin_at(h, p)) && h->peer != p) {
                act(out, HN_ACT_UNPIN, p);
                p->status.pinned = false;
        }
}

void hn_expire(struct hardnat *h, mono_t now, struct hn_actions *out)
{
        while (h->state != HN_IDLE && mono_reached(now, h->next) && out->count < HN_ACTIONS_MAX - ACTIONS_OF_A_STEP)
                step(h, now, out);
        for (struct hn_peer *p = h->first, *next; p && out->count < HN_ACTIONS_MAX - 2; p = next) {
                next = p->next;
                look_after(h, p, now, out);
        }
}

mono_t hn_deadline(const struct hardnat *h, mono_t now)
{
        mono_t first = h->state != HN_IDLE ? h->next : MONO_NEVER;
        for (const struct hn_peer *p = h->first; p; p = p->next) {
                enum hn_why why;
                mono_t turn = due_at(h, p, now, &why);
                if (h->state == HN_IDLE)
                        first = mono_min(first, turn);
                first = mono_min(first, next_ask(h, p));
                if (h->peer == p)
                        continue;
                first = mono_min(first, mono_add_ns(p->last_send, HN_IDLE_NS));
                first = mono_min(first, unpin_at(h, p));
        }
        return first;
}

void hn_peer_status(const struct hardnat *h, const struct hn_peer *p, mono_t now, struct hn_status *ret)
{
        *ret = p->status;
        ret->next = due_at(h, p, now, &ret->why);
        if (h->peer == p)
                ret->took_ns = mono_diff_ns(now, ret->started);
}

const char *hn_outcome_str(enum hn_outcome o)
{
        switch (o) {
        case HN_NOT_TRIED:
                return "not tried";
        case HN_SEARCHING:
                return "searching";
        case HN_FOUND:
                return "found";
        case HN_MISSED:
                return "missed";
        case HN_STOPPED:
                return "stopped";
        }
        return "?";
}

const char *hn_why_str(enum hn_why w)
{
        switch (w) {
        case HN_WHY_NOTHING:
                return "";
        case HN_WHY_OFF:
                return "it is off (--hard-nat=off)";
        case HN_WHY_EASY:
                return "this host's NAT is not a hard one, as far as is known";
        case HN_WHY_ASKED:
                return "the peer has not said, or not lately, whether it takes part";
        case HN_WHY_FOREIGN:
                return "the peer does not take part (--hard-nat=on searches all the same)";
        case HN_WHY_BOTH_HARD:
                return "the peer's NAT is hard as well";
        case HN_WHY_NO_ADDRESS:
                return "no public IPv4 address is known of the peer, or of this host";
        case HN_WHY_NO_RELAY:
                return "the peer's relay, by which guesses are told, is not connected";
        case HN_WHY_FIRST:
                return "the usual ways are tried first";
        case HN_WHY_LATER:
                return "it was tried lately";
        case HN_WHY_TURN:
                return "a search for another peer is under way";
        }
        return "?";
}
