/* Two devices in memory on a virtual clock: handshakes, loss, rekeying, silence, source checks. */
#include "tests/unit/wg_net.h"

static struct wg_peer *side(struct net *n, unsigned i)
{
        return n->node[i].wg->slot[3];
}

static void settle_session(struct net *n)
{
        assert_int_equal(net_send(n, 0, 1), 0);
        net_run_ms(n, 1000);
        assert_int_equal(n->node[1].delivered, 1);
        assert_non_null(side(n, 0)->keys.current);
        assert_non_null(side(n, 1)->keys.current);
}

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

static void test_responder_waits_for_confirmation(void **state)
{
        struct net n;
        struct wg_out out;
        (void)state;
        net_init(&n);
        n.deaf[0] = true;   /* the response is lost */
        assert_int_equal(net_send(&n, 0, 1), 0);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 1);
        assert_non_null(side(&n, 1)->keys.next);
        assert_null(side(&n, 1)->keys.current);
        assert_int_equal(net_send(&n, 1, 1), 0);
        assert_false(wg_next_out(n.node[1].wg, &out));
        net_done(&n);
}

/* The network map reaches the other side late: the early retries find it, and nothing is lost. */
static void test_first_contact(void **state)
{
        struct net n;
        (void)state;
        for (int64_t deaf_ms = 0; deaf_ms <= 1800; deaf_ms += 150) {
                net_init(&n);
                n.deaf[1] = true;
                for (uint32_t i = 1; i <= 20; i++)
                        assert_int_equal(net_send(&n, 0, i), 0);
                mono_t start = n.now;
                net_run_ms(&n, deaf_ms);
                n.deaf[1] = false;
                net_run_ms(&n, 3000);
                assert_int_equal(n.node[1].delivered, 20);
                assert_int_equal(n.node[1].out_of_order, 0);
                int64_t took = mono_diff_ms(n.node[1].first_delivered_at, start);
                assert_true(took <= (deaf_ms <= 250 ? 250 : deaf_ms <= 500 ? 500 : deaf_ms <= 1000 ? 1000 : 2000) + 60);
                assert_true(n.node[0].sent[MSG_INITIATION] <= 5);
                net_done(&n);
        }
}

/* A round trip longer than the early steps: several initiations are answered; only the newest is good at a
 * peer that keeps one session under way, so data must wait for it. */
static void test_first_contact_far_away(void **state)
{
        struct net n;
        (void)state;
        for (int64_t delay = 60; delay <= 900; delay += 70) {
                net_init(&n);
                n.delay_ms = delay;
                for (uint32_t i = 1; i <= 10; i++)
                        (void)net_send(&n, 0, i);
                for (uint32_t i = 11; i <= 60; i++) {
                        net_run_ms(&n, 50);
                        (void)net_send(&n, 0, i);
                }
                net_run_ms(&n, 10000);
                assert_int_equal(n.node[1].delivered, 60);
                assert_int_equal(n.node[1].out_of_order, 0);
                net_done(&n);
        }
}

static bool lose_newer_initiations(struct net *n, unsigned from, const struct pkt *p)
{
        return from == 0 && pkt_cdata(p)[0] == MSG_INITIATION && n->node[0].sent[MSG_INITIATION] > 1;
}

/* The newer initiations were lost: the older session serves, after a bounded wait. */
static void test_older_answer_serves(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        n.delay_ms = 300;
        n.lose = lose_newer_initiations;
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 2200);
        assert_int_equal(n.node[1].delivered, 1);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 1);
        net_done(&n);
}

static void test_crossing(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        assert_int_equal(net_send(&n, 0, 1), 0);
        assert_int_equal(net_send(&n, 1, 1), 0);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[0].delivered, 1);
        assert_int_equal(n.node[1].delivered, 1);
        for (uint32_t i = 2; i < 50; i++) {
                assert_int_equal(net_send(&n, i % 2, i), 1);
                net_run_ms(&n, 30);
        }
        assert_int_equal(n.node[0].delivered + n.node[1].delivered, 50);
        assert_int_equal(n.node[0].sent[MSG_INITIATION] + n.node[1].sent[MSG_INITIATION], 2);
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

