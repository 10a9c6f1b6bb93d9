#include "magicsock/magicsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/unset.h"
#include "magicsock/classify.h"
#include "magicsock/internal.h"
#include "magicsock/plain.h"

enum {
        UDP_ROUNDS = 8,        /* system calls that receive, in one round of the loop */
        KNOWN_MS = 5000,       /* heard so lately that what is sent there arrives */
        LEARNED_MS = 55000,    /* a node closes a connection to a relay that is not its home when it has sent nothing for 60 s */
};

_Static_assert((int)SOCK_VIEWS_MAX <= (int)MS_BATCH_MAX && (int)MS_RELAYED_MAX <= (int)MS_BATCH_MAX,
               "one call of on_wg takes them");

/* ---- small questions ---- */

bool ms_can_send(const struct ms *ms)
{
        return ms->active && ms->has_key;
}

struct ms_udp *ms_udp_for(struct ms *ms, struct addr to)
{
        struct ms_udp *u = &ms->udp[to.ip.family == IP_V6];
        return sock_is_open(&u->sock) ? u : NULL;
}

/* The peer, which has another home, may be closing its connection to the relay that it was heard by. */
static bool may_have_left(const struct ms *ms, const struct ms_slot *s)
{
        const struct ms_peer *p = &s->peer;
        return p->home && p->home != p->learned && mono_diff_ms(loop_now(ms->loop), s->learned_at) >= LEARNED_MS;
}

/* The way by another relay is known to work, and that by its home may have died while it was not used. */
static bool is_better_known(struct ms *ms, const struct ms_slot *s)
{
        mono_t now = loop_now(ms->loop);
        return mono_diff_ms(now, s->learned_at) < KNOWN_MS && !derp_mgr_is_ready(ms->derp, s->peer.home, now);
}

/* Its home if a connection is up there anyway, unless it is not there; else wherever it spoke last, which saves a dial.  A
 * newcomer's home reaches the map a second after itself: until then our own is the best guess. */
int ms_relay_for(struct ms *ms, struct ms_slot *s)
{
        struct ms_peer *p = &s->peer;
        if (p->learned && (may_have_left(ms, s) || !derp_mgr_conn_alive(ms->derp, p->learned, s->learned_conn)))
                ms_peer_on_relay_gone(p, p->learned);
        if (p->learned && p->learned != p->home &&
            (!p->home || p->home == s->absent || !derp_mgr_is_up(ms->derp, p->home) || is_better_known(ms, s)))
                return p->learned;
        return p->home ? p->home : p->likely;
}

static void release_all(struct ms *ms, struct pkt **pkts, size_t n)
{
        for (size_t i = 0; i < n; i++)
                pkt_release(ms->pool, pkts[i]);
}

static void count(struct ms_traffic *t, size_t packets, uint64_t bytes)
{
        t->packets += packets;
        t->bytes += bytes;
}

static enum ms_way way_of(struct addr a)
{
        return a.ip.family == IP_V6 ? MS_WAY_DIRECT6 : MS_WAY_DIRECT4;
}

/* ---- out ---- */

static enum err send_relay(struct ms *ms, struct ms_slot *s, struct pkt **pkts, size_t n, mono_t now)
{
        int region = ms_relay_for(ms, s);
        enum err e = ERR_NOT_FOUND;
        size_t taken = 0;
        uint64_t bytes = 0;
        for (size_t i = 0; i < n; i++) {
                size_t len = pkts[i]->len;
                enum err one = derp_mgr_send(ms->derp, region, &s->key, pkts[i], now);
                taken += one == ERR_NONE;
                bytes += one == ERR_NONE ? len : 0;
                e = taken > 0 ? ERR_NONE : one;
        }
        s->tx_relay += bytes;
        ms->drops[MS_DROP_NO_PATH] += n - taken;
        count(&ms->out_by[MS_WAY_RELAY], taken, bytes);
        return e;
}

