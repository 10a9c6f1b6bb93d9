/* The tables of a device: slots, keys, allowed IPs against an oracle, deadlines of thousands of peers. */
#include "base/crypto.h"
#include "tests/unit/check.h"
#include "wg/engine.h"

static struct pkt_pool *pool;
static uint32_t seed;

static uint32_t below(uint32_t n)
{
        seed = seed * 1664525u + 1013904223u;
        return (seed >> 8) % n;
}

static struct wg *device(uint32_t max)
{
        struct key_private key;
        struct wg *wg = wg_new(pool, max);
        assert_non_null(wg);
        key_generate(&key);
        wg_set_identity(wg, &key);
        return wg;
}

/* Any 32 bytes are a key here; nobody shakes hands. */
static struct node_public fake(uint32_t n)
{
        struct node_public k = {{9}};
        store_be32(k.b + 8, n);
        return k;
}

static void test_slots(void **state)
{
        struct wg *wg = device(100);
        struct node_public a = fake(1), b = fake(2);
        (void)state;
        assert_int_equal(wg_peer_set(wg, 100, &a, NULL, 0), ERR_FULL);
        assert_int_equal(wg_peer_set(wg, 99, &a, NULL, 0), ERR_NONE);
        assert_int_equal(wg_peer_set(wg, 5, &a, NULL, 0), ERR_STATE);   /* has a slot already */
        assert_int_equal(wg_peer_set(wg, 5, &wg->us.pub, NULL, 0), ERR_STATE);
        assert_int_equal(wg_peer_by_key(wg, &a), 99);
        assert_int_equal(wg_peer_by_key(wg, &b), WG_NO_PEER);
        assert_int_equal(wg_peer_set(wg, 99, &b, NULL, 0), ERR_NONE);   /* a new key */
        assert_int_equal(wg_peer_by_key(wg, &a), WG_NO_PEER);
        assert_int_equal(wg_peer_by_key(wg, &b), 99);
        assert_int_equal(wg_peer_count(wg), 1);
        wg_peer_remove(wg, 99);
        wg_peer_remove(wg, 99);
        wg_peer_remove(wg, 12345);
        assert_int_equal(wg_peer_count(wg), 0);
        assert_int_equal(wg_peer_by_key(wg, &b), WG_NO_PEER);
        struct wg_peer_stats st;
        assert_false(wg_peer_stats(wg, 99, (mono_t){1}, 0, &st));
        wg_free(wg);
}

static void test_many_peers(void **state)
{
        enum { N = 10000 };
        struct wg *wg = device(N);
        (void)state;
        for (uint32_t s = 0; s < N; s++) {
                struct node_public k = fake(s);
                struct prefix p = {ip_v4(100, 64, (uint8_t)(s >> 8), (uint8_t)s), 32};
                assert_int_equal(wg_peer_set(wg, s, &k, &p, 1), ERR_NONE);
        }
        for (uint32_t s = 0; s < N; s += 2)
                wg_peer_remove(wg, s);
        for (uint32_t s = 0; s < N; s++) {
                struct node_public k = fake(s);
                uint8_t ip[4] = {100, 64, (uint8_t)(s >> 8), (uint8_t)s};
                uint32_t want = s % 2 == 0 ? WG_NO_PEER : s;
                assert_int_equal(wg_peer_by_key(wg, &k), want);
                assert_int_equal(wg_peer_by_ip(wg, ip, 4), want);
        }
        assert_int_equal(wg_peer_count(wg), N / 2);

        /* A peer that nothing was sent to or came from is a few words, whatever is asked about it. */
        struct wg_peer_stats stats;
        for (uint32_t s = 0; s < N; s++) {
                assert_true(wg_peer_stats(wg, s, (mono_t){NS_PER_SEC}, 0, &stats) == (s % 2 != 0));
                wg_peer_known(wg, s, (mono_t){1}, (mono_t){NS_PER_SEC});
                wg_peer_refresh(wg, s, (mono_t){NS_PER_SEC});
                assert_null(peer_at(wg, s));
                assert_true((peer_wake(wg, s) != NULL) == (s % 2 != 0));
        }
        assert_null(peer_wake(wg, WG_NO_PEER));

        /* Deadlines come up in order, each served once. */
        mono_t now = {NS_PER_SEC};
        assert_true(wg_deadline(wg).ns == MONO_NEVER.ns);
        for (uint32_t s = 1; s < N; s += 2) {
                timers_data_received(&wg->slot[s]->timers, mono_add_ms(now, below(100000)));
                peer_touch(wg, wg->slot[s]);
        }
        for (uint32_t s = 1; s < N; s += 8)
                wg_peer_remove(wg, s);
        size_t left = wg->heap_count;
        assert_int_equal(left, N / 2 - N / 8);
        mono_t last = now;
        while (wg->heap_count > 0) {
                assert_true(wg_deadline(wg).ns >= last.ns);
                last = wg_deadline(wg);
                wg_expire(wg, last, 0);
                assert_true(wg->heap_count < left);
                left = wg->heap_count;
        }
        wg_free(wg);
}

