#include "daemon/host/clockwatch.h"

#include <stdio.h>
#include <time.h>

#include "tests/unit/check.h"

#define SEC NS_PER_SEC

static void test_what_counts(void **state)
{
        (void)state;
        static const struct {
                int64_t boot, mono, wall;   /* seconds that each clock went on */
                int64_t slept, stepped;
        } rows[] = {
                {3600, 3600, 3600, 0, 0},
                {3600, 10, 3600, 3590000, 0},        /* a suspend alone: the wall clock went on too */
                {14, 5, 14, 0, 0},                   /* a nap */
                {15, 5, 15, 10000, 0},
                {60, 60, 30, 0, -30000},
                {60, 60, 120, 0, 60000},
                {60, 60, 1800000000, 0, 1799999940000},
                {3600, 10, 0, 3590000, -3600000},    /* both, as on a board without a battery */
        };
        const struct clocks then = {1000 * SEC, 400 * SEC, 1700000000 * SEC};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct clocks now = {then.boot_ns + rows[i].boot * SEC, then.mono_ns + rows[i].mono * SEC,
                        then.wall_ns + rows[i].wall * SEC};
                assert_int_equal(clocks_slept_ms(&then, &now), rows[i].slept);
                assert_int_equal(clocks_stepped_ms(&then, &now), rows[i].stepped);
        }
        /* Half a second by NTP. */
        struct clocks near = {then.boot_ns + SEC, then.mono_ns + SEC, then.wall_ns + SEC / 2};
        assert_int_equal(clocks_stepped_ms(&then, &near), 0);
}

static void never(void *arg, int64_t ms)
{
        (void)arg;
        (void)ms;
        fail();
}

/* The clock of this machine stays as it is; that the kernel is asked to tell, /proc shows. */
static void test_the_kernel_is_asked(void **state)
{
        (void)state;
        static const struct clockwatch_callbacks cb = {never, never};
        struct loop *l = loop_new();
        struct clockwatch *w = clockwatch_new(l, &cb, NULL);
        assert_non_null(w);
        loop_once(l, 20);
        bool found = false;
        for (int fd = 0; fd < 64; fd++) {
                char path[64], text[512] = "";
                int clock = -1;
                unsigned flags = 0;
                snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
                FILE *f = fopen(path, "re");
                if (f == NULL)
                        continue;
                size_t n = fread(text, 1, sizeof(text) - 1, f);
                text[n] = '\0';
                fclose(f);
                const char *c = strstr(text, "clockid: "), *s = strstr(text, "settime flags: ");
                const char *v = strstr(text, "it_value: (");
                long long left = 0;
                if (c == NULL || s == NULL || v == NULL || sscanf(c, "clockid: %d", &clock) != 1 ||
                                sscanf(s, "settime flags: %o", &flags) != 1 || clock != CLOCK_REALTIME || flags != 3)
                        continue;
                found = true;
                /* Also of a clock whose battery is empty it never comes: they show up to 2^32 s. */
                assert_int_equal(sscanf(v, "it_value: (%lld", &left), 1);
                assert_true(time(NULL) + left > INT64_C(2) << 32);
        }
        assert_true(found);
        clockwatch_free(w);
        clockwatch_free(NULL);
        loop_free(l);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_counts),
                cmocka_unit_test(test_the_kernel_is_asked),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
