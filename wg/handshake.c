#include <string.h>

#include "base/crypto.h"
#include "wg/engine.h"

/* ---- Initiations of ours that are open ---- */

void open_forget(struct wg *wg, struct open_initiation *o)
{
        index_remove(&wg->index, o->index);
        crypto_wipe(o, sizeof(*o));
}

/* A free place, made by forgetting the oldest if need be. */
static struct open_initiation *open_place(struct wg *wg, struct wg_peer *p)
{
        struct open_initiation *oldest = &p->open[0];
        for (size_t i = 0; i < OPEN_MAX; i++) {
                if (p->open[i].index == 0)
                        return &p->open[i];
                if (p->open[i].order < oldest->order)
                        oldest = &p->open[i];
        }
        open_forget(wg, oldest);
        return oldest;
}

static struct open_initiation *open_find(struct wg_peer *p, uint32_t index)
{
        for (size_t i = 0; i < OPEN_MAX; i++)
                if (p->open[i].index == index)
                        return &p->open[i];
        return NULL;
}

/* How long data should wait for the answer to an initiation newer than `answered`: as long as that one's
 * took, and a little.  Unset: not at all. */
static mono_t hold_for(const struct wg_peer *p, const struct open_initiation *answered, mono_t now)
{
        const struct open_initiation *newest = answered;
        for (size_t i = 0; i < OPEN_MAX; i++)
                if (p->open[i].index != 0 && p->open[i].order > newest->order)
                        newest = &p->open[i];
        int64_t trip_ns = mono_diff_ns(now, answered->sent_at);
        mono_t until = mono_add_ns(newest->sent_at, trip_ns + trip_ns / 4 + HOLD_SLACK_MS * NS_PER_MS);
        until = mono_min(until, mono_add_ms(now, HOLD_MOST_MS));
        return newest != answered && until.ns > now.ns ? until : (mono_t){0};
}

/* The one that was answered has become a session; older ones can no longer be of use.  Newer ones stay:
 * the peer may keep only the session of the newest initiation it got. */
static void open_answered(struct wg *wg, struct wg_peer *p, struct open_initiation *answered)
{
        uint64_t order = answered->order;
        crypto_wipe(answered, sizeof(*answered));   /* its index now belongs to the session */
        for (size_t i = 0; i < OPEN_MAX; i++)
                if (p->open[i].index != 0 && p->open[i].order < order)
                        open_forget(wg, &p->open[i]);
}

/* ---- Sending ---- */

static void queue_message(struct wg *wg, struct wg_peer *p, struct pkt *out, const uint8_t *msg, size_t len)
{
        uint8_t *room = pkt_put(out, len);
        if (room == NULL) {
                pkt_release(wg->pool, out);
                wg->drops[WG_DROP_SIZE]++;
                return;
        }
        memcpy(room, msg, len);
        out->peer = p->slot;
        p->tx_bytes += len;
        pkt_queue_push(&wg->out, out);
}

void wg_set_stamp_floor(struct wg *wg, int64_t wall_ns)
{
        static const uint8_t none[STAMP_LEN];
        noise_stamp(wg->stamp_floor, wall_ns, none);
}

