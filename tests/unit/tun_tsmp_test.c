#include "tests/unit/check.h"
#include "tests/unit/tun_packets.h"

#include "tun/tsmp.h"

#define US    "100.64.0.1"
#define PEER  "100.64.0.2"
#define US6   "fd7a:115c:a1e0::1"
#define PEER6 "fd7a:115c:a1e0::2"

static void a_refused_connection_is_told(void **state)
{
        (void)state;
        struct test_packet syn = tcp_packet(PEER, 4711, US, 80, TCP_SYN);
        uint8_t out[TSMP_PACKET_MAX];
        struct tsmp m;
        size_t n = tsmp_reject(syn.b, syn.len, TSMP_REASON_ACL, out);
        static const uint8_t want[] = {'!', 6, 'A', 4711 >> 8, 4711 & 255, 0, 80};
        assert_int_equal(n, 27);
        assert_memory_equal(out + 20, want, sizeof(want));
        uint32_t sum = 0;
        for (size_t i = 0; i < 20; i += 2)
                sum += load_be16(out + i);
        assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);

        /* Who sent the SYN reads in it what it had sent. */
        assert_int_equal(tsmp_parse(out, n, &m), ERR_NONE);
        struct packet p = packet_parse(syn.b, syn.len);
        assert_int_equal(m.kind, TSMP_REJECTED);
        assert_int_equal(m.reason, TSMP_REASON_ACL);
        assert_false(m.maybe_broken);
        assert_memory_equal(m.rejected.src, p.src, 16);
        assert_memory_equal(m.rejected.dst, p.dst, 16);
        assert_int_equal(m.rejected.src_port, 4711);
        assert_int_equal(m.rejected.dst_port, 80);
        assert_int_equal(m.rejected.proto, PROTO_TCP);
}

static void nothing_else_is_answered(void **state)
{
        (void)state;
        struct test_packet p[] = {
                tcp_packet(PEER, 1, US, 80, TCP_SYN | TCP_ACK),
                tcp_packet(PEER, 1, US, 80, TCP_ACK),
                tcp_packet(PEER6, 1, US6, 80, TCP_SYN),
                udp_packet(PEER, 1, US, 80),
                icmp_packet(PEER, US, 8),
        };
        uint8_t out[TSMP_PACKET_MAX];
        for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++)
                assert_int_equal(tsmp_reject(p[i].b, p[i].len, TSMP_REASON_ACL, out), 0);
}

static void a_ping_is_answered(void **state)
{
        (void)state;
        static const char *const ends[2][2] = {{PEER, US}, {PEER6, US6}};
        static const uint8_t body[] = "p12345678";
        for (size_t i = 0; i < 2; i++) {
                struct test_packet ping = ip_packet(ends[i][0], ends[i][1], PROTO_TSMP, body, 9);
                struct test_packet back =
                        ip_packet(ends[i][1], ends[i][0], PROTO_TSMP, "o12345678\x12\x34", 11);
                uint8_t out[TSMP_PACKET_MAX];
                struct tsmp m;
                size_t n = tsmp_pong(ping.b, ping.len, 0x1234, out);
                assert_int_equal(n, back.len);
                memset(out + 10, 0, i == 0 ? 2 : 0); /* the builder of the tests sums nothing */
                assert_memory_equal(out, back.b, n);
                assert_int_equal(tsmp_parse(out, n, &m), ERR_NONE);
                assert_int_equal(m.kind, TSMP_PONG);
                assert_memory_equal(m.data, "12345678", 8);
                assert_int_equal(m.service_port, 0x1234);
                assert_int_equal(tsmp_pong(out, n, 0, out), 0); /* pongs are not */
        }
}

static void truncations_and_strangers(void **state)
{
        (void)state;
        static const struct {
                uint8_t body[40];
                size_t len, least;
        } row[] = {
                {"!\x06"
                 "A\1\2\3\4\1",
                 8, 7},
                {"p12345678", 9, 9},
                {"o1234567812", 11, 9},
                {"a", 33, 33},
        };
        struct tsmp m;
        for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
                for (size_t n = 0; n <= row[i].len; n++) {
                        struct test_packet p = ip_packet(PEER, US, PROTO_TSMP, row[i].body, n);
                        assert_int_equal(tsmp_parse(p.b, p.len, &m),
                                         n >= row[i].least ? ERR_NONE : ERR_FORMAT);
                        for (size_t cut = 0; cut < p.len; cut++)
                                assert_int_equal(tsmp_parse(p.b, cut, &m), ERR_FORMAT);
                }
                struct test_packet p = ip_packet(PEER, US, PROTO_TSMP, row[i].body, row[i].len);
                store_be16(p.b + 6, 0x2000); /* a fragment */
                assert_int_equal(tsmp_parse(p.b, p.len, &m), ERR_FORMAT);
        }
        struct test_packet flag = ip_packet(PEER, US, PROTO_TSMP, row[0].body, 8);
        assert_int_equal(tsmp_parse(flag.b, flag.len, &m), ERR_NONE);
        assert_true(m.maybe_broken);
        struct test_packet unknown = ip_packet(PEER, US, PROTO_TSMP, "x12345678", 9);
        assert_int_equal(tsmp_parse(unknown.b, unknown.len, &m), ERR_UNSUPPORTED);
        struct test_packet udp = udp_packet(PEER, 1, US, 2);
        assert_int_equal(tsmp_parse(udp.b, udp.len, &m), ERR_FORMAT);
}

static void every_reason_reads_well(void **state)
{
        (void)state;
        for (unsigned r = 0; r < 256; r++)
                assert_true(strlen(tsmp_reason_str((uint8_t)r)) > 0);
        assert_string_not_equal(tsmp_reason_str('A'), tsmp_reason_str('S'));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_refused_connection_is_told), cmocka_unit_test(nothing_else_is_answered),
                cmocka_unit_test(a_ping_is_answered),           cmocka_unit_test(truncations_and_strangers),
                cmocka_unit_test(every_reason_reads_well),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
