#include "daemon/datapath.h"

enum { OUT_ROUNDS = 4 };

/* Neighbours for the same peer share one path decision and one burst of sealing. */
static void send_to_peer(struct datapath *dp, struct pkt **pkts, size_t n, mono_t now)
{
        uint32_t peer = pkts[0]->peer;
        size_t sealed = wg_seal(dp->wg, peer, pkts, n, now);
        if (sealed > 0)
                ms_send(dp->ms, peer, pkts, sealed, now);
}

static size_t same_peer(struct pkt *const *pkts, size_t n)
{
        size_t run = 1;
        while (run < n && pkts[run]->peer == pkts[0]->peer)
                run++;
        return run;
}

/* tun -> filter -> peer -> seal -> path */
void datapath_out(struct datapath *dp, mono_t now)
{
        struct pkt *pkts[TUN_BATCH];
        for (int round = 0; round < OUT_ROUNDS; round++) {
                size_t got = tun_read(dp->tun, dp->pool, pkts, TUN_BATCH), n = 0;
                for (size_t i = 0; i < got; i++) {
                        struct pkt *p = pkts[i];
                        enum filter_verdict v = filter_out(dp->filter, dp->flows, pkt_cdata(p), p->len);
                        dp->out_verdicts[v]++;
                        p->peer = v == FILTER_ACCEPT ? wg_peer_for(dp->wg, p) : WG_NO_PEER;
                        if (p->peer == WG_NO_PEER) {
                                dp->out_no_peer += v == FILTER_ACCEPT;
                                pkt_release(dp->pool, p);
                                continue;
                        }
                        pkts[n++] = p;
                }
                for (size_t i = 0, run; i < n; i += run) {
                        run = same_peer(pkts + i, n - i);
                        send_to_peer(dp, pkts + i, run, now);
                }
                if (got < TUN_BATCH)
                        break;
        }
}

static struct wg_source wg_source_of(const struct ms_source *s)
{
        return (struct wg_source){.addr = s->addr, .relay_region = s->region, .relay_peer = s->key};
}

/* open -> source is the peer's -> filter -> tun */
void datapath_in(struct datapath *dp, struct pkt **pkts, const struct ms_source *srcs, size_t n, mono_t now)
{
        struct wg_in in[MS_BATCH_MAX];
        struct wg_source from[MS_BATCH_MAX];
        struct pkt *up[MS_BATCH_MAX];
        size_t up_count = 0;
        for (size_t i = 0; i < n; i++) {
                from[i] = wg_source_of(&srcs[i]);
                in[i] = (struct wg_in){.p = pkts[i], .src = &from[i]};
        }
        wg_open(dp->wg, in, n, now);

        uint32_t heard = WG_NO_PEER;
        for (size_t i = 0; i < n; i++) {
                struct pkt *p = in[i].p;
                if (in[i].verdict >= WG_HANDSHAKE && p->peer != heard) {
                        heard = p->peer;
                        ms_heard(dp->ms, heard, &srcs[i], now);
                }
                dp->handshakes += in[i].verdict == WG_HANDSHAKE;
                if (in[i].verdict == WG_DATA) {
                        enum filter_verdict v = filter_in(dp->filter, dp->flows, pkt_cdata(p), p->len);
                        dp->in_verdicts[v]++;
                        if (v == FILTER_ACCEPT) {
                                up[up_count++] = p;
                                continue;
                        }
                }
                pkt_release(dp->pool, p);
        }
        tun_write(dp->tun, up, up_count);
        for (size_t i = 0; i < up_count; i++)
                pkt_release(dp->pool, up[i]);
}

void datapath_service(struct datapath *dp, mono_t now)
{
        if (mono_reached(now, wg_deadline(dp->wg)))
                wg_expire(dp->wg, now, wall_now_ns());
        struct wg_out out;
        while (wg_next_out(dp->wg, &out)) {
                if (out.peer != WG_NO_PEER) {
                        ms_send(dp->ms, out.peer, &out.p, 1, now);
                        continue;
                }
                struct ms_source to = {
                        .addr = out.to.addr,
                        .region = out.to.relay_region,
                        .slot = MS_SLOT_NONE,
                        .key = out.to.relay_peer,
                };
                ms_send_to(dp->ms, &to, out.p, now);
        }
}
