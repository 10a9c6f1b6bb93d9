#include "tests/unit/check.h"
#include "tests/unit/tun_packets.h"

#include "base/crypto.h"
#include "tun/filter.h"

#define US4   "100.64.0.1"
#define PEER4 "100.64.0.2"
#define ELSE4 "100.64.0.3"
#define US6   "fd7a:115c:a1e0::1"
#define PEER6 "fd7a:115c:a1e0::2"
#define LAN4  "192.168.7.9"

static struct filter_range range(const char *a, const char *b)
{
        struct filter_range r;
        assert_int_equal(ip_parse(a, &r.first), ERR_NONE);
        assert_int_equal(ip_parse(b, &r.last), ERR_NONE);
        return r;
}

static const uint8_t usual[] = {PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6};
static const uint8_t tcp_only[] = {PROTO_TCP};
static const uint8_t gre_only[] = {47};

/* From the peer: TCP to port 80, anything to 7000-7010, GRE to all of us; LAN behind us on port 22. */
static struct filter *the_filter(bool shields_up)
{
        struct filter_range src[] = {range(PEER4, PEER4), range(PEER6, PEER6)};
        struct filter_ports web[] = {{range(US4, US4), 80, 80}, {range(US6, US6), 80, 80}};
        struct filter_ports games[] = {{range(US4, US4), 7000, 7010}, {range(US6, US6), 7000, 7010}};
        struct filter_ports all[] = {{range(US4, US4), 0, 65535}};
        struct filter_ports lan[] = {{range("192.168.7.0", "192.168.7.255"), 22, 22}};
        struct filter_allow allow[] = {
                {src, 2, web, 2, tcp_only, 1},
                {src, 2, games, 2, usual, 4},
                {src, 2, all, 1, gre_only, 1},
                {src, 2, lan, 1, tcp_only, 1},
        };
        struct prefix local[3];
        assert_int_equal(prefix_parse(US4, &local[0]), ERR_NONE);
        assert_int_equal(prefix_parse(US6, &local[1]), ERR_NONE);
        assert_int_equal(prefix_parse("192.168.7.0/24", &local[2]), ERR_NONE);
        struct filter *f = filter_new(allow, 4, local, 3, shields_up);
        assert_non_null(f);
        return f;
}

static enum filter_verdict in(const struct filter *f, struct filter_state *s, struct test_packet p)
{
        return filter_in(f, s, p.b, p.len);
}

