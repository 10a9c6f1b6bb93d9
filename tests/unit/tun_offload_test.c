/* Cutting and joining against an oracle that is slow, written apart from them and easy to believe: bytes one by one.
 * OFFLOAD_ROUNDS random super-packets, 20,000 if it does not say. */
#include <stdlib.h>

#include "tests/unit/tun_slow.h"
#include "tun/gro.h"
#include "tun/gso.h"

enum { ROUNDS = 20000, PARTS_MAX = 400, ROOM = 70000, FLOWS = 3, BURST = 60 };

static uint64_t state_of_random = UINT64_C(0x9e3779b97f4a7c15);

static uint32_t rnd(uint32_t below)
{
        state_of_random ^= state_of_random << 13;
        state_of_random ^= state_of_random >> 7;
        state_of_random ^= state_of_random << 17;
        return (uint32_t)((state_of_random >> 32) % below);
}

/* ---- the oracle ---- */

struct part {
        size_t len;
        uint8_t *d;
};

/* What a network card would make of it. */
static size_t cut(const uint8_t *d, size_t len, size_t size, struct part *ret, uint8_t *room)
{
        size_t t = transport_of(d), n = 0;
        size_t head = t + (proto_of(d) == 6 ? (size_t)(d[t + 12] >> 4) * 4 : 8);
        for (size_t at = head; at < len; at += size, n++) {
                size_t payload = len - at < size ? len - at : size;
                uint8_t *out = room;
                assert_true(n < PARTS_MAX);
                room += head + payload;
                memcpy(out, d, head);
                memcpy(out + head, d + at, payload);
                if (d[0] >> 4 == 4)
                        put16(out + 4, (get16(d + 4) + (unsigned)n) & 0xffff);
                if (proto_of(d) == 6) {
                        put32(out + t + 4, get32(d + t + 4) + (uint32_t)(at - head));
                        if (at + payload < len)
                                out[t + 13] &= 0xf6;
                        if (n > 0)
                                out[t + 13] &= 0x7f;
                }
                settle(out, head + payload);
                ret[n] = (struct part){head + payload, out};
        }
        return n;
}

/* ---- random packets ---- */

/* A header of a random kind; returns its length.  options: of IPv4, too, which cutting must bear. */
static size_t random_header(uint8_t *d, bool options)
{
        size_t t = 40;
        uint8_t proto = rnd(3) ? 6 : 17;
        for (size_t i = 0; i < 120; i++)
                d[i] = (uint8_t)rnd(256);
        if (rnd(2)) {
                t = options && rnd(8) == 0 ? 20 + 4 * rnd(11) : 20;
                d[0] = (uint8_t)(0x40 | t / 4);
                d[6] = rnd(4) ? 0x40 : 0;
                d[7] = 0;
                d[9] = proto;
        } else {
                d[0] = 0x60 | (d[0] & 15);
                d[6] = proto;
        }
        if (proto == 17)
                return t + 8;
        size_t header = 20 + 4 * (rnd(2) ? 3 : rnd(11));
        d[t + 12] = (uint8_t)(header / 4 << 4 | (rnd(8) ? 0 : rnd(16)));
        d[t + 13] = (uint8_t)(rnd(4) ? 16 | (rnd(4) ? 0 : 8) : rnd(256) & ~6u);
        return t + header;
}

static void random_payload(uint8_t *d, size_t n)
{
        uint8_t kind = (uint8_t)rnd(4);
        for (size_t i = 0; i < n; i++)
                d[i] = kind == 0 ? 0 : kind == 1 ? 0xff : (uint8_t)(i * 31 + kind + (i >> 8));
}

static size_t random_size(size_t room)
{
        size_t some = rnd(8) ? rnd(3000) : rnd(64000);
        some++;
        return some < room ? some : room;
}

static struct vnet vnet_for(const uint8_t *d, size_t size)
{
        return (struct vnet){
                .flags = VNET_NEEDS_CSUM,
                .gso_type = (uint8_t)(proto_of(d) == 17     ? VNET_GSO_UDP
                                      : d[0] >> 4 == 4      ? VNET_GSO_TCP4
                                                            : VNET_GSO_TCP6),
                .hdr_len = (uint16_t)rnd(65536),
                .gso_size = (uint16_t)size,
                .csum_start = (uint16_t)transport_of(d),
                .csum_offset = proto_of(d) == 17 ? 6 : 16,
        };
}

