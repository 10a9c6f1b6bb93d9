/* Disco at the door: what strangers, forgers and peers send, by UDP and by relay, and what comes of it. */
#include "tests/unit/magicsock_door.h"

static void drops_are(uint64_t stranger, uint64_t auth, uint64_t parse)
{
        assert_int_equal(ms_drops(t.ms, MS_DROP_DISCO_STRANGER), stranger);
        assert_int_equal(ms_drops(t.ms, MS_DROP_DISCO_AUTH), auth);
        assert_int_equal(ms_drops(t.ms, MS_DROP_DISCO_PARSE), parse);
}

/* Many addresses of ours leave no guess out. */
static void test_a_call_has_all_guesses(void **state)
{
        (void)state;
        struct addr guess[HN_GUESSES];
        for (size_t i = 0; i < HN_GUESSES; i++)
                guess[i] = (struct addr){ip_v4(192, 0, 2, 1), (uint16_t)(1000 + i)};
        for (size_t i = 0; i < MS_ENDPOINTS_MAX; i++)
                t.ms->eps[i].addr = (struct addr){ip_v4(198, 51, 100, (uint8_t)i), 9};
        t.ms->ep_count = MS_ENDPOINTS_MAX;
        ms_send_call(t.ms, ms_slot_find(t.ms, PEER), NULL, 0, loop_now(t.loop));
        assert_int_equal(t.ms->msg.cmm.count, MS_ENDPOINTS_MAX);
        ms_send_call(t.ms, ms_slot_find(t.ms, PEER), guess, HN_GUESSES, loop_now(t.loop));
        const struct addr *eps = t.ms->msg.cmm.eps, *last = eps + t.ms->msg.cmm.count - HN_GUESSES;
        for (size_t i = 0; i < HN_GUESSES; i++)
                assert_true(addr_eq(last[i], guess[i]));
        assert_true(addr_eq(eps[0], t.ms->eps[0].addr));
}

static void test_ping_makes_a_candidate(void **state)
{
        (void)state;
        uint8_t data[2048];
        struct disco_msg m = ping(1);
        by_udp(data, seal_msg(&m, data));
        drops_are(0, 0, 0);
        assert_non_null(path_find(&peer(PEER)->paths, SRC));
}

static void test_a_nonce_is_used_once(void **state)
{
        (void)state;
        uint8_t data[2048], nonce[2][BOX_NONCE_LEN];
        for (uint8_t i = 0; i < 2; i++) {
                struct disco_msg m = ping(i);
                by_relay(data, seal_msg(&m, data));
                memcpy(nonce[i], t.ms->datagram + DISCO_OVERHEAD - BOX_TAG_LEN - BOX_NONCE_LEN, BOX_NONCE_LEN);
        }
        drops_are(0, 0, 0);
        assert_memory_not_equal(nonce[0], nonce[1], BOX_NONCE_LEN);
}

/* A disco key that nobody has; one of ours with a node that is not the one the relay names. */
/* What is asked of a peer before and after it is awake. */
static void test_what_is_explained(void **state)
{
        (void)state;
        struct ms_explain x;
        struct disco_msg m = ping(1);
        uint8_t data[2048];
        assert_false(ms_explain(t.ms, PEER + 1, &x, loop_now(t.loop)));
        assert_true(ms_explain(t.ms, PEER, &x, loop_now(t.loop)));
        assert_true(!x.awake && x.has_disco && !x.udp4 && x.home == REGION && x.history.count == 0 && x.path_count == 0);
        by_udp(data, seal_msg(&m, data));
        m.ping.txid.b[0] = 2;
        by_udp(data, seal_msg(&m, data));
        assert_true(ms_explain(t.ms, PEER, &x, loop_now(t.loop)));
        assert_true(x.awake && x.knows_us && x.route.kind == MS_ROUTE_RELAY && x.path_count == 1);
        assert_true(addr_eq(x.paths[0].addr, SRC) && x.paths[0].origin == PATH_FROM_PING && x.paths[0].tried == 1);
        const enum history_kind want[] = {HISTORY_CONFIG, HISTORY_PING_IN, HISTORY_RELAY, HISTORY_PINGED, HISTORY_PING_IN};
        assert_int_equal(x.history.count, sizeof(want) / sizeof(want[0]));
        for (size_t i = 0; i < x.history.count; i++)
                assert_int_equal(history_at(&x.history, i)->kind, want[i]);
}

static void test_strangers(void **state)
{
        (void)state;
        uint8_t data[2048], inner[2] = {DISCO_PING, 0};
        struct key_private other;
        key_generate(&other);
        size_t n = seal(&other, inner, sizeof(inner), data);
        by_udp(data, n);
        drops_are(1, 0, 0);
        by_relay(data, n);
        drops_are(2, 0, 0);
        for (size_t i = 0; i < DISCO_WRAPPER_MIN; i++)   /* too short to name a sender */
                by_udp(data, i);
        drops_are(2 + DISCO_WRAPPER_MIN, 0, 0);
        assert_int_equal(peer(PEER)->paths.count, 0);
}

