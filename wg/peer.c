#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "wg/engine.h"

/* ---- Deadlines: a min-heap of peers ---- */

static void heap_put(struct wg *wg, size_t at, struct wg_peer *p)
{
        wg->heap[at] = p;
        p->heap_at = at + 1;
}

static void heap_up(struct wg *wg, size_t at)
{
        struct wg_peer *p = wg->heap[at];
        while (at > 0) {
                size_t up = (at - 1) / 2;
                if (wg->heap[up]->heap_key.ns <= p->heap_key.ns)
                        break;
                heap_put(wg, at, wg->heap[up]);
                at = up;
        }
        heap_put(wg, at, p);
}

static void heap_down(struct wg *wg, size_t at)
{
        struct wg_peer *p = wg->heap[at];
        for (;;) {
                size_t child = 2 * at + 1;
                if (child >= wg->heap_count)
                        break;
                if (child + 1 < wg->heap_count && wg->heap[child + 1]->heap_key.ns < wg->heap[child]->heap_key.ns)
                        child++;
                if (wg->heap[child]->heap_key.ns >= p->heap_key.ns)
                        break;
                heap_put(wg, at, wg->heap[child]);
                at = child;
        }
        heap_put(wg, at, p);
}

static void heap_remove(struct wg *wg, struct wg_peer *p)
{
        if (p->heap_at == 0)
                return;
        size_t at = p->heap_at - 1;
        p->heap_at = 0;
        struct wg_peer *last = wg->heap[--wg->heap_count];
        if (last == p)
                return;
        heap_put(wg, at, last);
        heap_up(wg, at);
        heap_down(wg, last->heap_at - 1);
}

static mono_t peer_deadline(const struct wg_peer *p)
{
        mono_t first = timers_deadline(&p->timers);
        if (mono_is_set(p->hold_until))
                first = mono_min(first, p->hold_until);
        for (size_t i = 0; i < OPEN_MAX; i++)
                if (p->open[i].index != 0)
                        first = mono_min(first, mono_add_ms(p->open[i].sent_at, OPEN_LIFE_MS));
        return first;
}

void peer_touch(struct wg *wg, struct wg_peer *p)
{
        mono_t at = peer_deadline(p);
        if (p->heap_at != 0) {
                /* A later deadline waits until the old one comes up. */
                if (at.ns < p->heap_key.ns) {
                        p->heap_key = at;
                        heap_up(wg, p->heap_at - 1);
                }
        } else if (at.ns != MONO_NEVER.ns) {
                p->heap_key = at;
                heap_put(wg, wg->heap_count++, p);
                heap_up(wg, p->heap_at - 1);
        }
}

void peer_settle_first(struct wg *wg)
{
        struct wg_peer *p = wg->heap[0];
        mono_t at = peer_deadline(p);
        if (at.ns == MONO_NEVER.ns) {
                heap_remove(wg, p);
        } else {
                p->heap_key = at;
                heap_down(wg, 0);
        }
}

/* ---- Tables ---- */

static bool is_known(const struct wg *wg, uint32_t slot)
{
        return slot < wg->slot_count && wg->known[slot].used;
}

struct wg_peer *peer_at(const struct wg *wg, uint32_t slot)
{
        return slot < wg->slot_count ? wg->slot[slot] : NULL;
}

/* Where key is in by_key, or the free place where its search ends. */
static size_t key_place(const struct wg *wg, const struct node_public *key)
{
        size_t i = (size_t)crypto_short_hash(wg->by_key_seed, key->b, KEY_LEN) & (wg->by_key_cap - 1);
        while (wg->by_key[i] != WG_NO_PEER && !node_public_eq(&wg->known[wg->by_key[i]].pub, key))
                i = (i + 1) & (wg->by_key_cap - 1);
        return i;
}