/* Peers that never answer cannot eat the pool. */
static void test_staging_leaves_half_the_pool(void **state)
{
        (void)state;
        struct pkt_pool *pool = pkt_pool_new(64);
        struct wg *wg = wg_new(pool, 16);
        struct key_private key;
        key_generate(&key);
        wg_set_identity(wg, &key);
        for (uint32_t s = 0; s < 10; s++) {
                struct key_private k;
                key_generate(&k);
                struct node_public pub = key_node_public(&k);
                assert_int_equal(wg_peer_set(wg, s, &pub, NULL, 0), ERR_NONE);
                for (int i = 0; i < 20; i++) {
                        struct pkt *p = pkt_get(pool);
                        assert_non_null(p);
                        assert_non_null(pkt_put(p, 100));
                        assert_int_equal(wg_seal(wg, s, &p, 1, (mono_t){NS_PER_SEC}), 0);
                }
                assert_true(pkt_pool_free_count(pool) >= 32);
        }
        wg_free(wg);
        assert_int_equal(pkt_pool_free_count(pool), 64);
        pkt_pool_free(pool);
}

static void test_counter_limit(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        settle_session(&n);
        struct session *s = side(&n, 0)->keys.current;
        net_run_ms(&n, 6000);
        s->next_counter = REKEY_AFTER_MESSAGES;
        assert_int_equal(net_send(&n, 0, 2), 1);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 2);   /* 2^60: a new one is made meanwhile */
        assert_ptr_not_equal(side(&n, 0)->keys.current, s);

        s = side(&n, 0)->keys.current;
        n.deaf[1] = true;
        s->next_counter = REJECT_AFTER_MESSAGES - 2;
        assert_int_equal(net_send(&n, 0, 3), 1);
        assert_int_equal(net_send(&n, 0, 4), 1);   /* the last number there is */
        assert_int_equal(net_send(&n, 0, 5), 0);
        assert_int_equal(s->next_counter, REJECT_AFTER_MESSAGES);
        n.deaf[1] = false;
        net_run_ms(&n, 12000);
        assert_int_equal(n.node[1].last_id, 5);   /* staged, then sent under new keys */
        net_done(&n);
}

static void test_age_limits(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        settle_session(&n);
        net_run_ms(&n, 12000);
        n.deaf[0] = n.deaf[1] = true;
        mono_t born = side(&n, 0)->keys.current->born;
        n.now = mono_add_ms(born, 119900);
        assert_int_equal(net_send(&n, 0, 2), 1);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 1);
        n.now = mono_add_ms(born, 120100);
        assert_int_equal(net_send(&n, 1, 2), 1);   /* the responder leaves it to the other side */
        assert_int_equal(n.node[1].sent[MSG_INITIATION], 0);
        assert_int_equal(net_send(&n, 0, 2), 1);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 2);
        n.now = mono_add_ms(born, 179900);
        assert_int_equal(net_send(&n, 0, 2), 1);
        n.now = mono_add_ms(born, 180100);
        assert_int_equal(net_send(&n, 0, 2), 0);
        net_done(&n);
}

static struct pkt *copy_of(struct net *n, const struct pkt *p)
{
        struct pkt *c = pkt_get(n->pool);
        assert_non_null(c);
        uint8_t *room = pkt_put(c, p->len);
        assert_non_null(room);
        memcpy(room, pkt_cdata(p), p->len);
        return c;
}