/* Borrows; returns how many of the packets it took care of: a full buffer drops, as the network would. */
static size_t send_direct(struct ms *ms, struct ms_slot *s, struct addr to, struct pkt **pkts, size_t n,
                          mono_t now)
{
        struct ms_udp *u = ms_hn_udp(ms, s, to);
        if (!u)
                return 0;
        size_t sent = sock_send(&u->sock, to, pkts, n);
        uint64_t bytes = 0;
        for (size_t i = 0; i < sent; i++)
                bytes += pkts[i]->len;
        s->tx_direct += bytes;
        count(&ms->out_by[way_of(to)], sent, bytes);
        if (sent == n)
                return n;
        switch (errno) {
        case EAGAIN:
        case ENOBUFS:
                ms->drops[MS_DROP_SOCKET] += n - sent;
                return n;
        case EHOSTUNREACH:
        case ENETUNREACH:
                history_add(&s->history, HISTORY_UNREACHABLE, to, 0, now);
                ms_peer_on_unreachable(&s->peer, to, now, &ms->out);
                break;
        case EPIPE:
        case ENOTCONN:
        case EBADF:
        case EPERM:
                ms_reach_socket_error(ms, now);
                break;
        default:
                break;
        }
        return sent;
}

/* No relay to fall back to, but maybe another address. */
static enum err send_plain(struct ms *ms, struct ms_slot *s, struct pkt **pkts, size_t n, mono_t now)
{
        size_t sent = 0;
        for (size_t i = 0; i <= s->peer.paths.count && sent < n; i++) {
                if (i > 0 && !plain_next(&s->peer, now))
                        break;
                sent += send_direct(ms, s, s->peer.best.addr, pkts + sent, n - sent, now);
        }
        release_all(ms, pkts, n);
        ms->drops[MS_DROP_NO_PATH] += n - sent;
        return sent > 0 ? ERR_NONE : ERR_NOT_FOUND;
}

enum err ms_send(struct ms *ms, uint32_t slot, struct pkt **pkts, size_t n, mono_t now)
{
        struct ms_slot *s = ms_slot_find(ms, slot);
        if (n == 0)
                return ERR_NONE;
        if (!s || !ms_can_send(ms)) {
                release_all(ms, pkts, n);
                ms->drops[s ? MS_DROP_INACTIVE : MS_DROP_NO_PATH] += n;
                return s ? ERR_STATE : ERR_NOT_FOUND;
        }
        struct ms_route r = ms_peer_on_send(&s->peer, now, &ms->out);
        ms_reach_traffic(ms, now);

        enum err e = ERR_NONE;
        size_t direct = 0;
        if (s->peer.plain && r.kind == MS_ROUTE_DIRECT) {
                e = send_plain(ms, s, pkts, n, now);
                ms_settle(ms, s, now);
                return e;
        }
        if (r.kind == MS_ROUTE_DIRECT || r.kind == MS_ROUTE_BOTH)
                direct = send_direct(ms, s, r.addr, pkts, n, now);
        if (r.kind == MS_ROUTE_NONE) {
                release_all(ms, pkts, n);
                ms->drops[MS_DROP_NO_PATH] += n;
                e = s->peer.expired ? ERR_STATE : ERR_NOT_FOUND;
        } else if (r.kind == MS_ROUTE_DIRECT) {
                release_all(ms, pkts, direct);
                if (direct < n) /* the kernel knows no way there any more; the relay does */
                        e = send_relay(ms, s, pkts + direct, n - direct, now);
        } else {
                e = send_relay(ms, s, pkts, n, now);
                if (ms->out.count > 0)   /* what is said of the path takes longer than the packets: after them */
                        derp_mgr_hasten(ms->derp, ms_relay_for(ms, s), now);
        }
        if (r.kind == MS_ROUTE_RELAY || r.kind == MS_ROUTE_BOTH)
                ms_hn_relayed(ms, s, now);
        ms_settle(ms, s, now);
        return e;
}

enum err ms_send_to(struct ms *ms, const struct ms_source *to, struct pkt *pkt, mono_t now)
{
        if (!ms_can_send(ms)) {
                pkt_release(ms->pool, pkt);
                ms->drops[MS_DROP_INACTIVE]++;
                return ERR_STATE;
        }
        if (to->region)
                return derp_mgr_send(ms->derp, to->region, &to->key, pkt, now);
        /* Where the packet that is answered came in, if that is what is handled: another may have waited. */
        bool is_via = ms->via && ms->via->sock.family == to->addr.ip.family;
        struct ms_udp *u = is_via ? ms->via : addr_is_set(to->addr) ? ms_udp_for(ms, to->addr) : NULL;
        bool ok = u && sock_send(&u->sock, to->addr, &pkt, 1) == 1;
        pkt_release(ms->pool, pkt);
        ms->drops[MS_DROP_SOCKET] += !ok;
        return ok ? ERR_NONE : ERR_NOT_FOUND;
}

