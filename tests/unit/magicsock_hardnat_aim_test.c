/* Which ports are guessed. */
#include "magicsock/hardnat_aim.h"

#include <string.h>

#include "base/crypto.h"
#include "tests/unit/check.h"

enum { PORTS = 65536 };

static struct addr addr_of(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static void test_aim(void **state)
{
        (void)state;
        static const struct {
                uint16_t seen[6];
                size_t n;
                uint16_t low, high;
        } rows[] = {
                {{0}, 0, 1024, 65535},
                {{40000, 40001, 40002}, 3, 1024, 65535},
                {{40000, 40001, 40002, 40003}, 4, 39998, 40005},
                {{40003, 40000, 40002, 40001}, 4, 39998, 40005},
                {{40000, 40000, 40000, 40000}, 4, 40000, 40000},
                {{1030, 1100, 1200, 1229}, 4, 1024, 1329},
                {{100, 200, 300, 299}, 4, 1, 400},
                {{65535, 65435, 65500, 65501}, 4, 65385, 65535},
                {{2000, 60000, 30000, 20000, 50000, 40000}, 6, 1024, 65535},
        };
        static struct hn_aim a;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                hn_aim_init(&a);
                for (size_t j = 0; j < rows[i].n; j++)
                        hn_aim_seen(&a, (struct addr){addr_of("1.2.3.4:1").ip, rows[i].seen[j]});
                hn_aim_fix(&a);
                if (a.low != rows[i].low || a.high != rows[i].high)
                        print_error("row %zu: %u-%u\n", i, a.low, a.high);
                assert_int_equal(a.low, rows[i].low);
                assert_int_equal(a.high, rows[i].high);
        }
}

/* Every port once; the range first, then all others; then nothing. */
static void test_aim_exhausts(void **state)
{
        (void)state;
        static struct hn_aim a;
        static uint8_t count[PORTS];
        uint16_t ports[100];
        memset(count, 0, sizeof(count));
        hn_aim_init(&a);
        for (uint16_t i = 0; i < 5; i++)
                hn_aim_seen(&a, (struct addr){addr_of("1.2.3.4:1").ip, (uint16_t)(5000 + 10 * i)});
        hn_aim_fix(&a);
        size_t total = 0, n;
        while ((n = hn_aim_pick(&a, ports, 100)) > 0) {
                for (size_t i = 0; i < n; i++, total++) {
                        count[ports[i]]++;
                        if (total < 81)
                                assert_in_range(ports[i], 4980, 5060);
                        else
                                assert_false(ports[i] >= 4980 && ports[i] <= 5060);
                }
        }
        assert_int_equal(total, 64512);
        for (int p = 0; p < PORTS; p++)
                assert_int_equal(count[p], p >= 1024);
}

static void test_aim_ip(void **state)
{
        (void)state;
        static struct hn_aim a;
        hn_aim_init(&a);
        assert_false(ip_is_set(hn_aim_ip(&a)));
        static const char *seen[] = {"1.1.1.1:5", "2.2.2.2:6", "3.3.3.3:7", "2.2.2.2:8"};
        for (size_t i = 0; i < 4; i++)
                hn_aim_seen(&a, addr_of(seen[i]));
        assert_true(ip_eq(hn_aim_ip(&a), addr_of("2.2.2.2:1").ip));
        for (int i = 0; i < 100; i++)
                hn_aim_seen(&a, addr_of("9.9.9.9:5"));
        assert_int_equal(a.seen_count, HN_SAMPLES_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_aim),
                cmocka_unit_test(test_aim_exhausts),
                cmocka_unit_test(test_aim_ip),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
