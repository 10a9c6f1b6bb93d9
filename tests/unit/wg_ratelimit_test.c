/* Five pass, the sixth does not; one more every 50 ms. */
#include "base/crypto.h"
#include "base/reader.h"
#include "tests/unit/check.h"
#include "wg/ratelimit.h"

static struct ratelimit limiter;

static bool ask(uint32_t host, int64_t at_ms)
{
        uint8_t ip[4];
        store_be32(ip, host);
        return ratelimit_allow(&limiter, ip, sizeof(ip), (mono_t){NS_PER_SEC + at_ms * NS_PER_MS});
}

static void test_table(void **state)
{
        static const struct {
                int64_t at_ms;
                bool pass;
        } rows[] = {
                {0, true}, {0, true}, {0, true}, {0, true}, {0, true}, {0, false}, {49, false}, {50, true},
                {50, false}, {150, true}, {150, true}, {150, false}, {5000, true}, {5000, true}, {5000, true},
                {5000, true}, {5000, true}, {5000, false},
        };
        (void)state;
        memset(&limiter, 0, sizeof(limiter));
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                if (ask(1, rows[i].at_ms) != rows[i].pass)
                        fail_msg("row %zu", i);
}

static void test_hosts_are_apart(void **state)
{
        (void)state;
        memset(&limiter, 0, sizeof(limiter));
        for (int i = 0; i < 6; i++)
                (void)ask(1, 0);
        assert_false(ask(1, 0));
        unsigned passed = 0;
        for (uint32_t h = 100; h < 110; h++)
                passed += ask(h, 0);
        assert_true(passed >= 9);   /* ten hosts in 1,024 places may share one with the first at worst */
}

/* A flood from everywhere neither grows anything nor locks a newcomer out for long. */
static void test_many_sources(void **state)
{
        (void)state;
        memset(&limiter, 0, sizeof(limiter));
        for (uint32_t h = 1; h < 100000; h++)
                assert_true(ask(h, 0));
        assert_true(ask(0xc0000201, 0));
}

static int setup(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_hosts_are_apart),
                cmocka_unit_test(test_many_sources),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
