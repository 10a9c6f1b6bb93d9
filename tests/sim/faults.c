#include "tests/sim/faults.h"

#include <stdlib.h>

#include "tests/sim/flow.h"
#include "tests/sim/relay.h"
#include "tests/sim/trace.h"

/* How long after a fault packets may be lost: as long as it takes to notice, by the clocks that decide it, and to come
 * back.  The shorter ones are what 10,000 seeds hold; the others would take more seeds to be reached. */
enum {
        BEFORE_MS = 1000,       /* what is on its way or waits for a handshake at that moment is lost, too */
        LEAVE_MS = 2500,        /* a path that carries nothing is left within a second of the first packet that goes
                                 * unanswered, and who sends least does so every 0.9 s */
        MONITOR_MS = 1000,      /* what a host has to be told (its addresses changed, it slept) it is told after so long */
        SENDS_MS = 300,         /* who has noticed loses nothing any more of what it sends: it waits for the relay, or goes
                                 * both ways */
        MOVE_MS = 2500,         /* new addresses: relays are dialed anew, and the others hear of it */
        RELAY_BACK_MS = 9000,   /* clients of a relay that refused them try again after 7.5 s at most, and dial */
        HANG_MS = 20000,        /* the same if dials hang instead of being refused, each for 10 s */
        DEAF_MS = 76000,        /* who does not send finds out when the relay's keepalive, one in 65 s, is late; asks; and
                                 * dials; and the handshake of who wants to reach it is repeated every 5 s */
        LOOK_MS = 30000,        /* who has traffic asks STUN every 26 s, and a report takes some seconds at most */
        ATTEMPT_MS = 11000,     /* a new connection is broken before the relay's greeting came: an attempt takes 10 s at most */
        STUCK_MS = 6000,        /* who sends on a connection that is dead, when nothing was acknowledged for 5 s */
        OTHER_HOME_MS = 14000,  /* home is out of reach and another relay is not: 3 s of doubt, a look at all relays, and the
                                 * others hear of it */
        NO_UDP_MS = 5000,       /* home is told after a look at the relays, which waits for STUN before it tries HTTPS */
        RESTART_MS = 2000,      /* and where a link loses what is said of it at the wrong moment: SILENCE_MS */
        TOLD_MS = 7000,         /* the slowest hears from the server after 5 s */
        SILENCE_MS = 16000,     /* who lost its sessions is found out by WireGuard's timer of silence, of 15 s */
};

enum fault_kind { NAT_REBOOT, PATH_CUT, UDP_BLOCK, RELAY_STOP, UNPLUG, MOVE, SLEEP, RESTART, CLOCK_STEP, CONTROL_DOWN, REMOVED, NEAR, FAULT_KINDS };

struct fault {
        struct timer timer;
        enum fault_kind kind;
        struct node *n;
        struct site *a, *b, *to;
        struct relay *relay;
        int64_t lasts_ms, noticed_ms;
        bool loud, v4, v6;
        int step;
        mono_t began, ended;   /* of those that the host does not see, or not while it is off */
};

enum { FAULTS_MAX = 128, CROWD = 50 };
static struct fault *faults[FAULTS_MAX];
static int count;

void faults_reset(void)
{
        count = 0;
}

void faults_done(void)
{
        for (int i = 0; i < count; i++) {
                loop_timer_stop(&faults[i]->timer);
                free(faults[i]);
        }
        count = 0;
}

/* Without the server nobody learns of new keys and homes. */
static bool needs_server(enum fault_kind k)
{
        return k == RESTART || k == REMOVED || k == MOVE;
}

static int how_many(enum fault_kind k)
{
        int n = 0;
        for (int i = 0; i < count; i++)
                n += faults[i]->kind == k;
        return n;
}

/* At any time from now on until then. */
static bool is_another_stopped(const struct fault *f, mono_t until)
{
        for (int i = 0; i < count; i++) {
                const struct fault *o = faults[i];
                if (o != f && o->kind == RELAY_STOP && (o->step == 1 || (o->step == 0 && o->timer.at.ns <= until.ns)))
                        return true;
        }
        return false;
}

