/* Names to addresses by helper threads: answers, turns, bounds, and an end while they run.  Literals, so nobody is asked. */
#include "base/lookup.h"

#include <stdlib.h>

#include "tests/unit/check.h"

enum { MANY = LOOKUP_MAX + LOOKUP_WAITING_MAX };

static struct {
        struct loop *loop;
        struct lookup *k;
        size_t answers, again;
        uint8_t seen[MANY + 1];
        struct ip ip[MANY + 1];
} t;

static void on_answer(void *arg, uint32_t id, struct ip ip, mono_t now)
{
        assert_ptr_equal(arg, &t);
        assert_true(mono_is_set(now));
        assert_true(id <= MANY);
        t.answers++;
        t.seen[id]++;
        t.ip[id] = ip;
        if (t.again > 0) {
                t.again--;
                assert_int_equal(lookup_start(t.k, id + 1, "192.0.2.9", IP_V4), ERR_NONE);
        }
}

static int setup(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.loop = loop_new();
        t.k = t.loop != NULL ? lookup_new(t.loop, on_answer, &t) : NULL;
        return t.k == NULL;
}

static int teardown(void **state)
{
        (void)state;
        lookup_free(t.k);
        loop_free(t.loop);
        return 0;
}

static void await(size_t answers)
{
        mono_t until = mono_add_ms(mono_now(), 60000);
        while (t.answers < answers) {
                assert_false(mono_reached(mono_now(), until));
                loop_once(t.loop, 100);
        }
}

static void says(uint32_t id, const char *text)
{
        char got[IP_STR_MAX];
        assert_int_equal(t.seen[id], 1);
        assert_string_equal(ip_str(t.ip[id], got), text);
}

static void families(void **state)
{
        (void)state;
        assert_int_equal(lookup_start(t.k, 0, "192.0.2.1", IP_V4), ERR_NONE);
        assert_int_equal(lookup_start(t.k, 1, "2001:db8::1", IP_V6), ERR_NONE);
        assert_int_equal(lookup_start(t.k, 2, "192.0.2.1", IP_V6), ERR_NONE);
        assert_int_equal(lookup_start(t.k, 3, "2001:db8::1", IP_V4), ERR_NONE);
        assert_int_equal(lookup_start(t.k, 4, "localhost", IP_V4), ERR_NONE);
        assert_int_equal(t.answers, 0);   /* never from within */
        await(5);
        says(0, "192.0.2.1");
        says(1, "2001:db8::1");
        says(2, "");
        says(3, "");
        says(4, "127.0.0.1");
}

/* All have their turn, once, and no more than that are taken. */
static void turns_and_bounds(void **state)
{
        (void)state;
        char host[32], longest[LOOKUP_HOST_MAX + 1];
        for (uint32_t id = 0; id < MANY; id++) {
                snprintf(host, sizeof(host), "10.1.%u.%u", id >> 8, id & 255);
                assert_int_equal(lookup_start(t.k, id, host, IP_V4), ERR_NONE);
        }
        assert_int_equal(lookup_start(t.k, MANY, "10.0.0.1", IP_V4), ERR_FULL);
        await(MANY);
        for (uint32_t id = 0; id < MANY; id++) {
                snprintf(host, sizeof(host), "10.1.%u.%u", id >> 8, id & 255);
                says(id, host);
        }
        memset(longest, 'a', sizeof(longest));
        longest[LOOKUP_HOST_MAX] = '\0';
        assert_int_equal(lookup_start(t.k, 0, longest, IP_V4), ERR_FULL);
        assert_int_equal(t.seen[MANY], 0);
}

static void from_within_an_answer(void **state)
{
        (void)state;
        t.again = 3;
        assert_int_equal(lookup_start(t.k, 0, "192.0.2.1", IP_V4), ERR_NONE);
        await(4);
        says(0, "192.0.2.1");
        says(3, "192.0.2.9");
}

/* Those that have begun answer; those that wait do not. */
static void forgotten(void **state)
{
        (void)state;
        for (uint32_t id = 0; id < LOOKUP_MAX + 100; id++)
                assert_int_equal(lookup_start(t.k, id, "192.0.2.1", IP_V4), ERR_NONE);
        lookup_forget(t.k);
        await(LOOKUP_MAX);
        for (int i = 0; i < 5; i++)
                loop_once(t.loop, 10);
        assert_int_equal(t.answers, LOOKUP_MAX);
        assert_int_equal(lookup_start(t.k, LOOKUP_MAX, "192.0.2.7", IP_V4), ERR_NONE);
        await(LOOKUP_MAX + 1);
        says(LOOKUP_MAX, "192.0.2.7");
}

static void ended_while_they_run(void **state)
{
        (void)state;
        for (int round = 0; round < 50; round++) {
                for (uint32_t id = 0; id < 20; id++)
                        assert_int_equal(lookup_start(t.k, id, "192.0.2.1", IP_V4), ERR_NONE);
                lookup_free(t.k);
                t.k = lookup_new(t.loop, on_answer, &t);
                assert_non_null(t.k);
        }
        assert_int_equal(t.answers, 0);
        lookup_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(families), TEST(turns_and_bounds), TEST(from_within_an_answer), TEST(forgotten), TEST(ended_while_they_run),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
