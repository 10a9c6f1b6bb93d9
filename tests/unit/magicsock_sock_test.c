/* Sockets on the loopback, and name lookup off the loop. */
#include "tests/unit/check.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/loop.h"
#include "magicsock/localaddr.h"
#include "base/lookup.h"
#include "magicsock/sock.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static int train_error;   /* what trains are answered with; 0: what the kernel says */

/* Instead of that of libc. */
int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
        unsigned k = 0;
        while (k < n && (train_error == 0 || msgs[k].msg_hdr.msg_controllen == 0))
                k++;
        if (k == 0) {
                errno = train_error;
                return -1;
        }
        int took = (int)syscall(SYS_sendmmsg, fd, msgs, k, flags);
        /* Too many at once would go unseen: they pass one by one. */
        assert_true(took > 0 || (errno != EINVAL && errno != EMSGSIZE));
        return took;
}

static struct sock v4, v6;
static struct pkt_pool *pool;

static int set_up(void **state)
{
        (void)state;
        const uint16_t any = 0;
        sock_init(&v4, IP_V4);
        sock_init(&v6, IP_V6);
        pool = pkt_pool_new(256);
        return sock_open_both(&v4, &v6, &any, 1, 0) != ERR_NONE;
}

static int tear_down(void **state)
{
        (void)state;
        sock_close(&v4);
        sock_close(&v6);
        pkt_pool_free(pool);
        return 0;
}

static void test_one_port(void **state)
{
        (void)state;
        assert_true(sock_is_open(&v4));
        assert_int_not_equal(v4.port, 0);
        if (sock_is_open(&v6))
                assert_int_equal(v6.port, v4.port);

        /* Taken: the next choice is used; without one there is an error, and nothing stays open. */
        struct sock a, b;
        sock_init(&a, IP_V4);
        sock_init(&b, IP_V6);
        const uint16_t ports[] = {v4.port, 0};
        assert_int_equal(sock_open_both(&a, &b, ports, 2, 0), ERR_NONE);
        assert_int_not_equal(a.port, v4.port);
        assert_int_equal(sock_open_both(&a, &b, ports, 1, 0), ERR_IO);
        assert_int_equal(errno, EADDRINUSE);
        assert_false(sock_is_open(&a));
        assert_false(sock_is_open(&b));
}

static uint8_t room[SOCK_ROOM];

static size_t waiting(struct sock *s)
{
        struct sock_rx *rx = sock_rx_new(room);
        struct pkt *got[SOCK_VIEWS_MAX];
        size_t all = 0;
        while (sock_recv(s, rx, false))
                for (size_t n; (n = sock_rx_next(rx, got)) > 0;)
                        all += n;
        sock_rx_free(rx);
        return all;
}

/* One socket takes over from another: what came before stays with the old one, what comes later comes to the new one, and
 * nobody else gets the port, whatever he asks for. */
static void test_renewal(void **state)
{
        (void)state;
        struct sock from, fresh4, fresh6;
        int on = 1, shared, other = socket(AF_INET, SOCK_DGRAM, 0);
        socklen_t len = sizeof(shared);
        const uint16_t port = v4.port, ports[] = {v4.port, 0};
        struct addr to = {ip_v4(127, 0, 0, 1), port};
        struct sockaddr_storage ss;
        sock_init(&from, IP_V4);
        assert_int_equal(sock_open(&from, 0, 0), ERR_NONE);
        assert_true(sock_send_bytes(&from, to, "1", 1));
        assert_true(sock_send_bytes(&from, to, "22", 2));

        sock_want_buffers(&v4, 100000);
        sock_begin_renewal(&fresh4, &v4);
        sock_begin_renewal(&fresh6, &v6);
        assert_int_equal(fresh4.buffer_bytes, 100000);
        assert_int_equal(sock_open_both(&fresh4, &fresh6, ports, 2, 0), ERR_NONE);
        sock_end_renewal(&fresh4, &v4);
        sock_end_renewal(&fresh6, &v6);
        assert_int_equal(fresh4.port, port);
        assert_true(!sock_is_open(&v6) || fresh6.port == port);
        for (int i = 0; i < 3; i++)
                assert_true(sock_send_bytes(&from, to, "333", 3));
        assert_int_equal(waiting(&v4), 2);
        assert_int_equal(waiting(&fresh4), 3);

        assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        assert_int_equal(bind(other, (struct sockaddr *)&ss, addr_to_sockaddr(to, &ss)), -1);
        assert_int_equal(getsockopt(fresh4.fd, SOL_SOCKET, SO_REUSEADDR, &shared, &len), 0);
        assert_int_equal(shared, 0);
        close(other);
        sock_close(&from);
        sock_close(&fresh4);
        sock_close(&fresh6);
}