void handshake_initiate(struct wg *wg, struct wg_peer *p, mono_t now, int64_t wall_ns)
{
        uint8_t msg[MSG_INITIATION_LEN];
        uint8_t stamp[STAMP_LEN];
        struct key_private ephemeral = {0};
        uint32_t index = 0;
        struct pkt *out = pkt_get(wg->pool);
        if (out == NULL) {
                wg->drops[WG_DROP_NO_BUFFER]++;
                timers_initiation_failed(&p->timers, now);
                return;
        }
        struct open_initiation *o = open_place(wg, p);
        enum err e = wg->us.is_set ? index_add(&wg->index, p->slot, &index) : ERR_STATE;
        if (e == ERR_NONE) {
                key_generate(&ephemeral);
                bool again = memcmp(p->noise.stamp_sent, wg->stamp_floor, STAMP_LEN) > 0;
                noise_stamp(stamp, wall_ns, again ? p->noise.stamp_sent : wg->stamp_floor);
                e = noise_initiate(&o->noise, &wg->us, &p->noise, &ephemeral, index, stamp, msg);
                key_wipe(&ephemeral);
        }
        if (e != ERR_NONE) {
                index_remove(&wg->index, index);
                pkt_release(wg->pool, out);
                timers_handshake_complete(&p->timers);   /* no use in trying again */
                peer_drop_staged(wg, p, WG_DROP_NO_PEER);
                return;
        }
        cookie_add_macs(p->noise.mac1_key, &p->jar, msg, sizeof(msg), now);
        o->index = index;
        o->order = ++p->open_order;
        o->sent_at = now;
        memcpy(o->mac1, msg + msg_mac1_at(sizeof(msg)), MSG_MAC_LEN);
        o->cookie_awaited = true;
        timers_initiation_sent(&p->timers, (int64_t)crypto_random_below(TIMERS_JITTER_MS) * NS_PER_MS, now);
        queue_message(wg, p, out, msg, sizeof(msg));
}

/* ---- Load ---- */

static struct cookie_source source_bytes(const struct wg_source *src)
{
        struct cookie_source s = {0};
        if (src->relay_region != 0) {
                store_be16(s.b, src->relay_region);
                memcpy(s.b + 2, src->relay_peer.b, KEY_LEN);
                s.len = 2 + KEY_LEN;
        } else {
                s.len = src->addr.ip.family == IP_V4 ? 4 : 16;
                memcpy(s.b, src->addr.ip.b, s.len);
                store_be16(s.b + s.len, src->addr.port);
                s.len = (uint8_t)(s.len + 2);
        }
        return s;
}

/* What the limiter counts: one host, so all of an IPv6 /64, and whatever the port. */
static bool within_rate(struct wg *wg, const struct wg_source *src, mono_t now)
{
        if (src->relay_region != 0)
                return ratelimit_allow(&wg->limiter, src->relay_peer.b, KEY_LEN, now);
        return ratelimit_allow(&wg->limiter, src->addr.ip.b, src->addr.ip.family == IP_V4 ? 4 : 8, now);
}

static void queue_cookie(struct wg *wg, const struct wg_source *src, const struct cookie_source *bytes,
        const uint8_t *msg, size_t len, mono_t now)
{
        uint8_t nonce[24];
        if (wg->cookie_count == COOKIE_QUEUE_MAX)
                return;
        struct cookie_answer *a = &wg->cookies[(wg->cookie_first + wg->cookie_count++) % COOKIE_QUEUE_MAX];
        crypto_random(nonce, sizeof(nonce));
        a->to = *src;
        cookie_reply(&wg->checker, wg->us.cookie_key, bytes, msg, len, nonce, now, a->msg);
}

static bool under_load(struct wg *wg, mono_t now)
{
        mono_t full = mono_add_ns(wg->load_full_at.ns > now.ns ? wg->load_full_at : now, LOAD_COST_US * NS_PER_US);
        if (mono_diff_ns(full, now) > LOAD_BURST_US * NS_PER_US)
                wg_note_load(wg, now);
        else
                wg->load_full_at = full;
        return now.ns < wg->load_until.ns;
}

/* Whether a message with a good mac1 may cost us scalar multiplications.  If not, it is dropped here. */
static bool admit(struct wg *wg, const struct pkt *p, const struct wg_source *src, mono_t now)
{
        if (!under_load(wg, now))
                return true;
        const uint8_t *msg = pkt_cdata(p);
        struct cookie_source bytes = source_bytes(src);
        if (!cookie_mac2_ok(&wg->checker, &bytes, msg, p->len, now)) {
                queue_cookie(wg, src, &bytes, msg, p->len, now);
                (void)wg_dropped(wg, WG_DROP_COOKIE_SENT);
                return false;
        }
        if (!within_rate(wg, src, now)) {
                (void)wg_dropped(wg, WG_DROP_RATE);
                return false;
        }
        return true;
}

