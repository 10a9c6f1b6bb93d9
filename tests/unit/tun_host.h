/* The host's end of a TUN pair in memory, as a test drives it: whole packets, one by one, from and to a pool. */
#pragma once

#include "tun/device.h"

static inline size_t host_read(struct tun *t, struct pkt_pool *pool, struct pkt **ret, size_t max)
{
        size_t n = 0;
        static uint8_t room[TUN_ROOM];
        struct gso unit;
        while (n < max) {
                struct pkt *p = pkt_get(pool);
                if (p == NULL || !tun_next(t, room, &unit)) {
                        pkt_release(pool, p);
                        break;
                }
                gso_cut(&unit, pkt_put(p, gso_next_len(&unit)));
                ret[n++] = p;
        }
        return n;
}

static inline size_t host_write(struct tun *t, struct pkt *const *pkts, size_t n)
{
        size_t taken = 0;
        for (size_t i = 0; i < n; i++)
                taken += tun_write_one(t, pkts[i]);
        return taken;
}
