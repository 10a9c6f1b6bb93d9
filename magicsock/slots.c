/* The table of peers: by slot, by node key, by disco key; awake or asleep. */
#include <stdlib.h>
#include <string.h>

#include "magicsock/internal.h"
#include "magicsock/search.h"

static struct ms_known *known(const struct ms *ms, uint32_t slot)
{
        return slot < ms->slot_cap && ms->known[slot].used ? &ms->known[slot] : NULL;
}

/* ---- disco keys ---- */

static void chain_disco(struct ms *ms, uint32_t slot, uint32_t first)
{
        struct ms_known *k = &ms->known[slot];
        k->same_disco = first;
        /* No memory: the peer stays on its relay, as one without a disco key does. */
        if (keymap_set(&ms->by_disco, k->disco.b, slot) != ERR_NONE)
                k->disco = (struct disco_public){{0}};
}

static void unchain_disco(struct ms *ms, uint32_t slot)
{
        struct ms_known *k = &ms->known[slot];
        if (disco_public_is_zero(&k->disco))
                return;
        uint32_t first = keymap_get(&ms->by_disco, k->disco.b);
        if (first == slot && k->same_disco == MS_SLOT_NONE) {
                keymap_remove(&ms->by_disco, k->disco.b);
        } else if (first == slot) {
                /* The entry is there already, so this needs no memory. */
                (void)!keymap_set(&ms->by_disco, k->disco.b, k->same_disco);
        } else {
                struct ms_known *at = known(ms, first);
                while (at && at->same_disco != slot)
                        at = known(ms, at->same_disco);
                if (at)
                        at->same_disco = k->same_disco;
        }
        k->same_disco = MS_SLOT_NONE;
}

static void set_disco(struct ms *ms, uint32_t slot, const struct disco_public *d)
{
        struct ms_known *k = &ms->known[slot];
        struct ms_slot *s = ms->slots[slot];
        if (disco_public_eq(&k->disco, d))
                return;
        unchain_disco(ms, slot);
        k->disco = *d;
        if (!disco_public_is_zero(d))
                chain_disco(ms, slot, keymap_get(&ms->by_disco, d->b));
        if (!s)
                return;
        crypto_wipe(&s->box, sizeof(s->box));
        s->has_box = s->bad_disco = false;
        s->disco = k->disco;
}

/* ---- awake ---- */

static void configure(struct ms_slot *s, const struct ms_known *k, const struct addr *eps, size_t n, mono_t now)
{
        history_add(&s->history, HISTORY_CONFIG, (struct addr){.port = 0}, (int64_t)n, now);
        s->peer.plain = k->plain;
        ms_peer_on_config(&s->peer, !disco_public_is_zero(&k->disco), k->expired, k->home, eps, n, now);
}