/* ---- Receiving ---- */

/* The answer to an accepted call, and the session that comes of it. */
static enum err respond(struct wg *wg, struct wg_peer *p, struct noise_call *call, mono_t now)
{
        uint8_t msg[MSG_RESPONSE_LEN];
        struct key_private ephemeral = {0};
        struct noise_keys keys = {0};
        struct session *s = NULL;
        uint32_t index = 0;
        uint32_t remote = call->sender_index;
        struct pkt *out = pkt_get(wg->pool);
        if (out == NULL)
                return ERR_FULL;
        enum err e = index_add(&wg->index, p->slot, &index);
        if (e == ERR_NONE) {
                key_generate(&ephemeral);
                e = noise_respond(call, &p->noise, &ephemeral, index, msg, &keys);
        }
        if (e == ERR_NONE) {
                s = session_new(&keys, index, remote, false, now);
                e = s != NULL ? ERR_NONE : ERR_FULL;
        }
        key_wipe(&ephemeral);
        crypto_wipe(&keys, sizeof(keys));
        if (e != ERR_NONE) {
                index_remove(&wg->index, index);
                pkt_release(wg->pool, out);
                return e;
        }
        session_share(s, wg->crew);
        keypairs_offer(&p->keys, s, &wg->index);
        cookie_add_macs(p->noise.mac1_key, &p->jar, msg, sizeof(msg), now);
        memcpy(p->response.msg, msg, sizeof(msg));
        p->response.cookie_awaited = true;
        timers_session_derived(&p->timers, now);
        timers_response_sent(&p->timers, peer_has_session(p, now), now);
        queue_message(wg, p, out, msg, sizeof(msg));
        return ERR_NONE;
}

_Static_assert((int)SPACING_BURST == (int)TIMERS_TRIES + (int)TIMERS_EARLY_TRIES, "a whole series is answered");

static bool is_too_soon(const struct wg_peer *p, mono_t now)
{
        return mono_diff_ns(p->spaced_until, now) > (SPACING_BURST - 1) * SPACING_MS * NS_PER_MS;
}

enum wg_verdict handshake_on_initiation(struct wg *wg, struct pkt *in, const struct wg_source *src, mono_t now)
{
        const uint8_t *msg = pkt_cdata(in);
        struct noise_call call = {0};
        if (!wg->us.is_set)
                return wg_dropped(wg, WG_DROP_NO_PEER);
        if (!cookie_mac1_ok(wg->us.mac1_key, msg, in->len))
                return wg_dropped(wg, WG_DROP_MAC1);
        if (!admit(wg, in, src, now))
                return WG_DROP;

        enum wg_drop why = WG_DROP_HANDSHAKE;
        enum err e = noise_peek(&call, &wg->us, msg);
        struct wg_peer *p = e == ERR_NONE ? peer_wake(wg, wg_peer_by_key(wg, &call.from)) : NULL;
        if (p == NULL)
                goto drop;
        e = noise_accept(&call, &wg->us, &p->noise, msg);
        if (e == ERR_REPLAY || (e == ERR_NONE && is_too_soon(p, now)))
                why = WG_DROP_STALE_STAMP;   /* too soon: the stamp is not used up */
        if (e != ERR_NONE || why == WG_DROP_STALE_STAMP)
                goto drop;
        e = respond(wg, p, &call, now);
        if (e == ERR_FULL)
                why = WG_DROP_NO_BUFFER;
        if (e != ERR_NONE)
                goto drop;
        noise_call_wipe(&call);
        p->accepted_at = now;
        p->spaced_until = mono_add_ms(p->spaced_until.ns > now.ns ? p->spaced_until : now, SPACING_MS);
        p->rx_bytes += in->len;
        timers_any_received(&p->timers, now);
        peer_touch(wg, p);
        in->peer = p->slot;
        return WG_HANDSHAKE;
drop:
        noise_call_wipe(&call);
        return wg_dropped(wg, why);
}

