/* What may be joined and what may not, one difference at a time.  Random packets are in tun_offload_test.c. */
#include "tests/unit/tun_slow.h"
#include "tun/gro.h"

enum { PIECE = 100, PAIR = 2 };

/* Neighbours of a flow, as like as they can be. */
static void pair(unsigned version, uint8_t proto, uint8_t d[PAIR][200], size_t len[PAIR])
{
        for (size_t i = 0; i < PAIR; i++) {
                size_t t = version == 4 ? 20 : 40;
                memset(d[i], 7, 200);
                d[i][0] = version == 4 ? 0x45 : 0x60;
                d[i][version == 4 ? 9 : 6] = proto;
                if (version == 4)
                        put16(d[i] + 6, 0x4000);
                d[i][t + 12] = 0x50;
                d[i][t + 13] = 16;
                put32(d[i] + t + 4, (uint32_t)i * PIECE);
                len[i] = t + (proto == 6 ? 20 : 8) + PIECE;
                settle(d[i], len[i]);
        }
}

static bool joins(uint8_t d[PAIR][200], const size_t len[PAIR])
{
        static struct gro g;
        struct pkt p[PAIR];
        gro_drop(&g, g.count);
        g.tcp = g.udp = true;
        for (size_t i = 0; i < PAIR; i++)
                pkt_view(&p[i], d[i], len[i], 0, len[i]);
        assert_false(gro_append(&g, &p[0]));
        assert_true(gro_start(&g, &p[0]));
        return gro_append(&g, &p[1]);
}

static void one_difference_is_enough(void **state)
{
        (void)state;
        static const struct {
                unsigned version;
                uint8_t proto, at, flip;
                bool both;       /* of both packets */
                bool unsettled;  /* the checksums stay as they were */
        } c[] = {
                {4, 6, 1, 3, false, false},       /* congestion experienced */
                {4, 6, 10, 1, false, true},       /* the IP header's own checksum */
                {4, 6, 6, 0x20, true, false},     /* first fragments */
                {4, 17, 7, 1, true, false},       /* later ones */
                {4, 6, 36, 1, false, true},       /* a wrong checksum, which the whole would hide */
                {6, 6, 1, 0x30, false, false},    /* congestion experienced */
                {6, 17, 3, 1, false, false},      /* another flow label */
                {6, 17, 46, 1, false, true},
        };
        uint8_t d[PAIR][200];
        size_t len[PAIR];
        for (unsigned k = 0; k < 4; k++) {
                pair(k % 2 ? 4 : 6, k / 2 ? 6 : 17, d, len);
                assert_true(joins(d, len));
        }
        for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
                pair(c[i].version, c[i].proto, d, len);
                for (size_t k = c[i].both ? 0 : 1; k < PAIR; k++) {
                        d[k][c[i].at] ^= c[i].flip;
                        if (!c[i].unsettled)
                                settle(d[k], len[k]);
                }
                if (joins(d, len))
                        fail_msg("case %zu was joined", i);
        }
        /* UDP that ends before its packet does, right by its checksum. */
        pair(4, 17, d, len);
        put16(d[1] + 24, get16(d[1] + 24) - 1);
        put16(d[1] + 40, get16(d[1] + 40) + 1);
        assert_false(joins(d, len));
}

static void an_item_has_so_many_pieces(void **state)
{
        (void)state;
        static struct gro g = {.udp = true};
        static struct pkt p[GRO_PIECES_MAX + 1];
        uint8_t d[PAIR][200], head[GRO_HEAD_MAX];
        size_t len[PAIR];
        struct iovec iov[GRO_IOV_MAX];
        struct vnet v;
        pair(4, 17, d, len);
        for (size_t i = 0; i <= GRO_PIECES_MAX; i++) {
                pkt_view(&p[i], d[0], len[0], 0, len[0]);
                bool joined = gro_append(&g, &p[i]);
                assert_int_equal(joined, i > 0 && i < GRO_PIECES_MAX);
                assert_true(joined || gro_start(&g, &p[i]));
        }
        assert_int_equal(gro_vector(&g.item[0], &v, head, iov), GRO_IOV_MAX);
}

static void joining_stops_when_all_items_are_taken(void **state)
{
        (void)state;
        static struct gro g = {.tcp = true, .udp = true};
        static struct pkt p[GRO_ITEMS_MAX + 1];
        static uint8_t junk[40];
        for (size_t i = 0; i <= GRO_ITEMS_MAX; i++) {
                pkt_view(&p[i], junk, sizeof(junk), 0, sizeof(junk));
                assert_false(gro_append(&g, &p[i]));
                assert_int_equal(gro_start(&g, &p[i]), i < GRO_ITEMS_MAX);
        }
}

/* Only the last, only if it has grown, may grow on, and has not waited before. */
static void only_what_may_grow_waits(void **state)
{
        (void)state;
        static struct gro g;
        uint8_t d[PAIR][200], other[PAIR][200];
        size_t len[PAIR];
        struct pkt p[PAIR], q;
        pair(4, 17, d, len);
        assert_int_equal(gro_ready(&g, 0), 0);
        g.udp = true;
        for (size_t i = 0; i < PAIR; i++)
                pkt_view(&p[i], d[i], len[i], 0, len[i]);
        assert_true(gro_start(&g, &p[0]));
        assert_int_equal(gro_ready(&g, 0), 1);   /* it came alone */
        assert_true(gro_append(&g, &p[1]));
        assert_int_equal(gro_ready(&g, 0), 0);
        assert_int_equal(gro_ready(&g, 1), 1);   /* it waited before */
        pair(4, 17, other, len);
        put16(other[0] + 20, 4242);   /* another flow */
        settle(other[0], len[0]);
        pkt_view(&q, other[0], len[0], 0, len[0]);
        assert_false(gro_append(&g, &q));
        assert_true(gro_start(&g, &q));
        assert_int_equal(gro_ready(&g, 0), 2);   /* the one that may grow is not the last */
        gro_drop(&g, 1);
        assert_int_equal(g.count, 1);
        assert_ptr_equal(g.item[0].first, &q);
        gro_drop(&g, 1);
        assert_int_equal(g.count, 0);
}