static void verdicts(void **state)
{
        (void)state;
        struct filter *f = the_filter(false);
        struct filter_state *s = filter_state_new();
        uint8_t gre[8] = {0}, tsmp[9] = {'p'};
        const struct {
                int row;
                struct test_packet p;
                enum filter_verdict want;
        } rows[] = {
                {1, tcp_packet(PEER4, 1, US4, 80, TCP_SYN), FILTER_ACCEPT},
                {2, tcp_packet(PEER4, 1, US4, 81, TCP_SYN), FILTER_DROP_RULE},
                {3, tcp_packet(PEER4, 1, US4, 81, TCP_SYN | TCP_ACK), FILTER_ACCEPT},
                {4, tcp_packet(PEER4, 1, US4, 81, TCP_RST), FILTER_ACCEPT},
                {5, tcp_packet(ELSE4, 1, US4, 80, TCP_SYN), FILTER_DROP_RULE},
                {6, tcp_packet(PEER6, 1, US6, 80, TCP_SYN), FILTER_ACCEPT},
                {7, tcp_packet(PEER6, 1, US6, 443, TCP_SYN), FILTER_DROP_RULE},
                {8, udp_packet(PEER4, 1, US4, 80), FILTER_DROP_RULE},
                {9, udp_packet(PEER4, 1, US4, 7000), FILTER_ACCEPT},
                {10, udp_packet(PEER4, 1, US4, 7010), FILTER_ACCEPT},
                {11, udp_packet(PEER4, 1, US4, 7011), FILTER_DROP_RULE},
                {12, udp_packet(PEER4, 1, US4, 6999), FILTER_DROP_RULE},
                {13, icmp_packet(PEER4, US4, 8), FILTER_ACCEPT},
                {14, icmp_packet(ELSE4, US4, 8), FILTER_DROP_RULE},
                {15, icmp_packet(ELSE4, US4, 0), FILTER_ACCEPT},
                {16, icmp_packet(ELSE4, US4, 3), FILTER_ACCEPT},
                {17, icmp_packet(ELSE4, US4, 12), FILTER_ACCEPT},
                {18, icmp_packet(ELSE4, US4, 18), FILTER_DROP_RULE},
                {19, icmp_packet(PEER6, US6, 128), FILTER_ACCEPT},
                {20, icmp_packet("fd7a:115c:a1e0::9", US6, 129), FILTER_ACCEPT},
                {21, icmp_packet("fd7a:115c:a1e0::9", US6, 128), FILTER_DROP_RULE},
                {22, ip_packet(PEER4, US4, 47, gre, sizeof(gre)), FILTER_ACCEPT},
                {23, ip_packet(PEER4, US4, 50, gre, sizeof(gre)), FILTER_DROP_RULE},
                {24, ip_packet(PEER6, US6, 47, gre, sizeof(gre)), FILTER_DROP_RULE},
                {25, tcp_packet(PEER4, 1, LAN4, 22, TCP_SYN), FILTER_ACCEPT},
                {26, tcp_packet(PEER4, 1, LAN4, 23, TCP_SYN), FILTER_DROP_RULE},
                {27, tcp_packet(PEER4, 1, "8.8.8.8", 80, TCP_SYN), FILTER_DROP_NOT_LOCAL},
                {28, tcp_packet(PEER4, 1, "8.8.8.8", 80, TCP_ACK), FILTER_DROP_NOT_LOCAL},
                {29, udp_packet(PEER4, 1, "224.0.0.251", 5353), FILTER_DROP_MULTICAST},
                {30, udp_packet(PEER6, 1, "ff02::fb", 5353), FILTER_DROP_MULTICAST},
                {31, udp_packet(PEER4, 1, "169.254.1.1", 80), FILTER_DROP_LINK_LOCAL},
                {32, udp_packet(PEER6, 1, "fe80::1", 80), FILTER_DROP_LINK_LOCAL},
                {33, ip_packet(PEER4, US4, PROTO_TSMP, tsmp, sizeof(tsmp)), FILTER_DROP_TSMP},
                /* ICMP of one family inside the other's header is nobody's business. */
                {34, ip_packet(PEER4, US4, PROTO_ICMPV6, gre, sizeof(gre)), FILTER_DROP_RULE},
                {35, ip_packet(PEER6, US6, PROTO_ICMP, gre, sizeof(gre)), FILTER_DROP_RULE},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                enum filter_verdict got = in(f, s, rows[i].p);
                if (got != rows[i].want)
                        fail_msg("row %d: %s, want %s", rows[i].row, filter_verdict_str(got),
                                filter_verdict_str(rows[i].want));
        }
        filter_free(f);
        filter_state_free(s);
}

static void no_filter_lets_nothing_in(void **state)
{
        (void)state;
        struct filter_state *s = filter_state_new();
        assert_int_equal(in(NULL, s, tcp_packet(PEER4, 1, US4, 80, TCP_SYN)), FILTER_DROP_NOT_LOCAL);
        assert_int_equal(in(NULL, s, icmp_packet(PEER4, US4, 0)), FILTER_DROP_NOT_LOCAL);
        filter_state_free(s);
}

static void shields_up_lets_only_replies_in(void **state)
{
        (void)state;
        struct filter *f = the_filter(true);
        struct filter_state *s = filter_state_new();
        assert_int_equal(in(f, s, tcp_packet(PEER4, 1, US4, 80, TCP_SYN)), FILTER_DROP_RULE);
        assert_int_equal(in(f, s, icmp_packet(PEER4, US4, 8)), FILTER_DROP_RULE);
        assert_int_equal(in(f, s, tcp_packet(PEER4, 80, US4, 1, TCP_SYN | TCP_ACK)), FILTER_ACCEPT);
        filter_free(f);
        filter_state_free(s);
}