static bool have(enum fault_kind k)
{
        return how_many(k) > 0;
}

static void excuse_ms(const struct node *n, enum excuse what, int64_t ms)
{
        excuse(n, what, mono_add_ms(clock_now(), -BEFORE_MS), mono_add_ms(clock_now(), ms));
}

static void excuse_paths_of(const struct node *n, enum excuse what, int64_t ms)
{
        excuse_path(n, what, mono_add_ms(clock_now(), -BEFORE_MS), clock_now(), ms);
}

/* Paths of everybody who is behind this site. */
static void excuse_paths(const struct site *s, enum excuse what, int64_t ms)
{
        for (int i = 0; i < node_count(); i++)
                if (net_is_behind(node_at(i)->host, s))
                        excuse_paths_of(node_at(i), what, ms);
}

static bool is_home(const struct relay *r)
{
        for (int i = 0; i < node_count(); i++)
                if (node_at(i)->mine.home == r->region)
                        return true;
        return false;
}

/* Who leaves a path for a relay finds out only then, by what it sends, that this one is dead without a word. */
static int64_t leave_ms(void)
{
        for (int i = 0; i < count; i++)
                if (faults[i]->kind == RELAY_STOP && !faults[i]->loud && faults[i]->step == 1 && is_home(faults[i]->relay))
                        return LEAVE_MS + STUCK_MS;
        return LEAVE_MS;
}

/* The same for who has moved, and for those who reach it. */
static int64_t move_ms(void)
{
        return MOVE_MS + leave_ms() - LEAVE_MS;
}

/* Who was off while another one was removed and came back was told of neither, and goes on as if that one still knew it. */
static void excuse_removed(const struct fault *off)
{
        for (int i = 0; i < count; i++) {
                const struct fault *f = faults[i];
                if (f->kind == REMOVED && f->n != off->n && mono_is_set(f->ended) && mono_add_ms(f->ended, TOLD_MS).ns >= off->began.ns)
                        excuse_pair(f->n, off->n, mono_add_ms(clock_now(), -BEFORE_MS), mono_add_ms(clock_now(), TOLD_MS + SILENCE_MS));
        }
}

/* ---- each has a beginning, and most an end: step 0, 1, ... ; returns when the next step is due, -1: never ---- */

/* Relays do not reach those behind it until these notice: by STUN, if they look and it has another address. */
static int64_t nat_reboot(struct fault *f)
{
        if (!f->a->nat.conf.translates)
                return -1;
        trace_line("the NAT of site %d starts anew%s", f->a->id, f->loud ? ", with another address" : "");
        net_restart_nat(f->a, f->loud);
        bool again = mono_is_set(f->a->restarted) && mono_diff_ms(clock_now(), f->a->restarted) < LEAVE_MS;
        f->a->restarted = clock_now();
        for (int i = 0; i < node_count(); i++) {
                struct node *n = node_at(i);
                if (!net_is_behind(n->host, f->a))
                        continue;
                bool looks = f->loud && f->a->up == NULL && !net_is_udp_blocked(n->host) && flows_talk(n);
                excuse_paths_of(n, EXCUSE_SENT, again || relay_greets(n->host) ? ATTEMPT_MS : leave_ms());
                excuse_ms(n, EXCUSE_TO_IT, looks ? LOOK_MS : DEAF_MS);
        }
        return -1;
}

static int64_t path_cut(struct fault *f)
{
        bool cut = f->step == 0;
        trace_line("between site %d and site %d direct paths are %s", f->a->id, f->b->id, cut ? "cut" : "whole again");
        net_cut(f->a, f->b, cut);
        if (cut) {
                excuse_paths(f->a, EXCUSE_ALL, leave_ms());
                excuse_paths(f->b, EXCUSE_ALL, leave_ms());
        }
        return cut ? f->lasts_ms : -1;
}

