#include "daemon/host/osdns_limit.h"

bool osdns_limit_is_resting(const struct osdns_limit *l, mono_t now)
{
        return mono_is_set(l->rest_until) && !mono_reached(now, l->rest_until);
}

bool osdns_limit_hit(struct osdns_limit *l, mono_t now)
{
        if (osdns_limit_is_resting(l, now))
                return false;
        if (mono_is_set(l->rest_until) || !mono_is_set(l->last) ||
            mono_diff_ms(now, l->last) >= OSDNS_LIMIT_QUIET_MS)
                *l = (struct osdns_limit){0};
        l->last = now;
        if (++l->count <= OSDNS_LIMIT_BURST)
                return true;
        l->rest_until = mono_add_ms(now, OSDNS_LIMIT_REST_MS);
        return false;
}
