#include "wg/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "wg/engine.h"

/* ---- Set up ---- */

struct wg *wg_new(struct pkt_pool *pool, uint32_t max_peers)
{
        struct wg *wg = calloc(1, sizeof(*wg));
        if (wg == NULL)
                return NULL;
        wg->pool = pool;
        wg->max_peers = max_peers;
        wg->staged_limit = pkt_pool_free_count(pool) / 2;
        crypto_random(wg->by_key_seed, sizeof(wg->by_key_seed));
        wg->allowed = trie_new();
        if (wg->allowed == NULL) {
                free(wg);
                return NULL;
        }
        return wg;
}

void wg_free(struct wg *wg)
{
        if (wg == NULL)
                return;
        for (uint32_t s = 0; s < wg->slot_count; s++)
                wg_peer_remove(wg, s);
        for (struct pkt *p; (p = pkt_queue_pop(&wg->out)) != NULL;)
                pkt_release(wg->pool, p);
        trie_free(wg->allowed);
        index_done(&wg->index);
        free(wg->known);
        free(wg->slot);
        free(wg->heap);
        free(wg->by_key);
        crypto_wipe(wg, sizeof(*wg));
        free(wg);
}

void wg_set_identity(struct wg *wg, const struct key_private *key)
{
        static const struct key_private none;
        if (key == NULL)
                key = &none;
        if (crypto_eq(key->b, wg->us.priv.b, KEY_LEN))
                return;
        for (uint32_t s = 0; s < wg->slot_count; s++)
                if (wg->slot[s] != NULL)
                        peer_reset(wg, wg->slot[s]);
        noise_local_set(&wg->us, key);
}

void wg_set_mtu(struct wg *wg, uint16_t mtu)
{
        wg->mtu = mtu;
}

void wg_set_crew(struct wg *wg, struct aead_crew *c)
{
        wg->crew = c;
}

enum wg_verdict wg_dropped(struct wg *wg, enum wg_drop reason)
{
        wg->drops[reason]++;
        return WG_DROP;
}

/* ---- Out ---- */

/* Seals under current, which must be able to; what cannot be sealed is dropped.  Returns how many, at the
 * front of pkts, are to be sent. */
static size_t seal(struct wg *wg, struct wg_peer *p, struct pkt **pkts, size_t n, mono_t now)
{
        struct session *s = p->keys.current;
        size_t done = 0;
        bool data = false;
        for (size_t at = 0; at < n;) {
                struct pkt *chunk[SESSION_BURST];
                size_t m = n - at < SESSION_BURST ? n - at : SESSION_BURST;
                memcpy(chunk, pkts + at, m * sizeof(chunk[0]));
                at += m;
                size_t sealed = session_seal(s, chunk, m, wg->mtu);
                for (size_t i = 0; i < sealed; i++) {
                        chunk[i]->peer = p->slot;
                        p->tx_bytes += chunk[i]->len;
                        data = data || chunk[i]->len > MSG_DATA_MIN_LEN;
                        pkts[done++] = chunk[i];
                }
                for (size_t i = sealed; i < m; i++) {
                        wg->drops[WG_DROP_SIZE]++;
                        pkt_release(wg->pool, chunk[i]);
                }
        }
        if (done == 0)
                return 0;
        timers_any_sent(&p->timers, now);
        if (data)
                timers_data_sent(&p->timers, now);
        if (session_wants_rekey_sending(s, now))
                timers_want_handshake(&p->timers, true, now);
        return done;
}

static void drop_oldest_staged(struct wg *wg, struct wg_peer *p)
{
        pkt_release(wg->pool, staged_pop(&wg->staged, p));
        wg->drops[WG_DROP_STAGED_FULL]++;
}

/* Who has some gives up his own; the first packet for another peer finds room, whoever came before. */
static struct wg_peer *who_gives_way(const struct wg *wg, struct wg_peer *p)
{
        bool full = wg->staged.total >= wg->staged_limit;
        if (p->staged.count > 0)
                return full || p->staged.count >= WG_STAGED_MAX ? p : NULL;
        return full ? staged_fullest(&wg->staged) : NULL;
}

static void stage(struct wg *wg, struct wg_peer *p, struct pkt *pkt)
{
        struct wg_peer *from = who_gives_way(wg, p);
        if (from != NULL)
                drop_oldest_staged(wg, from);
        if (wg->staged.total >= wg->staged_limit) {
                pkt_release(wg->pool, pkt);
                wg->drops[WG_DROP_STAGED_FULL]++;
                return;
        }
        struct pkt *own = pkt_keep(wg->pool, pkt);
        if (own == NULL) {
                wg->drops[WG_DROP_NO_BUFFER]++;
                return;
        }
        staged_push(&wg->staged, p, own);
}

