#include "daemon/datapath.h"

#include <netinet/in.h>
#include <sched.h>
#include <string.h>

#include "base/log.h"
#include "base/unset.h"
#include "daemon/dpmsg.h"
#include "tun/tsmp.h"
#include "wg/message.h"

enum {
        OUT_UNITS = 256,        /* reads, and ... */
        OUT_BURSTS = 4,         /* ... bursts in one round */
        REJECTS_PER_S = 50,
        HEAP = 16,              /* datagrams written at once that are many for who reads them */
};
/* So that gro_start() has room for all that one call of datapath_in() brings, beside the one item that waits. */
_Static_assert((int)MS_BATCH_MAX < (int)GRO_ITEMS_MAX, "every packet may be an item of its own");

/* To 100.100.100.100 or fd7a:115c:a1e0::53?  Every packet out is asked this. */
static inline bool is_for_service(const uint8_t *p, size_t len)
{
        if (len < 20 || p[0] >> 4 == 4)
                return len >= 20 && memcmp(p + 16, ip_service4.b, 4) == 0;
        return len >= 40 && memcmp(p + 24, ip_service6.b, 16) == 0;
}

/* To the control thread, and nowhere else whatever becomes of it. */
static void to_service(struct datapath *dp, const uint8_t *packet, size_t len)
{
        if (dp->service == NULL || !pktring_push(dp->service, packet, len))
                dp->service_dropped++;
}