static void check_cut(void)
{
        static uint8_t d[ROOM], want_room[4 * ROOM], got[ROOM];
        static struct part want[PARTS_MAX];
        size_t head = random_header(d, true), payload = random_size(VNET_PACKET_MAX - head), len = head + payload;
        size_t size = 1 + (rnd(4) ? rnd(1500) : rnd(100));
        if (payload / size >= PARTS_MAX)
                size = 1228;
        random_payload(d + head, payload);
        settle(d, len);
        size_t n = cut(d, len, size, want, want_room);
        struct vnet v = vnet_for(d, size);
        put16(d + sum_place(d), pseudo(d, len));   /* as the kernel leaves it: of no use */
        struct gso g;
        assert_int_equal(gso_begin(&g, &v, d, len), ERR_NONE);
        assert_int_equal(gso_count(&g), n);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(gso_next_len(&g), want[i].len);
                gso_cut(&g, got);
                assert_memory_equal(got, want[i].d, want[i].len);
        }
        assert_int_equal(gso_next_len(&g), 0);
}

/* One packet whose checksum the kernel left to us. */
static void check_plain(void)
{
        static uint8_t d[ROOM], want[ROOM];
        size_t head = random_header(d, true), len = head + random_size(2000);
        random_payload(d + head, len - head);
        settle(d, len);
        if (len >= head + 2 && rnd(8) == 0) {   /* so that the sum is 0 */
                put16(d + head, 0);
                settle(d, len);
                put16(d + head, get16(d + sum_place(d)));
                settle(d, len);
        }
        memcpy(want, d, len);
        put16(d + sum_place(d), pseudo(d, len));
        struct vnet v = vnet_for(d, 0);
        v.gso_type = VNET_GSO_NONE;
        struct gso g;
        assert_int_equal(gso_begin(&g, &v, d, len), ERR_NONE);
        assert_int_equal(gso_next_len(&g), len);
        assert_memory_equal(d, want, len);
}

/* ---- joining ---- */

struct flow {
        uint8_t head[120];
        size_t head_len;
        uint32_t seq;
        size_t size;
};

struct arrival {
        size_t flow;
        size_t len;
        uint8_t before[1800];   /* as it came */
        uint8_t d[1800];
        struct pkt p;
};

static struct arrival in[BURST];

static void spoil(struct arrival *a)
{
        size_t t = transport_of(a->before), header = proto_of(a->before) == 6 ? (size_t)(a->before[t + 12] >> 4) * 4 : 8;
        switch (rnd(8)) {
        case 0:   /* a wrong checksum */
                a->before[sum_place(a->before)] ^= (uint8_t)(1 + rnd(255));
                break;
        case 1:   /* damaged data */
                a->before[a->len - 1] ^= 0x10;
                break;
        case 2:   /* another hop limit */
                a->before[a->before[0] >> 4 == 4 ? 8 : 7] ^= 1;
                settle(a->before, a->len);
                break;
        case 3:   /* a fragment, or no checksum */
                if (a->before[0] >> 4 == 4)
                        a->before[6] = 0x20;
                settle(a->before, a->len);
                if (proto_of(a->before) == 17)
                        put16(a->before + t + 6, 0);
                break;
        case 4:
                if (proto_of(a->before) == 6)
                        a->before[t + 13] = (uint8_t)rnd(256);
                settle(a->before, a->len);
                break;
        case 5:   /* another option */
                if (header > 20)
                        a->before[t + 20 + rnd((uint32_t)header - 20)] ^= 1;
                settle(a->before, a->len);
                break;
        case 6:   /* this one may be fragmented, that one not */
                if (a->before[0] >> 4 == 4)
                        a->before[6] ^= 0x40;
                settle(a->before, a->len);
                break;
        default:
                if (proto_of(a->before) == 6)
                        a->before[t + 8 + rnd(12)] ^= 1;
                settle(a->before, a->len);
                break;
        }
}

/* The next packet of a flow: what continues it, or if not clean, mostly. */
static void arrive(struct flow *f, size_t flow, struct arrival *a, bool clean)
{
        size_t payload = clean || rnd(12) ? f->size : rnd((uint32_t)f->size + 40);
        a->flow = flow;
        a->len = f->head_len + payload;
        memcpy(a->before, f->head, f->head_len);
        random_payload(a->before + f->head_len, payload);
        size_t t = transport_of(f->head);
        if (proto_of(f->head) == 6) {
                put32(a->before + t + 4, f->seq + (clean || rnd(20) ? 0 : rnd(3000)));
                if (!clean && rnd(10) == 0)
                        a->before[t + 13] |= 8;
        }
        if (a->before[0] >> 4 == 4)
                put16(a->before + 4, rnd(65536));
        settle(a->before, a->len);
        f->seq = get32(a->before + t + 4) + (uint32_t)payload;
        if (!clean && rnd(25) == 0)
                spoil(a);
        memcpy(a->d, a->before, a->len);
        pkt_view(&a->p, a->d, a->len, 0, a->len);
}

/* But for the identification of IPv4, which joining does not keep. */
static void assert_same_packet(const uint8_t *got, const uint8_t *want, size_t len)
{
        static uint8_t a[ROOM], b[ROOM];
        memcpy(a, got, len);
        memcpy(b, want, len);
        for (uint8_t *p = a; p != NULL; p = p == a ? b : NULL)
                if (p[0] >> 4 == 4) {
                        put16(p + 4, 0);
                        put16(p + 10, 0);
                }
        assert_memory_equal(a, b, len);
}

