#include "base/pktring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "tests/unit/check.h"

static bool is_readable(const struct pktring *r)
{
        struct pollfd p = {.fd = pktring_fd(r), .events = POLLIN};
        return poll(&p, 1, 0) == 1;
}

static void refuses_bad_sizes(void **state)
{
        (void)state;
        static const size_t bad[] = {0, 2048, 5000};
        for (size_t i = 0; i < 3; i++) {
                errno = 0;
                assert_null(pktring_new(bad[i]));
                assert_int_equal(errno, EINVAL);
        }
        pktring_free(NULL);
}

static void order_full_and_empty(void **state)
{
        (void)state;
        struct pktring *r = pktring_new(4096);
        uint8_t in[PKTRING_PACKET_MAX + 1], out[PKTRING_PACKET_MAX];
        assert_int_equal(pktring_pop(r, out), 0);
        assert_false(pktring_push(r, in, 0) || pktring_push(r, in, sizeof(in)));
        for (int round = 0; round < 200; round++) {   /* over the end of the block in every way */
                size_t n = 0, len = 1 + (size_t)(round * 37) % 900;
                for (; n < 100; n++) {
                        memset(in, (int)(round + (int)n), len);
                        if (!pktring_push(r, in, len))
                                break;
                }
                assert_int_equal(n, 4096 / (len + 2) < 100 ? 4096 / (len + 2) : 100);
                for (size_t i = 0; i < n; i++) {
                        assert_int_equal(pktring_pop(r, out), len);
                        memset(in, (int)(round + (int)i), len);
                        assert_memory_equal(out, in, len);
                }
                assert_int_equal(pktring_pop(r, out), 0);
        }
        assert_false(is_readable(r));
        pktring_wake(r);
        assert_true(is_readable(r));
        pktring_drain_fd(r);
        assert_false(is_readable(r));
        pktring_free(r);
}

enum { PACKETS = 100000 };

static void *produce(void *arg)
{
        struct pktring *r = arg;
        for (uint32_t i = 0; i < PACKETS; i++) {
                uint8_t pkt[300];
                size_t len = 4 + i % 290;
                memset(pkt, (int)(i & 0xff), len);
                memcpy(pkt, &i, 4);
                while (!pktring_push(r, pkt, len))
                        sched_yield();
        }
        return NULL;
}

static void between_threads_nothing_is_torn(void **state)
{
        (void)state;
        struct pktring *r = pktring_new(8192);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, produce, r), 0);
        for (uint32_t i = 0; i < PACKETS;) {
                uint8_t pkt[PKTRING_PACKET_MAX];
                uint32_t number;
                size_t len = pktring_pop(r, pkt);
                if (len == 0) {
                        sched_yield();
                        continue;
                }
                memcpy(&number, pkt, 4);
                assert_int_equal(number, i);
                assert_int_equal(len, 4 + i % 290);
                for (size_t k = 4; k < len; k++)
                        assert_int_equal(pkt[k], i & 0xff);
                i++;
        }
        pthread_join(thread, NULL);
        pktring_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(refuses_bad_sizes),
                cmocka_unit_test(order_full_and_empty),
                cmocka_unit_test(between_threads_nothing_is_torn),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