/* A port that is not ours to share is left to whoever has it, even if he would share it. */
static void test_renewal_shares_with_nobody_else(void **state)
{
        (void)state;
        int on = 1, other = socket(AF_INET, SOCK_DGRAM, 0);
        struct sockaddr_in sa = {.sin_family = AF_INET};
        socklen_t len = sizeof(sa);
        struct sock fresh;
        assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        assert_int_equal(bind(other, (struct sockaddr *)&sa, len), 0);
        assert_int_equal(getsockname(other, (struct sockaddr *)&sa, &len), 0);
        sock_begin_renewal(&fresh, &v4);
        assert_int_equal(sock_open(&fresh, ntohs(sa.sin_port), 0), ERR_IO);
        sock_end_renewal(&fresh, &v4);
        close(other);
}

static void test_what_the_kernel_may_hold(void **state)
{
        (void)state;
        struct sock s;
        int got[2] = {0};
        socklen_t len = sizeof(got[0]);
        sock_init(&s, IP_V4);
        assert_int_equal(s.buffer_bytes, SOCK_BUFFER_BYTES);
        s.buffer_bytes = 64 * 1024;   /* anybody may ask for that much */
        assert_int_equal(sock_open(&s, 0, 0), ERR_NONE);
        assert_int_equal(getsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &got[0], &len), 0);
        assert_int_equal(getsockopt(s.fd, SOL_SOCKET, SO_SNDBUF, &got[1], &len), 0);
        assert_int_equal(got[0], 2 * s.buffer_bytes);   /* the kernel doubles it for its own use */
        assert_int_equal(got[1], 2 * s.buffer_bytes);
        sock_close(&s);
}

/* The datagrams that are there, as copies in order; at most max. */
static size_t receive(struct sock *s, struct sock_rx *rx, struct pkt **ret, size_t max)
{
        size_t n = 0;
        struct pkt *got[SOCK_VIEWS_MAX];
        while (n < max && sock_recv(s, rx, false))
                for (size_t k; (k = sock_rx_next(rx, got)) > 0;)
                        for (size_t i = 0; i < k; i++, n++) {
                                assert_true(n < max);
                                ret[n] = pkt_keep(pool, got[i]);
                                assert_non_null(ret[n]);
                        }
        return n;
}

enum { MANY = 150 };

static void fill(struct pkt *p, size_t len, uint8_t with)
{
        assert_non_null(p);
        memset(pkt_put(p, len), with, len);
}

/* Sends packets of these lengths and gets the same, whole and in order. */
static void check_lengths(struct sock *s, struct addr to, const size_t *len, size_t count)
{
        struct pkt *out[MANY], *in[MANY];
        struct sock_rx *rx = sock_rx_new(room);
        for (size_t i = 0; i < count; i++)
                fill(out[i] = pkt_get(pool), len[i], (uint8_t)i);
        assert_int_equal(sock_send(s, to, out, count), count);
        for (size_t i = 0; i < count; i++)
                pkt_release(pool, out[i]);
        size_t total = 0;
        for (int round = 0; round < 1000 && total < count; round++) {
                total += receive(s, rx, in + total, count - total);
                usleep(total < count ? 1000 : 0);
        }
        assert_int_equal(total, count);
        assert_false(sock_recv(s, rx, false));
        for (size_t i = 0; i < count; i++) {
                assert_int_equal(in[i]->len, len[i]);
                for (size_t k = 0; k < len[i]; k++)
                        assert_int_equal(pkt_data(in[i])[k], (uint8_t)i);
                assert_true(addr_eq(in[i]->src, to));
                pkt_release(pool, in[i]);
        }
        sock_rx_free(rx);
}

