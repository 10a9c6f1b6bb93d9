/* The tables of peers under random changes: keys move between slots, disco keys are shared. */
#include "tests/unit/check.h"

#include <stdbool.h>

#include "base/crypto.h"
#include "base/dial.h"
#include "magicsock/internal.h"

enum { SLOTS = 40, KEYS = 60, DISCOS = 6 };

static struct node_public node_key(unsigned i)
{
        struct node_public k = {{0}};
        k.b[0] = (uint8_t)(i + 1);
        return k;
}

/* 0 = none */
static struct disco_public disco_key(unsigned i)
{
        struct disco_public k = {{0}};
        k.b[31] = (uint8_t)i;
        return k;
}

static void check_tables(struct ms *ms, const int *key_of, const unsigned *disco_of)
{
        size_t peers = 0, chained = 0, wanted = 0;
        for (uint32_t i = 0; i < SLOTS; i++) {
                struct ms_peer_status st;
                bool is_peer = ms_peer_status(ms, i, &st, (mono_t){NS_PER_SEC});
                assert_int_equal(is_peer, key_of[i] >= 0);
                if (!is_peer)
                        continue;
                peers++;
                wanted += disco_of[i] != 0;
                struct node_public k = node_key((unsigned)key_of[i]);
                assert_int_equal(keymap_get(&ms->by_key, k.b), i);
                if (ms->slots[i])
                        assert_true(disco_public_eq(&ms->slots[i]->disco, &ms->known[i].disco));
        }
        assert_int_equal(ms->peer_count, peers);
        assert_int_equal(ms->by_key.count, peers);
        for (unsigned d = 1; d < DISCOS; d++) {
                struct disco_public k = disco_key(d);
                for (uint32_t i = keymap_get(&ms->by_disco, k.b); i != MS_SLOT_NONE; i = ms->known[i].same_disco) {
                        assert_int_equal(disco_of[i], d);
                        assert_true(++chained <= SLOTS);
                }
        }
        assert_int_equal(chained, wanted);
}

static struct {
        struct loop *loop;
        struct dialer *dialer;
        struct pkt_pool *pool;
} parts;

static struct ms *open_ms(void)
{
        static const struct ms_callbacks none = {0};
        parts.loop = loop_new();
        parts.dialer = dialer_new(parts.loop);
        parts.pool = pkt_pool_new(64);
        struct ms *ms = ms_new(parts.loop, parts.pool, parts.dialer, &(struct ms_opts){.no_udp = true, .cb = &none});
        assert_non_null(ms);
        return ms;
}

static void close_ms(struct ms *ms)
{
        ms_free(ms);
        assert_int_equal(pkt_pool_free_count(parts.pool), 64);
        pkt_pool_free(parts.pool);
        dialer_free(parts.dialer);
        loop_free(parts.loop);
}

static void test_random_changes(void **state)
{
        (void)state;
        struct ms *ms = open_ms();
        int key_of[SLOTS];
        unsigned disco_of[SLOTS] = {0};
        uint32_t seed = 4711;
        mono_t now = {NS_PER_SEC};
        memset(key_of, 0xff, sizeof(key_of));
        for (unsigned step = 0; step < 5000; step++) {
                seed = seed * 1664525 + 1013904223;
                uint32_t slot = (seed >> 8) % SLOTS;
                unsigned key = (seed >> 14) % KEYS, disco = (seed >> 22) % DISCOS;
                if (seed >> 28 == 5) {   /* something is sent to it */
                        assert_int_equal(ms_slot_find(ms, slot) != NULL, key_of[slot] >= 0);
                } else if (seed >> 30 == 0) {
                        ms_peer_remove(ms, slot, now);
                        key_of[slot] = -1;
                } else {
                        bool is_elsewhere = false;
                        for (uint32_t i = 0; i < SLOTS; i++)
                                is_elsewhere = is_elsewhere || (i != slot && key_of[i] == (int)key);
                        struct ms_peer_config c = {.key = node_key(key), .disco = disco_key(disco), .home = 1};
                        enum err e = ms_peer_set(ms, slot, &c, now);
                        assert_int_equal(e, is_elsewhere ? ERR_STATE : ERR_NONE);
                        if (e == ERR_NONE) {
                                key_of[slot] = (int)key;
                                disco_of[slot] = disco;
                        }
                }
                if (key_of[slot] < 0)
                        disco_of[slot] = 0;
                check_tables(ms, key_of, disco_of);
        }
        struct ms_peer_config c = {.key = node_key(KEYS)};
        assert_null(ms_slot_find(ms, MS_SLOT_NONE));
        assert_int_equal(ms_peer_set(ms, MS_SLOTS_MAX, &c, now), ERR_FULL);
        ms_peer_remove(ms, MS_SLOT_NONE, now);
        close_ms(ms);
}

/* What control says of a peer nobody talks to is there when somebody does, and changes as well after that. */
static void test_wakes(void **state)
{
        (void)state;
        struct ms *ms = open_ms();
        struct addr eps[] = {{ip_v4(198, 51, 100, 1), 41641}, {ip_v4(198, 51, 100, 2), 41641}};
        struct ms_peer_config c = {
                .key = node_key(1), .disco = disco_key(1), .home = 7, .endpoints = eps, .endpoint_count = 2};
        mono_t now = {NS_PER_SEC};
        struct ms_peer_status st;
        assert_int_equal(ms_peer_set(ms, 3, &c, now), ERR_NONE);
        c.expired = true;
        c.home = 8;
        assert_int_equal(ms_peer_set(ms, 3, &c, now), ERR_NONE);
        assert_null(ms->slots[3]);
        assert_true(ms_peer_status(ms, 3, &st, now));
        assert_int_equal(st.relay, 8);

        struct ms_slot *s = ms_slot_find(ms, 3);
        assert_non_null(s);
        assert_ptr_equal(ms_slot_find(ms, 3), s);
        assert_int_equal(s->peer.home, 8);
        assert_true(s->peer.expired && s->peer.has_disco);
        assert_int_equal(s->peer.paths.count, 2);
        assert_non_null(path_find(&s->peer.paths, eps[1]));

        c.expired = false;
        c.disco = disco_key(0);
        c.endpoint_count = 1;
        assert_int_equal(ms_peer_set(ms, 3, &c, now), ERR_NONE);
        assert_false(s->peer.expired || s->peer.has_disco);
        assert_true(disco_public_is_zero(&s->disco));
        assert_int_equal(s->peer.paths.count, 1);
        close_ms(ms);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_changes),
                cmocka_unit_test(test_wakes),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