static void udp_replies_pass_and_only_they(void **state)
{
        (void)state;
        struct filter *f = the_filter(false);
        struct filter_state *s = filter_state_new();
        struct test_packet out = udp_packet(US4, 1234, ELSE4, 53);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_DROP_RULE);
        assert_int_equal(filter_out(f, s, out.b, out.len), FILTER_ACCEPT);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_ACCEPT);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1235)), FILTER_DROP_RULE);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 54, US4, 1234)), FILTER_DROP_RULE);
        assert_int_equal(in(f, s, udp_packet(PEER4, 53, US4, 1234)), FILTER_DROP_RULE);
        /* The flow outlives the filter it was made under. */
        filter_free(f);
        f = the_filter(true);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_ACCEPT);
        filter_free(f);
        filter_state_free(s);
}

/* A v4-mapped destination must not borrow what IPv4 may. */
static void mapped_addresses_are_not_ours(void **state)
{
        (void)state;
        struct filter *f = the_filter(false);
        struct filter_state *s = filter_state_new();
        struct test_packet p = tcp_packet(PEER6, 1, US6, 80, TCP_SYN);
        static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 100, [13] = 64, [14] = 0, [15] = 1};
        memcpy(p.b + 24, mapped, 16);
        assert_int_equal(in(f, s, p), FILTER_DROP_NOT_LOCAL);
        filter_free(f);
        filter_state_free(s);
}

/* The verdict is never wider than the rule: a slow reading of random rules against random packets. */
static void equals_a_slow_oracle(void **state)
{
        (void)state;
        enum { RULES = 4, PACKETS = 20000 };
        struct filter_state *s = filter_state_new();
        for (unsigned seed = 1; seed <= 20; seed++) {
                unsigned rnd = seed;
#define RND(n) ((rnd = rnd * 1103515245u + 12345u) >> 16) % (n)
                struct filter_range src[RULES];
                struct filter_ports dst[RULES];
                uint8_t proto[RULES];
                struct filter_allow allow[RULES];
                for (size_t i = 0; i < RULES; i++) {
                        uint8_t a = (uint8_t)(RND(8)), b = (uint8_t)(a + RND(8));
                        uint8_t c = (uint8_t)(RND(8)), d = (uint8_t)(c + RND(8));
                        src[i] = (struct filter_range){ip_v4(100, 64, 0, a), ip_v4(100, 64, 0, b)};
                        uint16_t first = (uint16_t)(RND(8));
                        dst[i] = (struct filter_ports){{ip_v4(100, 64, 1, c), ip_v4(100, 64, 1, d)}, first,
                                (uint16_t)(first + RND(8))};
                        proto[i] = RND(2) ? PROTO_TCP : PROTO_UDP;
                        allow[i] = (struct filter_allow){&src[i], 1, &dst[i], 1, &proto[i], 1};
                }
                struct prefix local = {.ip = ip_v4(100, 64, 1, 0), .bits = 24};
                struct filter *f = filter_new(allow, RULES, &local, 1, false);
                for (int k = 0; k < PACKETS / 20; k++) {
                        uint8_t a = (uint8_t)(RND(16)), c = (uint8_t)(RND(16));
                        uint16_t port = (uint16_t)(RND(16));
                        bool tcp = RND(2);
                        char from[32], to[32];
                        snprintf(from, sizeof(from), "100.64.0.%u", a);
                        snprintf(to, sizeof(to), "100.64.1.%u", c);
                        bool want = false;
                        for (size_t i = 0; i < RULES; i++)
                                want |= proto[i] == (tcp ? PROTO_TCP : PROTO_UDP) && a >= src[i].first.b[3] &&
                                        a <= src[i].last.b[3] && c >= dst[i].dst.first.b[3] &&
                                        c <= dst[i].dst.last.b[3] && port >= dst[i].first && port <= dst[i].last;
                        enum filter_verdict got = in(f, s, tcp ? tcp_packet(from, 9, to, port, TCP_SYN)
                                                               : udp_packet(from, 9, to, port));
                        if ((got == FILTER_ACCEPT) != want)
                                fail_msg("seed %u: %s:%u, want %d", seed, to, port, want);
                }
                filter_free(f);
        }
        filter_state_free(s);
}

int main(void)
{
        assert_int_equal(crypto_init(), ERR_NONE);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(verdicts),
                cmocka_unit_test(no_filter_lets_nothing_in),
                cmocka_unit_test(shields_up_lets_only_replies_in),
                cmocka_unit_test(udp_replies_pass_and_only_they),
                cmocka_unit_test(mapped_addresses_are_not_ours),
                cmocka_unit_test(equals_a_slow_oracle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
