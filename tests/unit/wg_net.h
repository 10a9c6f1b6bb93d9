/* Two or more wg devices on a virtual clock, joined by a link with delay, loss and reordering. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/reader.h"
#include "tests/unit/check.h"
#include "wg/device.h"
#include "wg/engine.h"
#include "wg/message.h"

enum { NET_NODES = 2, NET_FLIGHT_MAX = 4096, NET_WALL_START_S = 1700000000 };

struct net_node {
        struct wg *wg;
        struct key_private key;
        struct node_public pub;
        unsigned sent[5];        /* messages sent, by type; [0] = keepalives, which are in [4] too */
        unsigned delivered;      /* inner packets that came out */
        uint32_t last_id;        /* their number (see net_packet) */
        unsigned out_of_order;
        mono_t last_sent_at;
        mono_t first_delivered_at;
};

struct net_flight {
        mono_t at;
        unsigned to;
        struct pkt *p;
};

struct net {
        struct pkt_pool *pool;
        struct net_node node[NET_NODES];
        mono_t now;
        int64_t wall_step_ns;      /* how far the wall clocks were set */
        int64_t delay_ms;
        int64_t jitter_ms;
        unsigned loss_percent;
        bool (*lose)(struct net *n, unsigned from, const struct pkt *p);   /* NULL: by loss_percent */
        bool deaf[NET_NODES];    /* knows nobody yet: everything sent to it is lost */
        uint32_t random;
        struct net_flight flight[NET_FLIGHT_MAX];
        size_t in_flight;
};

static inline uint32_t net_random(struct net *n, uint32_t below)
{
        n->random = n->random * 1664525u + 1013904223u;
        return (n->random >> 8) % below;
}

static inline int64_t net_wall(const struct net *n)
{
        return NET_WALL_START_S * NS_PER_SEC + n->now.ns + n->wall_step_ns;
}

static inline struct prefix net_prefix(const char *s)
{
        struct prefix p;
        assert_int_equal(prefix_parse(s, &p), ERR_NONE);
        return p;
}

static inline void net_init(struct net *n)
{
        assert_int_equal(crypto_init(), ERR_NONE);
        memset(n, 0, sizeof(*n));
        n->now = (mono_t){1000 * NS_PER_SEC};
        n->delay_ms = 20;
        n->random = 7;
        n->pool = pkt_pool_new(2048);
        assert_non_null(n->pool);
        for (unsigned i = 0; i < NET_NODES; i++) {
                n->node[i].wg = wg_new(n->pool, 16);
                assert_non_null(n->node[i].wg);
                key_generate(&n->node[i].key);
                n->node[i].pub = key_node_public(&n->node[i].key);
                wg_set_identity(n->node[i].wg, &n->node[i].key);
                wg_set_mtu(n->node[i].wg, 1280);
        }
        /* Node i has 10.0.0.i+1; each sees the other in slot 3. */
        for (unsigned i = 0; i < NET_NODES; i++) {
                struct prefix a[2] = {net_prefix(i == 0 ? "10.0.0.2/32" : "10.0.0.1/32"),
                        net_prefix(i == 0 ? "fd00::2/128" : "fd00::1/128")};
                assert_int_equal(wg_peer_set(n->node[i].wg, 3, &n->node[1 - i].pub, a, 2), ERR_NONE);
        }
}

static inline void net_done(struct net *n)
{
        for (size_t i = 0; i < n->in_flight; i++)
                pkt_release(n->pool, n->flight[i].p);
        for (unsigned i = 0; i < NET_NODES; i++)
                wg_free(n->node[i].wg);
        assert_int_equal(pkt_pool_free_count(n->pool), 2048);   /* no packet leaked */
        pkt_pool_free(n->pool);
}

static inline void net_launch(struct net *n, unsigned from, struct pkt *p)
{
        int type = msg_classify(pkt_data(p), p->len);
        struct net_node *node = &n->node[from];
        node->sent[type]++;
        node->sent[0] += type == MSG_DATA && p->len == MSG_DATA_MIN_LEN;
        node->last_sent_at = n->now;
        bool lost = n->deaf[1 - from] || (n->lose != NULL ? n->lose(n, from, p) : net_random(n, 100) < n->loss_percent);
        if (lost) {
                pkt_release(n->pool, p);
                return;
        }
        assert_true(n->in_flight < NET_FLIGHT_MAX);
        int64_t extra = n->jitter_ms > 0 ? (int64_t)net_random(n, (uint32_t)n->jitter_ms) : 0;
        n->flight[n->in_flight++] = (struct net_flight){
                .at = mono_add_ms(n->now, n->delay_ms + extra), .to = 1 - from, .p = p};
}