static void unit_to_service(struct datapath *dp, struct gso *unit)
{
        uint8_t packet[PKT_DATA_MAX];
        for (size_t len; (len = gso_next_len(unit)) > 0;) {
                gso_cut(unit, packet);
                to_service(dp, packet, len);
        }
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

/* What WireGuard itself has to send: handshakes, keepalives, and packets that waited for a session. */
static void send_queued(struct datapath *dp, mono_t now)
{
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

static void flush_out(struct datapath *dp, mono_t now)
{
        UNSET struct pkt *pkts[SOCK_TRAIN_MAX];
        struct out_burst *o = &dp->out;
        if (o->count > 0)
                send_queued(dp, now);   /* what waited goes first */
        for (size_t i = 0; i < o->count; i++)
                pkts[i] = &o->view[i];
        for (size_t i = 0, run; i < o->count; i += run) {
                run = same_peer(pkts + i, o->count - i);
                send_to_peer(dp, pkts + i, run, now);
        }
        o->count = o->used = 0;
}

/* Room for an inner packet of len bytes; NULL: the burst is full. */
static struct pkt *out_room(struct datapath *dp, size_t len)
{
        struct out_burst *o = &dp->out;
        size_t padded = (len + MSG_PAD - 1) / MSG_PAD * MSG_PAD, size = MSG_DATA_HEADER_LEN + padded + MSG_TAG_LEN;
        if (o->count == SOCK_TRAIN_MAX || size > sizeof(dp->room->out.burst) - o->used)
                return NULL;
        struct pkt *p = &o->view[o->count++];
        pkt_view(p, dp->room->out.burst + o->used, size, MSG_DATA_HEADER_LEN, len);
        o->used += size;
        return p;
}

/* The peer that a unit goes to, all of it; WG_NO_PEER: none. */
static uint32_t judge_out(struct datapath *dp, const struct gso *unit)
{
        enum filter_verdict v = filter_out(dp->filter, dp->flows, unit->data, unit->len);
        size_t n = gso_count(unit);
        dp->out_verdicts[v] += n;
        if (v != FILTER_ACCEPT)
                return WG_NO_PEER;
        uint32_t peer = wg_peer_for(dp->wg, unit->data, unit->len);
        dp->out_no_peer += peer == WG_NO_PEER ? n : 0;
        return peer;
}

/* filter -> peer -> cut -> seal -> path.  What of it is not sent yet, flush_out() sends.  Returns how many bursts went. */
static int walk_out(struct datapath *dp, struct gso *unit, mono_t now)
{
        int bursts = 0;
        uint32_t peer = judge_out(dp, unit);
        for (size_t len; peer != WG_NO_PEER && (len = gso_next_len(unit)) > 0;) {
                struct pkt *p = out_room(dp, len);
                if (p == NULL) {
                        flush_out(dp, now);
                        bursts++;
                        continue;
                }
                gso_cut(unit, pkt_data(p));
                p->peer = peer;
        }
        return bursts;
}

void datapath_out(struct datapath *dp, mono_t now)
{
        struct gso unit;
        bool diverted = false;
        for (int units = 0, bursts = 0; units < OUT_UNITS && bursts < OUT_BURSTS; units++) {
                if (!tun_next(dp->tun, dp->room->out.unit, &unit))
                        break;
                if (is_for_service(unit.data, unit.len)) {
                        unit_to_service(dp, &unit);
                        diverted = true;
                } else {
                        bursts += walk_out(dp, &unit, now);
                }
        }
        flush_out(dp, now);
        if (diverted && dp->service != NULL)
                pktring_wake(dp->service);
}

bool datapath_from_service(struct datapath *dp, struct pktring *from, mono_t now)
{
        static const struct vnet plain;
        uint8_t packet[PKTRING_PACKET_MAX];
        size_t len = 0;
        for (int i = 0; i < DP_SERVICE_ROUND && (len = pktring_pop(from, packet)) > 0; i++) {
                struct pkt p;
                struct gso unit;
                pkt_view(&p, packet, len, 0, len);
                if (dp->tun != NULL)
                        (void)tun_write_one(dp->tun, &p);
                else if (gso_begin(&unit, &plain, packet, len) == ERR_NONE)
                        (void)walk_out(dp, &unit, now);
        }
        flush_out(dp, now);
        return len == 0;
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

/* To the host, joined with what it continues: of one flow, what the filter said of the first is said of all. */
static void host_bound(struct datapath *dp, struct pkt *p, mono_t now)
{
        enum filter_verdict v = FILTER_ACCEPT;
        bool joined = gro_append(&dp->in, p);
        if (!joined)
                v = filter_in(dp->filter, dp->flows, pkt_cdata(p), p->len);
        dp->in_verdicts[v]++;
        if (joined || (v == FILTER_ACCEPT && gro_start(&dp->in, p)))
                return;
        refused(dp, p, v, now);
        pkt_release(dp->pool, p);
}

/* Datagrams wait for no window: a heap of them fills the buffer of who reads them, who on a busy machine has to be let run
 * before the next. */
static void let_read(const struct gro *g, size_t n)
{
        size_t datagrams = 0;
        for (size_t i = 0; i < n; i++)
                if (g->item[i].proto == IPPROTO_UDP)
                        datagrams += g->item[i].count;
        if (datagrams >= HEAP)
                sched_yield();
}

/* The first n items, to the host, or to the stack that takes its place. */
static void deliver(struct datapath *dp, size_t n)
{
        if (dp->tun != NULL) {
                tun_write(dp->tun, &dp->in, n);
                let_read(&dp->in, n);
        }
        for (size_t i = 0; i < n; i++)
                for (struct pkt *p = dp->in.item[i].first, *next; p != NULL; p = next) {
                        next = p->next;
                        if (dp->tun == NULL)
                                to_service(dp, pkt_cdata(p), p->len);
                        pkt_release(dp->pool, p);
                }
        if (dp->tun == NULL && n > 0 && dp->service != NULL)
                pktring_wake(dp->service);
        gro_drop(&dp->in, n);
}

/* open -> source is the peer's -> join, filter -> tun, or the stack */
bool datapath_in(struct datapath *dp, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep, mono_t now)
{
        size_t fresh = dp->in.count;
        UNSET struct wg_in in[MS_BATCH_MAX];
        UNSET struct wg_source from[MS_BATCH_MAX];
        for (size_t i = 0; i < n; i++) {
                from[i] = wg_source_of(&srcs[i]);
                in[i] = (struct wg_in){.p = pkts[i], .src = &from[i]};
        }
        wg_open(dp->wg, in, n, now);

        unsigned offloads = dp->tun != NULL ? tun_offloads(dp->tun) : 0;
        dp->in.tcp = offloads & TUN_TCP_GRO;
        dp->in.udp = offloads & TUN_UDP_GRO;
        uint32_t heard = WG_NO_PEER;
        struct addr heard_from = {.port = 0};
        uint64_t handshakes = dp->handshakes;
        for (size_t i = 0; i < n; i++) {
                struct pkt *p = in[i].p;
                if (in[i].verdict >= WG_HANDSHAKE && (p->peer != heard || !addr_eq(srcs[i].addr, heard_from))) {
                        heard = p->peer;
                        heard_from = srcs[i].addr;
                        ms_heard(dp->ms, heard, heard_from, now);
                }
                dp->handshakes += in[i].verdict == WG_HANDSHAKE;
                if (in[i].verdict == WG_DATA && !(dp->pings.count > 0 && take_answer(dp, p, now)))
                        host_bound(dp, p, now);
                else
                        pkt_release(dp->pool, p);
        }
        deliver(dp, may_keep ? gro_ready(&dp->in, fresh) : dp->in.count);
        if (dp->handshakes != handshakes)
                send_queued(dp, now);   /* the peer waits for it */
        return dp->in.count > 0;
}

void datapath_service(struct datapath *dp, mono_t now)
{
        if (mono_reached(now, wg_deadline(dp->wg)))
                wg_expire(dp->wg, now, wall_now_ns());
        send_queued(dp, now);
}
