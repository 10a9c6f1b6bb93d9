#include "magicsock/search.h"

#define SLICE_GAP_NS   (20 * NS_PER_MS)
#define CALL_AGAIN_NS  (500 * NS_PER_MS) /* a call may be lost in a full queue */
/* A peer names addresses that need not be its own, and each costs a ping: 128 at once, then 32 a second, which
 * is what a full set of candidates asks for every PATH_PING_GAP_NS. */
#define SEARCH_COST_NS (NS_PER_SEC / 32)
#define SEARCH_MOST_NS (4 * NS_PER_SEC)
/* Beside that, for one that takes part: a search through its hard NAT, 18 calls of 64 guesses.  Twice as often as that
 * peer will search. */
#define GUESS_COST_NS  (NS_PER_SEC / 40)
#define GUESS_MOST_NS  (1152 * GUESS_COST_NS)
/* Looking for the last good address after a cut: so often that nobody waits for 3 s when it ends. */
#define PROBE_GAP_NS      NS_PER_SEC
#define PROBE_OFTEN_NS    (10 * NS_PER_SEC)
#define PROBE_GAP_LATE_NS (2500 * NS_PER_MS)
#define PROBE_FOR_NS      (600 * NS_PER_SEC)
#define PROBE_SPARE_NS    (60 * NS_PER_SEC) /* while another direct path carries the data */
#define KNOCK_GAP_NS   (50 * NS_PER_MS) /* at least; later an eighth of the time since the first */
#define KNOCK_FOR_NS   (5 * NS_PER_SEC)
#define KNOCK_AGAIN_NS (300 * NS_PER_SEC)

enum { BURST_STEPS = 4, BURST_WIDTH = 16 };
static const int64_t burst_ms[BURST_STEPS] = {60, 160, 360, 760};

bool ms_bucket_take(struct ms_bucket *b, int64_t cost_ns, int64_t most_ns, mono_t now)
{
        int64_t since = mono_is_set(b->refilled) ? mono_diff_ns(now, b->refilled) : most_ns;
        b->refilled = now;
        b->tokens_ns = since >= most_ns - b->tokens_ns ? most_ns : b->tokens_ns + since;
        if (b->tokens_ns < cost_ns)
                return false;
        b->tokens_ns -= cost_ns;
        return true;
}

int ms_search_relay(const struct ms_peer *p)
{
        return p->home ? p->home : p->learned ? p->learned : p->likely;
}

/* ---- what goes out ---- */

struct ms_action *ms_action_add(struct ms_actions *out, enum ms_action_kind kind)
{
        struct ms_action *a = out->count < MS_ACTIONS_MAX ? &out->a[out->count++] : &out->spill;
        *a = (struct ms_action){.kind = kind};
        return a;
}

void ms_search_ping(struct ms_peer *p, struct addr to, size_t padding, const uint64_t *cookie, mono_t now,
                      struct ms_actions *out)
{
        const struct ping *g = pings_add(&p->pings,
                (struct ping){.to = to, .sent = now, .is_cli = cookie, .cookie = cookie ? *cookie : 0});
        if (!g)
                return;
        struct ms_action *a = ms_action_add(out, addr_is_set(to) ? MS_ACT_PING : MS_ACT_PING_RELAY);
        a->addr = to;
        a->region = ms_search_relay(p);
        a->txid = g->txid;
        a->padding = padding;
}

void ms_search_call(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        if (!ms_search_relay(p))
                return;
        ms_action_add(out, MS_ACT_CALL)->region = ms_search_relay(p);
        p->call_sent = now;
}

/* ---- rounds ---- */

static bool may_search(struct ms_peer *p, mono_t now)
{
        return ms_bucket_take(&p->searches, SEARCH_COST_NS, SEARCH_MOST_NS, now) ||
               (p->takes_part && ms_bucket_take(&p->guesses, GUESS_COST_NS, GUESS_MOST_NS, now));
}

/* Pings whom the gates allow, at most a slice; returns how many. */
static size_t ping_slice(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        size_t n = 0;
        p->more_at = (mono_t){0};
        p->quiet_until = mono_add_ns(now, PATH_PING_GAP_NS);
        for (size_t i = 0; i < p->paths.count; i++) {
                struct path *c = &p->paths.p[i];
                if (!mono_older(c->pinged, PATH_PING_GAP_NS, now)) {
                        p->quiet_until = mono_min(p->quiet_until, mono_add_ns(c->pinged, PATH_PING_GAP_NS));
                        continue;
                }
                if (n == MS_PEER_SLICE || !may_search(p, now)) {
                        p->more_at = mono_add_ns(now, n == MS_PEER_SLICE ? SLICE_GAP_NS : SEARCH_COST_NS);
                        break;
                }
                c->pinged = now;
                ms_search_ping(p, c->addr, 0, NULL, now, out);
                n++;
        }
        return n;
}