/* A known sender's name over bytes that it did not seal: each byte changed, each length cut. */
static void test_forged(void **state)
{
        (void)state;
        uint8_t data[2048], copy[2048];
        struct disco_msg m = ping(1);
        size_t n = seal_msg(&m, data), forged = 0;
        for (size_t i = DISCO_WRAPPER_MIN - BOX_NONCE_LEN; i < n; i++, forged++) {   /* behind the sender's key */
                memcpy(copy, data, n);
                copy[i] ^= 1;
                by_udp(copy, n);
        }
        for (size_t i = DISCO_WRAPPER_MIN; i < n; i++, forged++)
                by_udp(data, i);
        drops_are(0, forged, 0);
        memset(copy, 0, sizeof(copy));
        memcpy(copy, data, DISCO_WRAPPER_MIN);
        by_relay(copy, sizeof(copy));
        drops_are(0, forged + 1, 0);
        assert_int_equal(peer(PEER)->paths.count, 0);
}

/* Sealed by the peer, and no message: it ends here, and is counted. */
static void test_unreadable(void **state)
{
        (void)state;
        static const struct {
                uint8_t inner[8];
                size_t len;
        } rows[] = {{{0}, 0}, {{DISCO_PING}, 1}, {{DISCO_PING, 0, 1, 2, 3}, 5}, {{DISCO_PONG, 0, 1}, 3}, {{0, 0}, 2}, {{10, 0}, 2},
                {{255, 255, 1}, 3}, {{DISCO_RELAY_FIRST, 0}, 2}, {{DISCO_RELAY_LAST, 0, 1}, 3}};
        uint8_t data[2048];
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                size_t n = seal(&t.disco, rows[i].inner, rows[i].len, data);
                by_udp(data, n);
                by_relay(data, n);
                drops_are(0, 0, 2 * (i + 1));
        }
        assert_int_equal(peer(PEER)->paths.count, 0);
}

/* By UDP anybody on the way could replay one: only the relay proves its sender. */
static void test_call_by_udp_is_nothing(void **state)
{
        (void)state;
        uint8_t data[2048];
        struct disco_msg m = {.type = DISCO_CALL_ME_MAYBE};
        m.cmm.count = 2;
        m.cmm.eps[0] = (struct addr){ip_v4(192, 0, 2, 1), 1};
        m.cmm.eps[1] = (struct addr){ip_v4(192, 0, 2, 2), 2};
        size_t n = seal_msg(&m, data);
        by_udp(data, n);
        drops_are(0, 0, 0);
        assert_int_equal(peer(PEER)->paths.count, 0);
        by_relay(data, n);
        assert_int_equal(peer(PEER)->paths.count, 2);
        assert_null(path_find(&peer(PEER)->paths, SRC));
}

/* The messages of peer relays are understood by others. */
static void test_relay_messages_are_left_alone(void **state)
{
        (void)state;
        uint8_t inner[74] = {DISCO_RELAY_FIRST}, data[2048];
        size_t n = seal(&t.disco, inner, sizeof(inner), data);
        by_udp(data, n);
        by_relay(data, n);
        drops_are(0, 0, 0);
        assert_int_equal(peer(PEER)->paths.count, 0);
        assert_false(peer(PEER)->knows_us);
}

/* A pong that nobody asked for is nothing; the one that was asked for is news once. */
static void test_pongs(void **state)
{
        (void)state;
        uint8_t data[2048];
        mono_t now = loop_now(t.loop);
        struct disco_msg m = {.type = DISCO_PONG};
        m.pong.seen = SRC;
        by_udp(data, seal_msg(&m, data));
        by_relay(data, seal_msg(&m, data));
        assert_int_equal(t.known, 0);
        assert_int_equal(ms_ping(t.ms, PEER, 1, 0, now), ERR_NONE);
        assert_int_equal(peer(PEER)->pings.count, 1);
        m.pong.txid = peer(PEER)->pings.p[0].txid;
        m.pong.seen = disco_relay_addr(REGION);
        by_relay(data, seal_msg(&m, data));
        assert_int_equal(t.known, 1);
        by_relay(data, seal_msg(&m, data));
        assert_int_equal(t.known, 1);
        assert_false(ms_peer_is_direct(peer(PEER), now));   /* by relay proves no path */
}

/* Two nodes of one disco key: both learn where it is. */
static void test_shared_key(void **state)
{
        (void)state;
        uint8_t data[2048];
        struct key_private other;
        struct disco_msg m = ping(9);
        key_generate(&other);
        add_peer(TWIN, &other);
        by_udp(data, seal_msg(&m, data));
        assert_non_null(path_find(&peer(PEER)->paths, SRC));
        assert_non_null(path_find(&peer(TWIN)->paths, SRC));
        drops_are(0, 0, 0);
}

/* A disco key of the map with which no box can be made (a low-order point): every packet of it is a forgery. */
static void test_bad_disco_key(void **state)
{
        (void)state;
        uint8_t data[2048] = {0};
        struct ms_peer_config c = {.key = key_node_public(&t.node), .home = REGION};
        c.disco.b[0] = 1;
        assert_int_equal(ms_peer_set(t.ms, PEER, &c, loop_now(t.loop)), ERR_NONE);
        memcpy(data, disco_magic, DISCO_MAGIC_LEN);
        data[DISCO_MAGIC_LEN] = 1;
        by_udp(data, 200);
        by_udp(data, 200);
        drops_are(0, 2, 0);
        assert_true(ms_slot_find(t.ms, PEER)->bad_disco);
        assert_int_equal(ms_ping(t.ms, PEER, 1, 0, loop_now(t.loop)), ERR_NONE);   /* and sending to it harms nobody */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_call_has_all_guesses, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_ping_makes_a_candidate, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_what_is_explained, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_strangers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_forged, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unreadable, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_call_by_udp_is_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_relay_messages_are_left_alone, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_pongs, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_shared_key, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_disco_key, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_nonce_is_used_once, set_up, tear_down),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