/* The table anew, cap places wide, from the slots.  ERR_FULL leaves it as it was. */
static enum err key_rebuild(struct wg *wg, size_t cap)
{
        uint32_t *table = malloc(cap * sizeof(*table));
        if (table == NULL)
                return ERR_FULL;
        for (size_t i = 0; i < cap; i++)
                table[i] = WG_NO_PEER;
        free(wg->by_key);
        wg->by_key = table;
        wg->by_key_cap = cap;
        for (uint32_t s = 0; s < wg->slot_count; s++)
                if (wg->known[s].used)
                        wg->by_key[key_place(wg, &wg->known[s].pub)] = s;
        return ERR_NONE;
}

/* Takes the key out and puts the rest of its run where searches will find it. */
static void key_remove(struct wg *wg, const struct node_public *key)
{
        size_t mask = wg->by_key_cap - 1;
        size_t at = key_place(wg, key);
        wg->by_key[at] = WG_NO_PEER;
        for (size_t i = (at + 1) & mask; wg->by_key[i] != WG_NO_PEER; i = (i + 1) & mask) {
                uint32_t s = wg->by_key[i];
                wg->by_key[i] = WG_NO_PEER;
                wg->by_key[key_place(wg, &wg->known[s].pub)] = s;
        }
}

/* Room for slot number `slot` in every table. */
static enum err make_room(struct wg *wg, uint32_t slot)
{
        if (slot >= wg->max_peers)
                return ERR_FULL;
        if (slot >= wg->slot_count) {
                size_t count = wg->slot_count != 0 ? wg->slot_count : 16;
                while (count <= slot)
                        count *= 2;
                struct wg_peer **slots = realloc(wg->slot, count * sizeof(struct wg_peer *));
                if (slots == NULL)
                        return ERR_FULL;
                memset(slots + wg->slot_count, 0, (count - wg->slot_count) * sizeof(struct wg_peer *));
                wg->slot = slots;
                struct wg_known *known = realloc(wg->known, count * sizeof(*known));
                if (known == NULL)
                        return ERR_FULL;   /* what is longer than slot_count says does no harm */
                memset(known + wg->slot_count, 0, (count - wg->slot_count) * sizeof(*known));
                wg->known = known;
                struct wg_peer **heap = realloc(wg->heap, count * sizeof(struct wg_peer *));
                if (heap == NULL)
                        return ERR_FULL;
                wg->heap = heap;
                wg->slot_count = (uint32_t)count;
        }
        if (2 * (wg->peer_count + 1) > wg->by_key_cap)
                return key_rebuild(wg, wg->by_key_cap != 0 ? wg->by_key_cap * 2 : 64);
        return ERR_NONE;
}

/* ---- Allowed IPs ---- */

static int prefix_order(const void *a, const void *b)
{
        const struct prefix *x = a;
        const struct prefix *y = b;
        int c = ip_cmp(x->ip, y->ip);
        return c != 0 ? c : (int)x->bits - (int)y->bits;
}

/* Removes those of old that are not in keep, unless another peer has taken them over.  Both in order. */
static void disallow(struct wg *wg, uint32_t slot, const struct prefix *old, size_t n, const struct prefix *keep,
        size_t keep_count)
{
        size_t k = 0;
        for (size_t i = 0; i < n; i++) {
                while (k < keep_count && prefix_order(&keep[k], &old[i]) < 0)
                        k++;
                bool kept = k < keep_count && prefix_order(&keep[k], &old[i]) == 0;
                if (!kept && trie_get(wg->allowed, old[i]) == slot)
                        (void)trie_remove(wg->allowed, old[i]);
        }
}

/* On an error, those set so far are taken back as far as they were not ours before. */
static enum err allow(struct wg *wg, uint32_t slot, const struct prefix *allowed, size_t n)
{
        struct wg_known *k = &wg->known[slot];
        struct prefix *copy = NULL;
        if (n > 0) {
                copy = malloc(n * sizeof(*copy));
                if (copy == NULL)
                        return ERR_FULL;
        }
        for (size_t i = 0; i < n; i++)
                copy[i] = prefix_masked(allowed[i]);
        if (n > 0)
                qsort(copy, n, sizeof(*copy), prefix_order);
        wg->allowed_epoch++;
        for (size_t i = 0; i < n; i++) {
                enum err e = trie_set(wg->allowed, copy[i], slot);
                if (e != ERR_NONE) {
                        disallow(wg, slot, copy, i, k->allowed, k->allowed_count);
                        free(copy);
                        return e;
                }
        }
        disallow(wg, slot, k->allowed, k->allowed_count, copy, n);
        free(k->allowed);
        k->allowed = copy;
        k->allowed_count = (uint32_t)n;
        return ERR_NONE;
}

