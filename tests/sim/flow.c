#include "tests/sim/flow.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/reader.h"
#include "tests/sim/oracle.h"
#include "tests/sim/relay.h"
#include "tests/sim/trace.h"

enum {
        EXCUSES_MAX = 4096,
        HEAD = 20 + 8,
        BODY = 16,
        PORT = 7000,
        TALK_MS = 10000,
        SLOW = 5,
        TRUST_MS = 7000,   /* so long a path is trusted, and the answer to a ping takes */
        UNDER_WAY_MS = 500,   /* the longest way that is drawn, with all that a link adds */
};

static struct flow *flows[FLOWS_MAX];
static int count;
static struct {
        const struct node *node, *with;   /* with: only what goes between the two; NULL: with anybody */
        enum excuse what;
        mono_t from, until;
        mono_t path_at;     /* a path broke; unset: something else */
        int64_t path_ms;
} excused[EXCUSES_MAX];
static int excuses;
static mono_t pause_from, pause_until, slow_from, slow_until;
static uint64_t relayed_all;

void excuse(const struct node *n, enum excuse what, mono_t from, mono_t until)
{
        if (excuses == EXCUSES_MAX)
                abort();
        excused[excuses].node = n;
        excused[excuses].with = NULL;
        excused[excuses].what = what;
        excused[excuses].from = from;
        excused[excuses].until = until;
        excused[excuses++].path_at = (mono_t){0};
}

void excuse_path(const struct node *n, enum excuse what, mono_t from, mono_t at, int64_t ms)
{
        excuse(n, what, from, mono_add_ms(at, ms));
        excused[excuses - 1].path_at = at;
        excused[excuses - 1].path_ms = ms;
}

void excuse_pair(const struct node *a, const struct node *b, mono_t from, mono_t until)
{
        excuse(a, EXCUSE_ALL, from, until);
        excused[excuses - 1].with = b;
}

/* Packets and answers count; MONO_NEVER: there was none. */
static mono_t first_sent(const struct node *from, const struct node *to, mono_t since)
{
        mono_t first = MONO_NEVER;
        for (int i = 0; i < count; i++) {
                const struct flow *f = flows[i];
                bool there = f->a == from && f->b == to, back = f->answered && f->a == to && f->b == from;
                for (size_t k = 0; k < f->count && (there || back); k++) {
                        mono_t at = there ? f->sent[k].at : f->sent[k].got;
                        if (at.ns >= since.ns)
                                first = mono_min(first, at);
                }
        }
        return first;
}

/* The last that came to `who` from `other` within that time; unset: nothing. */
static mono_t last_got(const struct node *who, const struct node *other, mono_t after, mono_t until)
{
        mono_t last = {0};
        for (int i = 0; i < count; i++) {
                const struct flow *f = flows[i];
                bool to_it = f->a == other && f->b == who, answers = f->a == who && f->b == other;
                for (size_t k = 0; k < f->count && (to_it || answers); k++) {
                        mono_t at = to_it ? f->sent[k].got : f->sent[k].back;
                        if (at.ns > after.ns && at.ns <= until.ns && at.ns > last.ns)
                                last = at;
                }
        }
        return last;
}

/* By the first packet that nothing follows: what was under way as the path broke still comes, and counts as an answer to
 * what was sent before it and to what it brings about at once. */
static bool is_before_noticed(mono_t broke, int64_t ms, const struct node *from, const struct node *to, mono_t at)
{
        int64_t trusted = mono_add_ms(broke, TRUST_MS).ns;
        mono_t late = last_got(from, to, broke, mono_add_ms(broke, UNDER_WAY_MS));
        mono_t first = first_sent(from, to, broke), unanswered = mono_is_set(late) ? first_sent(from, to, mono_add_ns(late, 1)) : first;
        return first.ns <= trusted && (at.ns <= mono_add_ms(first, ms).ns ||
                (unanswered.ns <= trusted && at.ns <= mono_add_ms(unanswered, ms).ns));
}

static bool has_excuse(const struct node *n, enum excuse what, const struct node *from, const struct node *to, mono_t at)
{
        for (int i = 0; i < excuses; i++) {
                const struct node *with = excused[i].with;
                bool is_it = (excused[i].node == NULL || excused[i].node == n) && (excused[i].what & what);
                if (!is_it || (with != NULL && with != from && with != to) || at.ns < excused[i].from.ns)
                        continue;
                if (at.ns <= excused[i].until.ns)
                        return true;
                if (mono_is_set(excused[i].path_at) && is_before_noticed(excused[i].path_at, excused[i].path_ms, from, to, at))
                        return true;
        }
        return false;
}

