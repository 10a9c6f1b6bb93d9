/* One magicsock without sockets and one peer whose keys the test has: what arrives is handed in at the door. */
#pragma once

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/internal.h"
#include "tests/unit/check.h"

enum { PEER = 3, TWIN = 7, REGION = 5 };

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
        struct ms *ms;
        struct key_private node, disco;   /* the peer's */
        unsigned known;
} t;

static const struct addr SRC = {{IP_V4, {203, 0, 113, 9}}, 4000};

static inline void on_known(void *arg, uint32_t slot, mono_t since, mono_t now)
{
        assert_ptr_equal(arg, &t);
        assert_int_equal(slot, PEER);
        assert_true(since.ns <= now.ns);
        t.known++;
}

static inline void add_peer(uint32_t slot, const struct key_private *node)
{
        struct ms_peer_config c = {
                .key = key_node_public(node),
                .disco = key_disco_public(&t.disco),
                .home = REGION,
        };
        assert_int_equal(ms_peer_set(t.ms, slot, &c, loop_now(t.loop)), ERR_NONE);
}

static inline int set_up(void **state)
{
        (void)state;
        static const struct ms_callbacks cb = {.on_known = on_known};
        struct key_private us;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.dialer = dialer_new(t.loop);
        t.pool = pkt_pool_new(64);
        t.ms = ms_new(t.loop, t.pool, t.dialer, &(struct ms_opts){.no_udp = true, .cb = &cb, .arg = &t});
        assert_non_null(t.ms);
        key_generate(&us);
        key_generate(&t.node);
        key_generate(&t.disco);
        ms_set_keys(t.ms, &us);
        ms_set_active(t.ms, true, loop_now(t.loop));
        add_peer(PEER, &t.node);
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        ms_free(t.ms);
        bool whole = pkt_pool_free_count(t.pool) == 64;
        pkt_pool_free(t.pool);
        dialer_free(t.dialer);
        loop_free(t.loop);
        return whole ? 0 : -1;
}

/* inner, sealed with a disco key for us; its length. */
static inline size_t seal(const struct key_private *from, const uint8_t *inner, size_t len, uint8_t out[2048])
{
        struct disco_public us = ms_disco_public(t.ms), sender = key_disco_public(from);
        uint8_t nonce[BOX_NONCE_LEN];
        struct box_key k;
        assert_int_equal(box_precompute(&k, us.b, from->b), ERR_NONE);
        crypto_random(nonce, sizeof(nonce));
        size_t n = disco_seal(&k, &sender, nonce, inner, len, out, 2048);
        assert_true(n > 0);
        return n;
}

static inline size_t seal_msg(const struct disco_msg *m, uint8_t out[2048])
{
        uint8_t inner[1024];
        size_t n = disco_encode(m, inner, sizeof(inner));
        assert_true(n > 0);
        return seal(&t.disco, inner, n, out);
}

static inline struct disco_msg ping(uint8_t id)
{
        struct disco_msg m = {.type = DISCO_PING};
        m.ping.txid.b[0] = id;
        return m;
}

static inline struct ms_peer *peer(uint32_t slot)
{
        return &ms_slot_find(t.ms, slot)->peer;
}

static inline void by_udp(const uint8_t *data, size_t len)
{
        ms_disco_udp(t.ms, SRC, data, len, loop_now(t.loop));
}

static inline void by_relay(const uint8_t *data, size_t len)
{
        ms_disco_relay(t.ms, ms_slot_find(t.ms, PEER), REGION, data, len, loop_now(t.loop));
}