bool peer_owns(struct wg *wg, struct wg_peer *p, const uint8_t *ip, uint8_t len)
{
        if (p->good_len == len && p->good_epoch == wg->allowed_epoch && memcmp(p->good_source, ip, len) == 0)
                return true;
        if (wg_peer_by_ip(wg, ip, len) != p->slot)
                return false;
        memcpy(p->good_source, ip, len);
        p->good_len = len;
        p->good_epoch = wg->allowed_epoch;
        return true;
}

/* ---- Life of a peer ---- */

bool peer_has_session(const struct wg_peer *p, mono_t now)
{
        return p->keys.current != NULL && session_can_send(p->keys.current, 1, now);
}

void peer_drop_staged(struct wg *wg, struct wg_peer *p, enum wg_drop reason)
{
        for (struct pkt *q; (q = staged_pop(&wg->staged, p)) != NULL;) {
                wg->drops[reason]++;
                pkt_release(wg->pool, q);
        }
}

void peer_forget_keys(struct wg *wg, struct wg_peer *p)
{
        keypairs_clear(&p->keys, &wg->index);
        for (size_t i = 0; i < OPEN_MAX; i++)
                open_forget(wg, &p->open[i]);
        crypto_wipe(&p->response, sizeof(p->response));
        p->hold_until = (mono_t){0};
}

void peer_reset(struct wg *wg, struct wg_peer *p)
{
        peer_forget_keys(wg, p);
        peer_drop_staged(wg, p, WG_DROP_NO_PEER);
        timers_stop(&p->timers);
        noise_remote_forget_ss(&p->noise);
        p->jar = (struct cookie_jar){0};
        p->accepted_at = p->spaced_until = (mono_t){0};
}

/* Messages already made for a slot must not be sent to its next tenant. */
static void drop_queued_for(struct wg *wg, uint32_t slot)
{
        struct pkt_queue all = wg->out;
        wg->out = (struct pkt_queue){0};
        for (struct pkt *q; (q = pkt_queue_pop(&all)) != NULL;) {
                if (q->peer == slot)
                        pkt_release(wg->pool, q);
                else
                        pkt_queue_push(&wg->out, q);
        }
}

/* What it has come to be beyond what is known. */
static void peer_end(struct wg *wg, struct wg_peer *p)
{
        /* It may come back, and remembers what we sent, whatever is done to our clock meanwhile. */
        if (memcmp(p->noise.stamp_sent, wg->stamp_floor, STAMP_LEN) > 0)
                memcpy(wg->stamp_floor, p->noise.stamp_sent, STAMP_LEN);
        peer_reset(wg, p);
        heap_remove(wg, p);
        drop_queued_for(wg, p->slot);
        wg->slot[p->slot] = NULL;
        crypto_wipe(p, sizeof(*p));
        free(p);
}

void wg_peer_remove(struct wg *wg, uint32_t slot)
{
        if (!is_known(wg, slot))
                return;
        struct wg_known *k = &wg->known[slot];
        if (wg->slot[slot] != NULL)
                peer_end(wg, wg->slot[slot]);
        disallow(wg, slot, k->allowed, k->allowed_count, NULL, 0);
        wg->allowed_epoch++;
        key_remove(wg, &k->pub);
        free(k->allowed);
        *k = (struct wg_known){0};
        wg->peer_count--;
}