static void test_replay_and_damage(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        settle_session(&n);
        struct pkt *p = net_packet(&n, 0, 2, 100);
        assert_int_equal(wg_seal(n.node[0].wg, 3, &p, 1, n.now), 1);
        for (size_t at = 0; at < p->len; at++) {
                struct pkt *bad = copy_of(&n, p);
                pkt_data(bad)[at] ^= 0x40;
                assert_int_equal(net_receive(&n, 1, bad), WG_DROP);
        }
        for (size_t len = 0; len < p->len; len++) {
                struct pkt *cut = copy_of(&n, p);
                assert_true(pkt_trim(cut, len));
                assert_int_equal(net_receive(&n, 1, cut), WG_DROP);
        }
        assert_int_equal(net_receive(&n, 1, copy_of(&n, p)), WG_DATA);   /* none of it used the number up */
        assert_int_equal(net_receive(&n, 1, copy_of(&n, p)), WG_DROP);
        assert_int_equal(wg_drops(n.node[1].wg, WG_DROP_REPLAY), 1);
        pkt_release(n.pool, p);
        net_done(&n);
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

/* Sends a raw inner packet through the tunnel and says what the other side made of it. */
static enum wg_verdict through(struct net *n, const uint8_t *inner, size_t len, size_t *ret_len)
{
        struct wg_source src = {.addr = {.ip = ip_v4(192, 0, 2, 1), .port = 1}};
        struct pkt *p = pkt_get(n->pool);
        assert_non_null(p);
        uint8_t *room = pkt_put(p, len);
        assert_non_null(room);
        memcpy(room, inner, len);
        assert_int_equal(wg_seal(n->node[0].wg, 3, &p, 1, n->now), 1);
        struct wg_in in = {.p = p, .src = &src};
        wg_open(n->node[1].wg, &in, 1, n->now);
        if (ret_len != NULL)
                *ret_len = p->len;
        pkt_release(n->pool, p);
        return in.verdict;
}

static void test_inner_packets(void **state)
{
        struct net n;
        size_t len;
        uint8_t v4[60] = {0x45, 0, 0, 50, [12] = 10, 0, 0, 1, 10, 0, 0, 2};
        uint8_t v6[60] = {0x60, 0, 0, 0, 0, 10, 59, 64, 0xfd, [23] = 1, 0xfd, [39] = 2};
        (void)state;
        net_init(&n);
        settle_session(&n);
        assert_int_equal(through(&n, v4, 60, &len), WG_DATA);
        assert_int_equal(len, 50);
        assert_int_equal(through(&n, v6, 60, &len), WG_DATA);
        assert_int_equal(len, 50);
        for (size_t cut = 1; cut < 60; cut++) {   /* padding makes up to 15 bytes of the loss good */
                enum wg_verdict v = through(&n, v4, cut, &len);
                assert_int_equal(v, (cut + 15) / 16 * 16 >= 50 ? WG_DATA : WG_DROP);
                v = through(&n, v6, cut, &len);
                assert_int_equal(v, (cut + 15) / 16 * 16 >= 50 ? WG_DATA : WG_DROP);
        }
        static const struct {
                int row;
                uint8_t at, value;
        } bad4[] = {
                {1, 0, 0x05}, {2, 0, 0x55}, {3, 0, 0xf5}, {4, 3, 19}, {5, 3, 0}, {6, 3, 65}, {7, 2, 1},
                {8, 12, 11}, {9, 15, 2}, {10, 15, 0},
        };
        for (size_t i = 0; i < sizeof(bad4) / sizeof(bad4[0]); i++) {
                uint8_t b[60];
                memcpy(b, v4, sizeof(b));
                b[bad4[i].at] = bad4[i].value;
                if (through(&n, b, 60, NULL) != WG_DROP)
                        fail_msg("row %d passed", bad4[i].row);
        }
        uint8_t mapped[60] = {0x60, 0, 0, 0, 0, 10, 59, 64, [18] = 0xff, 0xff, 10, 0, 0, 1, [39] = 2};
        assert_int_equal(through(&n, mapped, 60, NULL), WG_DROP);   /* ::ffff:10.0.0.1 is not 10.0.0.1 */
        assert_true(wg_drops(n.node[1].wg, WG_DROP_SOURCE) >= 4);
        assert_true(wg_drops(n.node[1].wg, WG_DROP_INNER) >= 7);
        net_done(&n);
}

static void test_allowed_change_is_immediate(void **state)
{
        struct net n;
        uint8_t v4[32] = {0x45, 0, 0, 32, [12] = 10, 0, 0, 1, 10, 0, 0, 2};
        struct key_private other;
        (void)state;
        net_init(&n);
        settle_session(&n);
        struct wg *b = n.node[1].wg;
        assert_int_equal(through(&n, v4, 32, NULL), WG_DATA);
        struct prefix all = net_prefix("10.0.0.0/8");
        assert_int_equal(wg_peer_set(b, 3, &n.node[0].pub, &all, 1), ERR_NONE);
        assert_int_equal(through(&n, v4, 32, NULL), WG_DATA);   /* and the session is the same */
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 1);

        /* A narrower range goes to another peer: what was allowed a moment ago is not any more. */
        key_generate(&other);
        struct node_public pub = key_node_public(&other);
        struct prefix one = net_prefix("10.0.0.1/32");
        assert_int_equal(wg_peer_set(b, 4, &pub, &one, 1), ERR_NONE);
        assert_int_equal(through(&n, v4, 32, NULL), WG_DROP);
        wg_peer_remove(b, 4);
        assert_int_equal(through(&n, v4, 32, NULL), WG_DATA);
        assert_int_equal(wg_peer_set(b, 3, &n.node[0].pub, NULL, 0), ERR_NONE);
        assert_int_equal(through(&n, v4, 32, NULL), WG_DROP);
        net_done(&n);
}