static int64_t udp_block(struct fault *f)
{
        f->a->udp_blocked = f->step == 0;
        trace_line("site %d %s UDP", f->a->id, f->a->udp_blocked ? "blocks" : "lets through");
        if (f->step == 0)
                excuse_paths(f->a, EXCUSE_ALL, leave_ms());
        return f->step == 0 ? f->lasts_ms : -1;
}

/* Nobody can be reached at a home that is gone.  While others are there home is soon one of these, if the server can tell. */
static int64_t relay_fault(struct fault *f)
{
        if (f->step > 0) {
                relay_start(f->relay);
                return -1;
        }
        bool is_there[NODES_MAX];
        for (int i = 0; i < node_count(); i++)
                is_there[i] = relay_knows(f->relay, &node_at(i)->pub);
        f->relay->stun_stays = f->lasts_ms % 3 == 0;   /* drawn anew it would change the worlds of all seeds */
        relay_stop(f->relay, f->loud);
        int64_t noticed = f->loud ? 0 : DEAF_MS, back = f->lasts_ms + (f->loud ? RELAY_BACK_MS : HANG_MS);
        int64_t gone = back > noticed ? back : noticed;
        if (relay_count() > 1 && !is_another_stopped(f, mono_add_ms(clock_now(), gone)) && how_many(CONTROL_DOWN) == 0 && gone > noticed + OTHER_HOME_MS)
                gone = noticed + OTHER_HOME_MS;
        for (int i = 0; i < node_count(); i++) {
                struct node *n = node_at(i);
                bool starts = is_there[i] && n->mine.home == 0;   /* home is there, but not told yet */
                if (is_there[i])
                        excuse_ms(n, EXCUSE_ALL, f->loud ? LEAVE_MS : STUCK_MS);
                if (starts || n->mine.home == f->relay->region || n->known.home == f->relay->region)
                        excuse_ms(n, EXCUSE_TO_IT, gone);
        }
        return f->lasts_ms;
}

/* The monitor of the host sees what changed, a little later. */
static int64_t unplug(struct fault *f)
{
        struct host *h = f->n->host;
        switch (f->step) {
        case 0:
                trace_line("%-4s has no network", h->name);
                h->unplugged = true;
                f->began = clock_now();
                excuse_ms(f->n, EXCUSE_ALL, f->lasts_ms + f->noticed_ms + move_ms());
                return f->noticed_ms;
        case 1:
                node_link_changed(f->n, 0);
                return f->lasts_ms;
        case 2:
                trace_line("%-4s has its network again", h->name);
                h->unplugged = false;
                excuse_removed(f);
                return f->noticed_ms;
        default:
                node_link_changed(f->n, 0);
                return -1;
        }
}

static int64_t move(struct fault *f)
{
        if (f->step > 0) {
                node_link_changed(f->n, 0);
                return -1;
        }
        trace_line("%-4s moves to site %d", f->n->host->name, f->to->id);
        net_move_host(f->n->host, f->to, f->v4, f->v6);
        mono_t before = mono_add_ms(clock_now(), -BEFORE_MS);
        excuse_path(f->n, EXCUSE_TO_IT, before, clock_now(), f->noticed_ms + move_ms());
        excuse(f->n, EXCUSE_SENT, before, mono_add_ms(clock_now(), f->noticed_ms + SENDS_MS));
        return f->noticed_ms;
}

static bool is_home_down(const struct node *n)
{
        for (int i = 0; i < count; i++)
                if (faults[i]->kind == RELAY_STOP && faults[i]->step == 1 && faults[i]->relay->region == n->mine.home)
                        return true;
        return false;
}

