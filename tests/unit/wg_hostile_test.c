/* Two devices, and somebody between them: replays, damage, forged messages, wrong inner addresses, set clocks, and the
 * limits of a session. */
#include "tests/unit/wg_net.h"

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
        n.now = mono_add_ms(born, 174900);
        assert_int_equal(net_send(&n, 0, 2), 1);
        n.now = mono_add_ms(born, 175100);
        assert_int_equal(net_send(&n, 0, 2), 0);
        net_done(&n);
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
                enum wg_drop why = bad4[i].row < 8 ? WG_DROP_INNER : WG_DROP_SOURCE;
                uint64_t before = wg_drops(n.node[1].wg, why);
                if (through(&n, b, 60, NULL) != WG_DROP || wg_drops(n.node[1].wg, why) != before + 1)
                        fail_msg("row %d passed, or for another reason", bad4[i].row);
        }
        uint8_t mapped[60] = {0x60, 0, 0, 0, 0, 10, 59, 64, [18] = 0xff, 0xff, 10, 0, 0, 1, [39] = 2};
        assert_int_equal(through(&n, mapped, 60, NULL), WG_DROP);   /* ::ffff:10.0.0.1 is not 10.0.0.1 */
        assert_int_equal(wg_drops(n.node[1].wg, WG_DROP_SOURCE), 4);
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

/* A series that was kept somewhere comes at once and is answered; the one too many is dropped, but its stamp is not used up. */
static void test_initiation_spacing(void **state)
{
        struct net n;
        struct wg_out out;
        (void)state;
        net_init(&n);
        struct wg_peer *a = side(&n, 0);
        for (int i = 0; i < SPACING_BURST; i++) {
                handshake_initiate(n.node[0].wg, a, n.now, net_wall(&n));
                assert_true(wg_next_out(n.node[0].wg, &out));
                assert_int_equal(net_receive(&n, 1, out.p), WG_HANDSHAKE);
        }
        handshake_initiate(n.node[0].wg, a, n.now, net_wall(&n));
        assert_true(wg_next_out(n.node[0].wg, &out));
        n.now = mono_add_ms(n.now, SPACING_MS - 1);
        assert_int_equal(net_receive(&n, 1, copy_of(&n, out.p)), WG_DROP);
        n.now = mono_add_ms(n.now, 1);
        assert_int_equal(net_receive(&n, 1, copy_of(&n, out.p)), WG_HANDSHAKE);
        pkt_release(n.pool, out.p);
        handshake_initiate(n.node[0].wg, a, n.now, net_wall(&n));
        assert_true(wg_next_out(n.node[0].wg, &out));
        assert_int_equal(net_receive(&n, 1, copy_of(&n, out.p)), WG_DROP);
        peer_reset(n.node[1].wg, side(&n, 1));   /* nothing of it is remembered */
        assert_int_equal(net_receive(&n, 1, out.p), WG_HANDSHAKE);
        net_done(&n);
}

/* A peer that asks all the time, and uses nothing of what it gets, costs no more than this; and the session in use stays. */
static void test_a_peer_that_only_asks(void **state)
{
        enum { FLOOD_MS = 1000 };
        struct net n;
        struct wg_out out;
        unsigned accepted = 0;
        (void)state;
        net_init(&n);
        (void)net_send(&n, 0, 1);
        net_run_ms(&n, 1000);
        struct wg *wg = n.node[1].wg;
        struct session *current = side(&n, 1)->keys.current;
        assert_non_null(current);
        for (int i = 0; i < FLOOD_MS; i++) {
                handshake_initiate(n.node[0].wg, side(&n, 0), n.now, net_wall(&n));
                assert_true(wg_next_out(n.node[0].wg, &out));
                accepted += net_receive(&n, 1, out.p) == WG_HANDSHAKE;
                n.now = mono_add_ms(n.now, 1);
        }
        assert_in_range(accepted, FLOOD_MS / SPACING_MS, FLOOD_MS / SPACING_MS + SPACING_BURST);
        assert_int_equal(wg->index.count, 1 + 1 + KEYPAIRS_BEFORE);
        assert_ptr_equal(side(&n, 1)->keys.current, current);
        net_done(&n);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_counter_limit),
                cmocka_unit_test(test_age_limits),
                cmocka_unit_test(test_replay_and_damage),
                cmocka_unit_test(test_inner_packets),
                cmocka_unit_test(test_allowed_change_is_immediate),
                cmocka_unit_test(test_forged_messages_do_not_abort),
                cmocka_unit_test(test_forged_response_with_mac1),
                cmocka_unit_test(test_replayed_initiation),
                cmocka_unit_test(test_clock_set_back),
                cmocka_unit_test(test_initiation_spacing),
                cmocka_unit_test(test_a_peer_that_only_asks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
