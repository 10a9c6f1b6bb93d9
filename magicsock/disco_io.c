#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "magicsock/internal.h"

/* Addresses in a call, which is one packet of the pool. */
enum { CALL_MAX = (PKT_DATA_MAX - DISCO_OVERHEAD - 2) / 18 };
_Static_assert((int)CALL_MAX <= (int)DISCO_CMM_MAX && (int)MS_ENDPOINTS_MAX < (int)CALL_MAX && (int)HN_GUESSES < (int)CALL_MAX - 1,
               "our endpoints fit into a call, and so do guesses with some of them");

/* ---- in ---- */

/* The shared key costs a scalar multiplication, once a disco key. */
static bool have_box(struct ms *ms, struct ms_slot *s)
{
        if (!s->has_box && !s->bad_disco) {
                s->has_box = box_precompute(&s->box, s->disco.b, ms->disco_key.b) == ERR_NONE;
                s->bad_disco = !s->has_box;
        }
        return s->has_box;
}

static bool open_with(struct ms *ms, struct ms_slot *s, const uint8_t *data, size_t len)
{
        size_t n;
        if (len > sizeof(ms->inner) || !have_box(ms, s) ||
            disco_open(&s->box, data, len, ms->inner, &n) != ERR_NONE) {
                ms->drops[MS_DROP_DISCO_AUTH]++;
                return false;
        }
        if (disco_parse(ms->inner, n, &ms->msg) != ERR_NONE) {
                ms->drops[MS_DROP_DISCO_PARSE]++;
                return false;
        }
        return true;
}

/* Several nodes may share a disco key: each learns of the ping, one answers it. */
static void udp_ping(struct ms *ms, struct ms_slot *first, struct addr src, mono_t now)
{
        struct disco_txid txid = ms->msg.ping.txid;
        bool reply = true;
        uint32_t next;
        ms_unasked_ping(ms, src);
        for (struct ms_slot *s = first; s; s = ms_slot_find(ms, next)) {
                next = ms->known[s->slot].same_disco;
                history_add(&s->history, HISTORY_PING_IN, src, 0, now);
                if (ms_peer_on_ping(&s->peer, src, &txid, reply, now, &ms->out))
                        ms_hn_ping(ms, s, src, now);
                ms_settle(ms, s, now);
                reply = false;
        }
}

static void udp_pong(struct ms *ms, struct ms_slot *first, struct addr src, mono_t now)
{
        struct disco_txid txid = ms->msg.pong.txid;
        struct addr seen = ms->msg.pong.seen;
        uint32_t next;
        for (struct ms_slot *s = first; s; s = ms_slot_find(ms, next)) {
                next = ms->known[s->slot].same_disco;
                if (ms_hn_pong(ms, s, src, &txid, now))
                        return;
                if (!ms_hn_is_data_by(ms, s, src))
                        continue;
                bool found = ms_peer_on_pong(&s->peer, &txid, false, 0, now, &ms->out);
                if (found)
                        ms_hn_seen(ms, s, src, seen, now);
                ms_settle(ms, s, now);
                if (found)
                        return;
        }
}

void ms_disco_udp(struct ms *ms, struct addr src, const uint8_t *data, size_t len, mono_t now)
{
        struct disco_public from;
        struct ms_slot *s = NULL;
        if (disco_sender(data, len, &from))
                s = ms_slot_find(ms, keymap_get(&ms->by_disco, from.b));
        if (!s) {
                ms->drops[MS_DROP_DISCO_STRANGER]++;
                return;
        }
        if (!open_with(ms, s, data, len))
                return;
        ms->via_src = src;
        if (ms->msg.type == DISCO_PING)
                udp_ping(ms, s, src, now);
        else if (ms->msg.type == DISCO_PONG)
                udp_pong(ms, s, src, now);
        ms->via_src = (struct addr){.port = 0};
        /* A call-me-maybe by UDP could come from anyone on the way: only the relay proves its sender. */
}

void ms_disco_relay(struct ms *ms, struct ms_slot *s, int region, const uint8_t *data, size_t len, mono_t now)
{
        struct disco_public from;
        if (!disco_sender(data, len, &from) || !disco_public_eq(&from, &s->disco)) {
                ms->drops[MS_DROP_DISCO_STRANGER]++;
                return;
        }
        if (!open_with(ms, s, data, len))
                return;
        struct disco_txid txid;
        switch (ms->msg.type) {
        case DISCO_PING:
                txid = ms->msg.ping.txid;
                s->asks = ms->msg.ping.has_hello;
                if (s->asks)
                        ms_hn_hello(ms, s, true, ms->msg.ping.hello, now);
                ms_peer_on_relay_ping(&s->peer, region, &txid, now, &ms->out);
                break;
        case DISCO_PONG:
                txid = ms->msg.pong.txid;
                bool has_hello = ms->msg.pong.has_hello;
                uint8_t hello = ms->msg.pong.hello;
                if (ms_peer_on_pong(&s->peer, &txid, true, region, now, &ms->out))
                        ms_hn_hello(ms, s, has_hello, hello, now);
                break;
        case DISCO_CALL_ME_MAYBE:
                history_add(&s->history, HISTORY_CALL_IN, (struct addr){.port = 0}, (int64_t)ms->msg.cmm.count, now);
                ms_peer_on_call(&s->peer, ms->msg.cmm.eps, ms->msg.cmm.count, now, &ms->out);
                if (ms->msg.cmm.count > 0 && !s->peer.expired && !ms_peer_is_direct(&s->peer, now))
                        ms_hn_relayed(ms, s, now);   /* it has traffic for us, or wants a path: ours may be the hard NAT */
                break;
        default:
                return;
        }
        ms_settle(ms, s, now);
}

