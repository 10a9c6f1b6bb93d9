#include "magicsock/liveness.h"

#define SILENCE_NS     (100 * NS_PER_MS)  /* after a send, beside a round trip: a delayed ACK takes 40 ms */
#define SILENCE_MAX_NS NS_PER_SEC
#define PROOF_NS       NS_PER_SEC         /* age of a proof that is renewed while we send */
#define VAR_MIN_NS     (5 * NS_PER_MS)    /* two of these: what a busy host adds to a round trip */
#define GAP_MIN_NS     (60 * NS_PER_MS)   /* between the pings of a check */
#define GAP_DOUBT_NS   (120 * NS_PER_MS)
#define GAP_BUSY_NS    (375 * NS_PER_MS)  /* while the peer's data keeps coming */
#define HINT_NS        (2 * NS_PER_SEC)   /* how long data by this path makes data by another one worth a ping */
#define HINT_GAP_NS    (100 * NS_PER_MS)

enum {
        PINGS_SURE = 2,      /* unanswered before doubt begins */
        PINGS_SILENT = 3,    /* before the path is given up: not a word came */
        PINGS_ALL = 5,       /* something did */
        SENDS_MANY = 4,
        HEARD_STEADY = 2,    /* one alone may be what the peer repeats because it hears nothing of us */
        PATIENCE_MAX = 3,
};

static int64_t clamp(int64_t v, int64_t least, int64_t most)
{
        return v < least ? least : v > most ? most : v;
}

/* By when a pong should be here. */
static int64_t round_trip(const struct liveness *l)
{
        return l->rtt_ns + 2 * (l->var_ns > VAR_MIN_NS ? l->var_ns : VAR_MIN_NS);
}

static int64_t silence(const struct liveness *l)
{
        int64_t base = SILENCE_NS + clamp(round_trip(l), 0, SILENCE_MAX_NS);
        return clamp(base << l->patience, 0, SILENCE_MAX_NS);
}

static int64_t gap(const struct liveness *l)
{
        int64_t g = clamp(round_trip(l), l->pings > PINGS_SURE ? GAP_DOUBT_NS : GAP_MIN_NS, NS_PER_SEC);
        return l->heard >= HEARD_STEADY && g < GAP_BUSY_NS ? GAP_BUSY_NS : g;
}

static void measure(struct liveness *l, int64_t rtt)
{
        int64_t off = rtt > l->rtt_ns ? rtt - l->rtt_ns : l->rtt_ns - rtt;
        l->var_ns += (off - l->var_ns) / 4;
        l->rtt_ns += (rtt - l->rtt_ns) / 4;
}

void live_start(struct liveness *l, mono_t sent, mono_t now)
{
        int64_t rtt = mono_diff_ns(now, sent);
        *l = (struct liveness){.rtt_ns = rtt, .var_ns = rtt / 2, .proven = sent};
}

enum live_step live_resume(struct liveness *l, mono_t now)
{
        if (l->in_doubt)
                return LIVE_NOTHING;
        l->asked = l->next = now;
        l->pings = PINGS_SURE - 1;
        l->is_heard = false;
        l->in_doubt = true;
        return LIVE_DOUBT;
}

enum live_step live_on_sent(struct liveness *l, mono_t now)
{
        if (mono_is_set(l->asked))
                return LIVE_NOTHING;
        if (!mono_is_set(l->waiting))
                l->waiting = now;
        bool is_many = ++l->sends >= SENDS_MANY;
        return is_many && mono_diff_ns(now, l->proven) >= PROOF_NS ? LIVE_PING : LIVE_NOTHING;
}

void live_on_heard(struct liveness *l, mono_t now)
{
        l->waiting = (mono_t){0};
        l->spoke = now;
        l->patience = 0;
        l->heard++;
        l->is_heard = true;
}

enum live_step live_on_hint(struct liveness *l, mono_t now)
{
        bool fresh = mono_diff_ns(now, l->proven) < HINT_GAP_NS + l->rtt_ns;
        return fresh || mono_is_set(l->asked) ? LIVE_NOTHING : LIVE_PING;
}

enum live_step live_on_elsewhere(struct liveness *l, mono_t now)
{
        bool moved = mono_is_set(l->spoke) && mono_diff_ns(now, l->spoke) < HINT_NS;
        l->spoke = (mono_t){0};
        return moved ? live_on_hint(l, now) : LIVE_NOTHING;
}

void live_on_ping(struct liveness *l, mono_t now)
{
        if (!mono_is_set(l->asked))
                l->asked = now;
        if (++l->pings <= PINGS_SURE)
                l->is_heard = false;
        l->heard = 0;
        l->pinged = now;
        l->next = mono_add_ns(now, gap(l));
}

/* A pong to a ping from before the check, or before what waits for an answer, says nothing about now. */
void live_on_pong(struct liveness *l, mono_t sent, mono_t now)
{
        measure(l, mono_diff_ns(now, sent));
        if (sent.ns > l->proven.ns)
                l->proven = sent;
        mono_t since = mono_is_set(l->asked) ? l->asked : l->waiting;
        if (mono_is_set(since) && sent.ns < since.ns)
                return;
        if (mono_is_set(l->waiting) && l->heard == 0 && l->patience < PATIENCE_MAX)
                l->patience++;
        l->waiting = l->asked = l->next = (mono_t){0};
        l->pings = l->sends = 0;
        l->in_doubt = false;
}

mono_t live_deadline(const struct liveness *l)
{
        if (mono_is_set(l->asked))
                return l->next;
        return mono_is_set(l->waiting) ? mono_add_ns(l->waiting, silence(l)) : MONO_NEVER;
}

/* Counted in pings, so that a pause of our own does not condemn a path. */
enum live_step live_expire(struct liveness *l, mono_t now)
{
        if (!mono_reached(now, live_deadline(l)))
                return LIVE_NOTHING;
        if (!mono_is_set(l->asked))
                return LIVE_PING;
        l->next = mono_add_ns(l->pinged, gap(l));
        if (!mono_reached(now, l->next))
                return LIVE_NOTHING;
        if (l->pings >= PINGS_ALL || (l->pings >= PINGS_SILENT && !l->is_heard))
                return LIVE_LOST;
        if (l->pings < PINGS_SURE || l->in_doubt)
                return LIVE_PING;
        l->in_doubt = true;
        return LIVE_DOUBT;
}
