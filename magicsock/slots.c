/* The table of peers: by slot, by node key, by disco key. */
#include <stdlib.h>
#include <string.h>

#include "magicsock/internal.h"

struct ms_slot *ms_slot_find(const struct ms *ms, uint32_t slot)
{
        return slot < ms->slot_cap ? ms->slots[slot] : NULL;
}

/* ---- disco keys ---- */

static void chain_disco(struct ms *ms, struct ms_slot *s, uint32_t first)
{
        s->same_disco = first;
        /* No memory: the peer stays on its relay, as one without a disco key does. */
        if (keymap_set(&ms->by_disco, s->disco.b, s->slot) != ERR_NONE)
                s->disco = (struct disco_public){{0}};
}

static void unchain_disco(struct ms *ms, struct ms_slot *s)
{
        if (disco_public_is_zero(&s->disco))
                return;
        uint32_t first = keymap_get(&ms->by_disco, s->disco.b);
        struct ms_slot *at = ms_slot_find(ms, first);
        if (at == s && s->same_disco == MS_SLOT_NONE) {
                keymap_remove(&ms->by_disco, s->disco.b);
        } else if (at == s) {
                /* The entry is there already, so this needs no memory. */
                (void)!keymap_set(&ms->by_disco, s->disco.b, s->same_disco);
        } else {
                while (at && at->same_disco != s->slot)
                        at = ms_slot_find(ms, at->same_disco);
                if (at)
                        at->same_disco = s->same_disco;
        }
        s->same_disco = MS_SLOT_NONE;
}

static void set_disco(struct ms *ms, struct ms_slot *s, const struct disco_public *k)
{
        if (disco_public_eq(&s->disco, k))
                return;
        unchain_disco(ms, s);
        crypto_wipe(&s->box, sizeof(s->box));
        s->has_box = s->bad_disco = false;
        s->disco = *k;
        if (!disco_public_is_zero(k))
                chain_disco(ms, s, keymap_get(&ms->by_disco, k->b));
}

/* ---- slots ---- */

static bool grow_slots(struct ms *ms, uint32_t slot)
{
        size_t cap = ms->slot_cap ? ms->slot_cap : 16;
        while (cap <= slot)
                cap *= 2;
        if (cap == ms->slot_cap)
                return true;
        struct ms_slot **slots = realloc(ms->slots, cap * sizeof(*slots));
        if (!slots)
                return false;
        memset(slots + ms->slot_cap, 0, (cap - ms->slot_cap) * sizeof(*slots));
        ms->slots = slots;
        ms->slot_cap = cap;
        return true;
}

static struct ms_slot *new_slot(struct ms *ms, uint32_t slot, const struct node_public *key)
{
        struct ms_slot *s = grow_slots(ms, slot) ? calloc(1, sizeof(*s)) : NULL;
        if (!s)
                return NULL;
        if (keymap_set(&ms->by_key, key->b, slot) != ERR_NONE) {
                free(s);
                return NULL;
        }
        s->ms = ms;
        s->slot = slot;
        s->key = *key;
        s->same_disco = MS_SLOT_NONE;
        timer_init(&s->timer, ms_on_slot_timer);
        ms_peer_init(&s->peer);
        s->peer.likely = derp_mgr_home(ms->derp);
        ms->slots[slot] = s;
        ms->peer_count++;
        return s;
}

static void free_slot(struct ms_slot *s)
{
        if (!s)
                return;
        loop_timer_stop(&s->timer);
        ms_peer_done(&s->peer);
        crypto_wipe(&s->box, sizeof(s->box));
        free(s);
}

enum err ms_peer_set(struct ms *ms, uint32_t slot, const struct ms_peer_config *c, mono_t now)
{
        if (slot >= MS_SLOTS_MAX)
                return ERR_FULL;
        uint32_t holder = keymap_get(&ms->by_key, c->key.b);
        if (holder != KEYMAP_NONE && holder != slot)
                return ERR_STATE;
        struct ms_slot *s = ms_slot_find(ms, slot);
        if (s && !node_public_eq(&s->key, &c->key)) {
                ms_peer_remove(ms, slot, now);
                s = NULL;
        }
        if (!s && !(s = new_slot(ms, slot, &c->key)))
                return ERR_FULL;
        /* A disco key lives as long as its process: a new one means new sockets, and the path in use is dead. */
        bool restarted = !disco_public_is_zero(&s->disco) && !disco_public_is_zero(&c->disco) &&
                         !disco_public_eq(&s->disco, &c->disco);
        set_disco(ms, s, &c->disco);
        size_t n = c->endpoint_count < MS_PEER_ENDPOINTS_MAX ? c->endpoint_count : MS_PEER_ENDPOINTS_MAX;
        ms_peer_on_config(&s->peer, !disco_public_is_zero(&s->disco), c->expired, c->home, c->endpoints, n,
                          now);
        if (restarted)
                ms_peer_on_rebind(&s->peer, now, &ms->out);
        ms_settle(ms, s, now);
        return ERR_NONE;
}

struct disco_public ms_peer_disco(const struct ms *ms, uint32_t slot)
{
        const struct ms_slot *s = ms_slot_find(ms, slot);
        return s ? s->disco : (struct disco_public){0};
}

void ms_peer_remove(struct ms *ms, uint32_t slot, mono_t now)
{
        struct ms_slot *s = ms_slot_find(ms, slot);
        if (!s)
                return;
        ms_peer_stop(&s->peer, &ms->out); /* answers the pings that wait */
        ms_settle(ms, s, now);
        unchain_disco(ms, s);
        keymap_remove(&ms->by_key, s->key.b);
        ms->drops[MS_DROP_DISCO_RATE] += s->peer.limited;
        ms->slots[slot] = NULL;
        ms->peer_count--;
        free_slot(s);
}

void ms_slots_init(struct ms *ms)
{
        uint64_t seed[2];
        crypto_random(seed, sizeof(seed));
        keymap_init(&ms->by_key, seed[0]);
        keymap_init(&ms->by_disco, seed[1]);
}

void ms_slots_done(struct ms *ms)
{
        for (size_t i = 0; i < ms->slot_cap; i++)
                free_slot(ms->slots[i]);
        free(ms->slots);
        keymap_done(&ms->by_key);
        keymap_done(&ms->by_disco);
}

bool ms_peer_status(const struct ms *ms, uint32_t slot, struct ms_peer_status *ret, mono_t now)
{
        const struct ms_slot *s = ms_slot_find(ms, slot);
        if (!s)
                return false;
        *ret = (struct ms_peer_status){
                .active = ms_peer_is_active(&s->peer, now),
                .relay = s->peer.home,
                .last_send = s->peer.last_send,
                .last_heard = s->heard,
                .tx_direct = s->tx_direct,
                .tx_relay = s->tx_relay,
        };
        if (ms_peer_is_direct(&s->peer, now))
                ret->cur_addr = s->peer.best.addr;
        const struct derp_region *r = ms->map && s->peer.home ? derpmap_region(ms->map, s->peer.home) : NULL;
        if (r)
                memcpy(ret->relay_code, r->code, sizeof(ret->relay_code));
        return true;
}