struct ms_slot *ms_slot_find(struct ms *ms, uint32_t slot)
{
        struct ms_known *k = known(ms, slot);
        if (!k || ms->slots[slot])
                return k ? ms->slots[slot] : NULL;
        struct ms_slot *s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->ms = ms;
        s->slot = slot;
        s->key = k->key;
        s->disco = k->disco;
        timer_init(&s->timer, ms_on_slot_timer);
        ms_peer_init(&s->peer);
        s->peer.likely = derp_mgr_home(ms->derp);
        configure(s, k, k->eps, k->ep_count, loop_now(ms->loop));
        free(k->eps);
        k->eps = NULL;
        k->ep_count = 0;
        ms->slots[slot] = s;
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

/* ---- known ---- */

/* A quarter more than asked for: each slot is used sooner or later, and what is never used costs as much. */
static bool grow_slots(struct ms *ms, uint32_t slot)
{
        if (slot < ms->slot_cap)
                return true;
        size_t cap = slot + slot / 4 + 16;
        struct ms_slot **slots = realloc(ms->slots, cap * sizeof(*slots));
        if (!slots)
                return false;
        memset(slots + ms->slot_cap, 0, (cap - ms->slot_cap) * sizeof(*slots));
        ms->slots = slots;
        struct ms_known *k = realloc(ms->known, cap * sizeof(*k));
        if (!k)
                return false;
        memset(k + ms->slot_cap, 0, (cap - ms->slot_cap) * sizeof(*k));
        ms->known = k;
        ms->slot_cap = cap;
        return true;
}

static bool add(struct ms *ms, uint32_t slot, const struct node_public *key)
{
        if (!grow_slots(ms, slot))
                return false;
        ms->known[slot] = (struct ms_known){.used = true, .key = *key, .same_disco = MS_SLOT_NONE};
        if (keymap_set(&ms->by_key, key->b, slot) != ERR_NONE) {
                ms->known[slot] = (struct ms_known){0};
                return false;
        }
        ms->peer_count++;
        return true;
}

/* For one that is asleep.  No memory: it is searched for when it calls. */
static void keep_endpoints(struct ms_known *k, const struct addr *eps, size_t n)
{
        free(k->eps);
        k->eps = n ? malloc(n * sizeof(*eps)) : NULL;
        k->ep_count = k->eps ? (uint16_t)n : 0;
        if (k->eps)
                memcpy(k->eps, eps, n * sizeof(*eps));
}

enum err ms_peer_set(struct ms *ms, uint32_t slot, const struct ms_peer_config *c, mono_t now)
{
        if (slot >= MS_SLOTS_MAX)
                return ERR_FULL;
        uint32_t holder = keymap_get(&ms->by_key, c->key.b);
        if (holder != KEYMAP_NONE && holder != slot)
                return ERR_STATE;
        if (holder == KEYMAP_NONE) {
                ms_peer_remove(ms, slot, now);
                if (!add(ms, slot, &c->key))
                        return ERR_FULL;
        }
        struct ms_known *k = &ms->known[slot];
        /* A disco key lives as long as its process: a new one means new sockets, and the path in use is dead. */
        struct disco_public disco = c->plain ? (struct disco_public){{0}} : c->disco;
        bool restarted = !disco_public_is_zero(&k->disco) && !disco_public_is_zero(&disco) &&
                         !disco_public_eq(&k->disco, &disco);
        set_disco(ms, slot, &disco);
        k->plain = c->plain;
        k->expired = c->expired;
        k->home = c->plain ? 0 : c->home;
        size_t n = c->endpoint_count < MS_PEER_ENDPOINTS_MAX ? c->endpoint_count : MS_PEER_ENDPOINTS_MAX;
        struct ms_slot *s = ms->slots[slot];
        if (!s) {
                keep_endpoints(k, c->endpoints, n);
                return ERR_NONE;
        }
        if (k->home && k->home != s->peer.home)   /* what was sent to the one before may not have got there */
                ms_action_add(&ms->out, MS_ACT_KNOWN)->sent = now;
        configure(s, k, c->endpoints, n, now);
        if (restarted) {
                history_add(&s->history, HISTORY_REBIND, (struct addr){.port = 0}, 0, now);
                ms_hn_restarted(ms, s, now);
                ms_peer_on_restart(&s->peer, now, &ms->out);
        }
        ms_settle(ms, s, now);
        return ERR_NONE;
}

struct disco_public ms_peer_disco(const struct ms *ms, uint32_t slot)
{
        const struct ms_known *k = known(ms, slot);
        return k ? k->disco : (struct disco_public){0};
}

void ms_peer_remove(struct ms *ms, uint32_t slot, mono_t now)
{
        struct ms_slot *s = known(ms, slot) ? ms->slots[slot] : NULL;
        if (s) {
                ms_hn_forget(ms, s, now);
                ms_peer_stop(&s->peer, &ms->out); /* answers the pings that wait */
                ms_settle(ms, s, now);
                ms->drops[MS_DROP_DISCO_RATE] += s->peer.limited;
        }
        struct ms_known *k = known(ms, slot);
        if (!k)
                return;
        unchain_disco(ms, slot);
        keymap_remove(&ms->by_key, k->key.b);
        free(k->eps);
        *k = (struct ms_known){0};
        ms->slots[slot] = NULL;
        ms->peer_count--;
        free_slot(s);
}

static const uint8_t *node_key_of(const void *arg, uint32_t slot)
{
        return ((const struct ms *)arg)->known[slot].key.b;
}

static const uint8_t *disco_key_of(const void *arg, uint32_t slot)
{
        return ((const struct ms *)arg)->known[slot].disco.b;
}

void ms_slots_init(struct ms *ms)
{
        uint64_t seed[2];
        crypto_random(seed, sizeof(seed));
        keymap_init(&ms->by_key, seed[0], node_key_of, ms);
        keymap_init(&ms->by_disco, seed[1], disco_key_of, ms);
}

void ms_slots_done(struct ms *ms)
{
        for (size_t i = 0; i < ms->slot_cap; i++) {
                free_slot(ms->slots[i]);
                free(ms->known[i].eps);
        }
        free(ms->slots);
        free(ms->known);
        keymap_done(&ms->by_key);
        keymap_done(&ms->by_disco);
}

/* Of the search through a hard NAT, for which there is no reason while the path is direct. */
static void search_status(const struct ms *ms, const struct ms_slot *s, mono_t now, struct hn_status *ret)
{
        hn_peer_status(&ms->hardnat->m, &s->hardnat, now, ret);
        ret->outside = s->pin.outside;
        if (ms_peer_is_direct(&s->peer, now))
                ret->why = HN_WHY_NOTHING;
}

bool ms_peer_status(const struct ms *ms, uint32_t slot, struct ms_peer_status *ret, mono_t now)
{
        const struct ms_known *k = known(ms, slot);
        if (!k)
                return false;
        *ret = (struct ms_peer_status){.relay = k->home};
        const struct derp_region *r = ms->map && k->home ? derpmap_region(ms->map, k->home) : NULL;
        if (r)
                memcpy(ret->relay_code, r->code, sizeof(ret->relay_code));
        const struct ms_slot *s = ms->slots[slot];
        if (!s)
                return true;
        ret->active = ms_peer_is_active(&s->peer, now);
        ret->last_send = s->peer.last_send;
        ret->last_heard = s->heard;
        ret->tx_direct = s->tx_direct;
        ret->tx_relay = s->tx_relay;
        if (ms_peer_is_direct(&s->peer, now))
                ret->cur_addr = s->peer.best.addr;
        search_status(ms, s, now, &ret->hard_nat);
        return true;
}

static void explain_awake(const struct ms *ms, const struct ms_slot *s, struct ms_explain *x)
{
        const struct ms_peer *p = &s->peer;
        x->awake = true;
        x->active = ms_peer_is_active(p, x->now);
        x->knows_us = p->knows_us;
        x->route = ms_peer_route(p, x->now);
        x->latency_ns = p->best.latency_ns;
        x->trust_until = p->trust_until;
        x->learned = p->learned;
        x->likely = p->likely;
        x->last_send = p->last_send;
        x->heard = s->heard;
        x->round_started = p->round_started;
        x->call_sent = p->call_sent;
        x->heard_ping = p->heard_ping;
        x->tx_direct = s->tx_direct;
        x->tx_relay = s->tx_relay;
        x->history = s->history;
        x->absent = s->absent && s->absent == p->home;
        search_status(ms, s, x->now, &x->hard_nat);
        x->path_count = p->paths.count;
        for (size_t i = 0; i < p->paths.count; i++)
                x->paths[i] = p->paths.p[i];
}

bool ms_explain(const struct ms *ms, uint32_t slot, struct ms_explain *ret, mono_t now)
{
        const struct ms_known *k = known(ms, slot);
        const struct netcheck_report *r = netrun_last(ms->netrun);
        if (!k)
                return false;
        *ret = (struct ms_explain){
                .now = now,
                .has_disco = !disco_public_is_zero(&k->disco),
                .home_down = ms_can_send(ms) && !k->plain && ms_home_is_down(ms),
                .plain = k->plain,
                .expired = k->expired,
                .home = k->home,
                .udp4 = sock_is_open(&ms->udp[0].sock),
                .udp6 = sock_is_open(&ms->udp[1].sock),
                .own_endpoints = ms->ep_count,
                .nat = r ? nc_nat_kind(r) : NC_NAT_UNKNOWN,
                .ipv6 = r && r->ipv6,
        };
        if (ms->slots[slot]) {
                explain_awake(ms, ms->slots[slot], ret);
                return true;
        }
        ret->route.kind = k->home ? MS_ROUTE_RELAY : MS_ROUTE_NONE;
        ret->route.region = k->home;
        for (; ret->path_count < k->ep_count; ret->path_count++)
                ret->paths[ret->path_count] = (struct path){.addr = k->eps[ret->path_count], .origin = PATH_FROM_MAP};
        return true;
}