/* Every mixture of offloads carries every mixture of lengths. */
static void check_batch(struct sock *s, struct addr to)
{
        size_t len[MANY];
        unsigned all = s->offloads;   /* that the kernel has */
        for (unsigned offloads = 0; offloads <= SOCK_OFFLOADS; offloads++) {
                int gro = 0;
                socklen_t size = sizeof(gro);
                sock_want_offloads(s, offloads);
                assert_int_equal(s->offloads, all & offloads);
                if (all & SOCK_GRO && getsockopt(s->fd, SOL_UDP, UDP_GRO, &gro, &size) == 0)   /* older kernels do not say */
                        assert_int_equal(gro != 0, (offloads & SOCK_GRO) != 0);
                for (size_t i = 0; i < MANY; i++)
                        len[i] = 40 + i;
                check_lengths(s, to, len, MANY);
                for (size_t i = 0; i < MANY; i++)
                        len[i] = 1312;   /* more than the bytes of one train */
                check_lengths(s, to, len, MANY);
                for (size_t i = 0; i < MANY; i++)
                        len[i] = i % 7 == 6 ? 33 : i % 50 == 49 ? 1400 : 96;   /* short tails and long heads */
                check_lengths(s, to, len, MANY);
                for (size_t i = 0; i < MANY; i++)
                        len[i] = 80;     /* more than the datagrams of one train */
                check_lengths(s, to, len, MANY);
                len[0] = 1;
                check_lengths(s, to, len, 1);
        }
        sock_want_offloads(s, SOCK_OFFLOADS);
}

static void test_batches(void **state)
{
        (void)state;
        check_batch(&v4, (struct addr){ip_v4(127, 0, 0, 1), v4.port});
        struct ip one;
        assert_int_equal(ip_parse("::1", &one), ERR_NONE);
        if (localaddr_os_has_ipv6())
                check_batch(&v6, (struct addr){one, v6.port});
}

/* One path that is too narrow is no reason to send nothing in trains any more; a device without checksums is. */
static void test_refused_trains(void **state)
{
        (void)state;
        static const struct {
                int error;
                bool for_ever;
        } cases[] = {{EINVAL, false}, {EMSGSIZE, false}, {EIO, true}};
        struct addr self = {ip_v4(127, 0, 0, 1), v4.port};
        size_t len[MANY];
        for (size_t i = 0; i < MANY; i++)
                len[i] = i % 9 == 8 ? 33 : 96;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_true(v4.offloads & SOCK_GSO);
                train_error = cases[i].error;
                check_lengths(&v4, self, len, MANY);
                train_error = 0;
                assert_int_equal(!(v4.offloads & SOCK_GSO), cases[i].for_ever);
        }
}

static void test_too_large(void **state)
{
        (void)state;
        static uint8_t big[65507];   /* the most that UDP over IPv4 carries */
        struct addr self = {ip_v4(127, 0, 0, 1), v4.port};
        struct pkt *p;
        struct sock_rx *rx = sock_rx_new(room);
        static const size_t sizes[] = {PKT_DATA_MAX + 1, 5000, sizeof(big)};
        for (unsigned offloads = 0; offloads <= SOCK_OFFLOADS; offloads++) {
                sock_want_offloads(&v4, offloads);
                for (size_t i = 0; i < 3; i++) {
                        assert_true(sock_send_bytes(&v4, self, big, sizes[i]));
                        usleep(2000);
                        assert_int_equal(receive(&v4, rx, &p, 1), 1);
                        assert_int_equal(p->len, 0);
                        pkt_release(pool, p);
                }
        }
        sock_rx_free(rx);
}