void wg_peer_refresh(struct wg *wg, uint32_t slot, mono_t now)
{
        struct wg_peer *p = peer_at(wg, slot);
        if (p == NULL || p->keys.current == NULL)
                return;
        timers_peer_restarted(&p->timers, now);
        peer_touch(wg, p);
}

void wg_peer_known(struct wg *wg, uint32_t slot, mono_t since, mono_t now)
{
        struct wg_peer *p = peer_at(wg, slot);
        if (p == NULL)
                return;
        timers_peer_known(&p->timers, since, now);
        peer_touch(wg, p);
}

size_t wg_seal(struct wg *wg, uint32_t slot, struct pkt **pkts, size_t n, mono_t now)
{
        struct wg_peer *p = peer_wake(wg, slot);
        size_t sealed = 0;
        if (n == 0)
                return 0;
        if (p == NULL || !wg->us.is_set || noise_remote_ready(&p->noise, &wg->us) != ERR_NONE) {
                for (size_t i = 0; i < n; i++)
                        pkt_release(wg->pool, pkts[i]);
                wg->drops[WG_DROP_NO_PEER] += n;
                return 0;
        }
        bool usable = p->keys.current != NULL && session_can_send(p->keys.current, n, now);
        if (usable && !mono_is_set(p->hold_until)) {
                sealed = seal(wg, p, pkts, n, now);
        } else {
                for (size_t i = 0; i < n; i++)
                        stage(wg, p, pkts[i]);
                if (!usable)
                        timers_want_handshake(&p->timers, false, now);
        }
        peer_touch(wg, p);
        return sealed;
}

void wg_queue_keepalive(struct wg *wg, struct wg_peer *p, mono_t now)
{
        struct pkt *k = pkt_get(wg->pool);
        if (k == NULL) {
                wg->drops[WG_DROP_NO_BUFFER]++;
                return;
        }
        if (seal(wg, p, &k, 1, now) == 1)
                pkt_queue_push(&wg->out, k);
}

bool wg_release_staged(struct wg *wg, struct wg_peer *p, mono_t now)
{
        bool any = p->staged.count > 0;
        p->hold_until = (mono_t){0};
        while (p->staged.count > 0) {
                struct pkt *batch[SESSION_BURST];
                size_t n = 0;
                while (n < SESSION_BURST && p->staged.count > 0)
                        batch[n++] = staged_pop(&wg->staged, p);
                size_t sealed = seal(wg, p, batch, n, now);
                for (size_t i = 0; i < sealed; i++)
                        pkt_queue_push(&wg->out, batch[i]);
        }
        return any;
}

bool wg_next_out(struct wg *wg, struct wg_out *ret)
{
        if (wg->cookie_count > 0) {
                struct cookie_answer *a = &wg->cookies[wg->cookie_first];
                struct pkt *p = pkt_get(wg->pool);
                wg->cookie_first = (wg->cookie_first + 1) % COOKIE_QUEUE_MAX;
                wg->cookie_count--;
                uint8_t *room = p != NULL ? pkt_put(p, MSG_COOKIE_LEN) : NULL;
                if (room != NULL) {
                        memcpy(room, a->msg, MSG_COOKIE_LEN);
                        p->peer = WG_NO_PEER;
                        *ret = (struct wg_out){.kind = WG_OUT_COOKIE, .p = p, .peer = WG_NO_PEER, .to = a->to};
                        return true;
                }
                pkt_release(wg->pool, p);
                wg->drops[WG_DROP_NO_BUFFER]++;
        }
        struct pkt *p = pkt_queue_pop(&wg->out);
        if (p == NULL)
                return false;
        enum wg_out_kind kind = p->len == MSG_DATA_MIN_LEN ? WG_OUT_KEEPALIVE : WG_OUT_DATA;
        if (pkt_data(p)[0] == MSG_INITIATION)
                kind = WG_OUT_INITIATION;
        else if (pkt_data(p)[0] == MSG_RESPONSE)
                kind = WG_OUT_RESPONSE;
        *ret = (struct wg_out){.kind = kind, .p = p, .peer = p->peer};
        return true;
}

/* ---- In ---- */

/* Cuts p to the length its IP header says and finds its source; false: not a whole IP packet. */
static bool inner_source(struct pkt *p, const uint8_t **ret_ip, uint8_t *ret_len)
{
        const uint8_t *ip = pkt_cdata(p);
        size_t len = 0;
        switch (ip[0] >> 4) {
        case 4:
                len = p->len >= 20 ? load_be16(ip + 2) : 0;
                *ret_ip = ip + 12;
                *ret_len = 4;
                return len >= 20 && pkt_trim(p, len);
        case 6:
                len = p->len >= 40 ? 40 + (size_t)load_be16(ip + 4) : 0;
                *ret_ip = ip + 8;
                *ret_len = 16;
                return len >= 40 && pkt_trim(p, len);
        default:
                return false;
        }
}