/* What a fragment closes stays closed for as long as it is there. */
static void a_floor_goes_with_its_items(void **state)
{
        (void)state;
        static struct gro g = {.udp = true};
        static uint8_t junk[40];
        uint8_t d[PAIR][200];
        size_t len[PAIR];
        struct pkt p[PAIR], fragment;
        pair(4, 17, d, len);
        for (size_t i = 0; i < PAIR; i++)
                pkt_view(&p[i], d[i], len[i], 0, len[i]);
        pkt_view(&fragment, junk, sizeof(junk), 0, sizeof(junk));
        assert_true(gro_start(&g, &fragment));
        assert_int_equal(g.floor, 1);
        assert_true(gro_start(&g, &p[0]));
        gro_drop(&g, 1);
        assert_int_equal(g.floor, 0);
        assert_true(gro_append(&g, &p[1]));
        gro_drop(&g, 1);
        assert_true(gro_start(&g, &fragment));
        gro_drop(&g, 1);
        assert_int_equal(g.floor, 0);
}

/* What the kernel gets: the first one's header with the length of all, then each payload where it lies. */
static void the_whole_is_the_first_header_and_all_payloads(void **state)
{
        (void)state;
        for (unsigned k = 0; k < 4; k++) {
                unsigned version = k % 2 ? 4 : 6;
                uint8_t proto = k / 2 ? 6 : 17, d[PAIR][200], head[GRO_HEAD_MAX];
                size_t len[PAIR], t = version == 4 ? 20 : 40, h = t + (proto == 6 ? 20 : 8);
                static struct gro g;
                struct pkt p[PAIR];
                struct iovec iov[GRO_IOV_MAX];
                struct vnet v;
                pair(version, proto, d, len);
                d[1][h + PIECE - 1] = 99;
                if (proto == 6)
                        d[1][t + 13] |= 8;   /* pushed */
                settle(d[1], len[1]);
                gro_drop(&g, g.count);
                g.tcp = g.udp = true;
                for (size_t i = 0; i < PAIR; i++) {
                        pkt_view(&p[i], d[i], len[i], 0, len[i]);
                        assert_true(gro_append(&g, &p[i]) || gro_start(&g, &p[i]));
                }
                assert_int_equal(g.count, 1);
                assert_int_equal(g.item[0].count, PAIR);
                assert_int_equal(gro_vector(&g.item[0], &v, head, iov), 3);
                assert_ptr_equal(iov[0].iov_base, head);
                assert_int_equal(iov[0].iov_len, h);
                for (size_t i = 0; i < PAIR; i++) {
                        assert_ptr_equal(iov[1 + i].iov_base, d[i] + h);
                        assert_int_equal(iov[1 + i].iov_len, PIECE);
                }
                assert_int_equal(get16(head + (version == 4 ? 2 : 4)), h + 2 * PIECE - (version == 4 ? 0 : 40));
                if (version == 4)
                        assert_int_equal(add(0, head, 20), 0xffff);
                if (proto == 17)
                        assert_int_equal(get16(head + t + 4), 8 + 2 * PIECE);
                else
                        assert_int_equal(head[t + 13], 16 | 8);
                assert_int_equal(v.gso_type, proto == 17 ? VNET_GSO_UDP : version == 4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6);
                assert_int_equal(v.gso_size, PIECE);
                assert_int_equal(v.hdr_len, h);
                assert_int_equal(v.csum_start, t);
                assert_int_equal(v.csum_offset, proto == 6 ? 16 : 6);
        }
}

static void what_is_switched_off_is_not_joined(void **state)
{
        (void)state;
        for (unsigned k = 0; k < 4; k++) {
                uint8_t proto = k / 2 ? 6 : 17, d[PAIR][200];
                size_t len[PAIR];
                static struct gro g;
                struct pkt p[PAIR];
                pair(k % 2 ? 4 : 6, proto, d, len);
                gro_drop(&g, g.count);
                g.tcp = proto != 6;
                g.udp = proto != 17;
                for (size_t i = 0; i < PAIR; i++) {
                        pkt_view(&p[i], d[i], len[i], 0, len[i]);
                        assert_false(gro_append(&g, &p[i]));
                        assert_true(gro_start(&g, &p[i]));
                }
                assert_int_equal(g.count, PAIR);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_difference_is_enough),
                cmocka_unit_test(an_item_has_so_many_pieces),
                cmocka_unit_test(joining_stops_when_all_items_are_taken),
                cmocka_unit_test(only_what_may_grow_waits),
                cmocka_unit_test(a_floor_goes_with_its_items),
                cmocka_unit_test(the_whole_is_the_first_header_and_all_payloads),
                cmocka_unit_test(what_is_switched_off_is_not_joined),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