static int64_t sleep_fault(struct fault *f)
{
        struct host *h = f->n->host;
        switch (f->step) {
        case 0:
                trace_line("%-4s sleeps", h->name);
                h->asleep = true;
                f->began = clock_now();
                clock_freeze(h, mono_add_ms(clock_now(), f->lasts_ms));
                excuse_ms(f->n, EXCUSE_ALL, f->lasts_ms + f->noticed_ms + move_ms());
                return f->lasts_ms;
        case 1:
                trace_line("%-4s wakes up", h->name);
                h->asleep = false;
                excuse_removed(f);
                if (is_home_down(f->n))   /* it looks for another one only now */
                        excuse_ms(f->n, EXCUSE_TO_IT, OTHER_HOME_MS);
                return f->noticed_ms;
        default:
                if (f->lasts_ms > 10000)   /* shorter naps the daemon does not tell its data side about */
                        node_link_changed(f->n, f->lasts_ms);
                return -1;
        }
}

static int64_t restart(struct fault *f)
{
        int64_t back_ms = (net_is_lossless(f->n->host) ? RESTART_MS : SILENCE_MS) + f->n->tell_ms + TOLD_MS;
        if (f->step == 0) {
                excuse_ms(f->n, EXCUSE_ALL, f->lasts_ms + back_ms);
                node_stop(f->n);
                return f->lasts_ms;
        }
        if (net_is_udp_blocked(f->n->host))
                excuse_ms(f->n, EXCUSE_TO_IT, back_ms + NO_UDP_MS);
        node_start(f->n);
        return -1;
}

static int64_t clock_step_fault(struct fault *f)
{
        f->n->host->wall_offset += f->lasts_ms * NS_PER_MS * (f->loud ? 1 : -1);
        trace_line("%-4s has its wall clock set", f->n->host->name);
        return -1;
}

/* What changes meanwhile the nodes have to tell each other. */
static int64_t control_fault(struct fault *f)
{
        trace_line("the server %s", f->step == 0 ? "cannot be reached" : "is back");
        nodes_set_control(f->step > 0);
        return f->step == 0 && f->loud ? f->lasts_ms : -1;
}

static int64_t removed(struct fault *f)
{
        trace_line("%-4s is %s", f->n->host->name, f->step == 0 ? "removed" : "a peer again");
        node_set_removed(f->n, f->step == 0);
        if (f->step == 1)
                f->ended = clock_now();
        excuse_ms(f->n, EXCUSE_ALL, (f->step == 0 ? f->lasts_ms : 0) + TOLD_MS + SILENCE_MS);
        return f->step == 0 ? f->lasts_ms : -1;
}

static int64_t near(struct fault *f)
{
        trace_line("relay %d is near", f->relay->region);
        f->relay->tcp.far_ns = 0;
        return -1;
}

static void on_fault(struct timer *t, mono_t now)
{
        static int64_t (*const act[FAULT_KINDS])(struct fault *f) = {
                [NAT_REBOOT] = nat_reboot,  [PATH_CUT] = path_cut, [UDP_BLOCK] = udp_block,
                [RELAY_STOP] = relay_fault, [UNPLUG] = unplug,     [MOVE] = move,
                [SLEEP] = sleep_fault,      [RESTART] = restart,   [CLOCK_STEP] = clock_step_fault,
                [CONTROL_DOWN] = control_fault, [REMOVED] = removed,
                [NEAR] = near,
        };
        struct fault *f = container_of(t, struct fault, timer);
        int64_t next_ms = act[f->kind](f);
        f->step++;
        if (next_ms >= 0)
                loop_timer_at(clock_world(), t, mono_add_ms(now, next_ms));
}

/* One host has one trouble at a time. */
static bool is_busy(const struct node *n)
{
        for (int i = 0; i < count; i++)
                if (faults[i]->n == n && faults[i]->kind != CLOCK_STEP)
                        return true;
        return false;
}

static void add(struct fault f, mono_t at)
{
        struct fault *p = malloc(sizeof(*p));
        if (p == NULL || count == FAULTS_MAX)
                abort();
        *p = f;
        timer_init(&p->timer, on_fault);
        loop_timer_at(clock_world(), &p->timer, at);
        faults[count++] = p;
}

void faults_draw_strangers(struct rng *r, mono_t from)
{
        add((struct fault){.kind = CONTROL_DOWN}, from);
        for (int i = 0; i < node_count(); i++) {
                struct site *top = site_top(node_at(i)->host->site);
                add((struct fault){.kind = NAT_REBOOT, .a = top, .loud = true}, mono_add_ms(from, rng_in(r, 500, 4000)));
        }
}

