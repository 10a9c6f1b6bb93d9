#include "wg/timers.h"

/* At 0.25, 0.5, 1 and 2 s after the first. */
static const int early_wait_ms[TIMERS_EARLY_TRIES] = {250, 250, 500, 1000};

static bool due(mono_t at, mono_t now)
{
        return mono_is_set(at) && mono_reached(now, at);
}

static void stop(mono_t *at)
{
        *at = (mono_t){0};
}

static mono_t later(mono_t a, mono_t b)
{
        return a.ns > b.ns ? a : b;
}

static void rearm_persistent(struct timers *t, mono_t now)
{
        if (t->persistent_ns != 0)
                t->persistent_at = mono_add_ns(now, t->persistent_ns);
}

void timers_data_sent(struct timers *t, mono_t now)
{
        if (!mono_is_set(t->silence_at))
                t->silence_at = mono_add_ns(now, SILENCE_TIMEOUT_MS * NS_PER_MS + t->jitter_ns);
}

void timers_data_received(struct timers *t, mono_t now)
{
        if (!mono_is_set(t->keepalive_at))
                t->keepalive_at = mono_add_ms(now, KEEPALIVE_TIMEOUT_MS);
}

void timers_any_sent(struct timers *t, mono_t now)
{
        stop(&t->keepalive_at);
        rearm_persistent(t, now);
}

void timers_any_received(struct timers *t, mono_t now)
{
        stop(&t->silence_at);
        rearm_persistent(t, now);
}

static void end_series(struct timers *t)
{
        stop(&t->initiate_at);
        t->tries = 0;
        t->early_tries = 0;
        t->first_contact = false;
}

void timers_want_handshake(struct timers *t, bool have_session, mono_t now)
{
        if (mono_is_set(t->initiate_at))
                return;
        mono_t earliest = now;
        if (mono_is_set(t->asked_at))
                earliest = later(earliest, mono_add_ms(t->asked_at, REKEY_TIMEOUT_MS));
        if (mono_is_set(t->answered_at))
                earliest = later(earliest,
                        mono_add_ms(t->answered_at, have_session ? REKEY_TIMEOUT_MS : TIMERS_ANSWERED_MS));
        /* With a session the next packet will ask again; without one this may have been the last. */
        if (have_session && earliest.ns > now.ns)
                return;
        end_series(t);
        t->first_contact = !have_session;
        t->initiate_at = earliest;
}

void timers_peer_restarted(struct timers *t, mono_t now)
{
        mono_t earliest = now;
        if (mono_is_set(t->asked_at))
                earliest = later(earliest, mono_add_ms(t->asked_at, TIMERS_ANSWERED_MS));
        if (mono_is_set(t->initiate_at) && t->initiate_at.ns <= earliest.ns)
                return;
        end_series(t);
        t->first_contact = true;
        t->initiate_at = earliest;
}

void timers_peer_known(struct timers *t, mono_t since, mono_t now)
{
        if (!t->first_contact || t->tries == 0 || t->asked_at.ns >= since.ns)
                return;
        t->initiate_at = mono_min(t->initiate_at, later(now, mono_add_ms(t->asked_at, TIMERS_SPACING_MS)));
}

void timers_initiation_sent(struct timers *t, int64_t jitter_ns, mono_t now)
{
        t->jitter_ns = jitter_ns;
        t->asked_at = now;
        t->tries++;
        if (t->first_contact && t->early_tries < TIMERS_EARLY_TRIES)
                t->initiate_at = mono_add_ms(now, early_wait_ms[t->early_tries++]);
        else
                t->initiate_at = mono_add_ns(now, REKEY_TIMEOUT_MS * NS_PER_MS + jitter_ns);
        timers_any_sent(t, now);
}

void timers_initiation_failed(struct timers *t, mono_t now)
{
        t->initiate_at = mono_add_ms(now, 20);
}

void timers_response_sent(struct timers *t, bool have_session, mono_t now)
{
        t->answered_at = now;
        if (mono_is_set(t->initiate_at)) {
                int64_t wait = have_session ? REKEY_TIMEOUT_MS * NS_PER_MS + t->jitter_ns
                                            : TIMERS_ANSWERED_MS * NS_PER_MS;
                t->initiate_at = later(t->initiate_at, mono_add_ns(now, wait));
        }
        timers_any_sent(t, now);
}

void timers_session_derived(struct timers *t, mono_t now)
{
        t->zero_at = mono_add_ns(now, ZERO_KEY_S * NS_PER_SEC);
}

void timers_handshake_complete(struct timers *t)
{
        end_series(t);
}

void timers_set_persistent(struct timers *t, uint16_t interval_s, mono_t now)
{
        bool was_off = t->persistent_ns == 0;
        t->persistent_ns = interval_s * NS_PER_SEC;
        if (interval_s == 0)
                stop(&t->persistent_at);
        else if (was_off)
                t->persistent_at = now;   /* the first one goes at once */
        else
                rearm_persistent(t, now);
}

void timers_stop(struct timers *t)
{
        struct timers kept = {
                .jitter_ns = t->jitter_ns,
                .persistent_ns = t->persistent_ns,
                .persistent_at = t->persistent_at,
        };
        *t = kept;
}

mono_t timers_deadline(const struct timers *t)
{
        const mono_t all[] = {t->initiate_at, t->keepalive_at, t->silence_at, t->zero_at, t->persistent_at};
        mono_t first = MONO_NEVER;
        for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                if (mono_is_set(all[i]))
                        first = mono_min(first, all[i]);
        return first;
}

enum timers_action timers_expire(struct timers *t, bool have_session, mono_t now)
{
        if (due(t->zero_at, now)) {
                stop(&t->zero_at);
                return TIMERS_ZERO;
        }
        if (due(t->silence_at, now)) {
                stop(&t->silence_at);
                timers_want_handshake(t, have_session, now);
        }
        if (due(t->keepalive_at, now)) {
                stop(&t->keepalive_at);
                return TIMERS_KEEPALIVE;
        }
        if (due(t->persistent_at, now)) {
                rearm_persistent(t, now);
                return TIMERS_PERSISTENT;
        }
        if (due(t->initiate_at, now)) {
                if (t->tries < TIMERS_TRIES + t->early_tries)
                        return TIMERS_INITIATE;
                end_series(t);
                stop(&t->keepalive_at);
                if (!mono_is_set(t->zero_at))
                        t->zero_at = mono_add_ns(now, ZERO_KEY_S * NS_PER_SEC);
                return TIMERS_GIVE_UP;
        }
        return TIMERS_NOTHING;
}