static bool never_lose(struct net *n, unsigned from, const struct pkt *p)
{
        (void)n;
        (void)from;
        (void)p;
        return false;
}

/* A link that doubles the first message of each kind with every one of its bytes spoilt in turn, in front of the
 * true one: the handshake finishes on its first try. */
static void test_forged_messages_do_not_abort(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        n.lose = never_lose;
        assert_int_equal(net_send(&n, 0, 1), 0);
        while (n.in_flight > 0 && n.node[1].delivered == 0) {
                struct net_flight f = n.flight[--n.in_flight];
                n.now = f.at;
                for (size_t at = 0; at < f.p->len && at < 148; at++) {
                        struct pkt *bad = copy_of(&n, f.p);
                        pkt_data(bad)[at] ^= 0x04;
                        enum wg_verdict v = net_receive(&n, f.to, bad);
                        /* mac2 is not looked at without load */
                        bool mac2 = pkt_data(f.p)[0] != MSG_DATA && at >= msg_mac2_at(f.p->len);
                        assert_int_equal(v, mac2 && at == msg_mac2_at(f.p->len) ? WG_HANDSHAKE : WG_DROP);
                        if (mac2 && v == WG_HANDSHAKE)
                                break;
                }
                if (pkt_data(f.p)[0] == MSG_DATA)
                        assert_int_equal(net_receive(&n, f.to, f.p), WG_DATA);
                else
                        pkt_release(n.pool, f.p);
        }
        assert_int_equal(n.node[1].delivered, 1);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 1);
        net_done(&n);
}

/* With a correct mac1, too: a response that only who knows our public key can forge. */
static void test_forged_response_with_mac1(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        assert_int_equal(net_send(&n, 0, 1), 0);
        uint32_t index = load_le32(pkt_data(n.flight[0].p) + MSG_SENDER);
        for (int i = 0; i < 20; i++) {
                struct cookie_jar none = {0};
                struct pkt *p = pkt_get(n.pool);
                uint8_t *msg = pkt_put(p, MSG_RESPONSE_LEN);
                assert_non_null(msg);
                crypto_random(msg, MSG_RESPONSE_LEN);
                store_le32(msg, MSG_RESPONSE);
                store_le32(msg + MSG_RESPONSE_RECEIVER, index);
                cookie_add_macs(n.node[0].wg->us.mac1_key, &none, msg, MSG_RESPONSE_LEN, n.now);
                assert_int_equal(net_receive(&n, 0, p), WG_DROP);
        }
        assert_int_equal(wg_drops(n.node[0].wg, WG_DROP_HANDSHAKE), 20);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].delivered, 1);
        assert_int_equal(n.node[0].sent[MSG_INITIATION], 1);
        net_done(&n);
}

static void test_replayed_initiation(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        (void)net_send(&n, 0, 1);
        struct pkt *recorded = copy_of(&n, n.flight[0].p);
        net_run_ms(&n, 1000);
        struct session *s = side(&n, 1)->keys.current;
        assert_int_equal(net_receive(&n, 1, recorded), WG_DROP);
        assert_int_equal(wg_drops(n.node[1].wg, WG_DROP_STALE_STAMP), 1);
        assert_ptr_equal(side(&n, 1)->keys.current, s);
        assert_null(side(&n, 1)->keys.next);
        net_done(&n);
}