/* ---- out ---- */

/* ms->msg into ms->datagram; its length, 0 if it cannot be. */
static size_t seal_message(struct ms *ms, struct ms_slot *s)
{
        uint8_t nonce[BOX_NONCE_LEN];
        size_t n = disco_encode(&ms->msg, ms->inner, sizeof(ms->inner) - DISCO_OVERHEAD);
        if (n == 0 || !have_box(ms, s))
                return 0;
        crypto_random(nonce, sizeof(nonce));
        return disco_seal(&s->box, &ms->disco_public, nonce, ms->inner, n, ms->datagram,
                          sizeof(ms->datagram));
}

bool ms_disco_send(struct ms *ms, struct ms_slot *s, struct ms_udp *from, struct addr to)
{
        size_t n = seal_message(ms, s);
        if (!from || n == 0)
                return false;
        /* EPERM is a firewall of ours: as good as lost on the way. */
        return sock_send_bytes(&from->sock, to, ms->datagram, n) || errno == EPERM || errno == EAGAIN;
}

static bool send_udp(struct ms *ms, struct ms_slot *s, struct addr to)
{
        return ms_disco_send(ms, s, ms_hn_udp(ms, s, to), to);
}

static void send_relay(struct ms *ms, struct ms_slot *s, int region, mono_t now)
{
        size_t n = seal_message(ms, s);
        struct pkt *p = n ? pkt_get(ms->pool) : NULL;
        if (!p)
                return;
        uint8_t *at = pkt_put(p, n);
        if (!at) {
                pkt_release(ms->pool, p);
                return;
        }
        memcpy(at, ms->datagram, n);
        (void)derp_mgr_send(ms->derp, region, &s->key, p, now);
}

static void compose_ping(struct ms *ms, const struct ms_action *a, size_t max)
{
        size_t room = max - DISCO_OVERHEAD - DISCO_PING_LEN;
        ms->msg = (struct disco_msg){.type = DISCO_PING};
        ms->msg.ping.txid = a->txid;
        ms->msg.ping.has_key = true;
        ms->msg.ping.key = ms->node_public;
        ms->msg.ping.padding = a->padding < room ? a->padding : room;
}

static void compose_pong(struct ms *ms, const struct ms_action *a, struct addr seen)
{
        ms->msg = (struct disco_msg){.type = DISCO_PONG};
        ms->msg.pong.txid = a->txid;
        ms->msg.pong.seen = seen;
}

/* A call without addresses makes the peer forget those it has: so it is sent only if others can follow. */
static void withdraw(struct ms *ms, struct ms_slot *s, mono_t now)
{
        int region = ms_relay_for(ms, s);
        if (ms->ep_count == 0 || !region)
                return;
        ms->msg = (struct disco_msg){.type = DISCO_CALL_ME_MAYBE};
        history_add(&s->history, HISTORY_CALL_OUT, (struct addr){.port = 0}, 0, now);
        send_relay(ms, s, region, now);
}

void ms_send_call(struct ms *ms, struct ms_slot *s, const struct addr *more, size_t n, mono_t now)
{
        int region = ms_relay_for(ms, s);
        if (ms->ep_count == 0 || !region)
                return;
        ms->msg = (struct disco_msg){.type = DISCO_CALL_ME_MAYBE};
        struct addr *eps = ms->msg.cmm.eps;
        size_t count = 0;
        /* The others are counted as sent; of ours the peer was told without them. */
        for (size_t i = 0; i < ms->ep_count && count < CALL_MAX - 1 - n; i++)
                eps[count++] = ms->eps[i].addr;
        if (addr_is_set(s->pin.outside))
                eps[count++] = s->pin.outside;
        for (size_t i = 0; i < n; i++)
                eps[count++] = more[i];
        ms->msg.cmm.count = count;
        history_add(&s->history, HISTORY_CALL_OUT, (struct addr){.port = 0}, (int64_t)count, now);
        send_relay(ms, s, region, now);
}

