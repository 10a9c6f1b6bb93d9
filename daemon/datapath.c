#include "daemon/datapath.h"

#include <string.h>

#include "base/log.h"
#include "daemon/dpmsg.h"
#include "tun/tsmp.h"

enum { OUT_ROUNDS = 4, REJECTS_PER_S = 50 };

/* To 100.100.100.100 or fd7a:115c:a1e0::53?  Every packet out is asked this. */
static inline bool is_for_service(const uint8_t *p, size_t len)
{
        static const uint8_t v4[4] = {100, 100, 100, 100};
        static const uint8_t v6[16] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 0x53};
        if (len < 20 || p[0] >> 4 == 4)
                return len >= 20 && memcmp(p + 16, v4, sizeof(v4)) == 0;
        return len >= 40 && memcmp(p + 24, v6, sizeof(v6)) == 0;
}

/* To the control thread, and nowhere else whatever becomes of them. */
static void to_service(struct datapath *dp, struct pkt *p)
{
        if (dp->service == NULL || !pktring_push(dp->service, pkt_cdata(p), p->len))
                dp->service_dropped++;
        pkt_release(dp->pool, p);
}

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

/* filter -> peer -> seal -> path */
static void walk_out(struct datapath *dp, struct pkt **pkts, size_t count, mono_t now)
{
        size_t n = 0;
        for (size_t i = 0; i < count; i++) {
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
}

void datapath_out(struct datapath *dp, mono_t now)
{
        struct pkt *pkts[TUN_BATCH];
        bool diverted = false;
        for (int round = 0; round < OUT_ROUNDS; round++) {
                size_t got = tun_read(dp->tun, dp->pool, pkts, TUN_BATCH), n = 0;
                for (size_t i = 0; i < got; i++) {
                        struct pkt *p = pkts[i];
                        if (is_for_service(pkt_cdata(p), p->len)) {
                                to_service(dp, p);
                                diverted = true;
                                continue;
                        }
                        pkts[n++] = p;
                }
                walk_out(dp, pkts, n, now);
                if (got < TUN_BATCH)
                        break;
        }
        if (diverted && dp->service != NULL)
                pktring_wake(dp->service);
}

/* The next packet of the ring; NULL: there is none, or no buffer for it (*ret_short). */
static struct pkt *pop_packet(struct datapath *dp, struct pktring *from, bool *ret_short)
{
        uint8_t pkt[PKTRING_PACKET_MAX];
        struct pkt *p = pkt_get(dp->pool);
        *ret_short = p == NULL;
        size_t n = p != NULL ? pktring_pop(from, pkt) : 0;
        if (n > 0)
                memcpy(pkt_put(p, n), pkt, n);
        else if (p != NULL)
                pkt_release(dp->pool, p);
        return n > 0 ? p : NULL;
}

bool datapath_from_service(struct datapath *dp, struct pktring *from, mono_t now)
{
        for (int i = 0; i < DP_SERVICE_ROUND; i += TUN_BATCH) {
                struct pkt *pkts[TUN_BATCH];
                bool starved = false;
                size_t n = 0;
                while (n < TUN_BATCH && (pkts[n] = pop_packet(dp, from, &starved)) != NULL)
                        n++;
                if (dp->tun == NULL) {
                        walk_out(dp, pkts, n, now);
                } else {
                        (void)tun_write(dp->tun, pkts, n);
                        for (size_t k = 0; k < n; k++)
                                pkt_release(dp->pool, pkts[k]);
                }
                if (n < TUN_BATCH)
                        return !starved;
        }
        return false;
}

/* What came in for the host. */
static void to_host(struct datapath *dp, struct pkt **pkts, size_t n)
{
        if (dp->tun != NULL)
                (void)tun_write(dp->tun, pkts, n);
        for (size_t i = 0; i < n; i++) {
                if (dp->tun != NULL)
                        pkt_release(dp->pool, pkts[i]);
                else
                        to_service(dp, pkts[i]);
        }
        if (n > 0 && dp->tun == NULL && dp->service != NULL)
                pktring_wake(dp->service);
}

static struct wg_source wg_source_of(const struct ms_source *s)
{
        return (struct wg_source){.addr = s->addr, .relay_region = s->region, .relay_peer = s->key};
}

/* ---- messages of the mesh itself (TSMP) ---- */

static void send_message(struct datapath *dp, uint32_t peer, const uint8_t *msg, size_t len, mono_t now)
{
        struct pkt *p = len > 0 ? pkt_get(dp->pool) : NULL;
        if (p == NULL)
                return;
        memcpy(pkt_put(p, len), msg, len); /* an empty packet has room for any message */
        p->peer = peer;
        send_to_peer(dp, &p, 1, now);
}

static bool may_reject(struct datapath *dp, mono_t now)
{
        if (mono_reached(now, mono_add_ns(dp->reject_refilled, NS_PER_SEC))) {
                dp->reject_refilled = now;
                dp->reject_tokens = REJECTS_PER_S;
        }
        return dp->reject_tokens > 0;
}

/* The peer learns at once what would else be a time-out. */
static void tell_refused(struct datapath *dp, const struct pkt *p, mono_t now)
{
        uint8_t msg[TSMP_PACKET_MAX];
        uint8_t reason = filter_shields_up(dp->filter) ? TSMP_REASON_SHIELDS : TSMP_REASON_ACL;
        size_t len = may_reject(dp, now) ? tsmp_reject(pkt_cdata(p), p->len, reason, msg) : 0;
        if (len == 0)
                return;
        dp->reject_tokens--;
        dp->rejects_sent++;
        send_message(dp, p->peer, msg, len, now);
}

static void note_refused(struct datapath *dp, const struct tsmp *m, mono_t now)
{
        static struct log_limit limit;
        char ip[IP_STR_MAX];
        const struct packet *p = &m->rejected;
        dp->rejects_heard++;
        if (m->maybe_broken || !filter_take_open(dp->flows, p) || log_limited(&limit, now))
                return;
        struct ip dst = p->version == 4 ? ip_from_bytes4(p->dst) : ip_from_bytes16(p->dst);
        log_info("the TCP connection to %s port %u was refused by the peer, because %s", ip_str(dst, ip),
                 (unsigned)p->dst_port, tsmp_reason_str(m->reason));
}

static void take_message(struct datapath *dp, const struct pkt *p, mono_t now)
{
        struct tsmp m;
        uint8_t msg[TSMP_PACKET_MAX];
        if (tsmp_parse(pkt_cdata(p), p->len, &m) != ERR_NONE)
                return;
        if (m.kind == TSMP_REJECTED) {
                note_refused(dp, &m, now);
        } else if (m.kind == TSMP_PING) {
                struct packet ping = packet_parse(pkt_cdata(p), p->len);
                uint16_t port = filter_service_port(dp->filter, ping.dst, ping.ip_len);
                send_message(dp, p->peer, msg, tsmp_pong(pkt_cdata(p), p->len, port, msg), now);
        }
}

bool datapath_ping(struct datapath *dp, const struct meshping *ask, mono_t now)
{
        uint8_t msg[MESHPING_PACKET_MAX];
        size_t len = meshping_start(&dp->pings, ask, now, msg);
        send_message(dp, ask->peer, msg, len, now);
        return len > 0;
}

/* The answer to a ping of ours is nobody else's: the filter need not know of it. */
static bool take_answer(struct datapath *dp, const struct pkt *p, mono_t now)
{
        struct meshping ping;
        uint16_t port;
        if (!meshping_answered(&dp->pings, p->peer, pkt_cdata(p), p->len, &ping, &port))
                return false;
        dp->on_ping(dp->arg, &ping, port, now);
        return true;
}

/* Not for the host; *p stays the caller's. */
static void refused(struct datapath *dp, const struct pkt *p, enum filter_verdict v, mono_t now)
{
        if (v == FILTER_DROP_TSMP)
                take_message(dp, p, now);
        else if (v == FILTER_DROP_RULE || v == FILTER_DROP_NOT_LOCAL)
                tell_refused(dp, p, now);
}

/* open -> source is the peer's -> filter -> tun, or the stack */
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
                if (in[i].verdict == WG_DATA && !(dp->pings.count > 0 && take_answer(dp, p, now))) {
                        enum filter_verdict v = filter_in(dp->filter, dp->flows, pkt_cdata(p), p->len);
                        dp->in_verdicts[v]++;
                        if (v == FILTER_ACCEPT) {
                                up[up_count++] = p;
                                continue;
                        }
                        refused(dp, p, v, now);
                }
                pkt_release(dp->pool, p);
        }
        to_host(dp, up, up_count);
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