/* A new peer in an empty slot, without allowed IPs yet. */
static enum err peer_add(struct wg *wg, uint32_t slot, const struct node_public *key)
{
        enum err e = make_room(wg, slot);
        if (e != ERR_NONE)
                return e;
        wg->by_key[key_place(wg, key)] = slot;
        wg->known[slot] = (struct wg_known){.used = true, .pub = *key};
        wg->peer_count++;
        return ERR_NONE;
}

struct wg_peer *peer_wake(struct wg *wg, uint32_t slot)
{
        if (!is_known(wg, slot))
                return NULL;
        if (wg->slot[slot] != NULL)
                return wg->slot[slot];
        struct wg_peer *p = calloc(1, sizeof(*p));
        if (p == NULL)
                return NULL;
        p->slot = slot;
        noise_remote_set(&p->noise, &wg->known[slot].pub);
        p->timers.jitter_ns = (int64_t)crypto_random_below(TIMERS_JITTER_MS) * NS_PER_MS;
        wg->slot[slot] = p;
        return p;
}

enum err wg_peer_set(struct wg *wg, uint32_t slot, const struct node_public *key, const struct prefix *allowed, size_t n)
{
        uint32_t same = wg_peer_by_key(wg, key);
        bool known = same != WG_NO_PEER;
        if ((known && same != slot) || (wg->us.is_set && node_public_eq(key, &wg->us.pub)))
                return ERR_STATE;
        if (known)
                return allow(wg, slot, allowed, n);

        wg_peer_remove(wg, slot);
        enum err e = peer_add(wg, slot, key);
        if (e != ERR_NONE)
                return e;
        e = allow(wg, slot, allowed, n);
        if (e != ERR_NONE)
                wg_peer_remove(wg, slot);
        return e;
}

void wg_peer_set_psk(struct wg *wg, uint32_t slot, const uint8_t psk[KEY_LEN])
{
        struct wg_peer *p = peer_wake(wg, slot);
        if (p != NULL)
                memcpy(p->noise.psk, psk, KEY_LEN);
}

void wg_peer_set_persistent(struct wg *wg, uint32_t slot, uint16_t interval_s, mono_t now)
{
        struct wg_peer *p = peer_wake(wg, slot);
        if (p == NULL)
                return;
        timers_set_persistent(&p->timers, interval_s, now);
        peer_touch(wg, p);
}

/* ---- Questions ---- */

size_t wg_peer_count(const struct wg *wg)
{
        return wg->peer_count;
}

uint32_t wg_peer_by_ip(const struct wg *wg, const uint8_t *ip, size_t len)
{
        return len == 4 ? trie_find4(wg->allowed, ip) : len == 16 ? trie_find16(wg->allowed, ip) : WG_NO_PEER;
}

uint32_t wg_peer_by_key(const struct wg *wg, const struct node_public *key)
{
        return wg->by_key_cap != 0 ? wg->by_key[key_place(wg, key)] : WG_NO_PEER;
}

uint32_t wg_peer_for(const struct wg *wg, const uint8_t *packet, size_t len)
{
        if (len >= 20 && packet[0] >> 4 == 4)
                return wg_peer_by_ip(wg, packet + 16, 4);
        if (len >= 40 && packet[0] >> 4 == 6)
                return wg_peer_by_ip(wg, packet + 24, 16);
        return WG_NO_PEER;
}

bool wg_peer_stats(const struct wg *wg, uint32_t slot, mono_t now, int64_t wall_ns, struct wg_peer_stats *ret)
{
        *ret = (struct wg_peer_stats){0};
        const struct wg_peer *p = peer_at(wg, slot);
        if (p == NULL)
                return is_known(wg, slot);
        *ret = (struct wg_peer_stats){
                .last_handshake_ns = mono_is_set(p->completed_at) ? wall_ns - mono_diff_ns(now, p->completed_at) : 0,
                .rx_bytes = p->rx_bytes,
                .tx_bytes = p->tx_bytes,
                .staged = (uint32_t)p->staged.count,
                .session = peer_has_session(p, now),
        };
        return true;
}
