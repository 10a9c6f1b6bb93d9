#include "daemon/counters.h"

#include <string.h>

#include "daemon/datapath.h"

void counters_read(struct counters *ret, const struct datapath *dp)
{
        *ret = (struct counters){
                .no_peer = dp->out_no_peer,
                .service_dropped = dp->service_dropped,
                .rejects_sent = dp->rejects_sent,
                .rejects_heard = dp->rejects_heard,
                .handshakes = dp->handshakes,
                .packets_free = pkt_pool_free_count(dp->pool),
                .peers = wg_peer_count(dp->wg),
                .home_region = ms_home(dp->ms),
        };
        ms_traffic(dp->ms, ret->in, ret->out);
        ms_relay_stats(dp->ms, &ret->relay);
        ms_portmap_counts(dp->ms, &ret->portmap);
        ret->hard_nat = ms_hardnat_totals(dp->ms);
        memcpy(ret->filter_in, dp->in_verdicts, sizeof(ret->filter_in));
        memcpy(ret->filter_out, dp->out_verdicts, sizeof(ret->filter_out));
        for (unsigned i = 0; i < WG_DROP_COUNT; i++)
                ret->wg_drops[i] = wg_drops(dp->wg, i);
        for (unsigned i = 0; i < MS_DROP_COUNT; i++)
                ret->ms_drops[i] = ms_drops(dp->ms, i);
        if (dp->tun != NULL)
                ret->tun = tun_counters(dp->tun);
}