enum wg_verdict handshake_on_response(struct wg *wg, struct pkt *in, const struct wg_source *src, mono_t now)
{
        const uint8_t *msg = pkt_cdata(in);
        struct noise_keys keys = {0};
        if (!wg->us.is_set)
                return wg_dropped(wg, WG_DROP_NO_PEER);
        if (!cookie_mac1_ok(wg->us.mac1_key, msg, in->len))
                return wg_dropped(wg, WG_DROP_MAC1);
        uint32_t index = load_le32(msg + MSG_RESPONSE_RECEIVER);
        struct wg_peer *p = peer_at(wg, index_find(&wg->index, index));
        struct open_initiation *o = p != NULL ? open_find(p, index) : NULL;
        if (o == NULL || mono_diff_ms(now, o->sent_at) >= OPEN_LIFE_MS)
                return wg_dropped(wg, WG_DROP_UNKNOWN_INDEX);
        if (!admit(wg, in, src, now))
                return WG_DROP;

        /* A forged response changes nothing: the true one may still come. */
        if (noise_finish(&o->noise, &wg->us, &p->noise, msg, &keys) != ERR_NONE)
                return wg_dropped(wg, WG_DROP_HANDSHAKE);
        struct session *s = session_new(&keys, index, load_le32(msg + MSG_SENDER), true, now);
        crypto_wipe(&keys, sizeof(keys));
        if (s == NULL)
                return wg_dropped(wg, WG_DROP_NO_BUFFER);
        session_share(s, wg->crew);
        mono_t hold = hold_for(p, o, now), asked = o->sent_at;
        open_answered(wg, p, o);
        keypairs_adopt(&p->keys, s, asked, &wg->index);
        p->completed_at = now;
        p->rx_bytes += in->len;
        timers_session_derived(&p->timers, now);
        timers_handshake_complete(&p->timers);
        timers_any_received(&p->timers, now);
        p->hold_until = hold;
        /* The first packet confirms the session to the responder; one that is about to be replaced stays unused, so that
         * nobody loses what it was used for. */
        if (!mono_is_set(hold) && !wg_release_staged(wg, p, now))
                wg_queue_keepalive(wg, p, now);
        peer_touch(wg, p);
        in->peer = p->slot;
        return WG_HANDSHAKE;
}

/* The peer will not answer our response without a cookie: the same one again, with it. */
static void repeat_response(struct wg *wg, struct wg_peer *p, mono_t now)
{
        struct pkt *out = pkt_get(wg->pool);
        if (out == NULL) {
                wg->drops[WG_DROP_NO_BUFFER]++;
                return;
        }
        cookie_add_macs(p->noise.mac1_key, &p->jar, p->response.msg, MSG_RESPONSE_LEN, now);
        queue_message(wg, p, out, p->response.msg, MSG_RESPONSE_LEN);
}

enum wg_verdict handshake_on_cookie(struct wg *wg, struct pkt *in, mono_t now)
{
        const uint8_t *msg = pkt_cdata(in);
        uint32_t index = load_le32(msg + MSG_RECEIVER);
        struct wg_peer *p = peer_at(wg, index_find(&wg->index, index));
        if (p == NULL)
                return wg_dropped(wg, WG_DROP_UNKNOWN_INDEX);
        struct open_initiation *o = open_find(p, index);
        bool to_response = o == NULL && p->keys.next != NULL && p->keys.next->local_index == index;
        bool *awaited = o != NULL ? &o->cookie_awaited : &p->response.cookie_awaited;
        const uint8_t *mac1 = o != NULL ? o->mac1 : p->response.msg + msg_mac1_at(MSG_RESPONSE_LEN);
        if ((o == NULL && !to_response) || !*awaited)
                return wg_dropped(wg, WG_DROP_UNKNOWN_INDEX);
        if (cookie_consume(&p->jar, p->noise.cookie_key, mac1, msg, now) != ERR_NONE)
                return wg_dropped(wg, WG_DROP_HANDSHAKE);
        *awaited = false;
        p->rx_bytes += in->len;
        if (to_response)
                repeat_response(wg, p, now);
        return WG_COOKIE;
}
