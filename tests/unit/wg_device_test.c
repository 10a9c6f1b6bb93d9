/* Two devices in memory on a virtual clock: loss, rekeying, silence, staging. */
#include "tests/unit/wg_net.h"

static void test_first_packet(void **state)
{
        struct net n;
        struct wg_peer_stats st;
        (void)state;
        net_init(&n);
        settle_session(&n);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 1);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 1);
        assert_int_equal(net_send(&n, 1, 5), 1);   /* confirmed: the responder may send */
        net_run_ms(&n, 100);
        assert_int_equal(n.node[0].delivered, 1);

        assert_true(wg_peer_stats(n.node[0].wg, 3, n.now, net_wall(&n), &st));
        assert_true(st.session);
        assert_int_equal(st.tx_bytes, 148 + 144);   /* 100 padded to 112, and 32 */
        assert_int_equal(st.rx_bytes, 92 + 144);
        assert_int_equal(st.staged, 0);
        int64_t ago = net_wall(&n) - st.last_handshake_ns;
        assert_true(ago > 1000 * NS_PER_MS && ago < 1100 * NS_PER_MS);
        net_done(&n);
}

/* An hour of traffic both ways: keys change every two minutes and not a packet is lost. */
static void test_rekeys_lose_nothing(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        settle_session(&n);
        uint32_t sent = 1;
        for (int s = 0; s < 3600 * 2; s++) {
                (void)net_send(&n, (unsigned)s % 2, ++sent);
                net_run_ms(&n, 500);
        }
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[0].delivered + n.node[1].delivered, sent);
        assert_int_equal(n.node[0].out_of_order + n.node[1].out_of_order, 0);
        unsigned handshakes = n.node[0].sent[MSG_INITIATION] + n.node[1].sent[MSG_INITIATION];
        assert_true(handshakes >= 29 && handshakes <= 31);
        net_done(&n);
}

/* Property: whatever the loss and disorder, traffic gets through at about the rate of the link, for 20
 * virtual minutes from each of several seeds. */
static void test_lossy_link(void **state)
{
        struct net n;
        (void)state;
        for (uint32_t seed = 1; seed <= 6; seed++) {
                net_init(&n);
                n.random = seed;
                n.loss_percent = 5 * seed;
                n.jitter_ms = 400;
                uint32_t sent = 0;
                for (int s = 0; s < 1200 * 2; s++) {
                        (void)net_send(&n, (unsigned)s % 2, ++sent);
                        net_run_ms(&n, 500);
                        assert_true(s < 120 || n.node[0].delivered > 0);
                }
                net_run_ms(&n, 2000);
                unsigned got = n.node[0].delivered + n.node[1].delivered;
                unsigned expected = sent * (100 - n.loss_percent) / 100;
                if (got + sent / 20 < expected)
                        fail_msg("seed %u: %u of %u arrived at %u%% loss", seed, got, sent, n.loss_percent);
                assert_true(n.node[0].sent[MSG_INITIATION] + n.node[1].sent[MSG_INITIATION] < 80);
                assert_int_equal(wg_drops(n.node[0].wg, WG_DROP_TAG) + wg_drops(n.node[1].wg, WG_DROP_TAG), 0);
                net_done(&n);
        }
}

/* What is answered needs no keepalive: the answer was one. */
static void test_an_answer_is_no_reason_for_a_keepalive(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        settle_session(&n);
        assert_int_equal(net_send(&n, 1, 2), 1);
        net_run_ms(&n, 60 * 1000);
        assert_int_equal(n.node[1].sent[0], 0);
        assert_int_equal(n.node[0].sent[0], 1);
        net_done(&n);
}

/* Without room around it a packet cannot be sealed: it is dropped, and those beside it are not. */
static void test_no_room_to_seal(void **state)
{
        struct net n;
        struct pkt *p[3];
        (void)state;
        net_init(&n);
        settle_session(&n);
        for (uint32_t i = 0; i < 3; i++) {
                p[i] = net_packet(&n, 0, i + 2, 100);
                if (i == 1)
                        assert_non_null(pkt_put(p[i], PKT_DATA_MAX + PKT_TAILROOM - 100));
        }
        assert_int_equal(wg_seal(n.node[0].wg, 3, p, 3, n.now), 2);
        assert_int_equal(wg_drops(n.node[0].wg, WG_DROP_SIZE), 1);
        for (uint32_t i = 0; i < 2; i++)
                net_launch(&n, 0, p[i]);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].delivered, 3);
        assert_int_equal(n.node[1].last_id, 4);
        net_done(&n);
}

static void test_idle_is_silent(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        settle_session(&n);
        mono_t last = n.now;
        net_run_ms(&n, 12 * 1000);   /* the one keepalive for the data that came */
        assert_int_equal(n.node[1].sent[0], 1);
        unsigned before = 0, after = 0;
        for (unsigned i = 0; i < NET_NODES; i++)
                for (int t = 1; t <= 4; t++)
                        before += n.node[i].sent[t];
        net_run_ms(&n, 3600 * 1000);
        for (unsigned i = 0; i < NET_NODES; i++) {
                for (int t = 1; t <= 4; t++)
                        after += n.node[i].sent[t];
                /* Wiped, and nothing left to wake up for. */
                assert_null(side(&n, i)->keys.current);
                assert_int_equal(n.node[i].wg->index.count, 0);
                assert_true(wg_deadline(n.node[i].wg).ns == MONO_NEVER.ns);
        }
        assert_int_equal(before, after);
        assert_true(mono_diff_ms(n.node[1].last_sent_at, last) <= 10100);
        net_done(&n);
}

