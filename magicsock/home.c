/* Which relay is home: netcheck's choice, as long as that relay lets us in. */
#include "base/log.h"
#include "magicsock/internal.h"

#define SHUN_NS (300 * NS_PER_SEC)

enum {
        HOME_PATIENCE_MS = 1000,   /* without any answer */
        HOME_DOWN_MS = 3000,       /* for a home that answers nobody, while others do */
        LOOK_AGAIN_MS = 5000,      /* after one look in vain; twice as long after each further one ... */
        LOOKS_MAX = 5,             /* ... up to 80 s */
};

static void set_home(struct ms *ms, int region, mono_t now)
{
        if (region == derp_mgr_home(ms->derp))
                return;
        ms->home_doubted = false;
        derp_mgr_set_home(ms->derp, region, now);
        if (derp_mgr_is_up(ms->derp, region))   /* which is not said again */
                ms_home_on_up(ms, region);
        for (size_t i = 0; i < ms->slot_cap; i++)
                if (ms->slots[i])
                        ms->slots[i]->peer.likely = derp_mgr_home(ms->derp);
}

/* Nothing answered: any home is better than none, but always the same one. */
static int arbitrary_home(const struct ms *ms, size_t *ret_choices)
{
        size_t n = 0, pick;
        for (size_t i = 0; i < ms->map->region_count; i++)
                n += derp_region_may_be_home(&ms->map->regions[i]);
        *ret_choices = n;
        pick = n ? ms->home_seed % n : 0;
        for (size_t i = 0; i < ms->map->region_count; i++)
                if (derp_region_may_be_home(&ms->map->regions[i]) && pick-- == 0)
                        return ms->map->regions[i].id;
        return 0;
}

/* preferred: netcheck's choice, 0 = it has none.  settle: no better knowledge will come soon. */
void ms_home_choose(struct ms *ms, int preferred, bool settle, mono_t now)
{
        if (!ms->map || !ms->active)
                return;
        int home = derp_mgr_home(ms->derp);
        size_t choices;
        int any = arbitrary_home(ms, &choices);
        if (preferred && (home == 0 || ms->polling))
                set_home(ms, preferred, now);
        else if (home == 0 && (settle || choices == 1))
                set_home(ms, any, now);
}

static void on_home_timer(struct timer *t, mono_t now)
{
        struct ms *ms = container_of(t, struct ms, home_timer);
        ms_home_choose(ms, 0, true, now);
}

/* ---- a home that is out of reach ---- */

/* 0: none. */
static int shunned(const struct ms *ms, mono_t now)
{
        return mono_reached(now, ms->shunned_until) ? 0 : ms->shunned;
}

/* The nearest but these two; 0: no other answers. */
static int nearest_but(const struct ms *ms, const struct netcheck_report *r, int region, int nor)
{
        const struct nc_latency *best = NULL;
        for (size_t i = 0; i < r->latency_count; i++) {
                const struct nc_latency *l = &r->latency[i];
                const struct derp_region *reg = derpmap_region(ms->map, l->region);
                if (l->region == region || l->region == nor || reg == NULL || !derp_region_may_be_home(reg))
                        continue;
                if (best == NULL || l->any_ns < best->any_ns)
                        best = l;
        }
        return best != NULL ? best->region : 0;
}

/* By a report that is complete: one that is shunned is better than none. */
static int other_than(const struct ms *ms, const struct netcheck_report *r, int region, mono_t now)
{
        int other = nearest_but(ms, r, region, shunned(ms, now));
        return other != 0 ? other : nearest_but(ms, r, region, 0);
}

bool ms_home_is_down(const struct ms *ms)
{
        int home = derp_mgr_home(ms->derp);
        return home != 0 && !derp_mgr_is_up(ms->derp, home);
}

/* Only where there is another one, and the server hears of it. */
static bool may_leave(const struct ms *ms)
{
        size_t choices;
        (void)arbitrary_home(ms, &choices);
        return choices > 1 && ms->polling;
}

/* Whether anybody sends or not: nobody else would find us.  Ever more seldom while neither staying nor leaving helps. */
static void watch_home(struct ms *ms)
{
        if (!ms_can_send(ms) || !ms->map || !ms_home_is_down(ms) || !may_leave(ms) || timer_is_armed(&ms->home_down_timer))
                return;
        loop_timer_in(ms->loop, &ms->home_down_timer, ms->home_looks == 0 ? HOME_DOWN_MS : LOOK_AGAIN_MS << (ms->home_looks - 1));
}

static void looked_in_vain(struct ms *ms)
{
        ms->home_looks += ms->home_looks < LOOKS_MAX;
}

/* The one that netcheck would have, but for one that took no connection.  Then the home that does may stay: without it the
 * nearest of each single report would be it. */
static int wanted_home(const struct ms *ms, const struct netcheck_report *r, mono_t now)
{
        int home = derp_mgr_home(ms->derp);
        if (r->preferred == 0 || r->preferred != shunned(ms, now))
                return r->preferred;
        if (home != r->preferred && derp_mgr_is_up(ms->derp, home))
                return home;
        int instead = nearest_but(ms, r, r->preferred, 0);
        return instead != 0 ? instead : r->preferred;
}

