#include "base/pkt.h"

#include "tests/unit/check.h"

static void test_moves(void **state)
{
        (void)state;
        struct pkt_pool *pool = pkt_pool_new(1);
        struct pkt *p = pkt_get(pool);
        assert_int_equal(p->off, PKT_HEADROOM);
        assert_int_equal(p->len, 0);
        uint8_t *body = pkt_put(p, 100);
        assert_ptr_equal(body, p->storage + PKT_HEADROOM);
        assert_ptr_equal(pkt_put(p, 16), body + 100);
        assert_ptr_equal(pkt_push(p, 16), body - 16);
        assert_ptr_equal(pkt_cdata(p), body - 16);
        assert_int_equal(p->len, 132);
        assert_true(pkt_pull(p, 16));
        assert_true(pkt_trim(p, 100));
        assert_ptr_equal(pkt_data(p), body);
        assert_int_equal(p->len, 100);
        pkt_release(pool, p);
        pkt_pool_free(pool);
}

static void test_moves_refuse_without_change(void **state)
{
        (void)state;
        struct pkt_pool *pool = pkt_pool_new(1);
        struct pkt *p = pkt_get(pool);
        size_t room = PKT_DATA_MAX + PKT_TAILROOM;
        assert_null(pkt_push(p, PKT_HEADROOM + 1));
        assert_null(pkt_put(p, room + 1));
        assert_null(pkt_put(p, SIZE_MAX));
        assert_false(pkt_pull(p, 1));
        assert_false(pkt_trim(p, 1));
        assert_int_equal(p->off, PKT_HEADROOM);
        assert_int_equal(p->len, 0);
        assert_non_null(pkt_put(p, room));
        assert_null(pkt_put(p, 1));
        assert_non_null(pkt_push(p, PKT_HEADROOM));
        assert_null(pkt_push(p, 1));
        assert_int_equal(p->len, PKT_STORAGE);
        assert_false(pkt_pull(p, PKT_STORAGE + 1));
        assert_false(pkt_trim(p, PKT_STORAGE + 1));
        assert_true(pkt_pull(p, PKT_STORAGE));
        assert_int_equal(p->len, 0);
        pkt_pool_free(pool);
}

static void test_pool_is_bounded(void **state)
{
        (void)state;
        struct pkt *got[3];
        struct pkt_pool *pool = pkt_pool_new(3);
        assert_int_equal(pkt_pool_free_count(pool), 3);
        for (size_t i = 0; i < 3; i++) {
                got[i] = pkt_get(pool);
                assert_non_null(got[i]);
                for (size_t k = 0; k < i; k++)
                        assert_ptr_not_equal(got[i], got[k]);
        }
        assert_null(pkt_get(pool));
        assert_int_equal(pkt_pool_free_count(pool), 0);
        got[1]->peer = 9;
        got[1]->src.port = 1;
        assert_non_null(pkt_put(got[1], 5));
        pkt_release(pool, got[1]);
        pkt_release(pool, NULL);
        struct pkt *again = pkt_get(pool);
        assert_ptr_equal(again, got[1]);
        assert_int_equal(again->peer, 0);
        assert_int_equal(again->src.port, 0);
        assert_int_equal(again->len, 0);
        pkt_release(pool, again);
        pkt_release(pool, got[2]);
        got[1] = pkt_get(pool);
        got[2] = pkt_get(pool);
        assert_true(got[1] != NULL && got[2] != NULL && got[1] != got[2] && got[1] != got[0] && got[2] != got[0]);
        assert_null(pkt_get(pool));
        pkt_pool_free(pool);
        assert_null(pkt_pool_new(SIZE_MAX));
        pkt_pool_free(NULL);
}

static void test_queue_is_first_in_first_out(void **state)
{
        (void)state;
        struct pkt_pool *pool = pkt_pool_new(3);
        struct pkt *a = pkt_get(pool), *b = pkt_get(pool), *c = pkt_get(pool);
        struct pkt_queue q = {0};
        assert_null(pkt_queue_pop(&q));
        pkt_queue_push(&q, a);
        pkt_queue_push(&q, b);
        assert_ptr_equal(pkt_queue_pop(&q), a);
        pkt_queue_push(&q, c);
        assert_int_equal(q.count, 2);
        assert_ptr_equal(pkt_queue_pop(&q), b);
        assert_ptr_equal(pkt_queue_pop(&q), c);
        assert_null(pkt_queue_pop(&q));
        assert_int_equal(q.count, 0);
        pkt_queue_push(&q, a);
        assert_ptr_equal(pkt_queue_pop(&q), a);
        pkt_pool_free(pool);
}

static void a_view_is_kept_by_copy(void **state)
{
        (void)state;
        uint8_t room[64] = {[10] = 1, [11] = 2, [12] = 3};
        static uint8_t large[PKT_STORAGE];
        struct pkt_pool *pool = pkt_pool_new(1);
        struct pkt v, big;
        pkt_view(&v, room, 20, 10, 3);
        v.peer = 7;
        assert_null(pkt_push(&v, 11));
        assert_null(pkt_put(&v, 8));   /* of its room, not of what it lies in */
        assert_ptr_equal(pkt_put(&v, 7), room + 13);
        assert_true(pkt_trim(&v, 3));
        pkt_view(&big, large, sizeof(large), 0, PKT_DATA_MAX + PKT_TAILROOM + 1);
        assert_null(pkt_keep(pool, &big));
        struct pkt *own = pkt_keep(pool, &v);
        assert_non_null(own);
        assert_false(own->view);
        assert_int_equal(own->off, PKT_HEADROOM);
        assert_int_equal(own->len, 3);
        assert_int_equal(own->peer, 7);
        assert_memory_equal(pkt_data(own), room + 10, 3);
        assert_ptr_equal(pkt_keep(pool, own), own);
        assert_null(pkt_keep(pool, &v));   /* all are out */
        pkt_release(pool, &v);             /* is nobody's */
        assert_int_equal(pkt_pool_free_count(pool), 0);
        pkt_release(pool, own);
        pkt_pool_free(pool);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_view_is_kept_by_copy),
                cmocka_unit_test(test_moves),
                cmocka_unit_test(test_moves_refuse_without_change),
                cmocka_unit_test(test_pool_is_bounded),
                cmocka_unit_test(test_queue_is_first_in_first_out),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