/* ---- Longest prefix, against a list ---- */

enum { ORACLE_PEERS = 12, ORACLE_EACH = 6 };

struct oracle {
        struct prefix list[ORACLE_PEERS][ORACLE_EACH];
        size_t count[ORACLE_PEERS];
};

static struct prefix random_prefix(void)
{
        struct prefix p = {0};
        if (below(2) == 0) {
                static const uint8_t bits[] = {0, 8, 12, 16, 23, 24, 30, 31, 32};
                p.ip = ip_v4(10, (uint8_t)below(3), (uint8_t)below(3), (uint8_t)below(8));
                p.bits = bits[below(sizeof(bits))];
        } else {
                static const uint8_t bits[] = {0, 7, 48, 64, 65, 96, 120, 127, 128};
                uint8_t b[16] = {0xfd, [5] = (uint8_t)below(2), [8] = (uint8_t)(below(2) << 7), [15] = (uint8_t)below(8)};
                p.ip = ip_from_bytes16(b);
                p.bits = bits[below(sizeof(bits))];
        }
        return prefix_masked(p);
}

/* The last peer to be given a prefix has it. */
static void oracle_set(struct oracle *o, uint32_t peer, const struct prefix *list, size_t n)
{
        for (uint32_t other = 0; other < ORACLE_PEERS; other++) {
                size_t kept = 0;
                for (size_t i = 0; i < o->count[other]; i++) {
                        bool taken = other == peer;
                        for (size_t k = 0; k < n; k++)
                                taken = taken || prefix_eq(o->list[other][i], list[k]);
                        if (!taken)
                                o->list[other][kept++] = o->list[other][i];
                }
                o->count[other] = kept;
        }
        for (size_t i = 0; i < n; i++)
                o->list[peer][o->count[peer]++] = list[i];
}

static uint32_t oracle_find(const struct oracle *o, struct ip ip)
{
        uint32_t best = WG_NO_PEER;
        int bits = -1;
        for (uint32_t peer = 0; peer < ORACLE_PEERS; peer++)
                for (size_t i = 0; i < o->count[peer]; i++)
                        if (prefix_contains(o->list[peer][i], ip) && o->list[peer][i].bits > bits) {
                                bits = o->list[peer][i].bits;
                                best = peer;
                        }
        return best;
}

static void test_sources_against_oracle(void **state)
{
        (void)state;
        for (uint32_t round = 1; round <= 20; round++) {
                struct wg *wg = device(ORACLE_PEERS);
                struct oracle o = {0};
                seed = round;
                for (int step = 0; step < 60; step++) {
                        uint32_t peer = below(ORACLE_PEERS);
                        struct prefix list[ORACLE_EACH];
                        struct node_public k = fake(peer);
                        size_t n = below(ORACLE_EACH + 1);
                        for (size_t i = 0; i < n; i++)
                                list[i] = random_prefix();
                        if (below(8) == 0) {
                                wg_peer_remove(wg, peer);
                                n = 0;
                        } else {
                                assert_int_equal(wg_peer_set(wg, peer, &k, list, n), ERR_NONE);
                        }
                        oracle_set(&o, peer, list, n);
                        for (int probe = 0; probe < 200; probe++) {
                                struct ip ip = random_prefix().ip;
                                ip.b[ip.family == IP_V4 ? 3 : 15] ^= (uint8_t)below(4);
                                uint8_t len = ip.family == IP_V4 ? 4 : 16;
                                uint32_t owner = oracle_find(&o, ip);
                                assert_int_equal(wg_peer_by_ip(wg, ip.b, len), owner);
                                for (uint32_t p = 0; p < ORACLE_PEERS; p++)
                                        if (peer_wake(wg, p) != NULL)
                                                assert_int_equal(peer_owns(wg, wg->slot[p], ip.b, len), p == owner);
                        }
                }
                wg_free(wg);
        }
}

