/* Handshakes of two devices in memory on a virtual clock: late, lost, crossing, answered twice. */
#include "tests/unit/wg_net.h"

static void lose_the_response(struct net *n)
{
        n->deaf[0] = true;
        assert_int_equal(net_send(n, 0, 1), 0);
        net_run_ms(n, 100);
        assert_int_equal(n->node[1].sent[MSG_RESPONSE], 1);
}

static void test_responder_waits_for_confirmation(void **state)
{
        struct net n;
        struct wg_out out;
        (void)state;
        net_init(&n);
        lose_the_response(&n);
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

/* The way was shut and all came through in one moment: each is answered, as those that came first may be forgotten, and only
 * the last serves. */
static void heap_after(int64_t outage_ms, unsigned initiations)
{
        struct net n;
        net_init(&n);
        for (int64_t t = 0; t < outage_ms; t += 10) {
                n.delay_ms = outage_ms - t;
                if (t == 0)
                        (void)net_send(&n, 0, 1);
                net_run_ms(&n, 10);
        }
        assert_int_equal(n.node[0].sent[MSG_INITIATION], initiations);
        assert_int_equal(n.node[1].delivered, 0);
        n.delay_ms = 20;
        net_run_ms(&n, 50);
        assert_int_equal(n.node[1].delivered, 1);
        net_done(&n);
}

static void test_a_heap_after_an_outage(void **state)
{
        (void)state;
        heap_after(2500, 5);
        heap_after(25000, 9);
}

/* The answer to an old one came, and those to newer ones never do: how old it is says nothing of how long these take. */
static void test_an_old_answer_is_not_waited_for_long(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        n.delay_ms = 8000;
        (void)net_send(&n, 0, 1);
        n.delay_ms = 20;
        n.deaf[1] = true;
        net_run_ms(&n, 8000);
        n.deaf[1] = false;
        net_run_ms(&n, HOLD_MOST_MS);
        assert_int_equal(n.node[1].sent[MSG_RESPONSE], 1);
        assert_int_equal(n.node[1].delivered, 0);
        net_run_ms(&n, 100);
        assert_int_equal(n.node[1].delivered, 1);
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

/* Each has asked more than once before it hears the other.  Whatever is answered first and last, each keeps what the other
 * sends under. */
static void test_crossing_far_away(void **state)
{
        (void)state;
        for (int64_t apart = 0; apart <= 1200; apart += 100) {
                struct net n;
                net_init(&n);
                n.delay_ms = 450;
                (void)net_send(&n, 0, 1);
                net_run_ms(&n, apart);
                for (uint32_t i = 1; i <= 60; i++) {
                        (void)net_send(&n, 1, i);
                        (void)net_send(&n, 0, i + 1);
                        net_run_ms(&n, 100);
                }
                net_run_ms(&n, 1000);
                assert_int_equal(n.node[0].delivered, 60);
                assert_int_equal(n.node[1].delivered, 61);
                net_done(&n);
        }
}

static bool lose_second_answer(struct net *n, unsigned from, const struct pkt *p)
{
        return from == 1 && pkt_cdata(p)[0] == MSG_RESPONSE && n->node[1].sent[MSG_RESPONSE] == 2;
}

/* What the first answer made serves, on both sides, until there is a third. */
static void test_second_answer_lost(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        n.delay_ms = 300;
        n.lose = lose_second_answer;
        for (uint32_t i = 1; i <= 60; i++) {
                (void)net_send(&n, 0, i);
                net_run_ms(&n, 100);
        }
        net_run_ms(&n, 1000);
        assert_int_equal(n.node[1].delivered, 60);
        assert_true(n.node[1].sent[MSG_RESPONSE] > 2);
        net_done(&n);
}

/* Whoever has just answered waits to be spoken to before it asks itself. */
static void test_an_answer_is_waited_for(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        lose_the_response(&n);
        n.deaf[1] = true;   /* and no other try of the other side's comes */
        assert_int_equal(net_send(&n, 1, 2), 0);
        net_run_ms(&n, 800);
        assert_int_equal(n.node[1].sent[MSG_INITIATION], 0);
        net_run_ms(&n, 200);
        assert_int_equal(n.node[1].sent[MSG_INITIATION], 1);
        net_done(&n);
}

enum { HANDSHAKES = 20, ONCE_LEN = 4 + KEY_LEN };
static uint8_t used[2 * HANDSHAKES][ONCE_LEN];   /* index of the sender, ephemeral key */
static size_t used_count;

static bool note_used(struct net *n, unsigned from, const struct pkt *p)
{
        const uint8_t *msg = pkt_cdata(p);
        size_t at = msg[0] == MSG_INITIATION ? MSG_INITIATION_EPHEMERAL : msg[0] == MSG_RESPONSE ? MSG_RESPONSE_EPHEMERAL : 0;
        (void)n;
        (void)from;
        if (at == 0 || used_count == 2 * HANDSHAKES)
                return false;
        memcpy(used[used_count], msg + MSG_SENDER, 4);
        memcpy(used[used_count++] + 4, msg + at, KEY_LEN);
        return false;
}

/* Each handshake has keys and numbers of its own, on both sides. */
static void test_nothing_is_used_twice(void **state)
{
        struct net n;
        (void)state;
        net_init(&n);
        n.lose = note_used;
        used_count = 0;
        for (uint32_t i = 1; i <= HANDSHAKES; i++) {
                (void)net_send(&n, 0, i);
                net_run_ms(&n, 2000);
                wg_peer_refresh(n.node[0].wg, 3, n.now);
        }
        assert_int_equal(used_count, 2 * HANDSHAKES);
        for (size_t i = 0; i < used_count; i++)
                for (size_t k = 0; k < i; k++) {
                        assert_memory_not_equal(used[i], used[k], 4);
                        assert_memory_not_equal(used[i] + 4, used[k] + 4, KEY_LEN);
                }
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
                cmocka_unit_test(test_responder_waits_for_confirmation),
                cmocka_unit_test(test_first_contact),
                cmocka_unit_test(test_first_contact_far_away),
                cmocka_unit_test(test_older_answer_serves), cmocka_unit_test(test_a_heap_after_an_outage),
                cmocka_unit_test(test_an_old_answer_is_not_waited_for_long),
                cmocka_unit_test(test_second_answer_lost),
                cmocka_unit_test(test_crossing),
                cmocka_unit_test(test_crossing_far_away),
                cmocka_unit_test(test_an_answer_is_waited_for),
                cmocka_unit_test(test_nothing_is_used_twice),
                cmocka_unit_test(test_psk),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