/* The pings of a fresh round are repeated soon: the first ones often arrive before the other NAT is open.
 * With them goes one more call, in case the first was lost. */
void ms_search_burst(struct ms_peer *p, int64_t min_gap_ns, mono_t now)
{
        if (mono_is_set(p->burst_at) || !mono_older(p->burst_started, min_gap_ns, now) ||
            ms_peer_is_direct(p, now))
                return;
        p->burst_started = now;
        p->burst_step = 0;
        p->burst_at = mono_add_ms(now, burst_ms[0]);
        p->call_again_at = mono_add_ns(now, CALL_AGAIN_NS);
}

static void repeat_burst(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        for (size_t i = 0; i < p->paths.count && i < BURST_WIDTH && may_search(p, now); i++)
                ms_search_ping(p, p->paths.p[i].addr, 0, NULL, now, out);
        p->burst_step++;
        p->burst_at = p->burst_step < BURST_STEPS ? mono_add_ms(p->burst_started, burst_ms[p->burst_step])
                                                  : (mono_t){0};
}

void ms_search_knock(struct ms_peer *p, mono_t now)
{
        if (p->knows_us || !p->has_disco || mono_is_set(p->knock_at) ||
            !mono_older(p->knock_started, KNOCK_AGAIN_NS, now))
                return;
        p->knock_started = now;
        p->knock_at = mono_add_ns(now, KNOCK_GAP_NS);
}

/* Each knock stands in for the CLI's ping as well, should the first one have been dropped. */
static void knock(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        int64_t since = mono_diff_ns(now, p->knock_started);
        int64_t gap = since / 8 > KNOCK_GAP_NS ? since / 8 : KNOCK_GAP_NS;
        p->knock_at = since < KNOCK_FOR_NS && !p->knows_us ? mono_add_ns(now, gap) : (mono_t){0};
        if (ms_search_relay(p) && !p->expired)
                ms_search_ping(p, (struct addr){.port = 0}, 0, p->cli_count > 0 ? &p->cli[0].cookie : NULL, now, out);
}

/* A call makes sense only along with pings of ours, recent ones at least: they open our NAT. */
void ms_search_round(struct ms_peer *p, bool call, mono_t now, struct ms_actions *out)
{
        p->round_started = now;
        path_prune(&p->paths, p->best.addr, now);
        size_t n = ping_slice(p, now, out);
        if (call && p->paths.count > 0 && (n > 0 || mono_older(p->call_sent, PATH_PING_GAP_NS, now)))
                ms_search_call(p, now, out);
}

/* ---- time ---- */

void ms_search_lost(struct ms_peer *p, mono_t now)
{
        p->lost = now;
        p->probe_at = mono_add_ns(now, PROBE_GAP_NS);
        p->quiet_until = (mono_t){0};
}

static void probe(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        int64_t since = mono_diff_ns(now, p->lost);
        p->probe_at = (mono_t){0};
        if (since > (addr_is_set(p->best.addr) ? PROBE_SPARE_NS : PROBE_FOR_NS) || !mono_is_set(p->heartbeat_at))
                return;
        p->probe_at = mono_add_ns(now, since < PROBE_OFTEN_NS ? PROBE_GAP_NS : PROBE_GAP_LATE_NS);
        ms_search_ping(p, p->last_good, 0, NULL, now, out);
}

void ms_search_stop(struct ms_peer *p)
{
        p->more_at = p->burst_at = p->call_again_at = p->probe_at = p->lost = p->knock_at = (mono_t){0};
}

void ms_search_expire(struct ms_peer *p, mono_t now, struct ms_actions *out)
{
        if (is_due(p->probe_at, now))
                probe(p, now, out);
        if (is_due(p->more_at, now))
                ping_slice(p, now, out);
        if (is_due(p->burst_at, now))
                repeat_burst(p, now, out);
        if (is_due(p->knock_at, now))
                knock(p, now, out);
        if (is_due(p->call_again_at, now)) {
                p->call_again_at = (mono_t){0};
                if (p->heard_ping.ns < p->burst_started.ns && !ms_peer_is_direct(p, now))
                        ms_search_call(p, now, out);
        }
}

mono_t ms_search_deadline(const struct ms_peer *p)
{
        const mono_t at[] = {p->more_at, p->burst_at, p->call_again_at, p->probe_at, p->knock_at};
        mono_t first = MONO_NEVER;
        for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
                if (mono_is_set(at[i]))
                        first = mono_min(first, at[i]);
        return first;
}