enum err ms_ping(struct ms *ms, uint32_t slot, uint64_t cookie, size_t size, mono_t now)
{
        struct ms_slot *s = ms_slot_find(ms, slot);
        if (!s)
                return ERR_NOT_FOUND;
        if (!ms_can_send(ms))
                return ERR_STATE;
        if (size > MS_DISCO_MAX)
                return ERR_UNSUPPORTED;
        enum err e = ms_peer_ping(&s->peer, cookie, size, now, &ms->out);
        ms_reach_traffic(ms, now);
        if (e == ERR_NONE && !ms_peer_is_direct(&s->peer, now))
                ms_hn_relayed(ms, s, now);   /* who asks for the path wants one */
        ms_settle(ms, s, now);
        return e;
}

/* ---- in ---- */

static bool hand_over(struct ms *ms, struct pkt **pkts, const struct ms_source *srcs, size_t n, bool may_keep,
                      mono_t now)
{
        if (ms->cb.on_wg)
                return ms->cb.on_wg(ms->arg, pkts, srcs, n, may_keep, now);
        release_all(ms, pkts, n);
        return false;
}

/* True: a packet for WireGuard; all else ends here. */
static bool take_datagram(struct ms *ms, const struct pkt *p, mono_t now)
{
        const uint8_t *data = pkt_cdata(p);
        switch (ms_classify(data, p->len)) {
        case MS_CLASS_STUN:
                if (ms->via && ms->via->number)
                        ms_hn_stun(ms, p, now);
                else
                        netrun_on_stun(ms->netrun, data, p->len, now);
                return false;
        case MS_CLASS_DISCO:
                ms_disco_udp(ms, p->src, data, p->len, now);
                return false;
        case MS_CLASS_WIREGUARD:
                return true;
        case MS_CLASS_GENEVE:
                ms->drops[MS_DROP_PEER_RELAY]++;
                return false;
        case MS_CLASS_JUNK:
                break;
        }
        ms->drops[p->cap > p->len ? MS_DROP_LARGE : MS_DROP_SHORT]++;
        return false;
}

/* kept, before and as result: packets that were handed over are still wanted. */
static bool take_batch(struct ms *ms, struct pkt **got, size_t got_count, bool kept, mono_t now)
{
        UNSET struct pkt *pkts[SOCK_VIEWS_MAX];
        UNSET struct ms_source srcs[SOCK_VIEWS_MAX];
        size_t n = 0;
        if (!ms_can_send(ms)) {
                ms->drops[MS_DROP_INACTIVE] += got_count;
                got_count = 0;
        }
        for (size_t i = 0; i < got_count; i++) {
                struct pkt *p = got[i];
                if (!take_datagram(ms, p, now))
                        continue;
                count(&ms->in_by[way_of(p->src)], 1, p->len);
                p->peer = MS_SLOT_NONE;
                srcs[n] = (struct ms_source){.addr = p->src, .slot = MS_SLOT_NONE};
                pkts[n++] = p;
        }
        return (n > 0 || kept) && hand_over(ms, pkts, srcs, n, sock_rx_may_keep(ms->rx), now);
}

/* Where packets are joined, the last one waits for what may have come meanwhile; so only a busy socket is asked again. */
void ms_on_udp(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        struct ms_udp *u = container_of(w, struct ms_udp, watch);
        UNSET struct pkt *got[SOCK_VIEWS_MAX];
        struct ms *ms = u->ms;
        bool kept = false;
        ms->via = u;
        u->heard = now;
        for (int i = 0; i < UDP_ROUNDS && (i == 0 || kept) && sock_recv(&u->sock, ms->rx, kept); i++)
                for (size_t n; (n = sock_rx_next(ms->rx, got)) > 0;)
                        kept = take_batch(ms, got, n, kept, now);
        if (kept)
                (void)hand_over(ms, NULL, NULL, 0, false, now);
        ms->via = NULL;
}

static void on_relay_pause(void *arg, mono_t now)
{
        struct ms *ms = arg;
        struct ms_relayed *r = &ms->relayed;
        size_t n = r->count;
        r->count = 0;
        if (n == 0)
                return;
        if (ms_can_send(ms)) {
                (void)hand_over(ms, r->pkts, r->srcs, n, false, now);
        } else {
                ms->drops[MS_DROP_INACTIVE] += n;
                release_all(ms, r->pkts, n);
        }
}

