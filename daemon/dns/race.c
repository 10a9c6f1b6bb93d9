#include "daemon/dns/race.h"

#include "daemon/dns/wire.h"

void race_start(struct race *r, const struct dns_try *tries, size_t n, bool tcp_client, mono_t now)
{
        *r = (struct race){.tcp_client = tcp_client, .count = n};
        r->end = mono_add_ms(now, tcp_client ? RACE_TCP_CLIENT_MS : RACE_UDP_CLIENT_MS);
        for (size_t i = 0; i < n; i++) {
                struct race_way *w = &r->ways[i];
                w->plain = tries[i].url[0] == '\0';
                w->at = mono_add_ms(now, tries[i].delay_ms);
                w->tcp_at = w->tcp_end = MONO_NEVER;
                w->over[w->plain ? RACE_POST : RACE_UDP] = true;
                w->over[RACE_TCP] = !w->plain;
        }
}

static bool way_over(const struct race_way *w)
{
        return w->over[RACE_UDP] && w->over[RACE_TCP] && w->over[RACE_POST];
}

static void look_for_end(struct race *r, mono_t now)
{
        size_t running = 0;
        if (r->state != RACE_RUNNING)
                return;
        for (size_t i = 0; i < r->count; i++)
                running += !way_over(&r->ways[i]);
        if (running == 0)
                r->state = r->count > 0 && r->refused == r->count ? RACE_REFUSED : RACE_FAILED;
        else if (mono_reached(now, r->end))
                r->state = RACE_LATE;
}

static bool start(struct race_way *w, enum race_leg leg, size_t way, size_t *ret_way, enum race_leg *ret_leg)
{
        w->started[leg] = true;
        *ret_way = way;
        *ret_leg = leg;
        return true;
}

static bool way_next(struct race *r, size_t i, mono_t now, size_t *ret_way, enum race_leg *ret_leg)
{
        struct race_way *w = &r->ways[i];
        enum race_leg first = w->plain ? RACE_UDP : RACE_POST;
        if (!w->started[first] && mono_reached(now, w->at)) {
                if (w->plain)
                        w->tcp_at = mono_add_ms(now, r->tcp_client ? 0 : RACE_TCP_AFTER_MS);
                return start(w, first, i, ret_way, ret_leg);
        }
        if (!w->started[RACE_TCP] && !w->over[RACE_TCP] && mono_reached(now, w->tcp_at)) {
                w->tcp_end = mono_add_ms(now, RACE_TCP_MS);
                return start(w, RACE_TCP, i, ret_way, ret_leg);
        }
        if (mono_reached(now, w->tcp_end))
                w->over[RACE_TCP] = true;
        return false;
}

bool race_next(struct race *r, mono_t now, size_t *ret_way, enum race_leg *ret_leg)
{
        look_for_end(r, now);
        for (size_t i = 0; i < r->count && r->state == RACE_RUNNING; i++)
                if (way_next(r, i, now, ret_way, ret_leg))
                        return true;
        look_for_end(r, now);
        return false;
}

mono_t race_deadline(const struct race *r)
{
        mono_t at = r->end;
        if (r->state != RACE_RUNNING)
                return MONO_NEVER;
        for (size_t i = 0; i < r->count; i++) {
                const struct race_way *w = &r->ways[i];
                if (!w->started[RACE_UDP] && !w->started[RACE_POST])
                        at = mono_min(at, w->at);
                if (!w->over[RACE_TCP])
                        at = mono_min(at, w->started[RACE_TCP] ? w->tcp_end : w->tcp_at);
        }
        return at;
}

/* The server has spoken, softly: its other leg would say the same. */
static void give_up_way(struct race_way *w)
{
        for (int leg = 0; leg < RACE_LEGS; leg++)
                w->over[leg] = true;
}

bool race_answer(struct race *r, size_t way, enum race_leg leg, const uint8_t *msg, mono_t now)
{
        struct race_way *w = &r->ways[way];
        if (r->state != RACE_RUNNING || w->over[leg])
                return false;
        enum dns_rcode rcode = dns_rcode(msg);
        if (rcode == DNS_SERVFAIL || rcode == DNS_REFUSED) {
                r->refused += rcode == DNS_REFUSED;
                give_up_way(w);
                look_for_end(r, now);
                return false;
        }
        if (leg == RACE_UDP && r->tcp_client && dns_truncated(msg)) {
                w->over[RACE_UDP] = true;   /* TCP is on its way */
                look_for_end(r, now);
                return false;
        }
        r->state = RACE_WON;
        return true;
}

void race_failed(struct race *r, size_t way, enum race_leg leg, mono_t now)
{
        struct race_way *w = &r->ways[way];
        w->over[leg] = true;
        if (leg == RACE_UDP && !w->over[RACE_TCP])
                w->tcp_at = mono_min(w->tcp_at, now);
        look_for_end(r, now);
}
