/* Both ends of each connection are in the one stack there is: what it sends comes back in. */
#include "daemon/netstack/stack.h"

#include <stdlib.h>
#include <time.h>

#include "tests/unit/check.h"

enum { QUEUE = 4096, BIG = 3 << 20 };

struct packet {
        size_t len;
        uint8_t b[STACK_MTU];
};

static struct {
        struct packet *queue;
        size_t head, tail, sent, woken, asked;
        unsigned drop_every;            /* nth data packet is lost; 0: none */
        bool full;
        enum { ACCEPT, REFUSE, HOLD } answer;
        struct stack_syn *held[QUEUE];
        struct stack_conn *accepted;
        uint8_t *datagram;
        size_t datagram_len;
        uint8_t datagram_proto;
        size_t largest_flight;          /* bytes on their way that nobody has confirmed */
        uint32_t seq_end;
} t;

static bool send_packet(void *arg, const uint8_t *pkt, size_t len)
{
        (void)arg;
        if (t.full || t.tail - t.head == QUEUE)
                return false;
        t.sent++;
        if (t.drop_every != 0 && len > 1000 && t.sent % t.drop_every == 0)
                return true;
        struct packet *p = &t.queue[t.tail++ % QUEUE];
        p->len = len;
        memcpy(p->b, pkt, len);
        return true;
}

static void nothing(void *user)
{
        (void)user;
}

static void on_syn(void *arg, struct stack_syn *s)
{
        (void)arg;
        t.held[t.asked++ % QUEUE] = s;
        if (t.answer == ACCEPT)
                t.accepted = stack_accept(s, nothing, NULL);
        else if (t.answer == REFUSE)
                stack_refuse(s);
}

static void on_datagram(void *arg, uint8_t proto, const struct stack_end *from, const struct stack_end *to, const uint8_t *data,
        size_t len)
{
        (void)arg;
        (void)from;
        (void)to;
        t.datagram_proto = proto;
        t.datagram_len = len;
        t.datagram = realloc(t.datagram, len);
        memcpy(t.datagram, data, len);
}

static void on_wake(void *arg)
{
        (void)arg;
        t.woken++;
}

static const struct stack_ops ops = {send_packet, on_syn, on_datagram, on_wake};

static int setup(void **state)
{
        (void)state;
        memset(&t, 0, sizeof(t));
        t.queue = calloc(QUEUE, sizeof(*t.queue));
        return t.queue != NULL && stack_start(&ops, NULL) ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        stack_stop();
        free(t.queue);
        free(t.datagram);
        return 0;
}

/* What is on its way arrives, and what that brings about. */
static void deliver(void)
{
        for (size_t n = t.tail - t.head; n > 0; n--) {
                struct packet p = t.queue[t.head++ % QUEUE];
                stack_in(p.b, p.len);
        }
        (void)stack_run();
}

static struct stack_end end4(uint8_t host, uint16_t port)
{
        return (struct stack_end){.family = 4, .ip = {100, 64, 0, host}, .port = port};
}

static struct stack_end end6(uint8_t host, uint16_t port)
{
        return (struct stack_end){.family = 6, .ip = {0xfd, 0x7a, [15] = host}, .port = port};
}

static struct stack_conn *connect_pair(struct stack_end from, struct stack_end to)
{
        struct stack_conn *c = stack_connect(&from, &to, nothing, NULL);
        assert_non_null(c);
        for (int i = 0; i < 10 && stack_state(c) == STACK_OPENING; i++)
                deliver();
        return c;
}

