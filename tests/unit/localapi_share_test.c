/* Whose connections leave room for whose. */
#include "daemon/localapi/share.h"

#include "tests/unit/check.h"

enum { ROOT = 0, OWN = 7, ALICE = 1000 };

static struct lapi_share s;

static unsigned take_all(uid_t uid)
{
        unsigned n = 0;
        while (lapi_share_take(&s, uid, OWN) != NULL)
                n++;
        return n;
}

static int setup(void **state)
{
        (void)state;
        s = (struct lapi_share){0};
        return 0;
}

static void one_user_has_a_quarter(void **state)
{
        (void)state;
        assert_int_equal(take_all(ALICE), LAPI_CONNECTIONS_MAX / 4);
        assert_non_null(lapi_share_take(&s, ALICE + 1, OWN));
        assert_null(lapi_share_take(&s, ALICE, OWN));
}

static void all_users_leave_a_quarter(void **state)
{
        (void)state;
        unsigned n = 0;
        for (uid_t u = ALICE; u < ALICE + 10; u++)
                n += take_all(u);
        assert_int_equal(n, LAPI_CONNECTIONS_MAX * 3 / 4);
        assert_non_null(lapi_share_take(&s, OWN, OWN));
        assert_int_equal(take_all(ROOT), LAPI_CONNECTIONS_MAX / 4 - 1);
        assert_null(lapi_share_take(&s, OWN, OWN));
}

static void root_takes_nothing_of_the_users(void **state)
{
        (void)state;
        for (int i = 0; i < LAPI_CONNECTIONS_MAX / 4; i++)
                assert_non_null(lapi_share_take(&s, i % 2 ? ROOT : OWN, OWN));
        assert_int_equal(take_all(ALICE), LAPI_CONNECTIONS_MAX / 4);
        assert_int_equal(take_all(ALICE + 1), LAPI_CONNECTIONS_MAX / 4);
        assert_int_equal(take_all(ALICE + 2), LAPI_CONNECTIONS_MAX / 4);
}

static void what_is_given_back_is_there_again(void **state)
{
        (void)state;
        struct lapi_slot *slot = lapi_share_take(&s, ALICE, OWN);
        (void)take_all(ALICE);
        lapi_share_give(NULL);
        assert_null(lapi_share_take(&s, ALICE, OWN));
        lapi_share_give(slot);
        assert_int_equal(take_all(ALICE), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(one_user_has_a_quarter, setup),
                cmocka_unit_test_setup(all_users_leave_a_quarter, setup),
                cmocka_unit_test_setup(root_takes_nothing_of_the_users, setup),
                cmocka_unit_test_setup(what_is_given_back_is_there_again, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