static void test_gives_up(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        n.deaf[1] = true;
        assert_int_equal(net_send(&n, 0, 1), 0);
        net_run_ms(&n, 120 * 1000);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], TIMERS_TRIES + TIMERS_EARLY_TRIES);
        assert_int_equal(wg_drops(n.node[0].wg, WG_DROP_GAVE_UP), 1);
        unsigned sent = n.node[0].sent[MSG_INITIATION];
        net_run_ms(&n, 3600 * 1000);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], sent);
        n.deaf[1] = false;
        assert_int_equal(net_send(&n, 0, 2), 0);   /* and begins anew when there is a reason */
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[1].delivered, 1);
        net_done(&n);
}

/* The peer forgot everything: within 15 s of unanswered data there is a new session. */
static void test_peer_restarts(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        settle_session(&n);
        wg_set_identity(n.node[1].wg, NULL);
        wg_set_identity(n.node[1].wg, &n.node[1].key);
        assert_int_equal(net_send(&n, 0, 2), 1);   /* lost: the session is unknown there */
        net_run_ms(&n, 15500);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 2);
        assert_int_equal(net_send(&n, 0, 3), 1);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].last_id, 3);
        net_done(&n);
}

/* Told of the restart, it takes two round trips, and nothing that came in before is thrown away. */
static void test_told_that_the_peer_restarted(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        wg_peer_refresh(n.node[0].wg, 3, n.now);
        wg_peer_refresh(n.node[0].wg, 99, n.now);
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 0);   /* no session, nothing to renew */
        settle_session(&n);
        wg_peer_refresh(n.node[0].wg, 3, n.now);               /* false news */
        assert_int_equal(net_send(&n, 0, 2), 1);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].last_id, 2);
        net_run_ms(&n, 1000);
        wg_set_identity(n.node[1].wg, NULL);
        wg_set_identity(n.node[1].wg, &n.node[1].key);
        wg_peer_refresh(n.node[0].wg, 3, n.now);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 3);
        assert_int_equal(net_send(&n, 0, 3), 1);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].last_id, 3);
        net_done(&n);
}

static void test_staging_keeps_the_newest(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        for (uint32_t i = 1; i <= WG_STAGED_MAX + 10; i++)
                assert_int_equal(net_send(&n, 0, i), 0);
        assert_int_equal(wg_drops(n.node[0].wg, WG_DROP_STAGED_FULL), 10);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].delivered, WG_STAGED_MAX);
        assert_int_equal(n.node[1].last_id, WG_STAGED_MAX + 10);
        assert_int_equal(n.node[1].out_of_order, 0);
        net_done(&n);
}

/* What waits for a session outlives the buffer that it was lent in. */
static void test_staging_copies_what_is_lent(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        uint8_t lent[200];
        struct pkt view, *pkts[1] = {&view};
        for (uint32_t id = 1; id <= 3; id++) {
                struct pkt *p = net_packet(&n, 0, id, 100);
                pkt_view(&view, lent, sizeof(lent), 16, p->len);
                memcpy(pkt_data(&view), pkt_cdata(p), p->len);
                pkt_release(n.pool, p);
                assert_int_equal(wg_seal(n.node[0].wg, 3, pkts, 1, n.now), 0);
                memset(lent, 0xee, sizeof(lent));
                memset(&view, 0, sizeof(view));
        }
        net_settle(&n, 0);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].delivered, 3);
        assert_int_equal(n.node[1].last_id, 3);
        assert_int_equal(n.node[1].out_of_order, 0);
        net_done(&n);
}

static void add_silent_peer(struct wg *wg, uint32_t slot)
{
        struct key_private k;
        key_generate(&k);
        struct node_public pub = key_node_public(&k);
        assert_int_equal(wg_peer_set(wg, slot, &pub, NULL, 0), ERR_NONE);
}

static struct wg *device_of_silent_peers(struct pkt_pool *pool, uint32_t peers)
{
        struct wg *wg = wg_new(pool, peers);
        struct key_private key;
        key_generate(&key);
        wg_set_identity(wg, &key);
        for (uint32_t s = 0; s < peers; s++)
                add_silent_peer(wg, s);
        return wg;
}

static void stage_one(struct wg *wg, struct pkt_pool *pool, uint32_t slot)
{
        struct pkt *p = pkt_get(pool);
        assert_non_null(p);
        assert_non_null(pkt_put(p, 100));
        assert_int_equal(wg_seal(wg, slot, &p, 1, (mono_t){NS_PER_SEC}), 0);
}