/* STUN is not what we need of a home: one may answer it and take no connection.  Twice in a row, 3 s apart, while others
 * can be reached: then it is not ours for a while. */
static int other_than_broken(struct ms *ms, const struct netcheck_report *r, mono_t now)
{
        int home = derp_mgr_home(ms->derp);
        int preferred = wanted_home(ms, r, now);
        int other = ms_home_is_down(ms) ? other_than(ms, r, home, now) : 0;
        /* All are out of reach: another may come back sooner. */
        if (ms_home_is_down(ms) && other == 0 && may_leave(ms) && !timer_is_armed(&ms->home_down_timer))
                looked_in_vain(ms);
        if (other == 0 || !ms->polling)   /* home stays while nobody can be told */
                return preferred;
        if (!ms->home_doubted) {
                derp_mgr_hurry(ms->derp, home, now);
                return preferred;
        }
        looked_in_vain(ms);   /* until the other one lets us in */
        ms->shunned = home;
        ms->shunned_until = mono_add_ns(now, SHUN_NS);
        log_info("the relays of region %s cannot be reached: region %s is home now", derpmap_region(ms->map, home)->code,
                 derpmap_region(ms->map, other)->code);
        return other;
}

static void on_home_down_timer(struct timer *t, mono_t now)
{
        struct ms *ms = container_of(t, struct ms, home_down_timer);
        if (!ms_home_is_down(ms))
                return;
        ms->home_doubted = true;
        ms_restun(ms, false, now);
}

void ms_home_on_up(struct ms *ms, int region)
{
        if (region != derp_mgr_home(ms->derp))
                return;
        ms->home_doubted = false;
        ms->home_looks = 0;
        loop_timer_stop(&ms->home_down_timer);
}

/* ---- what others are told ---- */

/* Before a home has let us in nobody finds us there, and who is told of it too soon loses what it sends there at once, its
 * handshake above all.  Where we were until then they find us, or will again. */
static int home_to_tell(const struct ms *ms)
{
        return ms_home_is_down(ms) ? derp_mgr_told(ms->derp) : derp_mgr_home(ms->derp);
}

void ms_home_tell(struct ms *ms, mono_t now)
{
        const struct netcheck_report *last = netrun_last(ms->netrun);
        if (!last)
                return;
        struct netcheck_report report = *last;
        report.preferred = derp_mgr_home(ms->derp);
        derp_mgr_set_told(ms->derp, home_to_tell(ms));
        if (ms->cb.on_report)
                ms->cb.on_report(ms->arg, &report, derp_mgr_told(ms->derp), now);
}

void ms_home_on_state(struct ms *ms, mono_t now)
{
        if (ms_can_send(ms) && home_to_tell(ms) != derp_mgr_told(ms->derp))
                ms_home_tell(ms, now);
        watch_home(ms);
}

/* ---- the rest of magicsock ---- */

/* While there is no home the first answers will do, but that of one that is shunned: others may follow. */
void ms_home_on_answer(struct ms *ms, const struct netcheck_report *so_far, mono_t now)
{
        if (ms->map && derp_mgr_home(ms->derp) == 0)
                ms_home_choose(ms, nearest_but(ms, so_far, 0, shunned(ms, now)), false, now);
}

void ms_home_on_report(struct ms *ms, const struct netcheck_report *r, mono_t now)
{
        loop_timer_stop(&ms->home_timer);
        int choice = ms->map ? other_than_broken(ms, r, now) : 0;
        ms->home_held = ms->polling ? 0 : choice;
        ms_home_choose(ms, choice, true, now);
        watch_home(ms);
}

void ms_home_start_waiting(struct ms *ms)
{
        if (derp_mgr_home(ms->derp) == 0 && !timer_is_armed(&ms->home_timer))
                loop_timer_in(ms->loop, &ms->home_timer, HOME_PATIENCE_MS);
}

mono_t ms_home_heard(void *arg)
{
        const struct ms *ms = arg;
        int home = derp_mgr_home(ms->derp);
        return home ? derp_mgr_heard(ms->derp, home) : (mono_t){0};
}

void ms_home_stop(struct ms *ms)
{
        loop_timer_stop(&ms->home_timer);
        loop_timer_stop(&ms->home_down_timer);
        ms->home_doubted = false;
        ms->home_looks = 0;
        ms->home_held = 0;
}

void ms_home_init(struct ms *ms)
{
        timer_init(&ms->home_timer, on_home_timer);
        timer_init(&ms->home_down_timer, on_home_down_timer);
        ms->home_seed = crypto_random_u32();
}

int ms_home(const struct ms *ms)
{
        return derp_mgr_home(ms->derp);
}

void ms_set_map_polling(struct ms *ms, bool polling, mono_t now)
{
        ms->polling = polling;
        if (!polling)
                return;
        if (ms->home_held != 0 && ms->home_held != derp_mgr_home(ms->derp)) {
                ms_home_choose(ms, ms->home_held, true, now);
                ms_home_tell(ms, now);
        }
        ms->home_held = 0;
        watch_home(ms);
}
