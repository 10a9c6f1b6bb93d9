#include "magicsock/internal.h"

#include <string.h>

void ms_traffic(const struct ms *ms, struct ms_traffic ret_in[MS_WAYS], struct ms_traffic ret_out[MS_WAYS])
{
        memcpy(ret_in, ms->in_by, sizeof(ms->in_by));
        memcpy(ret_out, ms->out_by, sizeof(ms->out_by));
}

void ms_relay_stats(const struct ms *ms, struct derp_mgr_stats *ret)
{
        derp_mgr_get_stats(ms->derp, ret);
}

uint64_t ms_drops(const struct ms *ms, enum ms_drop why)
{
        uint64_t n = ms->drops[why];
        for (size_t i = 0; why == MS_DROP_DISCO_RATE && i < ms->slot_cap; i++)
                n += ms->slots[i] ? ms->slots[i]->peer.limited : 0;
        return n;
}

const char *ms_drop_str(enum ms_drop why)
{
        static const char *const names[MS_DROP_COUNT] = {
                "too short",      "inactive",       "disco stranger", "disco forged", "disco unreadable",
                "disco too fast", "relay stranger", "no path",        "socket",         "too large",      "peer relay",
        };
        return why < MS_DROP_COUNT ? names[why] : "?";
}