static uint32_t staged(const struct wg *wg, uint32_t slot)
{
        struct wg_peer_stats st;
        assert_true(wg_peer_stats(wg, slot, (mono_t){NS_PER_SEC}, 1, &st));
        return st.staged;
}

/* Peers that never answer cannot eat the pool. */
static void test_staging_leaves_half_the_pool(void **state)
{
        (void)state;
        struct pkt_pool *pool = pkt_pool_new(64);
        struct wg *wg = device_of_silent_peers(pool, 10);
        for (uint32_t s = 0; s < 10; s++) {
                for (int i = 0; i < 20; i++)
                        stage_one(wg, pool, s);
                assert_true(pkt_pool_free_count(pool) >= 32);
        }
        wg_free(wg);
        assert_int_equal(pkt_pool_free_count(pool), 64);
        pkt_pool_free(pool);
}

/* Nor can they keep the first packet for another one out, however long they were there: few with much, or many with one. */
static void test_staging_has_room_for_the_next_peer(void **state)
{
        (void)state;
        enum { POOL = 1024, FEW = 4, PEERS = POOL / 2 + 40 };
        struct pkt_pool *pool = pkt_pool_new(POOL);
        struct wg *wg = device_of_silent_peers(pool, PEERS);
        for (int i = 0; i < 200; i++)
                for (uint32_t s = 0; s < FEW; s++)
                        stage_one(wg, pool, s);
        for (uint32_t s = 0; s < FEW; s++)
                assert_int_equal(staged(wg, s), WG_STAGED_MAX);
        for (uint32_t s = FEW; s < PEERS; s++) {
                for (int i = 0; i < 3; i++) {
                        stage_one(wg, pool, s);
                        assert_int_equal(staged(wg, s), 1);
                }
                assert_int_equal(pkt_pool_free_count(pool), POOL / 2);
        }
        wg_free(wg);
        assert_int_equal(pkt_pool_free_count(pool), POOL);
        pkt_pool_free(pool);
}

/* One burst with everything in it: neighbours of one session, a copy, junk, a keepalive. */
static void test_burst(void **state)
{
        struct net n;
        struct wg_source src = {.addr = {.ip = ip_v4(192, 0, 2, 1), .port = 1}};
        (void)state;
        net_init(&n);
        settle_session(&n);
        struct pkt *out[150];
        for (uint32_t i = 0; i < 150; i++)
                out[i] = net_packet(&n, 0, i, 100);
        assert_int_equal(wg_seal(n.node[0].wg, 3, out, 150, n.now), 150);
        struct wg_in in[152];
        memset(in, 0, sizeof(in));
        for (size_t i = 0; i < 150; i++)
                in[i] = (struct wg_in){.p = out[i], .src = &src};
        in[150] = (struct wg_in){.p = copy_of(&n, out[149]), .src = &src};
        in[151] = (struct wg_in){.p = pkt_get(n.pool), .src = &src};
        wg_open(n.node[1].wg, in, 152, n.now);
        for (uint32_t i = 0; i < 150; i++) {
                assert_int_equal(in[i].verdict, WG_DATA);
                assert_int_equal(load_be32(pkt_data(in[i].p) + 20), i);
                assert_int_equal(in[i].p->peer, 3);
        }
        assert_int_equal(in[150].verdict, WG_DROP);
        assert_int_equal(in[151].verdict, WG_DROP);
        for (size_t i = 0; i < 152; i++)
                pkt_release(n.pool, in[i].p);
        net_done(&n);
}

/* Persistent keepalives: at once, then at their interval while nothing else is sent. */
static void test_persistent(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        wg_peer_set_persistent(n.node[0].wg, 3, 25, n.now);
        net_settle(&n, 0);
        net_run_ms(&n, 1000);
        assert_non_null(side(&n, 0)->keys.current);
        unsigned before = n.node[0].sent[0];
        net_run_ms(&n, 100 * 1000);
        assert_int_equal(n.node[0].sent[0] - before, 4);
        assert_int_equal(n.node[1].sent[0], 0);   /* never answered */
        wg_peer_set_persistent(n.node[0].wg, 3, 0, n.now);
        net_run_ms(&n, 3600 * 1000);
        assert_true(wg_deadline(n.node[0].wg).ns == MONO_NEVER.ns);
        net_done(&n);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first_packet),
                cmocka_unit_test(test_rekeys_lose_nothing),
                cmocka_unit_test(test_lossy_link),
                cmocka_unit_test(test_idle_is_silent),
                cmocka_unit_test(test_an_answer_is_no_reason_for_a_keepalive),
                cmocka_unit_test(test_no_room_to_seal),
                cmocka_unit_test(test_gives_up),
                cmocka_unit_test(test_peer_restarts),
                cmocka_unit_test(test_told_that_the_peer_restarted),
                cmocka_unit_test(test_staging_keeps_the_newest),
                cmocka_unit_test(test_staging_copies_what_is_lent),
                cmocka_unit_test(test_staging_leaves_half_the_pool),
                cmocka_unit_test(test_staging_has_room_for_the_next_peer),
                cmocka_unit_test(test_burst),
                cmocka_unit_test(test_persistent),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