static void on_relay_recv(void *arg, int region, uint32_t conn, const struct node_public *src, struct pkt *p,
                          mono_t now)
{
        struct ms *ms = arg;
        uint32_t slot = keymap_get(&ms->by_key, src->b);
        struct ms_slot *s = ms_slot_find(ms, slot);
        enum ms_class c = ms_classify_relayed(pkt_cdata(p), p->len);
        if (!s || !ms_can_send(ms) || c == MS_CLASS_JUNK) {
                ms->drops[!s                   ? MS_DROP_RELAY_STRANGER
                          : c == MS_CLASS_JUNK ? MS_DROP_SHORT
                                               : MS_DROP_INACTIVE]++;
                pkt_release(ms->pool, p);
                return;
        }
        s->peer.learned = region;
        s->learned_conn = conn;
        s->learned_at = now;
        s->absent = s->absent == region ? 0 : s->absent;
        if (c == MS_CLASS_DISCO) {
                ms_disco_relay(ms, s, region, pkt_cdata(p), p->len, now);
                pkt_release(ms->pool, p);
                return;
        }
        count(&ms->in_by[MS_WAY_RELAY], 1, p->len);
        p->peer = s->slot;
        p->src = (struct addr){.port = 0};
        struct ms_relayed *r = &ms->relayed;
        r->srcs[r->count] = (struct ms_source){.region = (uint16_t)region, .slot = s->slot, .key = *src};
        r->pkts[r->count++] = p;
        if (ms_is_handshake(pkt_cdata(p), p->len)) {   /* the answer goes before all that follows from it */
                on_relay_pause(ms, now);
                derp_mgr_hasten(ms->derp, region, now);
                s = ms_slot_find(ms, slot);
                if (!s)
                        return;
        }
        /* It speaks to us, and by relay: start looking for something better.  A callback may remove it on the way. */
        ms_peer_on_heard(&s->peer, region, now, &ms->out);
        ms_settle(ms, s, now);
}

void ms_heard(struct ms *ms, uint32_t slot, struct addr src, mono_t now)
{
        struct ms_slot *s = ms_slot_find(ms, slot);
        if (!s)
                return;
        s->heard = now;
        ms_peer_on_proof(&s->peer, ms_hn_is_data_by(ms, s, src) ? src : (struct addr){.port = 0}, now);
        ms_reach_traffic(ms, now);
}

static void on_relay_gone(void *arg, int region, uint32_t conn, const struct node_public *key,
                          enum derp_gone why, mono_t now)
{
        (void)why;
        struct ms *ms = arg;
        uint32_t slot = keymap_get(&ms->by_key, key->b);
        struct ms_slot *s = slot != KEYMAP_NONE ? ms->slots[slot] : NULL; /* one asleep has not been sent anything */
        if (!s)
                return;
        history_add(&s->history, HISTORY_GONE, (struct addr){.port = 0}, region, now);
        if (region == s->peer.home)
                s->absent = region;
        if (s->learned_conn == conn)
                ms_peer_on_relay_gone(&s->peer, region);
}

static enum ms_relay_state relay_state(enum derp_state st)
{
        switch (st) {
        case DERP_STATE_CONNECTING:
                return MS_RELAY_CONNECTING;
        case DERP_STATE_UP:
                return MS_RELAY_UP;
        case DERP_STATE_UNHEALTHY:
                return MS_RELAY_UNHEALTHY;
        case DERP_STATE_DOWN:
                break;
        }
        return MS_RELAY_DOWN;
}

static void on_relay_state(void *arg, int region, enum derp_state st, const char *detail, bool lost,
                           mono_t now)
{
        struct ms *ms = arg;
        if (st == DERP_STATE_UP)
                ms_home_on_up(ms, region);
        ms_home_on_state(ms, now);
        if (lost && ms_can_send(ms) && ms->map) {
                derp_mgr_ask(ms->derp, now);   /* what broke this one, a router's restart say, may have broken the others */
                loop_timer_at(ms->loop, &ms->restun_timer, now);
        }
        if (ms->cb.on_relay_state)
                ms->cb.on_relay_state(ms->arg, region, relay_state(st), detail, now);
}

/* ---- the whole ---- */

