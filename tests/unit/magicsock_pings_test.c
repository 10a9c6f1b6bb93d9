/* The pings in flight: found by their ids, given up in order, and bounded. */
#include "magicsock/pings.h"

#include "base/crypto.h"
#include "tests/unit/check.h"

static mono_t at(int64_t s)
{
        return (mono_t){s * NS_PER_SEC};
}

static struct disco_txid add(struct pings *s, int64_t sent_s)
{
        const struct ping *g = pings_add(s, (struct ping){.sent = at(sent_s), .cookie = (uint64_t)sent_s});
        assert_non_null(g);
        return g->txid;
}

static void taken_by_id(void **state)
{
        (void)state;
        struct pings s = {.count = 0};
        struct ping g;
        struct disco_txid id[3];
        for (int i = 0; i < 3; i++)
                id[i] = add(&s, 10 + i);
        assert_false(disco_txid_eq(&id[0], &id[1]));
        assert_true(pings_take(&s, &id[1], &g));
        assert_int_equal(g.cookie, 11);
        assert_false(pings_take(&s, &id[1], &g));   /* each once */
        assert_true(pings_take(&s, &id[2], &g));
        assert_true(pings_take(&s, &id[0], &g));
        assert_int_equal(g.cookie, 10);
        assert_int_equal(s.count, 0);
        assert_false(pings_take(&s, &id[0], &g));
        pings_done(&s);
}

static void taken_by_age(void **state)
{
        (void)state;
        struct pings s = {.count = 0};
        struct ping g;
        assert_false(pings_take_sent(&s, at(100), &g));
        (void)add(&s, 10);
        (void)add(&s, 10);
        (void)add(&s, 12);
        assert_false(pings_take_sent(&s, at(9), &g));
        assert_true(pings_take_sent(&s, at(10), &g));
        assert_true(pings_take_sent(&s, at(11), &g));
        assert_int_equal(g.cookie, 10);
        assert_false(pings_take_sent(&s, at(11), &g));
        assert_true(pings_take_sent(&s, at(12), &g));
        assert_int_equal(s.count, 0);
        pings_done(&s);
}

static void bounded(void **state)
{
        (void)state;
        struct pings s = {.count = 0};
        struct ping g;
        struct disco_txid first = add(&s, 1), second = add(&s, 2);
        for (int i = 2; i < PINGS_MAX; i++)
                (void)add(&s, 1 + i);
        assert_int_equal(s.count, PINGS_MAX);
        (void)add(&s, 1000);
        assert_int_equal(s.count, PINGS_MAX);
        assert_false(pings_take(&s, &first, &g));   /* the oldest made room */
        assert_true(pings_take(&s, &second, &g));
        pings_done(&s);
        assert_int_equal(s.count, 0);
        (void)add(&s, 1);   /* of use again afterwards */
        assert_int_equal(s.count, 1);
        pings_done(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(taken_by_id),
                cmocka_unit_test(taken_by_age),
                cmocka_unit_test(bounded),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