void faults_draw_near(struct rng *r, mono_t from)
{
        int64_t far_ns = rng_in(r, 40, 100) * NS_PER_MS;
        for (int i = 1; i <= relay_count(); i++)
                relay_at(i)->tcp.far_ns = far_ns + i * NS_PER_MS;
        struct relay *near = relay_at((int)rng_in(r, 2, relay_count()));
        add((struct fault){.kind = NEAR, .relay = near}, mono_add_ms(from, rng_in(r, 0, 3000)));
}

void faults_draw_newcomer(struct rng *r, struct node *n, mono_t from, mono_t until)
{
        add((struct fault){.kind = RESTART, .n = n, .step = 1}, mono_add_ms(from, rng_in(r, 0, mono_diff_ms(until, from))));
}

/* In a crowd half of what goes wrong goes wrong where it is noticed. */
static struct node *draw_victim(struct rng *r)
{
        if (node_count() >= CROWD && rng_chance(r, 0.5)) {
                const struct flow *f = flow_at((int)rng_in(r, 0, flow_count() - 1));
                return rng_chance(r, 0.5) ? f->a : f->b;
        }
        return node_at((int)rng_in(r, 0, node_count() - 1));
}

void faults_draw(struct rng *r, int wanted, mono_t from, mono_t until)
{
        static const int weights[FAULT_KINDS + 1] = {4, 4, 2, 3, 2, 3, 2, 3, 1, 2, 1, 0, -1};
        for (int i = 0; i < wanted && count < FAULTS_MAX; i++) {
                struct fault *f = calloc(1, sizeof(*f));
                if (f == NULL)
                        abort();
                int64_t span = mono_diff_ms(until, from);
                mono_t at = mono_add_ms(from, rng_in(r, 0, span * 2 / 3));
                f->kind = (enum fault_kind)rng_pick(r, weights);
                f->n = draw_victim(r);
                f->a = f->n->host->site;
                f->b = site_top(draw_victim(r)->host->site);
                f->to = node_at((int)rng_in(r, 0, node_count() - 1))->host->site;
                f->relay = relay_at(1 + (int)rng_in(r, 0, relay_count() - 1));
                int64_t most = mono_diff_ms(until, at) - 3000;
                f->lasts_ms = rng_in(r, 200, most > 500 ? most : 500);
                f->noticed_ms = rng_in(r, 0, MONITOR_MS);
                f->loud = rng_chance(r, 0.6);
                f->v6 = rng_chance(r, 0.3);
                f->v4 = !f->v6 || rng_chance(r, 0.8);
                bool of_host = f->kind >= UNPLUG && f->kind != CLOCK_STEP && f->kind != CONTROL_DOWN;
                bool no = (needs_server(f->kind) && have(CONTROL_DOWN)) || (f->kind == CONTROL_DOWN && (have(RESTART) || have(REMOVED) ||
                        have(MOVE) || have(CONTROL_DOWN)));
                if (no || (of_host && is_busy(f->n))) {
                        free(f);
                        continue;
                }
                if (!of_host)
                        f->n = f->kind == CLOCK_STEP ? f->n : NULL;
                if (f->kind == PATH_CUT)
                        f->a = site_top(f->a);
                timer_init(&f->timer, on_fault);
                loop_timer_at(clock_world(), &f->timer, at);
                faults[count++] = f;
        }
}

int64_t faults_settle_ms(void)
{
        for (int i = 0; i < count; i++)
                if (faults[i]->kind == NAT_REBOOT || (faults[i]->kind == RELAY_STOP && !faults[i]->loud))
                        return DEAF_MS;
        /* Who looked while no UDP passed looks again after LOOK_MS. */
        return have(UDP_BLOCK) ? LOOK_MS + NO_UDP_MS + TOLD_MS : SILENCE_MS + TOLD_MS;
}
