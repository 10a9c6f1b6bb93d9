#include "tests/unit/check.h"
#include "tests/unit/tun_packets.h"

static void parses_transport(void **state)
{
        (void)state;
        static const struct {
                const char *src, *dst;
                uint8_t version;
        } row[] = {{"100.64.0.1", "100.64.0.2", 4}, {"fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2", 6}};
        for (size_t i = 0; i < 2; i++) {
                struct test_packet t = tcp_packet(row[i].src, 1000, row[i].dst, 80, TCP_SYN);
                struct packet p = packet_parse(t.b, t.len);
                assert_int_equal(p.kind, PACKET_WHOLE);
                assert_int_equal(p.version, row[i].version);
                assert_int_equal(p.proto, PROTO_TCP);
                assert_int_equal(p.src_port, 1000);
                assert_int_equal(p.dst_port, 80);
                assert_int_equal(p.tcp_flags, TCP_SYN);
                assert_int_equal(p.payload_len, 20);
                struct test_packet u = udp_packet(row[i].src, 53, row[i].dst, 54);
                p = packet_parse(u.b, u.len);
                assert_int_equal(p.kind, PACKET_WHOLE);
                assert_int_equal(p.src_port, 53);
                struct test_packet c = icmp_packet(row[i].src, row[i].dst, 8);
                p = packet_parse(c.b, c.len);
                assert_int_equal(p.icmp_type, 8);
                assert_int_equal(p.src_port, 0);
        }
}

static void every_truncation_is_malformed(void **state)
{
        (void)state;
        struct test_packet t[] = {
                tcp_packet("1.2.3.4", 1, "5.6.7.8", 2, TCP_ACK),
                udp_packet("fd7a::1", 1, "fd7a::2", 2),
                icmp_packet("1.2.3.4", "5.6.7.8", 0),
        };
        for (size_t i = 0; i < 3; i++)
                for (size_t n = 0; n < t[i].len; n++)
                        assert_int_equal(packet_parse(t[i].b, n).kind, PACKET_MALFORMED);
}

static void ipv4_options_move_the_ports(void **state)
{
        (void)state;
        struct test_packet t = tcp_packet("1.2.3.4", 1000, "5.6.7.8", 80, TCP_SYN);
        memmove(t.b + 28, t.b + 20, 20);
        memset(t.b + 20, 1, 8);   /* no-operation options */
        t.b[0] = 0x47;
        t.len += 8;
        store_be16(t.b + 2, (uint16_t)t.len);
        struct packet p = packet_parse(t.b, t.len);
        assert_int_equal(p.kind, PACKET_WHOLE);
        assert_int_equal(p.dst_port, 80);
}

/* RFC 1858 and 3128: nothing behind a judged header may rewrite it. */
static void fragments(void **state)
{
        (void)state;
        static const struct {
                uint16_t offset8;
                bool more;
                size_t payload;
                enum packet_kind want;
        } row[] = {
                {0, true, 20, PACKET_WHOLE},
                {0, true, 16, PACKET_BAD_FRAGMENT},   /* tiny: the flags would come later */
                {1, true, 20, PACKET_BAD_FRAGMENT},   /* overlaps the header */
                {9, false, 20, PACKET_BAD_FRAGMENT},
                {10, false, 20, PACKET_LATER_FRAGMENT},
                {185, true, 20, PACKET_LATER_FRAGMENT},
                {0, false, 16, PACKET_MALFORMED},     /* short without an excuse */
        };
        uint8_t tcp[20] = {0};
        for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
                struct test_packet t = ip_packet("1.2.3.4", "5.6.7.8", PROTO_TCP, tcp, row[i].payload);
                store_be16(t.b + 6, (uint16_t)(row[i].offset8 | (row[i].more ? 0x2000 : 0)));
                assert_int_equal(packet_parse(t.b, t.len).kind, row[i].want);

                uint8_t with_header[28] = {PROTO_TCP};
                store_be16(with_header + 2, (uint16_t)(row[i].offset8 << 3 | row[i].more));
                struct test_packet s = ip_packet("fd7a::1", "fd7a::2", PROTO_FRAGMENT6, with_header,
                        row[i].payload + 8);
                assert_int_equal(packet_parse(s.b, s.len).kind, row[i].want);
        }
}

static void extension_headers_are_refused(void **state)
{
        (void)state;
        static const uint8_t ext[] = {0, 43, 51, 60, 135, 139, 140, 255};
        uint8_t body[40] = {PROTO_TCP};
        for (size_t i = 0; i < sizeof(ext); i++) {
                struct test_packet t = ip_packet("fd7a::1", "fd7a::2", ext[i], body, sizeof(body));
                assert_int_equal(packet_parse(t.b, t.len).kind, PACKET_MALFORMED);
                uint8_t frag[40] = {ext[i]};
                struct test_packet f = ip_packet("fd7a::1", "fd7a::2", PROTO_FRAGMENT6, frag, sizeof(frag));
                assert_int_equal(packet_parse(f.b, f.len).kind, PACKET_MALFORMED);
        }
}

static void other_versions_are_malformed(void **state)
{
        (void)state;
        struct test_packet t = udp_packet("1.2.3.4", 1, "5.6.7.8", 2);
        for (unsigned v = 0; v < 16; v++) {
                t.b[0] = (uint8_t)(v << 4 | 5);
                assert_int_equal(packet_parse(t.b, t.len).kind == PACKET_WHOLE, v == 4);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parses_transport),
                cmocka_unit_test(every_truncation_is_malformed),
                cmocka_unit_test(ipv4_options_move_the_ports),
                cmocka_unit_test(fragments),
                cmocka_unit_test(extension_headers_are_refused),
                cmocka_unit_test(other_versions_are_malformed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