/* What is kept outlasts one more call that receives, and nothing is lost beside it. */
static void test_keep(void **state)
{
        (void)state;
        enum { EACH = 1300, TRAIN = 40 };
        struct addr self = {ip_v4(127, 0, 0, 1), v4.port};
        struct sock_rx *rx = sock_rx_new(room);
        struct pkt *out[TRAIN], *got[SOCK_VIEWS_MAX], *kept[SOCK_VIEWS_MAX];
        for (unsigned offloads = 0; offloads <= SOCK_OFFLOADS; offloads++) {
                sock_want_offloads(&v4, offloads);
                size_t total = 0, kept_count = 0, n;
                uint8_t next = 0, kept_from = 0;
                bool keep = false;
                for (int i = 0; i < 4; i++) {
                        for (size_t k = 0; k < TRAIN; k++)
                                fill(out[k] = pkt_get(pool), EACH, (uint8_t)(i * TRAIN + (int)k));
                        assert_int_equal(sock_send(&v4, self, out, TRAIN), TRAIN);
                        for (size_t k = 0; k < TRAIN; k++)
                                pkt_release(pool, out[k]);
                        usleep(2000);
                        while (sock_recv(&v4, rx, keep)) {
                                for (; (n = sock_rx_next(rx, got)) > 0; total += n) {
                                        for (size_t k = 0; k < kept_count; k++) {
                                                assert_int_equal(kept[k]->len, EACH);
                                                assert_int_equal(pkt_data(kept[k])[0], (uint8_t)(kept_from + k));
                                                assert_int_equal(pkt_data(kept[k])[EACH - 1], (uint8_t)(kept_from + k));
                                        }
                                        kept_from = next;
                                        for (size_t k = 0; k < n; k++, next++)
                                                assert_int_equal(pkt_data(got[k])[EACH - 1], next);
                                        keep = sock_rx_may_keep(rx);
                                        kept_count = keep ? n : 0;
                                        memcpy(kept, got, sizeof(kept));
                                }
                        }
                }
                assert_int_equal(total, 4 * TRAIN);
                assert_true(offloads != SOCK_OFFLOADS || keep);   /* a train leaves room beside it */
        }
        sock_rx_free(rx);
}

/* ---- names ---- */

enum { NAMES = 3 * LOOKUP_MAX };

static struct ip found[NAMES];
static unsigned answers;

static void on_answer(void *arg, uint32_t id, struct ip ip, mono_t now)
{
        (void)arg;
        (void)now;
        assert_true(id < NAMES);
        found[id] = ip;
        answers++;
}

static void test_lookup(void **state)
{
        (void)state;
        struct loop *l = loop_new();
        struct lookup *k = lookup_new(l, on_answer, NULL);
        assert_non_null(k);
        answers = 0;
        char longest[LOOKUP_HOST_MAX + 1];
        memset(longest, 'a', sizeof(longest) - 1);
        longest[LOOKUP_HOST_MAX] = 0;
        assert_int_equal(lookup_start(k, 0, longest, IP_V4), ERR_FULL);
        /* More than run at a time: a relay map may name many hosts. */
        for (uint32_t i = 0; i < NAMES; i++)
                assert_int_equal(lookup_start(k, i, i % 2 ? "::1" : "127.0.0.1", IP_V4), ERR_NONE);
        for (int i = 0; i < 400 && answers < NAMES; i++)
                loop_once(l, 10);
        assert_int_equal(answers, NAMES);
        for (size_t i = 0; i < NAMES; i += 2)
                assert_true(ip_eq(found[i], ip_v4(127, 0, 0, 1)));
        assert_false(ip_is_set(found[1]));   /* no such address in that family */
        for (uint32_t i = 0; i < LOOKUP_MAX + LOOKUP_WAITING_MAX; i++)
                assert_int_equal(lookup_start(k, 0, "127.0.0.1", IP_V4), ERR_NONE);
        assert_int_equal(lookup_start(k, 0, "127.0.0.1", IP_V4), ERR_FULL);
        lookup_forget(k);
        for (int i = 0; i < 400 && answers < NAMES + LOOKUP_MAX; i++)
                loop_once(l, 10);
        loop_once(l, 10);
        assert_int_equal(answers, NAMES + LOOKUP_MAX);
        assert_int_equal(lookup_start(k, 0, "127.0.0.1", IP_V4), ERR_NONE);
        lookup_free(k);   /* the helper outlives it, and finds nobody home */
        loop_free(l);
        usleep(20000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one_port, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_renewal, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_renewal_shares_with_nobody_else, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_what_the_kernel_may_hold, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_batches, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refused_trains, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_too_large, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_keep, set_up, tear_down),
                cmocka_unit_test(test_lookup),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
