/* One super-packet cut, field by field, and what a kernel does not send.  Random ones are in tun_offload_test.c. */
#include "tests/unit/tun_slow.h"
#include "tun/gso.h"

enum { PAYLOAD = 250, SEGMENT = 100 };

/* TCP over IPv4 with every flag set, its sequence number and ID about to overflow. */
static size_t tcp4(uint8_t d[40 + PAYLOAD])
{
        memset(d, 0, 40);
        for (size_t i = 0; i < PAYLOAD; i++)
                d[40 + i] = (uint8_t)i;
        d[0] = 0x45;
        put16(d + 4, 0xffff);
        d[8] = 64;
        d[9] = 6;
        put32(d + 24, UINT32_MAX - 50);
        d[32] = 0x50;
        d[33] = 0xff;
        settle(d, 40 + PAYLOAD);
        return 40 + PAYLOAD;
}

static void segments_follow_each_other(void **state)
{
        (void)state;
        uint8_t d[40 + PAYLOAD], out[40 + SEGMENT];
        size_t len = tcp4(d);
        struct gso g;
        const struct vnet v = {1, VNET_GSO_TCP4 | VNET_GSO_ECN, 40, SEGMENT, 20, 16};
        static const struct {
                size_t payload;
                unsigned id;
                uint32_t seq;
                uint8_t flags;   /* CWR with the first, PSH and FIN with the last */
        } want[] = {{100, 0xffff, UINT32_MAX - 50, 0xf6}, {100, 0, 49, 0x76}, {50, 1, 149, 0x7f}};
        assert_int_equal(gso_begin(&g, &v, d, len), ERR_NONE);
        assert_int_equal(gso_count(&g), 3);
        for (size_t i = 0; i < 3; i++) {
                size_t n = gso_next_len(&g);
                assert_int_equal(n, 40 + want[i].payload);
                memset(out, 0xee, sizeof(out));
                gso_cut(&g, out);
                assert_int_equal(get16(out + 2), n);
                assert_int_equal(get16(out + 4), want[i].id);
                assert_int_equal(get32(out + 24), want[i].seq);
                assert_int_equal(out[33], want[i].flags);
                assert_int_equal(add(0, out, 20), 0xffff);
                assert_int_equal(add(pseudo(out, n), out + 20, n - 20), 0xffff);
                assert_memory_equal(out + 40, d + 40 + i * SEGMENT, want[i].payload);
                for (size_t k = n; k < sizeof(out); k++)
                        assert_int_equal(out[k], 0xee);
        }
        assert_int_equal(gso_next_len(&g), 0);
}

/* The kernel leaves the sum of the pseudo-header in its place. */
static void a_plain_packet_is_summed_if_asked(void **state)
{
        (void)state;
        static const struct vnet as_it_is, sum = {1, 0, 0, 0, 20, 16};
        uint8_t d[40 + PAYLOAD], want[40 + PAYLOAD], out[40 + PAYLOAD];
        size_t len = tcp4(want);
        struct gso g;
        memcpy(d, want, len);
        put16(d + 36, pseudo(d, len));
        assert_int_equal(gso_begin(&g, &sum, d, len), ERR_NONE);
        assert_int_equal(gso_count(&g), 1);
        assert_int_equal(gso_next_len(&g), len);
        gso_cut(&g, out);
        assert_memory_equal(out, want, len);
        assert_int_equal(gso_next_len(&g), 0);
        d[36] ^= 1;   /* wrong, and none of our business */
        assert_int_equal(gso_begin(&g, &as_it_is, d, len), ERR_NONE);
        gso_cut(&g, out);
        assert_memory_equal(out, d, len);
}

static void contradictions_are_refused(void **state)
{
        (void)state;
        static uint8_t d[3000];
        struct gso g;
        static const struct vnet bad[] = {
                {1, VNET_GSO_TCP6, 40, 100, 20, 16},   /* the other family */
                {1, VNET_GSO_TCP4, 40, 0, 20, 16},     /* segments of nothing */
                {1, VNET_GSO_TCP4, 40, 100, 24, 16},   /* the transport header is elsewhere */
                {1, VNET_GSO_TCP4, 40, 100, 2995, 16},
                {1, 3, 40, 100, 20, 16},               /* UFO */
                {1, 0, 0, 0, 2990, 16},                /* a checksum behind the end */
                {1, 0, 0, 0, 2990, 9},                 /* half of it */
                {1, 0, 0, 0, 65535, 65535},
        };
        d[0] = 0x45;
        d[9] = 6;
        d[32] = 0x50;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_not_equal(gso_begin(&g, &bad[i], d, sizeof(d)), ERR_NONE);
        const struct vnet good = {1, VNET_GSO_TCP4, 40, 100, 20, 16}, marked = {1, VNET_GSO_TCP4 | VNET_GSO_ECN, 40, 100, 20, 16};
        assert_int_equal(gso_begin(&g, &marked, d, sizeof(d)), ERR_NONE);
        assert_int_equal(gso_begin(&g, &good, d, sizeof(d)), ERR_NONE);
        for (size_t len = 0; len <= 40; len++)   /* no payload, or half a header */
                assert_int_not_equal(gso_begin(&g, &good, d, len), ERR_NONE);
        assert_int_equal(gso_begin(&g, &good, d, 41), ERR_NONE);
        d[32] = 0x40;                            /* a TCP header of 16 bytes */
        assert_int_equal(gso_begin(&g, &good, d, sizeof(d)), ERR_FORMAT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(segments_follow_each_other),
                cmocka_unit_test(a_plain_packet_is_summed_if_asked),
                cmocka_unit_test(contradictions_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