static void nap(void)
{
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static uint8_t byte_at(size_t i)
{
        return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static size_t put(struct stack_conn *c, size_t at, size_t end)
{
        uint8_t piece[8192];
        size_t n = end - at < sizeof(piece) ? end - at : sizeof(piece);
        for (size_t i = 0; i < n; i++)
                piece[i] = byte_at(at + i);
        return stack_write(c, piece, n);
}

static size_t get(struct stack_conn *c, size_t at)
{
        struct iovec v[2];
        size_t n = 0;
        int pieces = stack_peek(c, v);
        for (int i = 0; i < pieces; i++)
                for (size_t k = 0; k < v[i].iov_len; k++, n++)
                        assert_int_equal(((uint8_t *)v[i].iov_base)[k], byte_at(at + n));
        stack_consume(c, n);
        return n;
}

static void move(struct stack_conn *a, struct stack_conn *b, size_t size)
{
        size_t out = 0, in = 0;
        for (int i = 0; in < size && i < 20000; i++) {
                size_t before = in;
                while (out < size) {
                        size_t n = put(a, out, size);
                        if (n == 0)
                                break;
                        out += n;
                }
                deliver();
                in += get(b, in);
                if (in == before)
                        nap();
        }
        assert_int_equal(in, size);
}

static void both(struct stack_end from, struct stack_end to)
{
        struct stack_end local;
        struct stack_conn *a = connect_pair(from, to), *b = t.accepted;
        assert_int_equal(stack_state(a), STACK_OPEN);
        assert_non_null(b);
        stack_local(b, &local);
        assert_int_equal(local.port, to.port);
        assert_memory_equal(local.ip, to.ip, 16);
        move(a, b, BIG);
        move(b, a, BIG);
        stack_close(a);
        deliver();
        assert_true(stack_eof(b));
        stack_close(b);
        deliver();
}

static void any_address_is_ours(void **state)
{
        (void)state;
        both(end4(1, 0), end4(2, 80));
        both(end6(1, 0), end6(2, 1));
        both(end4(3, 0), (struct stack_end){.family = 4, .ip = {10, 77, 0, 2}, .port = 65535});
}

static void who_is_refused_is_told(void **state)
{
        (void)state;
        t.answer = REFUSE;
        struct stack_conn *c = connect_pair(end4(1, 0), end4(2, 80));
        assert_int_equal(stack_state(c), STACK_REFUSED);
        stack_close(c);
        c = connect_pair(end6(1, 0), end6(2, 80));
        assert_int_equal(stack_state(c), STACK_REFUSED);
        stack_close(c);
}

/* Held, nothing is answered, and a repeated first packet is not a second connection. */
static void a_connection_is_held_until_it_is_decided(void **state)
{
        (void)state;
        t.answer = HOLD;
        struct stack_end from = end4(1, 0), to = end4(2, 80), f, g;
        struct stack_conn *c = stack_connect(&from, &to, nothing, NULL);
        struct packet first = t.queue[0];
        deliver();
        for (int i = 0; i < 3; i++)
                stack_in(first.b, first.len);
        assert_int_equal(t.asked, 1);
        assert_int_equal(t.tail, 1);
        assert_int_equal(stack_state(c), STACK_OPENING);
        stack_syn_ends(t.held[0], &f, &g);
        assert_int_equal(g.port, 80);
        struct stack_conn *b = stack_accept(t.held[0], nothing, NULL);
        assert_non_null(b);
        deliver();
        deliver();
        assert_int_equal(stack_state(c), STACK_OPEN);
        assert_int_equal(stack_state(b), STACK_OPEN);
        stack_abort(c);
        deliver();
        assert_int_equal(stack_state(b), STACK_BROKEN);
        stack_close(b);
}

static void so_many_are_held_and_no_more(void **state)
{
        (void)state;
        t.answer = HOLD;
        struct stack_end from = end4(1, 0), to = end4(2, 80);
        struct stack_conn *c[STACK_HELD_MAX + 20];
        for (size_t i = 0; i < STACK_HELD_MAX + 20; i++) {
                c[i] = stack_connect(&from, &to, nothing, NULL);
                assert_non_null(c[i]);
        }
        deliver();
        assert_int_equal(t.asked, STACK_HELD_MAX);
        stack_ignore(t.held[0]);
        for (size_t i = 0; i < STACK_HELD_MAX + 20; i++)
                stack_abort(c[i]);
}

static void half_closed(void **state)
{
        (void)state;
        struct stack_conn *a = connect_pair(end4(1, 0), end4(2, 80)), *b = t.accepted;
        move(a, b, 100000);
        stack_shut(a);
        deliver();
        assert_true(stack_eof(b));
        move(b, a, BIG);
        assert_false(stack_eof(a));
        stack_shut(b);
        deliver();
        assert_true(stack_eof(a));
        stack_close(a);
        stack_close(b);
}

/* The one who does not read stops the one who writes, and bytes that were not read are a reset. */
static void a_reader_that_rests(void **state)
{
        (void)state;
        struct stack_conn *a = connect_pair(end4(1, 0), end4(2, 80)), *b = t.accepted;
        size_t out = 0;
        for (int i = 0; i < 2000; i++) {
                out += put(a, out, 8 << 20);
                deliver();
        }
        assert_true(out > STACK_SEND);
        assert_true(out <= STACK_RECEIVE + STACK_SEND);
        assert_int_equal(stack_room(a), 0);
        size_t in = 0;
        for (int i = 0; in < out && i < 2000; i++) {
                in += get(b, in);
                deliver();
        }
        assert_int_equal(in, out);
        assert_true(stack_room(a) > 0);
        assert_true(put(a, out, out + 100) > 0);
        deliver();
        stack_close(b);
        deliver();
        assert_int_equal(stack_state(a), STACK_BROKEN);
        stack_close(a);
}

/* What goes out to one who does not read any more: what he takes in ahead, and what the sender keeps. */
static void windows_widen_while_nothing_is_lost(void **state)
{
        (void)state;
        for (int lossy = 0; lossy < 2; lossy++) {
                struct stack_conn *a = connect_pair(end4(1, 0), end4(2, 80)), *b = t.accepted;
                t.drop_every = lossy ? 50 : 0;
                move(a, b, BIG);
                t.drop_every = 0;
                size_t out = 0;
                for (int i = 0; i < 2000; i++) {
                        out += put(a, out, 8 << 20);
                        deliver();
                }
                assert_int_equal(out > STACK_SEND + STACK_RECEIVE / 2, !lossy);
                stack_abort(a);
                stack_abort(b);
        }
}

static void lost_packets_are_sent_again(void **state)
{
        (void)state;
        struct stack_conn *a = connect_pair(end4(1, 0), end4(2, 80)), *b = t.accepted;
        t.drop_every = 211;
        move(a, b, BIG);
        t.drop_every = 0;
        stack_abort(a);
        stack_abort(b);
}

/* Where the tunnel takes nothing, nothing is lost. */
static void no_room_for_packets(void **state)
{
        (void)state;
        struct stack_conn *a = connect_pair(end4(1, 0), end4(2, 80)), *b = t.accepted;
        t.full = true;
        assert_int_equal(put(a, 0, 5000), 5000);
        deliver();
        assert_int_equal(stack_run(), 1);
        t.full = false;
        size_t in = 0;
        for (int i = 0; i < 2000 && in < 5000; i++) {
                deliver();
                in += get(b, in);
                nap();
        }
        assert_int_equal(in, 5000);
        stack_abort(a);
        stack_abort(b);
}

static uint16_t sum(const uint8_t *p, size_t n, uint32_t s)
{
        for (size_t i = 0; i < n; i++)
                s += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
        while (s >> 16)
                s = (s & 0xffff) + (s >> 16);
        return (uint16_t)s;
}

/* A window of more than 64 KiB is offered, in a packet whose checksum is right. */
static void windows_are_for_long_ways(void **state)
{
        (void)state;
        struct stack_end from = end4(1, 0), to = end4(2, 80);
        struct stack_conn *c = stack_connect(&from, &to, nothing, NULL);
        const uint8_t *p = t.queue[0].b, *tcp = p + 20;
        size_t n = t.queue[0].len - 20, header = 4u * (tcp[12] >> 4);
        unsigned scale = 0;
        for (size_t i = 20; i + 2 < header; i += tcp[i] == 1 ? 1 : tcp[i + 1]) {
                if (tcp[i] == 0)
                        break;
                if (tcp[i] == 3)
                        scale = tcp[i + 2];
        }
        assert_int_equal(scale, 3);
        assert_int_equal(sum(tcp, n, sum(p + 12, 8, 6 + (uint32_t)n)), 0xffff);
        stack_abort(c);
}

static void datagrams_are_whole(void **state)
{
        (void)state;
        static uint8_t data[9000];
        struct stack_end a[2] = {end4(1, 0), end6(1, 0)}, b[2] = {end4(2, 0), end6(2, 0)};
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = byte_at(i);
        for (size_t i = 0; i < 2; i++) {
                static const size_t sizes[] = {8, 1200, 1300, 9000};
                for (size_t k = 0; k < 4; k++) {
                        t.datagram_len = 0;
                        t.sent = 0;
                        data[6] = data[7] = 0;
                        stack_send(17, &a[i], &b[i], data, sizes[k], 6);
                        deliver();
                        assert_int_equal(t.datagram_proto, 17);
                        assert_int_equal(t.datagram_len, sizes[k]);
                        assert_memory_equal(t.datagram, data, 6);
                        assert_memory_equal(t.datagram + 8, data + 8, sizes[k] - 8);
                        assert_true(t.datagram[6] != 0 || t.datagram[7] != 0);
                        assert_int_equal(t.sent > 1, sizes[k] > 1260);
                }
        }
}

/* None of them leads anywhere, and every beginning of a packet is one that was cut. */
static void odd_packets(void **state)
{
        (void)state;
        struct stack_end from = end4(1, 0), to = end4(2, 80);
        struct stack_conn *c = stack_connect(&from, &to, nothing, NULL);
        struct packet syn = t.queue[0], odd;
        t.head = t.tail;
        for (size_t cut = 0; cut < syn.len; cut++) {
                uint8_t *copy = malloc(cut ? cut : 1);
                memcpy(copy, syn.b, cut);
                stack_in(copy, cut);
                free(copy);
        }
        assert_null(t.accepted);   /* one cut within its options looks like a first packet, and is none */
        assert_true(t.asked <= syn.len - 40);
        t.asked = 0;
        odd = syn;   /* to itself */
        memcpy(odd.b + 16, odd.b + 12, 4);
        stack_in(odd.b, odd.len);
        odd = syn;   /* to port 0 */
        odd.b[22] = odd.b[23] = 0;
        stack_in(odd.b, odd.len);
        odd = (struct packet){.len = 60, .b = {0x60, [5] = 20, [6] = 6, [7] = 64, [18] = 0xff, 0xff, [23] = 1, [24] = 0xfd,
                                                 [39] = 1, [41] = 9, [43] = 80, [52] = 0x50, [53] = 2}};   /* IPv4-mapped */
        stack_in(odd.b, odd.len);
        for (size_t i = 0; i < 6; i++) {   /* from where no peer is, with what lwIP would answer: an unknown protocol */
                static const uint8_t from4[6][4] = {{127, 0, 0, 1}, {0, 0, 0, 0}, {192, 0, 0, 8}, {224, 0, 0, 1},
                        {255, 255, 255, 255}, {127, 9, 9, 9}};
                static const uint8_t from6[6][16] = {{[15] = 1}, {0}, {0x01, [15] = 1}, {0xff, 2, [15] = 1}, {0xfe, 0x80, [15] = 1},
                        {[10] = 0xff, 0xff, 127, 0, 0, 1}};
                odd = (struct packet){.len = 60, .b = {0x45, [3] = 60, [8] = 64, [9] = 200, [16] = 100, 64, 0, 2}};
                memcpy(odd.b + 12, from4[i], 4);
                uint16_t check = (uint16_t)~sum(odd.b, 20, 0);
                odd.b[10] = (uint8_t)(check >> 8);
                odd.b[11] = (uint8_t)check;
                stack_in(odd.b, odd.len);
                odd = (struct packet){.len = 60, .b = {0x60, [5] = 20, [6] = 200, [7] = 64, [24] = 0xfd, [39] = 1}};
                memcpy(odd.b + 8, from6[i], 16);
                stack_in(odd.b, odd.len);
        }
        assert_int_equal(t.tail, t.head);
        stack_in(syn.b, STACK_MTU + 1);
        assert_int_equal(t.asked, 0);
        stack_abort(c);
}

/* In a fragment of its own, which only lwIP looks into, so that nobody is asked: nobody listens there, not at port 0 either. */
static void first_packets_in_fragments(void **state)
{
        (void)state;
        for (uint8_t port = 0; port < 2; port++) {
                struct packet syn = {.len = 68, .b = {0x60, [5] = 28, [6] = 44, [7] = 64, [8] = 0xfd, [23] = 2, [24] = 0xfd, [39] = 1,
                                                              [40] = 6, [47] = 7, [49] = 9, [51] = port, [60] = 0x50, [61] = 2, [62] = 16}};
                uint8_t pseudo[60] = {[35] = 20, [39] = 6};
                memcpy(pseudo, syn.b + 8, 32);
                memcpy(pseudo + 40, syn.b + 48, 20);
                uint16_t check = (uint16_t)~sum(pseudo, sizeof(pseudo), 0);
                syn.b[64] = (uint8_t)(check >> 8);
                syn.b[65] = (uint8_t)check;
                stack_in(syn.b, syn.len);
                assert_int_equal(t.asked, 0);
                assert_int_equal(t.tail - t.head, 1);
                const struct packet *p = &t.queue[t.head++ % QUEUE];
                assert_int_equal(p->b[6], 6);
                assert_int_equal(p->b[53] & 0x06, 0x04);   /* RST, and no SYN */
        }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(any_address_is_ours), TEST(who_is_refused_is_told), TEST(a_connection_is_held_until_it_is_decided),
                TEST(so_many_are_held_and_no_more), TEST(half_closed), TEST(a_reader_that_rests),
                TEST(windows_widen_while_nothing_is_lost), TEST(lost_packets_are_sent_again), TEST(no_room_for_packets), TEST(windows_are_for_long_ways),
                TEST(datagrams_are_whole), TEST(odd_packets), TEST(first_packets_in_fragments),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
