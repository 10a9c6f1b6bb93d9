/* Whatever arrives by UDP, at a device with one peer: no crash, and nothing that nobody sealed is data. */
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "wg/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct key_private fixed_key(uint8_t fill)
{
        struct key_private k;
        memset(k.b, fill, sizeof(k.b));
        k.b[0] &= 248;
        k.b[31] = (uint8_t)((k.b[31] & 127) | 64);
        return k;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size > PKT_DATA_MAX)
                return 0;
        if (crypto_init() != ERR_NONE)
                abort();
        struct pkt_pool *pool = pkt_pool_new(16);
        struct wg *wg = wg_new(pool, 4);
        struct key_private us = fixed_key(1), them = fixed_key(2);
        struct node_public peer = key_node_public(&them);
        struct prefix allowed = prefix_of(ip_v4(100, 64, 0, 2));
        mono_t now = {1000 * NS_PER_SEC};
        wg_set_identity(wg, &us);
        if (wg_peer_set(wg, 0, &peer, &allowed, 1) != ERR_NONE)
                abort();
        for (int twice = 0; twice < 2; twice++) {   /* the second one is a replay at best */
                struct pkt *p = pkt_get(pool);
                if (p == NULL)
                        abort();
                uint8_t *dst = pkt_put(p, size);
                if (size > 0)
                        memcpy(dst, data, size);
                struct wg_source src = {.addr = {ip_v4(192, 0, 2, 1), 41641}};
                struct wg_in in = {.p = p, .src = &src};
                wg_open(wg, &in, 1, now);
                if (in.verdict == WG_DATA || in.verdict == WG_KEEPALIVE)
                        abort();
                pkt_release(pool, p);
                wg_expire(wg, now, INT64_C(1800000000) * NS_PER_SEC);
                struct wg_out out;
                while (wg_next_out(wg, &out))
                        pkt_release(pool, out.p);
        }
        wg_free(wg);
        if (pkt_pool_free_count(pool) != 16)   /* nothing is lost either */
                abort();
        pkt_pool_free(pool);
        return 0;
}