/* A clock that was set back does not cost us a handshake, nor does it with a peer that was away meanwhile, nor in the
 * next process, which is told how far the last one got. */
static void test_clock_set_back(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 1);
        n.wall_step_ns = -86400 * NS_PER_SEC;
        handshake_initiate(n.node[0].wg, side(&n, 0), n.now, net_wall(&n));
        net_settle(&n, 0);
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 2);

        struct prefix a = net_prefix("10.0.0.2/32");
        struct node_public pub = n.node[1].pub;
        wg_peer_remove(n.node[0].wg, 3);
        assert_int_equal(wg_peer_set(n.node[0].wg, 3, &pub, &a, 1), ERR_NONE);
        handshake_initiate(n.node[0].wg, side(&n, 0), n.now, net_wall(&n));
        net_settle(&n, 0);
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 3);

        wg_free(n.node[0].wg);
        n.node[0].wg = wg_new(n.pool, 16);
        wg_set_identity(n.node[0].wg, &n.node[0].key);
        wg_set_stamp_floor(n.node[0].wg, net_wall(&n) - n.wall_step_ns);
        assert_int_equal(wg_peer_set(n.node[0].wg, 3, &pub, &a, 1), ERR_NONE);
        handshake_initiate(n.node[0].wg, side(&n, 0), n.now, net_wall(&n));
        net_settle(&n, 0);
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 4);
        assert_int_equal(wg_drops(n.node[1].wg, WG_DROP_STALE_STAMP), 0);
        net_done(&n);
}

/* The one too early is dropped, but its stamp is not used up. */
static void test_initiation_spacing(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        struct wg_peer *a = side(&n, 0);
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 30);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 1);
        handshake_initiate(n.node[0].wg, a, n.now, net_wall(&n));
        struct wg_out out;
        assert_true(wg_next_out(n.node[0].wg, &out));
        n.now = mono_add_ms(side(&n, 1)->accepted_at, SPACING_MS);
        assert_int_equal(net_receive(&n, 1, copy_of(&n, out.p)), WG_DROP);
        n.now = mono_add_ms(n.now, 1);
        assert_int_equal(net_receive(&n, 1, copy_of(&n, out.p)), WG_HANDSHAKE);
        pkt_release(n.pool, out.p);
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

static void test_psk(void **state)
{
        struct net n;
        uint8_t psk[KEY_LEN];
        (void)state;
        net_init(&n);
        check_count_up(psk, sizeof(psk), 1);
        wg_peer_set_psk(n.node[0].wg, 3, psk);
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 3000);
        assert_int_equal(n.node[1].delivered, 0);   /* only one side has it */
        wg_peer_set_psk(n.node[1].wg, 3, psk);
        net_run_ms(&n, 10000);
        assert_int_equal(n.node[1].delivered, 1);
        net_done(&n);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first_packet),
                cmocka_unit_test(test_responder_waits_for_confirmation),
                cmocka_unit_test(test_first_contact),
                cmocka_unit_test(test_first_contact_far_away),
                cmocka_unit_test(test_older_answer_serves),
                cmocka_unit_test(test_crossing),
                cmocka_unit_test(test_rekeys_lose_nothing),
                cmocka_unit_test(test_lossy_link),
                cmocka_unit_test(test_idle_is_silent),
                cmocka_unit_test(test_gives_up),
                cmocka_unit_test(test_peer_restarts),
                cmocka_unit_test(test_told_that_the_peer_restarted),
                cmocka_unit_test(test_staging_keeps_the_newest),
                cmocka_unit_test(test_staging_leaves_half_the_pool),
                cmocka_unit_test(test_counter_limit),
                cmocka_unit_test(test_age_limits),
                cmocka_unit_test(test_replay_and_damage),
                cmocka_unit_test(test_burst),
                cmocka_unit_test(test_inner_packets),
                cmocka_unit_test(test_allowed_change_is_immediate),
                cmocka_unit_test(test_forged_messages_do_not_abort),
                cmocka_unit_test(test_forged_response_with_mac1),
                cmocka_unit_test(test_replayed_initiation),
                cmocka_unit_test(test_clock_set_back),
                cmocka_unit_test(test_initiation_spacing),
                cmocka_unit_test(test_persistent),
                cmocka_unit_test(test_psk),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
