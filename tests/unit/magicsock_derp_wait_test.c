/* What waits for a relay that has not let us in. */
#include "tests/unit/magicsock_oneconn.h"

enum { INITIATION_LEN = 148 };

static void send_message(uint8_t type, uint8_t number, size_t len, const struct node_public *dst)
{
        struct pkt *p = pkt_get(t.m.pool);
        assert_non_null(p);
        uint8_t *b = pkt_put(p, len);
        memset(b, 0, len);
        b[0] = type;
        b[4] = number;
        assert_int_equal(derp_conn_send(t.c, dst, p, now()), ERR_NONE);
}

/* Type and number of the next that waits. */
static void waits(uint8_t type, uint8_t number)
{
        struct pkt *p = pkt_queue_pop(&t.c->queue);
        assert_non_null(p);
        t.m.queued--;
        assert_int_equal(pkt_cdata(p)[DERP_SEND_HEAD_LEN], type);
        assert_int_equal(pkt_cdata(p)[DERP_SEND_HEAD_LEN + 4], number);
        pkt_release(t.m.pool, p);
}

/* Of initiations to one peer only; an answer, data, and what is for others keep their place. */
static void test_the_newest_initiation(void **state)
{
        (void)state;
        struct node_public other = t.us;
        other.b[0] ^= 1;
        send_message(1, 1, INITIATION_LEN, &t.us);
        send_message(2, 2, 92, &t.us);
        send_message(1, 3, INITIATION_LEN, &other);
        send_message(1, 4, INITIATION_LEN - 1, &t.us);   /* none, for its length */
        send_message(4, 5, 64, &t.us);
        send_message(1, 6, INITIATION_LEN, &t.us);
        assert_int_equal(t.m.queued, 5);
        assert_int_equal(t.m.stats.dropped_queue, 1);
        waits(2, 2);
        waits(1, 3);
        waits(1, 4);
        waits(4, 5);
        waits(1, 6);
        assert_null(pkt_queue_pop(&t.c->queue));
}

/* When all together hold too much, the relay for which most waits gives way: its oldest. */
static void test_the_fullest_gives_way(void **state)
{
        (void)state;
        struct derp_conn *first = t.c, *second = derp_conn_new(&t.m, REGION + 1, now());
        assert_non_null(second);
        second->next = first;
        t.m.conns = second;
        for (uint8_t i = 0; i < t.m.queue_limit - 1; i++)
                send_message(4, i, 64, &t.us);
        t.c = second;
        send_message(4, 100, 64, &t.us);
        assert_int_equal(t.m.stats.dropped_queue, 0);
        send_message(4, 101, 64, &t.us);
        assert_int_equal(t.m.queued, t.m.queue_limit);
        assert_int_equal(t.m.stats.dropped_queue, 1);
        assert_int_equal(first->queue.count, t.m.queue_limit - 2);
        waits(4, 100);
        waits(4, 101);
        t.c = first;
        waits(4, 1);
        t.m.conns = first;
        derp_conn_free(second);
}

static void test_queue(void **state)
{
        (void)state;
        t.m.queue_limit = POOL;
        for (int i = 0; i < DERP_MGR_QUEUE_MAX + 3; i++)
                send_one(&t.us);
        assert_int_equal(t.m.queued, DERP_MGR_QUEUE_MAX);
        assert_int_equal(t.m.stats.dropped_queue, 3);
        derp_conn_free(t.c);
        t.c = NULL;
        assert_int_equal(t.m.queued, 0);
        assert_int_equal(t.m.stats.dropped_queue, DERP_MGR_QUEUE_MAX + 3);
}

/* A packet that has to wait needs one of the pool; one that may leave does not. */
static void test_queue_without_packets(void **state)
{
        (void)state;
        static uint8_t bytes[10];
        struct pkt view, *held[POOL];
        size_t n = 0;
        while ((held[n] = pkt_get(t.m.pool)) != NULL && ++n < POOL)
                continue;
        pkt_view(&view, bytes, sizeof(bytes), 0, sizeof(bytes));
        assert_int_equal(derp_conn_send(t.c, &t.us, &view, now()), ERR_FULL);
        log_in();
        assert_int_equal(derp_conn_send(t.c, &t.us, &view, now()), ERR_NONE);
        UNTIL(t.received == 1);
        while (n > 0)
                pkt_release(t.m.pool, held[--n]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_the_newest_initiation), T(test_the_fullest_gives_way), T(test_queue), T(test_queue_without_packets),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