static bool is_excused(const struct node *from, const struct node *to, mono_t at)
{
        return has_excuse(from, EXCUSE_SENT, from, to, at) || has_excuse(to, EXCUSE_TO_IT, from, to, at);
}

/* ---- packets ---- */

static void send_packet(struct flow *f, bool back, uint32_t number)
{
        uint8_t p[1500] = {0};
        const struct node *from = back ? f->b : f->a, *to = back ? f->a : f->b;
        uint16_t port = (uint16_t)(PORT + f->id);
        if (from->tun == NULL)
                return;
        p[0] = 0x45;
        store_be16(p + 2, (uint16_t)f->bytes);
        p[8] = 64;
        p[9] = 17;
        memcpy(p + 12, from->ip.b, 4);
        memcpy(p + 16, to->ip.b, 4);
        store_be16(p + 20, port);
        store_be16(p + 22, port);
        store_be16(p + 24, (uint16_t)(f->bytes - 20));
        store_be32(p + HEAD, (uint32_t)f->id);
        store_be32(p + HEAD + 4, number);
        store_be32(p + HEAD + 8, back);
        vtun_send(from->tun, p, f->bytes);
}

static void on_send(struct timer *t, mono_t now)
{
        struct flow *f = container_of(t, struct flow, timer);
        if (f->a->data != NULL && !f->a->host->asleep) {
                if (f->count == f->cap) {
                        f->cap = f->cap ? f->cap * 2 : 64;
                        f->sent = realloc(f->sent, f->cap * sizeof(f->sent[0]));
                        if (f->sent == NULL)
                                abort();
                }
                f->sent[f->count] = (struct flow_packet){.at = now};
                trace_line("%-4s sends packet %zu of flow %d", f->a->host->name, f->count, f->id);
                send_packet(f, false, (uint32_t)f->count++);
        }
        bool slow = now.ns >= slow_from.ns && now.ns < slow_until.ns;
        mono_t next = mono_add_ns(now, f->gap_ns * (slow ? SLOW : 1));
        if (next.ns >= pause_from.ns && next.ns < pause_until.ns)
                next = mono_add_ns(pause_until, f->gap_ns * f->id / FLOWS_MAX);
        if (next.ns <= f->until.ns)
                loop_timer_at(clock_world(), t, next);
}

static void got(struct host *h, const uint8_t *p, size_t len)
{
        if (len < HEAD + BODY)
                return;
        uint32_t id = load_be32(p + HEAD), number = load_be32(p + HEAD + 4);
        bool back = load_be32(p + HEAD + 8) != 0;
        struct flow *f = id < (uint32_t)count ? flows[id] : NULL;
        if (f == NULL || number >= f->count || node_of(h) != (back ? f->a : f->b)) {
                trace_fail("%s got a packet that is not for it", h->name);
                return;
        }
        mono_t *at = back ? &f->sent[number].back : &f->sent[number].got;
        trace_line("%-4s gets %s %u of flow %u", h->name, back ? "answer" : "packet", number, id);
        if (mono_is_set(*at))
                trace_fail("%s got packet %u of flow %u twice", h->name, number, id);
        *at = f->last_got = clock_now();
        if (!back && f->answered)
                send_packet(f, true, number);
}

/* ---- ways ---- */

static void note_way(const struct host *from, const struct host *to, bool relayed)
{
        for (int i = 0; i < count; i++) {
                struct flow *f = flows[i];
                int way = f->a->host == from && f->b->host == to ? 0 : f->b->host == from && f->a->host == to ? 1 : -1;
                if (way == 0 && !relayed && !mono_is_set(f->first_direct))
                        f->first_direct = clock_now();
                if (way >= 0)
                        (relayed ? f->relayed : f->direct)[way]++;
        }
}

static void seen(struct host *from, struct host *to, enum wire_class c, size_t len)
{
        (void)len;
        if (from != NULL && c == WIRE_DATA)
                note_way(from, to, false);
}

static void seen_relayed(struct host *from, struct host *to, const uint8_t *data, size_t len)
{
        enum wire_class c = wire_class_of(data, len);
        relayed_all++;
        if (c == WIRE_DATA || c == WIRE_HANDSHAKE)
                net_last_wg = clock_now();
        if (c == WIRE_DATA)
                note_way(from, to, true);
}