/* The packets that the host will see of an item. */
static size_t expand(const struct gro_item *it, struct part *ret, uint8_t *room)
{
        static uint8_t whole[ROOM];
        uint8_t head[GRO_HEAD_MAX];
        struct iovec iov[GRO_IOV_MAX];
        struct vnet v;
        size_t n = gro_vector(it, &v, head, iov), len = 0;
        for (size_t i = 0; i < n; i++) {
                memcpy(whole + len, iov[i].iov_base, iov[i].iov_len);
                len += iov[i].iov_len;
        }
        if (v.gso_type == VNET_GSO_NONE) {
                assert_int_equal(v.flags, 0);
                memcpy(room, whole, len);
                ret[0] = (struct part){len, room};
                return 1;
        }
        assert_true(len <= VNET_PACKET_MAX);
        assert_int_equal(v.flags, VNET_NEEDS_CSUM);
        assert_int_equal(v.csum_start, transport_of(whole));
        assert_int_equal(v.csum_start + v.csum_offset, sum_place(whole));
        assert_int_equal(v.hdr_len, it->head);
        assert_int_equal(get16(whole + sum_place(whole)) % 0xffff, pseudo(whole, len) % 0xffff);
        if (whole[0] >> 4 == 4) {
                assert_int_equal(get16(whole + 2), len);
                assert_int_equal(add(0, whole, 20), 0xffff);
        } else {
                assert_int_equal(get16(whole + 4) + 40, len);
        }
        size_t count = cut(whole, len, v.gso_size, ret, room);
        assert_int_equal(count, it->count);
        return count;
}

static size_t joined_total;

static void check_joins(void)
{
        static struct gro g;
        static struct flow flow[FLOWS];
        static uint8_t room[4 * ROOM];
        static struct part part[PARTS_MAX];
        size_t next[FLOWS], n = 1 + rnd(BURST);
        bool clean = rnd(8) == 0;   /* long runs, up to what one write may hold */
        g.tcp = rnd(16) != 0;
        g.udp = rnd(16) != 0;
        for (size_t f = 0; f < FLOWS; f++) {
                flow[f].head_len = random_header(flow[f].head, false);
                if (proto_of(flow[f].head) == 6 && rnd(8))
                        flow[f].head[transport_of(flow[f].head) + 13] = 16;
                flow[f].size = 1 + rnd(1400);
                flow[f].seq = rnd(2) ? rnd(UINT32_MAX) : UINT32_MAX - 3000;   /* across the end, too */
                next[f] = 0;
        }
        size_t current = 0;
        for (size_t i = 0; i < n; i++) {
                current = clean || rnd(4) ? current : rnd(FLOWS);
                arrive(&flow[current], current, &in[i], clean);
                if (!gro_append(&g, &in[i].p))
                        assert_true(gro_start(&g, &in[i].p));
        }
        for (size_t k = 0; k < g.count; k++) {
                const struct gro_item *it = &g.item[k];
                bool udp = it->count > 1 && it->proto == 17;
                assert_true(it->count == 1 || (udp ? g.udp : g.tcp));
                size_t f = FLOWS, count = expand(it, part, room);
                for (size_t i = 0; i < n; i++)
                        if (&in[i].p == it->first)
                                f = in[i].flow;
                assert_true(f < FLOWS);
                joined_total += count - 1;
                for (size_t j = 0; j < count; j++) {
                        while (next[f] < n && in[next[f]].flow != f)
                                next[f]++;
                        assert_true(next[f] < n);
                        const struct arrival *want = &in[next[f]++];
                        assert_int_equal(part[j].len, want->len);
                        assert_same_packet(part[j].d, want->before, want->len);
                }
        }
        for (size_t f = 0; f < FLOWS; f++)   /* nothing is missing */
                for (size_t i = next[f]; i < n; i++)
                        assert_int_not_equal(in[i].flow, f);
        for (size_t i = 0; i < n; i++)
                assert_memory_equal(in[i].d, in[i].before, in[i].len);
        gro_drop(&g, g.count);
}

static void random_super_packets_are_what_the_oracle_says(void **state)
{
        (void)state;
        const char *text = getenv("OFFLOAD_ROUNDS");
        unsigned long rounds = text != NULL ? strtoul(text, NULL, 10) : check_rounds(ROUNDS);
        for (unsigned long i = 0; i < rounds; i++) {
                check_cut();
                if (i % 8 == 0) {
                        check_plain();
                        check_joins();
                }
        }
        assert_true(joined_total > rounds);   /* they do get joined */
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(random_super_packets_are_what_the_oracle_says)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
