#include "daemon/host/limiter.h"

/* Turns still in use at `now`; *ret_refilled: when the last one of them came back. */
static int used_at(const struct limiter *l, mono_t now, mono_t *ret_refilled)
{
        int64_t back = l->used > 0 ? mono_diff_ms(now, l->refilled) / l->every_ms : 0;
        *ret_refilled = mono_add_ms(l->refilled, back * l->every_ms);
        return back >= l->used ? 0 : l->used - (int)back;
}

mono_t limiter_next(const struct limiter *l, mono_t now)
{
        mono_t refilled, soon = mono_add_ms(now, l->settle_ms);
        if (used_at(l, now, &refilled) < l->burst)
                return soon;
        mono_t turn = mono_add_ms(refilled, l->every_ms);
        return mono_reached(turn, soon) ? turn : soon;
}

void limiter_take(struct limiter *l, mono_t now)
{
        mono_t refilled;
        int used = used_at(l, now, &refilled);
        l->refilled = used == 0 ? now : refilled;
        l->used = used < l->burst ? used + 1 : used;
}