/* An authentic packet, opened: what is it? */
static enum wg_verdict judge(struct wg *wg, struct wg_peer *peer, struct pkt *p)
{
        const uint8_t *ip;
        uint8_t len;
        p->peer = peer->slot;
        if (p->len == 0)
                return WG_KEEPALIVE;
        if (!inner_source(p, &ip, &len))
                return wg_dropped(wg, WG_DROP_INNER);
        if (!peer_owns(wg, peer, ip, len))
                return wg_dropped(wg, WG_DROP_SOURCE);
        return WG_DATA;
}

static enum wg_drop drop_of(enum session_opened o)
{
        switch (o) {
        case SESSION_REPLAYED:
                return WG_DROP_REPLAY;
        case SESSION_EXPIRED:
                return WG_DROP_EXPIRED;
        case SESSION_OPENED:
        case SESSION_BAD_TAG:
                break;
        }
        return WG_DROP_TAG;
}

static void drop_all(struct wg *wg, struct wg_in *in, size_t n, enum wg_drop why)
{
        for (size_t i = 0; i < n; i++)
                in[i].verdict = wg_dropped(wg, why);
}

/* Data messages of one session, at most SESSION_BURST. */
static void open_run(struct wg *wg, struct wg_in *in, size_t n, mono_t now)
{
        struct pkt *pkts[SESSION_BURST];
        enum session_opened opened[SESSION_BURST];
        uint16_t size[SESSION_BURST];
        uint32_t index = load_le32(pkt_data(in[0].p) + MSG_RECEIVER);
        struct wg_peer *peer = peer_at(wg, index_find(&wg->index, index));
        struct session *s = peer != NULL ? keypairs_find(&peer->keys, index) : NULL;
        if (s == NULL) {
                drop_all(wg, in, n, WG_DROP_UNKNOWN_INDEX);
                return;
        }
        if (!session_can_receive(s, now)) {
                drop_all(wg, in, n, WG_DROP_EXPIRED);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                pkts[i] = in[i].p;
                size[i] = in[i].p->len;
        }
        session_open(s, pkts, n, now, opened);

        size_t good = 0;
        bool data = false;
        for (size_t i = 0; i < n; i++) {
                if (opened[i] != SESSION_OPENED) {
                        in[i].verdict = wg_dropped(wg, drop_of(opened[i]));
                        continue;
                }
                good++;
                peer->rx_bytes += size[i];
                data = data || size[i] > MSG_DATA_MIN_LEN;
                in[i].verdict = judge(wg, peer, pkts[i]);
        }
        if (good == 0)
                return;
        timers_any_received(&peer->timers, now);
        if (data)
                timers_data_received(&peer->timers, now);
        if (keypairs_confirm(&peer->keys, s, &wg->index)) {
                peer->completed_at = now;
                crypto_wipe(&peer->response, sizeof(peer->response));
                timers_handshake_complete(&peer->timers);
                (void)wg_release_staged(wg, peer, now);
        } else if (s == peer->keys.current && mono_is_set(peer->hold_until)) {
                (void)wg_release_staged(wg, peer, now);   /* it works, so there is no need to wait */
        }
        if (session_wants_rekey_receiving(s, now)) {
                s->rekey_asked = true;
                timers_want_handshake(&peer->timers, true, now);
        }
        peer_touch(wg, peer);
}

/* How many from the front are data messages with one receiver index. */
static size_t run_length(const struct wg_in *in, size_t n)
{
        const uint8_t *first = pkt_cdata(in[0].p);
        size_t i = 1;
        while (i < n && i < SESSION_BURST && msg_classify(pkt_cdata(in[i].p), in[i].p->len) == MSG_DATA &&
               memcmp(pkt_cdata(in[i].p) + MSG_RECEIVER, first + MSG_RECEIVER, 4) == 0)
                i++;
        return i;
}