void ms_set_active(struct ms *ms, bool active, mono_t now)
{
        if (ms->active == active)
                return;
        ms->active = active;
        derp_mgr_set_key(ms->derp, active ? &ms->node_key : NULL, now);
        if (active) {
                ms_reach_start(ms, now);
                return;
        }
        ms_reach_stop(ms);
        ms_hn_stop(ms, now);
        mapper_stop(ms->mapper, now);
        for (size_t i = 0; i < ms->slot_cap; i++) {
                if (!ms->slots[i])
                        continue;
                ms_peer_stop(&ms->slots[i]->peer, &ms->out);
                ms_settle(ms, ms->slots[i], now);
        }
}

void ms_set_keys(struct ms *ms, const struct key_private *node)
{
        mono_t now = loop_now(ms->loop);
        struct node_public before = ms->node_public;
        key_wipe(&ms->node_key);
        ms->node_public = (struct node_public){{0}};
        ms->has_key = node && !key_private_is_zero(node);
        if (ms->has_key) {
                ms->node_key = *node;
                ms->node_public = key_node_public(node);
        }
        if (memcmp(&before, &ms->node_public, sizeof(before)) != 0) {
                ms_hn_stop(ms, now);
                derp_mgr_set_told(ms->derp, 0);   /* another node, of which nobody knows anything */
                for (size_t i = 0; i < ms->slot_cap; i++)
                        if (ms->slots[i])
                                ms_peer_on_own_key(&ms->slots[i]->peer);
        }
        if (!ms->active)
                return;
        derp_mgr_set_key(ms->derp, &ms->node_key, now);
        if (ms_can_send(ms))
                ms_reach_start(ms, now);
        else
                ms_reach_stop(ms);
}

struct disco_public ms_disco_public(const struct ms *ms)
{
        return ms->disco_public;
}

void ms_want_offloads(struct ms *ms, unsigned wanted)
{
        for (int i = 0; i < 2; i++)
                sock_want_offloads(&ms->udp[i].sock, wanted);
        ms_hn_want_offloads(ms, wanted);
}

uint16_t ms_port(const struct ms *ms, enum ip_family f)
{
        return ms->udp[f == IP_V6].sock.port;
}

static bool init_parts(struct ms *ms, const struct ms_opts *o)
{
        static const struct derp_mgr_callbacks derp_cb = {
                .on_recv = on_relay_recv, .on_pause = on_relay_pause, .on_peer_gone = on_relay_gone, .on_state = on_relay_state};
        struct derp_mgr_opts derp_opts = {.cb = &derp_cb, .arg = ms, .plain = o->relay_plain};
        ms->derp = derp_mgr_new(ms->loop, ms->dialer, ms->pool, &derp_opts);
        ms->rx = sock_rx_new(o->room);
        return ms->derp && ms->rx && ms_hn_init(ms) == ERR_NONE && ms_reach_init(ms) == ERR_NONE &&
               (ms->no_udp || ms_open_sockets(ms) == ERR_NONE);
}

struct ms *ms_new(struct loop *l, struct pkt_pool *pool, struct dialer *d, const struct ms_opts *o)
{
        struct ms *ms = calloc(1, sizeof(*ms));
        if (!ms)
                return NULL;
        ms->loop = l;
        ms->pool = pool;
        ms->dialer = d;
        ms->cb = *o->cb;
        ms->arg = o->arg;
        ms->want_port = o->port;
        ms->mark = o->mark;
        ms->no_udp = o->no_udp;
        ms->portmap = o->portmap;
        for (; ms->static_count < o->static_count && ms->static_count < MS_STATIC_MAX; ms->static_count++)
                ms->statics[ms->static_count] = o->statics[ms->static_count];
        if (o->tun_name)
                (void)str_copy(ms->tun_name, sizeof(ms->tun_name), o->tun_name);
        key_generate(&ms->disco_key);
        ms->disco_public = key_disco_public(&ms->disco_key);
        ms_slots_init(ms);
        ms_sockets_init(ms, o->socket_bytes);
        ms_second_init(ms);
        if (!init_parts(ms, o)) {
                int error = errno;
                ms_free(ms);
                errno = error;
                return NULL;
        }
        return ms;
}

void ms_free(struct ms *ms)
{
        if (!ms)
                return;
        ms_reach_done(ms);
        derp_mgr_free(ms->derp);
        ms_sockets_done(ms);
        ms_hn_done(ms);
        ms_slots_done(ms);
        sock_rx_free(ms->rx);
        key_wipe(&ms->node_key);
        key_wipe(&ms->disco_key);
        free(ms);
}
