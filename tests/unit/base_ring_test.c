#include "base/ring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "tests/unit/check.h"

struct msg {
        uint64_t number;
        uint64_t check;      /* ~number: a torn message would show */
        uint64_t *payload;   /* changes owner with the message */
};

enum { MESSAGES = 20000 };

static bool is_readable(const struct ring *r)
{
        struct pollfd p = {.fd = ring_fd(r), .events = POLLIN};
        return poll(&p, 1, 0) == 1;
}

static void test_refuses_bad_sizes(void **state)
{
        (void)state;
        static const struct {
                size_t count, bytes;
        } bad[] = {{0, 8}, {3, 8}, {100, 8}, {8, 0}};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                errno = 0;
                assert_null(ring_new(bad[i].count, bad[i].bytes));
                assert_int_equal(errno, EINVAL);
        }
}

static void test_order_full_and_empty(void **state)
{
        (void)state;
        struct ring *r = ring_new(4, sizeof(uint32_t));
        assert_non_null(r);
        uint32_t got = 77;
        assert_false(ring_pop(r, &got));
        assert_int_equal(got, 77);
        assert_false(is_readable(r));
        uint32_t next_in = 0;
        uint32_t next_out = 0;
        for (int round = 0; round < 10; round++) {
                for (uint32_t i = 0; i < 4; i++, next_in++)
                        assert_true(ring_push(r, &next_in));
                assert_false(ring_push(r, &next_in));
                assert_true(is_readable(r));
                ring_drain_fd(r);
                assert_false(is_readable(r));
                for (int i = 0; i < 3 + round % 2; i++, next_out++) {
                        assert_true(ring_pop(r, &got));
                        assert_int_equal(got, next_out);
                }
                while (ring_pop(r, &got))
                        assert_int_equal(got, next_out++);
        }
        assert_int_equal(next_in, next_out);
        ring_free(r);
        ring_free(NULL);
}

static void *produce(void *arg)
{
        struct ring *r = arg;
        for (uint64_t i = 0; i < MESSAGES; i++) {
                uint64_t *payload = malloc(sizeof(*payload));
                if (payload == NULL)
                        abort();
                *payload = i * 3;
                struct msg m = {i, ~i, payload};
                while (!ring_push(r, &m))
                        sched_yield();
        }
        return NULL;
}

/* The consumer sleeps on the descriptor, so a lost wake-up would hang, and the sanitizer sees the rest. */
static void test_two_threads(void **state)
{
        (void)state;
        struct ring *r = ring_new(64, sizeof(struct msg));
        assert_non_null(r);
        pthread_t th;
        assert_int_equal(pthread_create(&th, NULL, produce, r), 0);
        uint64_t next = 0;
        while (next < MESSAGES) {
                struct pollfd p = {.fd = ring_fd(r), .events = POLLIN};
                assert_int_equal(poll(&p, 1, 30000), 1);
                ring_drain_fd(r);
                struct msg m;
                while (ring_pop(r, &m)) {
                        assert_true(m.number == next && m.check == ~next && *m.payload == next * 3);
                        free(m.payload);
                        next++;
                }
        }
        assert_int_equal(pthread_join(th, NULL), 0);
        ring_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refuses_bad_sizes),
                cmocka_unit_test(test_order_full_and_empty),
                cmocka_unit_test(test_two_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
