/* daemon/counters.h - what the data thread has counted, as a value that crosses to the control thread.
 *
 * Each count has one owner, who counts on the data thread without a lock; they are gathered when somebody asks.
 */
#pragma once

#include <stdint.h>

#include "magicsock/magicsock.h"
#include "tun/device.h"
#include "tun/filter.h"
#include "wg/device.h"

struct datapath;

struct counters {
        struct ms_traffic in[MS_WAYS], out[MS_WAYS];    /* WireGuard messages from and to peers */
        uint64_t filter_in[FILTER_VERDICTS], filter_out[FILTER_VERDICTS];
        uint64_t wg_drops[WG_DROP_COUNT];
        uint64_t ms_drops[MS_DROP_COUNT];
        struct derp_mgr_stats relay;
        struct portmap_counts portmap;
        struct hn_totals hard_nat;
        struct tun_counters tun;                        /* zero without a TUN device */
        uint64_t no_peer;                               /* nobody has that destination */
        uint64_t service_dropped;                       /* to the service addresses, the queue was full */
        uint64_t service_refused;                       /* from them, the queue was full (counted by the control thread) */
        uint64_t rejects_sent, rejects_heard;           /* refused TCP connections, said and heard */
        uint64_t handshakes;
        uint64_t packets_free, peers;                   /* now */
        int home_region;                                /* 0: none */
};

/* Data thread. */
void counters_read(struct counters *ret, const struct datapath *dp);