static void test_peer_for_packet(void **state)
{
        struct wg *wg = device(4);
        struct node_public k = fake(1);
        struct prefix p[2];
        struct pkt *q = pkt_get(pool);
        (void)state;
        assert_int_equal(prefix_parse("10.0.0.2/32", &p[0]), ERR_NONE);
        assert_int_equal(prefix_parse("fd00::2/128", &p[1]), ERR_NONE);
        assert_int_equal(wg_peer_set(wg, 2, &k, p, 2), ERR_NONE);
        assert_int_equal(wg_peer_for(wg, pkt_cdata(q), q->len), WG_NO_PEER);
        uint8_t *ip = pkt_put(q, 40);
        memset(ip, 0, 40);
        ip[0] = 0x45;
        memcpy(ip + 16, p[0].ip.b, 4);
        assert_int_equal(wg_peer_for(wg, pkt_cdata(q), q->len), 2);
        ip[0] = 0x60;
        memcpy(ip + 24, p[1].ip.b, 16);
        assert_int_equal(wg_peer_for(wg, pkt_cdata(q), q->len), 2);
        ip[39] = 3;
        assert_int_equal(wg_peer_for(wg, pkt_cdata(q), q->len), WG_NO_PEER);
        ip[0] = 0x75;
        assert_int_equal(wg_peer_for(wg, pkt_cdata(q), q->len), WG_NO_PEER);
        ip[0] = 0x45;
        for (size_t len = 0; len < 20; len++) {
                q->len = (uint16_t)len;
                assert_int_equal(wg_peer_for(wg, pkt_cdata(q), q->len), WG_NO_PEER);
        }
        pkt_release(pool, q);
        wg_free(wg);
}

/* What was queued for a peer is not sent to the next one in its slot. */
static void test_remove_takes_queued(void **state)
{
        struct wg *wg = device(4);
        struct key_private key;
        struct wg_out out;
        (void)state;
        for (uint32_t s = 0; s < 2; s++) {
                key_generate(&key);
                struct node_public pub = key_node_public(&key);
                struct pkt *p = pkt_get(pool);
                assert_non_null(pkt_put(p, 40));
                assert_int_equal(wg_peer_set(wg, s, &pub, NULL, 0), ERR_NONE);
                assert_int_equal(wg_seal(wg, s, &p, 1, (mono_t){NS_PER_SEC}), 0);
        }
        wg_expire(wg, (mono_t){NS_PER_SEC}, NS_PER_SEC);
        wg_peer_remove(wg, 0);
        assert_true(wg_next_out(wg, &out));
        assert_int_equal(out.peer, 1);
        assert_int_equal(out.kind, WG_OUT_INITIATION);
        pkt_release(pool, out.p);
        assert_false(wg_next_out(wg, &out));
        wg_free(wg);
        assert_int_equal(pkt_pool_free_count(pool), 64);
}

/* Without an identity, towards a low-order key or an empty slot nothing is kept and nothing sent. */
static void test_nowhere_to_go(void **state)
{
        struct wg *wg = device(4);
        struct node_public low = {{1}};
        struct wg_out out;
        (void)state;
        assert_int_equal(wg_peer_set(wg, 0, &low, NULL, 0), ERR_NONE);
        for (int i = 0; i < 3; i++) {
                struct pkt *p = pkt_get(pool);
                assert_non_null(pkt_put(p, 40));
                if (i == 2)
                        wg_set_identity(wg, NULL);
                assert_int_equal(wg_seal(wg, i == 1 ? 3 : 0, &p, 1, (mono_t){NS_PER_SEC}), 0);
        }
        assert_int_equal(wg_drops(wg, WG_DROP_NO_PEER), 3);
        assert_true(wg_deadline(wg).ns == MONO_NEVER.ns);
        wg_peer_set_persistent(wg, 0, 10, (mono_t){NS_PER_SEC});
        for (int s = 1; s < 100; s++)
                wg_expire(wg, (mono_t){s * NS_PER_SEC}, s * NS_PER_SEC);
        assert_false(wg_next_out(wg, &out));
        wg_free(wg);
        assert_int_equal(pkt_pool_free_count(pool), 64);
}

static int setup(void **state)
{
        (void)state;
        pool = pkt_pool_new(64);
        return pool != NULL && crypto_init() == ERR_NONE ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        pkt_pool_free(pool);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_slots),
                cmocka_unit_test(test_many_peers),
                cmocka_unit_test(test_sources_against_oracle),
                cmocka_unit_test(test_peer_for_packet),
                cmocka_unit_test(test_remove_takes_queued),
                cmocka_unit_test(test_nowhere_to_go),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