bool flows_talk(const struct node *n)
{
        for (int i = 0; i < count; i++) {
                const struct flow *f = flows[i];
                if ((f->a == n || f->b == n) && mono_is_set(f->last_got) && f->last_got.ns >= n->started.ns &&
                        mono_diff_ms(clock_now(), f->last_got) < TALK_MS)
                        return true;
        }
        return false;
}

uint64_t flows_sent_at_all(void)
{
        uint64_t sum = relayed_all;
        for (int c = 0; c < WIRE_CLASSES; c++)
                sum += net_count[c];
        return sum;
}

void flows_pause(mono_t from, mono_t until)
{
        pause_from = from;
        pause_until = until;
}

void flows_slow(mono_t from, mono_t until)
{
        slow_from = from;
        slow_until = until;
}

void flows_watch(void)
{
        for (int i = 0; i < count; i++) {
                memset(flows[i]->relayed, 0, sizeof(flows[i]->relayed));
                memset(flows[i]->direct, 0, sizeof(flows[i]->direct));
        }
}

/* ---- the flows ---- */

void flows_reset(void)
{
        count = excuses = 0;
        relayed_all = 0;
        pause_from = pause_until = slow_from = slow_until = (mono_t){0};
        vtun_got = got;
        net_seen = seen;
        relay_seen = seen_relayed;
}

void flows_done(void)
{
        for (int i = 0; i < count; i++) {
                loop_timer_stop(&flows[i]->timer);
                free(flows[i]->sent);
                free(flows[i]);
        }
        count = 0;
}

struct flow *flow_at(int i)
{
        return flows[i];
}

int flow_count(void)
{
        return count;
}

struct flow *flow_add(struct node *a, struct node *b, int64_t gap_ms, size_t bytes, bool answered)
{
        struct flow *f = calloc(1, sizeof(*f));
        if (f == NULL || count == FLOWS_MAX)
                abort();
        *f = (struct flow){.id = count, .a = a, .b = b, .gap_ns = gap_ms * NS_PER_MS, .bytes = bytes, .answered = answered};
        timer_init(&f->timer, on_send);
        flows[count++] = f;
        return f;
}

void flow_run(struct flow *f, mono_t from, mono_t until)
{
        f->from = from;
        f->until = until;
        loop_timer_at(clock_world(), &f->timer, from);
}

/* ---- the judgement ---- */

/* What the links lost by chance of what n sent, of packets as long as those of f, which are its own in most worlds. */
static uint64_t lost_by_chance(const struct flow *f, const struct node *n)
{
        enum { WIREGUARD = 32 };
        return n->host->lost_handshakes + n->host->lost_data[(f->bytes + 15 + WIREGUARD) / 16 % NET_DATA_LENGTHS];
}

void flows_judge(void)
{
        for (int i = 0; i < count; i++) {
                const struct flow *f = flows[i];
                size_t lost = 0, unanswered = 0, first = 0;
                for (size_t k = 0; k < f->count; k++) {
                        const struct flow_packet *p = &f->sent[k];
                        bool no = !mono_is_set(p->got), no_answer = f->answered && !no && !mono_is_set(p->back);
                        no = no && !is_excused(f->a, f->b, p->at);
                        no_answer = no_answer && !is_excused(f->b, f->a, p->got);
                        if (no || no_answer)
                                trace_line("flow %d: %s %zu of %.3f s is lost", f->id, no ? "packet" : "answer", k,
                                        (double)(p->at.ns - NS_PER_SEC) / 1e9);
                        if (lost + unanswered == 0 && (no || no_answer))
                                first = k;
                        lost += no;
                        unanswered += no_answer;
                }
                uint64_t chance = lost_by_chance(f, f->a), chance_back = lost_by_chance(f, f->b);
                if (lost > chance || unanswered > chance_back)
                        trace_fail("flow %d, %s to %s: %zu of %zu packets lost and %zu answers, the first at %.3f s; by chance %llu "
                                   "and %llu", f->id, f->a->host->name, f->b->host->name, lost, f->count, unanswered,
                                (double)(f->sent[first].at.ns - NS_PER_SEC) / 1e9, (unsigned long long)chance,
                                (unsigned long long)chance_back);
        }
}