void wg_open(struct wg *wg, struct wg_in *in, size_t n, mono_t now)
{
        for (size_t i = 0; i < n;) {
                struct wg_in *at = &in[i];
                size_t taken = 1;
                switch (msg_classify(pkt_cdata(at->p), at->p->len)) {
                case MSG_DATA:
                        taken = run_length(at, n - i);
                        open_run(wg, at, taken, now);
                        break;
                case MSG_INITIATION:
                        at->verdict = handshake_on_initiation(wg, at->p, at->src, now);
                        break;
                case MSG_RESPONSE:
                        at->verdict = handshake_on_response(wg, at->p, at->src, now);
                        break;
                case MSG_COOKIE:
                        at->verdict = handshake_on_cookie(wg, at->p, now);
                        break;
                default:
                        at->verdict = wg_dropped(wg, WG_DROP_MALFORMED);
                        break;
                }
                i += taken;
        }
}

/* ---- Time ---- */

mono_t wg_deadline(const struct wg *wg)
{
        return wg->heap_count > 0 ? wg->heap[0]->heap_key : MONO_NEVER;
}

/* Nobody answered the newer initiation: was that lost, or its answer?  Then the peer may know our session no more.  One that
 * asks itself shows soon enough what it knows, and a third handshake across the two would only do harm. */
static bool may_be_unknown(const struct wg_peer *p, mono_t now)
{
        bool asks = mono_is_set(p->accepted_at) && mono_diff_ms(now, p->accepted_at) < OPEN_LIFE_MS;
        return !asks && p->keys.current != NULL;
}

static void expire_peer(struct wg *wg, struct wg_peer *p, mono_t now, int64_t wall_ns)
{
        for (size_t i = 0; i < OPEN_MAX; i++)
                if (p->open[i].index != 0 && mono_diff_ms(now, p->open[i].sent_at) >= OPEN_LIFE_MS)
                        open_forget(wg, &p->open[i]);
        if (mono_is_set(p->hold_until) && mono_reached(now, p->hold_until)) {
                p->hold_until = (mono_t){0};
                if (peer_has_session(p, now) && !wg_release_staged(wg, p, now))
                        wg_queue_keepalive(wg, p, now);
                if (may_be_unknown(p, now))
                        timers_peer_restarted(&p->timers, now);
        }
        for (;;) {
                bool has_session = peer_has_session(p, now);
                switch (timers_expire(&p->timers, has_session, now)) {
                case TIMERS_NOTHING:
                        return;
                case TIMERS_INITIATE:
                        handshake_initiate(wg, p, now, wall_ns);
                        break;
                case TIMERS_GIVE_UP:
                        peer_drop_staged(wg, p, WG_DROP_GAVE_UP);
                        break;
                case TIMERS_KEEPALIVE:
                        if (has_session)
                                wg_queue_keepalive(wg, p, now);
                        break;
                case TIMERS_PERSISTENT:
                        if (has_session)
                                wg_queue_keepalive(wg, p, now);
                        else
                                timers_want_handshake(&p->timers, false, now);
                        break;
                case TIMERS_ZERO:
                        peer_forget_keys(wg, p);
                        break;
                }
        }
}

void wg_expire(struct wg *wg, mono_t now, int64_t wall_ns)
{
        for (int i = 0; i < EXPIRE_BUDGET && mono_reached(now, wg_deadline(wg)); i++) {
                expire_peer(wg, wg->heap[0], now, wall_ns);
                peer_settle_first(wg);
        }
}

void wg_note_load(struct wg *wg, mono_t now)
{
        wg->load_until = mono_add_ms(now, LOAD_HOLD_MS);
}

/* ---- Counters ---- */

uint64_t wg_drops(const struct wg *wg, enum wg_drop reason)
{
        return wg->drops[reason];
}

const char *wg_drop_str(enum wg_drop reason)
{
        static const char *const text[WG_DROP_COUNT] = {
                [WG_DROP_NO_PEER] = "no peer",
                [WG_DROP_STAGED_FULL] = "staging full",
                [WG_DROP_GAVE_UP] = "handshake unanswered",
                [WG_DROP_SIZE] = "too large",
                [WG_DROP_NO_BUFFER] = "no buffer",
                [WG_DROP_MALFORMED] = "malformed",
                [WG_DROP_MAC1] = "wrong mac1",
                [WG_DROP_COOKIE_SENT] = "cookie asked for",
                [WG_DROP_RATE] = "handshakes too often",
                [WG_DROP_HANDSHAKE] = "bad handshake",
                [WG_DROP_STALE_STAMP] = "replayed initiation",
                [WG_DROP_UNKNOWN_INDEX] = "unknown index",
                [WG_DROP_EXPIRED] = "expired keypair",
                [WG_DROP_TAG] = "wrong tag",
                [WG_DROP_REPLAY] = "replayed packet",
                [WG_DROP_INNER] = "no IP packet inside",
                [WG_DROP_SOURCE] = "inner source not allowed",
        };
        return (unsigned)reason < WG_DROP_COUNT ? text[reason] : "unknown";
}