static struct ms_ping_result result_of(const struct ms *ms, const struct ms_slot *s,
                                       const struct ms_action *a)
{
        struct ms_ping_result r = {
                .cookie = a->cookie,
                .slot = s->slot,
                .err = a->err,
                .latency_ns = a->latency_ns,
                .addr = a->addr,
                .region = (uint16_t)a->region,
        };
        const struct derp_region *region = a->region && ms->map ? derpmap_region(ms->map, a->region) : NULL;
        if (region)
                memcpy(r.region_code, region->code, sizeof(r.region_code));
        return r;
}

static void note_ping(struct ms_slot *s, struct addr to, mono_t now)
{
        struct path *p = path_find(&s->peer.paths, to);
        if (p && p->tried < UINT16_MAX)
                p->tried++;
        history_add(&s->history, HISTORY_PINGED, (struct addr){.port = 0}, 0, now);
}

static void carry_out(struct ms *ms, struct ms_slot *s, mono_t now)
{
        struct ms_ping_result results[MS_PEER_CLI_MAX];
        size_t n = 0;
        mono_t known = {0};
        for (size_t i = 0; i < ms->out.count; i++) {
                const struct ms_action *a = &ms->out.a[i];
                switch (a->kind) {
                case MS_ACT_PING:
                        note_ping(s, a->addr, now);
                        compose_ping(ms, a, MS_DISCO_MAX);
                        if (!send_udp(ms, s, a->addr))
                                ms_peer_on_ping_failed(&s->peer, &a->txid);
                        break;
                case MS_ACT_PING_RELAY:
                        compose_ping(ms, a, PKT_DATA_MAX);
                        ms_hn_say(ms);
                        send_relay(ms, s, ms_relay_for(ms, s), now);
                        break;
                case MS_ACT_PONG:
                        compose_pong(ms, a, a->addr);
                        (void)send_udp(ms, s, a->addr);
                        break;
                case MS_ACT_PONG_RELAY:
                        compose_pong(ms, a, disco_relay_addr(a->region));
                        if (s->asks)
                                ms_hn_say(ms);
                        send_relay(ms, s, a->region, now);
                        break;
                case MS_ACT_CALL:
                        ms_send_call(ms, s, NULL, 0, now);
                        ms_reach_check_fresh(ms, now);
                        break;
                case MS_ACT_WITHDRAW:
                        withdraw(ms, s, now);
                        break;
                case MS_ACT_KNOWN:
                        known = a->sent;
                        break;
                case MS_ACT_CLI_RESULT:
                        if (n < MS_PEER_CLI_MAX)
                                results[n++] = result_of(ms, s, a);
                        break;
                }
        }
        ms->out.count = 0;
        /* Last, as they may call back in. */
        if (mono_is_set(known) && ms->cb.on_known)
                ms->cb.on_known(ms->arg, s->slot, known, now);
        for (size_t i = 0; i < n && ms->cb.on_ping; i++)
                ms->cb.on_ping(ms->arg, &results[i], now);
}

/* A change of the way that data goes, for the log and the history. */
static void note_path(struct ms_slot *s, mono_t now)
{
        static const enum history_kind kinds[] = {
                [MS_ROUTE_NONE] = HISTORY_LOST,
                [MS_ROUTE_DIRECT] = HISTORY_DIRECT,
                [MS_ROUTE_BOTH] = HISTORY_DOUBT,
                [MS_ROUTE_RELAY] = HISTORY_RELAY,
        };
        struct ms_route r = ms_peer_route(&s->peer, now);
        if (r.kind != MS_ROUTE_DIRECT && r.kind != MS_ROUTE_BOTH)
                r.addr = (struct addr){.port = 0};
        if (r.kind == s->shown.kind && addr_eq(r.addr, s->shown.addr))
                return;
        s->shown = r;
        char key[KEY_SHORT_MAX], a[ADDR_STR_MAX];
        int64_t latency_ns = s->peer.best.latency_ns;
        history_add(&s->history, kinds[r.kind], r.addr, r.kind == MS_ROUTE_DIRECT ? latency_ns / (100 * NS_PER_US) : r.region,
                    now);
        if (r.kind == MS_ROUTE_DIRECT)
                log_debug(1, "peer %s: direct by %s, %.1f ms", node_public_short(&s->key, key), addr_str(r.addr, a),
                          (double)latency_ns / 1e6);
        else
                log_debug(1, "peer %s: by relay", node_public_short(&s->key, key));
}

void ms_settle(struct ms *ms, struct ms_slot *s, mono_t now)
{
        note_path(s, now);
        ms_hn_settle(ms, s, now);
        mono_t at = ms_peer_deadline(&s->peer);
        /* Too early is harmless, and spares the heap a move per packet. */
        if (!timer_is_armed(&s->timer) || at.ns < s->timer.at.ns)
                loop_timer_at(ms->loop, &s->timer, at);
        if (ms->out.count > 0)
                carry_out(ms, s, now);
}

void ms_on_slot_timer(struct timer *t, mono_t now)
{
        struct ms_slot *s = container_of(t, struct ms_slot, timer);
        ms_peer_expire(&s->peer, now, &s->ms->out);
        ms_settle(s->ms, s, now);
}