/* What the datapath does at the end of each of its rounds. */
static inline void net_settle(struct net *n, unsigned i)
{
        struct wg *wg = n->node[i].wg;
        struct wg_out out;
        while (mono_reached(n->now, wg_deadline(wg)))
                wg_expire(wg, n->now, net_wall(n));
        while (wg_next_out(wg, &out))
                net_launch(n, i, out.p);
}

/* An inner IPv4 packet that carries a number. */
static inline struct pkt *net_packet(struct net *n, unsigned from, uint32_t id, size_t len)
{
        struct pkt *p = pkt_get(n->pool);
        assert_non_null(p);
        uint8_t *ip = pkt_put(p, len);
        assert_non_null(ip);
        memset(ip, 0, len);
        ip[0] = 0x45;
        store_be16(ip + 2, (uint16_t)len);
        store_be32(ip + 12, 0x0a000001u + from);
        store_be32(ip + 16, 0x0a000001u + (1 - from));
        store_be32(ip + 20, id);
        return p;
}

static inline size_t net_send(struct net *n, unsigned from, uint32_t id)
{
        struct pkt *p = net_packet(n, from, id, 100);
        size_t sealed = wg_seal(n->node[from].wg, 3, &p, 1, n->now);
        if (sealed == 1)
                net_launch(n, from, p);
        net_settle(n, from);
        return sealed;
}

static inline enum wg_verdict net_receive(struct net *n, unsigned to, struct pkt *p)
{
        struct net_node *node = &n->node[to];
        struct wg_source src = {.addr = {.ip = ip_v4(192, 0, 2, (uint8_t)(2 - to)), .port = 41641}};
        struct wg_in in = {.p = p, .src = &src};
        wg_open(node->wg, &in, 1, n->now);
        if (in.verdict == WG_DATA) {
                uint32_t id = load_be32(pkt_data(p) + 20);
                assert_int_equal(p->len, 100);
                node->out_of_order += id < node->last_id;
                node->last_id = id;
                if (node->delivered++ == 0)
                        node->first_delivered_at = n->now;
        }
        pkt_release(n->pool, p);
        net_settle(n, to);
        return in.verdict;
}

/* Lets the world run until `until`; nobody sends anything of his own. */
static inline void net_run(struct net *n, mono_t until)
{
        for (;;) {
                mono_t next = until;
                size_t first = SIZE_MAX;
                for (size_t i = 0; i < n->in_flight; i++)
                        if (n->flight[i].at.ns < next.ns) {
                                next = n->flight[i].at;
                                first = i;
                        }
                for (unsigned i = 0; i < NET_NODES; i++)
                        if (wg_deadline(n->node[i].wg).ns < next.ns) {
                                next = wg_deadline(n->node[i].wg);
                                first = SIZE_MAX;
                        }
                if (next.ns >= until.ns)
                        break;
                if (next.ns > n->now.ns)
                        n->now = next;
                if (first != SIZE_MAX) {
                        struct net_flight f = n->flight[first];
                        n->in_flight--;   /* the others keep their order: ties arrive as they were sent */
                        for (size_t i = first; i < n->in_flight; i++)
                                n->flight[i] = n->flight[i + 1];
                        (void)net_receive(n, f.to, f.p);
                } else {
                        for (unsigned i = 0; i < NET_NODES; i++)
                                net_settle(n, i);
                }
        }
        n->now = until;
}

static inline void net_run_ms(struct net *n, int64_t ms)
{
        net_run(n, mono_add_ms(n->now, ms));
}

static inline struct wg_peer *side(struct net *n, unsigned i)
{
        return peer_wake(n->node[i].wg, 3);
}

static inline void settle_session(struct net *n)
{
        assert_int_equal(net_send(n, 0, 1), 0);
        net_run_ms(n, 1000);
        assert_int_equal(n->node[1].delivered, 1);
        assert_non_null(side(n, 0)->keys.current);
        assert_non_null(side(n, 1)->keys.current);
}

static inline struct pkt *copy_of(struct net *n, const struct pkt *p)
{
        struct pkt *c = pkt_get(n->pool);
        assert_non_null(c);
        uint8_t *room = pkt_put(c, p->len);
        assert_non_null(room);
        memcpy(room, pkt_cdata(p), p->len);
        return c;
}
