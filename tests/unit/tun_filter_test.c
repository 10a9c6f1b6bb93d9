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
                {36, ip_packet(ELSE4, US4, PROTO_ICMP, "\0\1\0\0\0\0\0", 8),
                 FILTER_DROP_RULE}, /* a code: no reply */
                {37, ip_packet(ELSE4, US4, PROTO_ICMP, "\3\1\0\0\0\0\0", 7),
                 FILTER_DROP_RULE}, /* too short */
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

static struct addr at(const char *ip, uint16_t port)
{
        struct addr a = {.port = port};
        assert_int_equal(ip_parse(ip, &a.ip), ERR_NONE);
        return a;
}

/* Asked without a packet, the answer is the one that the packet gets. */
static void would_open_as_the_packet_does(void **state)
{
        (void)state;
        static const char *const srcs[] = {PEER4, ELSE4, PEER6, "fd7a:115c:a1e0::9", "192.168.7.1"};
        static const char *const dsts[] = {US4, US6, LAN4, "8.8.8.8", "0.0.0.0", "2000::", "224.0.0.1", "169.254.1.1",
                                           "fe80::1"};
        static const uint16_t ports[] = {0, 22, 53, 80, 443, 7000, 7011};
        struct prefix local[] = {prefix_of(at(US4, 0).ip), prefix_of(at(US6, 0).ip), {at("0.0.0.0", 0).ip, 0},
                                 {at("2000::", 0).ip, 3}};
        struct filter_range src = range(PEER4, PEER4), src6 = range(PEER6, PEER6);
        struct filter_ports world[] = {{range("0.0.0.0", "9.255.255.255"), 0, 65535}},
                            world6[] = {{range("2000::", "2fff::"), 53, 53}};
        struct filter_allow allow[] = {{&src, 1, world, 1, usual, 4}, {&src6, 1, world6, 1, usual, 4}};
        struct filter_config c = {.allow = allow, .allow_count = 2, .local = local, .local_count = 4,
                                  .services = {at(US4, 7011)}};
        struct filter *filters[] = {NULL, the_filter(false), the_filter(true), filter_compile(&c), NULL};
        c.jailed = &local[2], c.jailed_count = 1;
        filters[4] = filter_compile(&c);
        struct filter_state *s = filter_state_new();
        size_t open = 0;
        for (size_t f = 0; f < 5; f++)
                for (size_t i = 0; i < sizeof(srcs) / sizeof(srcs[0]); i++)
                        for (size_t k = 0; k < sizeof(dsts) / sizeof(dsts[0]); k++)
                                for (size_t p = 0; p < sizeof(ports) / sizeof(ports[0]); p++) {
                                        struct ip from = at(srcs[i], 0).ip;
                                        bool got = filter_would_open(filters[f], from, at(dsts[k], ports[p]));
                                        bool want = from.family == at(dsts[k], 0).ip.family &&
                                                    in(filters[f], s, tcp_packet(srcs[i], 1, dsts[k], ports[p],
                                                                                 TCP_SYN)) == FILTER_ACCEPT;
                                        if (got != want)
                                                fail_msg("filter %zu: %s to %s port %u: %d", f, srcs[i], dsts[k],
                                                         ports[p], got);
                                        open += got;
                                }
        assert_true(open > 20);
        assert_true(filter_would_open(filters[3], at(PEER4, 0).ip, at("0.0.0.0", 53)));
        assert_false(filter_would_open(filters[3], at(ELSE4, 0).ip, at("0.0.0.0", 53)));
        assert_true(filter_would_open(filters[3], at(PEER6, 0).ip, at("2000::", 53)));
        assert_false(filter_would_open(filters[4], at(PEER4, 0).ip, at("0.0.0.0", 53)));
        assert_false(filter_would_open(filters[3], (struct ip){0}, (struct addr){0}));
        for (size_t f = 0; f < 5; f++)
                filter_free(filters[f]);
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
        /* The flow outlives the filter it was made under, but not the raising of the shields. */
        filter_free(f);
        f = the_filter(false);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_ACCEPT);
        filter_free(f);
        f = the_filter(true);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_DROP_RULE);
        assert_int_equal(filter_out(f, s, out.b, out.len), FILTER_ACCEPT);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_ACCEPT);
        filter_free(f);
        f = the_filter(true); /* they stay up */
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_ACCEPT);
        filter_free(f);
        f = the_filter(false); /* they go down */
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_ACCEPT);
        assert_int_equal(in(NULL, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_DROP_NOT_LOCAL);
        assert_int_equal(in(f, s, udp_packet(ELSE4, 53, US4, 1234)), FILTER_DROP_RULE);
        filter_free(f);
        filter_state_free(s);
}

/* What a new policy does to flows that are open: TCP goes on, UDP that we answered goes on, UDP that we only heard
 * needs a rule for the next packet. */
static void a_new_policy_meets_open_flows(void **state)
{
        (void)state;
        struct filter *open = the_filter(false),
                      *closed = filter_new(NULL, 0, (struct prefix[]){prefix_of(ip_v4(100, 64, 0, 1))}, 1,
                                           false);
        struct filter_state *s = filter_state_new();
        struct test_packet heard = udp_packet(PEER4, 1, US4, 7000), spoken = udp_packet(PEER4, 2, US4, 7000);
        struct test_packet answer = udp_packet(US4, 7000, PEER4, 2);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(in(open, s, heard), FILTER_ACCEPT);
                assert_int_equal(in(open, s, spoken), FILTER_ACCEPT);
        }
        assert_int_equal(filter_out(open, s, answer.b, answer.len), FILTER_ACCEPT);
        assert_int_equal(in(closed, s, heard), FILTER_DROP_RULE);
        assert_int_equal(in(closed, s, spoken), FILTER_ACCEPT);
        assert_int_equal(in(closed, s, tcp_packet(PEER4, 1, US4, 80, TCP_ACK)), FILTER_ACCEPT);
        assert_int_equal(in(closed, s, tcp_packet(PEER4, 1, US4, 80, TCP_SYN)), FILTER_DROP_RULE);
        assert_int_equal(in(open, s, heard), FILTER_ACCEPT);
        filter_free(open);
        filter_free(closed);
        /* The next filter may lie where the last one lay: what was learnt must not be believed of it. */
        closed = filter_new(NULL, 0, (struct prefix[]){prefix_of(ip_v4(100, 64, 0, 1))}, 1, false);
        assert_int_equal(in(closed, s, heard), FILTER_DROP_RULE);
        filter_free(closed);
        filter_state_free(s);
}

static void jailed_sources_and_services(void **state)
{
        (void)state;
        struct filter_range any = range("0.0.0.0", "255.255.255.255");
        struct filter_ports all = {any, 0, 65535};
        struct filter_allow allow = {&any, 1, &all, 1, usual, 4};
        struct prefix local[2], jailed;
        assert_int_equal(prefix_parse(US4, &local[0]), ERR_NONE);
        assert_int_equal(prefix_parse(US6, &local[1]), ERR_NONE);
        assert_int_equal(prefix_parse(PEER4, &jailed), ERR_NONE);
        struct filter_config c = {.allow = &allow,
                                  .allow_count = 1,
                                  .local = local,
                                  .local_count = 2,
                                  .jailed = &jailed,
                                  .jailed_count = 1,
                                  .services = {{local[0].ip, 40000}, {local[1].ip, 40001}}};
        struct filter_state *s = filter_state_new();
        for (int up = 0; up < 2; up++) {
                c.shields_up = up;
                struct filter *f = filter_compile(&c);
                enum filter_verdict others = up ? FILTER_DROP_RULE : FILTER_ACCEPT;
                assert_int_equal(in(f, s, tcp_packet(ELSE4, 1, US4, 80, TCP_SYN)), others);
                assert_int_equal(in(f, s, icmp_packet(ELSE4, US4, 8)), others);
                assert_int_equal(in(f, s, tcp_packet(PEER4, 1, US4, 80, TCP_SYN)), FILTER_DROP_RULE);
                assert_int_equal(in(f, s, udp_packet(PEER4, 1, US4, 80)), FILTER_DROP_RULE);
                assert_int_equal(in(f, s, icmp_packet(PEER4, US4, 8)), FILTER_DROP_RULE);
                assert_int_equal(in(f, s, tcp_packet(PEER4, 1, US4, 80, TCP_ACK)), FILTER_ACCEPT);
                assert_int_equal(in(f, s, tcp_packet(PEER4, 1, US4, 40000, TCP_SYN)), FILTER_ACCEPT);
                assert_int_equal(in(f, s, tcp_packet(PEER6, 1, US6, 40001, TCP_SYN)), FILTER_ACCEPT);
                assert_int_equal(in(f, s, tcp_packet(PEER6, 1, US6, 40000, TCP_SYN)), FILTER_DROP_RULE);
                assert_int_equal(in(f, s, udp_packet(PEER4, 1, US4, 40000)), FILTER_DROP_RULE);
                assert_int_equal(filter_service_port(f, local[0].ip.b, 4), 40000);
                assert_int_equal(filter_service_port(f, local[1].ip.b, 16), 40001);
                assert_int_equal(filter_service_port(f, jailed.ip.b, 4), 0);
                assert_int_equal(filter_shields_up(f), up);
                filter_free(f);
        }
        filter_state_free(s);
}

static void an_open_is_told_once(void **state)
{
        (void)state;
        struct filter *f = the_filter(false);
        struct filter_state *s = filter_state_new();
        struct test_packet syn = tcp_packet(US4, 5000, ELSE4, 80, TCP_SYN),
                           other = tcp_packet(US4, 5001, ELSE4, 80, TCP_SYN);
        struct packet p = packet_parse(syn.b, syn.len), q = packet_parse(other.b, other.len);
        assert_false(filter_take_open(s, &p));
        assert_int_equal(filter_out(f, s, syn.b, syn.len), FILTER_ACCEPT);
        assert_false(filter_take_open(s, &q));
        assert_true(filter_take_open(s, &p));
        assert_false(filter_take_open(s, &p));
        /* Answered: a refusal that comes later is none. */
        assert_int_equal(filter_out(f, s, syn.b, syn.len), FILTER_ACCEPT);
        assert_int_equal(in(f, s, tcp_packet(ELSE4, 80, US4, 5000, TCP_SYN | TCP_ACK)), FILTER_ACCEPT);
        assert_false(filter_take_open(s, &p));
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
        static const uint8_t mapped[16] = {
                [10] = 0xff, [11] = 0xff, [12] = 100, [13] = 64, [14] = 0, [15] = 1};
        memcpy(p.b + 24, mapped, 16);
        assert_int_equal(in(f, s, p), FILTER_DROP_NOT_LOCAL);
        filter_free(f);
        filter_state_free(s);
}

/* As bytes, any IPv4 address lies somewhere within all of IPv6. */
static void one_family_says_nothing_of_the_other(void **state)
{
        (void)state;
        static const uint8_t protos[] = {PROTO_TCP};
        struct filter_range all6 = range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        struct filter_range all4 = range("0.0.0.0", "255.255.255.255");
        struct prefix local[2];
        assert_int_equal(prefix_parse(US4, &local[0]), ERR_NONE);
        assert_int_equal(prefix_parse(US6, &local[1]), ERR_NONE);
        for (int v6 = 0; v6 < 2; v6++) {
                struct filter_ports dst = {v6 ? all6 : all4, 0, 65535};
                struct filter_allow allow = {v6 ? &all6 : &all4, 1, &dst, 1, protos, 1};
                struct filter *f = filter_new(&allow, 1, local, 2, false);
                struct filter_state *s = filter_state_new();
                assert_int_equal(in(f, s, tcp_packet(PEER4, 1, US4, 80, TCP_SYN)), v6 ? FILTER_DROP_RULE : FILTER_ACCEPT);
                assert_int_equal(in(f, s, tcp_packet(PEER6, 1, US6, 80, TCP_SYN)), v6 ? FILTER_ACCEPT : FILTER_DROP_RULE);
                filter_free(f);
                filter_state_free(s);
        }
}

/* ---- never wider than the rule, for any protocol ---- */

enum { RULES = 4, RULE_PROTOS = 3, PACKETS = 3000 };

static unsigned rnd_state;

static unsigned rnd(unsigned n)
{
        rnd_state = rnd_state * 1103515245u + 12345u;
        return (rnd_state >> 16) % n;
}

struct oracle_rule {
        uint8_t src[2], dst[2];   /* last bytes of the addresses, inclusive */
        uint16_t ports[2];
        uint8_t protos[RULE_PROTOS];
        bool v6;
};

static const uint8_t oracle_protos[] = {PROTO_TCP, PROTO_UDP, PROTO_SCTP, PROTO_ICMP, PROTO_ICMPV6, PROTO_TSMP, 47, 50};

static struct ip oracle_ip(bool v6, uint8_t net, uint8_t host)
{
        char text[IP_STR_MAX];
        struct ip ip;
        snprintf(text, sizeof(text), v6 ? "fd7a::%u:%u" : "100.64.%u.%u", net, host);
        assert_int_equal(ip_parse(text, &ip), ERR_NONE);
        return ip;
}

static void random_rule(struct oracle_rule *r)
{
        r->v6 = rnd(2);
        r->src[0] = (uint8_t)rnd(8);
        r->src[1] = (uint8_t)(r->src[0] + rnd(8));
        r->dst[0] = (uint8_t)rnd(8);
        r->dst[1] = (uint8_t)(r->dst[0] + rnd(8));
        r->ports[0] = (uint16_t)(rnd(2) ? rnd(8) : 0);
        r->ports[1] = (uint16_t)(r->ports[0] == 0 && rnd(2) ? 65535 : r->ports[0] + rnd(8));
        for (size_t i = 0; i < RULE_PROTOS; i++)
                r->protos[i] = oracle_protos[rnd(sizeof(oracle_protos))];
}

/* What the rule says to one packet, read slowly.  type: of ICMP; opens: TCP, a SYN alone. */
static bool rule_allows(const struct oracle_rule *r, bool v6, uint8_t from, uint8_t to, uint8_t proto, uint16_t port)
{
        if (r->v6 != v6 || from < r->src[0] || from > r->src[1] || to < r->dst[0] || to > r->dst[1])
                return false;
        /* Any permission between two hosts is one to ask whether they are there. */
        if (proto == PROTO_ICMP || proto == PROTO_ICMPV6)
                return true;
        if (memchr(r->protos, proto, RULE_PROTOS) == NULL)
                return false;
        if (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP)
                return port >= r->ports[0] && port <= r->ports[1];
        return r->ports[0] == 0 && r->ports[1] == 65535;
}

static bool oracle_allows(const struct oracle_rule *rules, bool v6, uint8_t from, uint8_t to, uint8_t proto,
        uint16_t port)
{
        if (proto == PROTO_TSMP || (proto == PROTO_ICMP && v6) || (proto == PROTO_ICMPV6 && !v6))
                return false;
        for (size_t i = 0; i < RULES; i++)
                if (rule_allows(&rules[i], v6, from, to, proto, port))
                        return true;
        return false;
}

static struct test_packet oracle_packet(bool v6, uint8_t from, uint8_t to, uint8_t proto, uint16_t port)
{
        char src[IP_STR_MAX], dst[IP_STR_MAX];
        uint8_t t[20] = {0};
        (void)ip_str(oracle_ip(v6, 0, from), src);
        (void)ip_str(oracle_ip(v6, 1, to), dst);
        if (proto == PROTO_ICMP || proto == PROTO_ICMPV6) {
                t[0] = proto == PROTO_ICMP ? 8 : 128;   /* an echo request: nothing passes it but a rule */
        } else {
                store_be16(t, 9);
                store_be16(t + 2, port);
                t[13] = TCP_SYN;
        }
        return ip_packet(src, dst, proto, t, sizeof(t));
}

static struct filter *oracle_filter(const struct oracle_rule *rules)
{
        struct filter_range src[RULES];
        struct filter_ports dst[RULES];
        struct filter_allow allow[RULES];
        for (size_t i = 0; i < RULES; i++) {
                const struct oracle_rule *r = &rules[i];
                src[i] = (struct filter_range){oracle_ip(r->v6, 0, r->src[0]), oracle_ip(r->v6, 0, r->src[1])};
                dst[i] = (struct filter_ports){{oracle_ip(r->v6, 1, r->dst[0]), oracle_ip(r->v6, 1, r->dst[1])},
                        r->ports[0], r->ports[1]};
                allow[i] = (struct filter_allow){&src[i], 1, &dst[i], 1, r->protos, RULE_PROTOS};
        }
        const struct prefix local[] = {{.ip = ip_v4(100, 64, 1, 0), .bits = 24}, {.ip = oracle_ip(true, 1, 0), .bits = 112}};
        struct filter *f = filter_new(allow, RULES, local, 2, false);
        assert_non_null(f);
        return f;
}

static void never_wider_than_the_rule(void **state)
{
        (void)state;
        struct filter_state *s = filter_state_new();
        size_t passed = 0;
        for (unsigned seed = 1; seed <= 20; seed++) {
                struct oracle_rule rules[RULES];
                rnd_state = seed;
                for (size_t i = 0; i < RULES; i++)
                        random_rule(&rules[i]);
                struct filter *f = oracle_filter(rules);
                for (int k = 0; k < PACKETS; k++) {
                        bool v6 = rnd(2);
                        uint8_t from = (uint8_t)rnd(16), to = (uint8_t)rnd(16);
                        uint8_t proto = oracle_protos[rnd(sizeof(oracle_protos))];
                        uint16_t port = (uint16_t)rnd(16);
                        bool want = oracle_allows(rules, v6, from, to, proto, port);
                        enum filter_verdict got = in(f, s, oracle_packet(v6, from, to, proto, port));
                        if ((got == FILTER_ACCEPT) != want)
                                fail_msg("seed %u: IPv%d %u to %u, protocol %u, port %u: %s, want %d", seed, v6 ? 6 : 4,
                                        from, to, proto, port, filter_verdict_str(got), want);
                        passed += want;
                }
                filter_free(f);
        }
        assert_true(passed > 1000);   /* the oracle says yes often enough to mean something */
        filter_state_free(s);
}

/* Two pieces of one TCP segment, every way to cut and overlap them: no later piece that could be put over the
 * header that was judged may pass, whatever the first one said. */
static void overlapping_fragments_rewrite_no_header(void **state)
{
        (void)state;
        struct filter *f = the_filter(false);
        struct filter_state *s = filter_state_new();
        for (int v6 = 0; v6 < 2; v6++) {
                size_t room = v6 ? 8 : 0;
                for (uint16_t offset = 0; offset < 200; offset = (uint16_t)(offset + 8)) {
                        for (size_t len = 0; len <= 64; len += 4) {
                                uint8_t body[8 + 64] = {PROTO_TCP};   /* what it would write: a port that is not open */
                                if (v6)
                                        store_be16(body + 2, (uint16_t)(offset | 1));
                                if (len >= 14) {
                                        store_be16(body + room + 2, 23);
                                        body[room + 13] = TCP_SYN;
                                }
                                struct test_packet p = ip_packet(v6 ? PEER6 : PEER4, v6 ? US6 : US4,
                                        v6 ? PROTO_FRAGMENT6 : PROTO_TCP, body, room + len);
                                if (!v6)
                                        store_be16(p.b + 6, (uint16_t)(0x2000 | offset / 8));
                                bool passes = in(f, s, p) == FILTER_ACCEPT;
                                if (passes && offset < 60)
                                        fail_msg("IPv%d: %zu bytes at %u pass", v6 ? 6 : 4, len, offset);
                        }
                }
        }
        filter_free(f);
        filter_state_free(s);
}

int main(void)
{
        assert_int_equal(crypto_init(), ERR_NONE);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(verdicts),
                cmocka_unit_test(would_open_as_the_packet_does),
                cmocka_unit_test(no_filter_lets_nothing_in),
                cmocka_unit_test(shields_up_lets_only_replies_in),
                cmocka_unit_test(udp_replies_pass_and_only_they),
                cmocka_unit_test(a_new_policy_meets_open_flows),
                cmocka_unit_test(jailed_sources_and_services),
                cmocka_unit_test(an_open_is_told_once),
                cmocka_unit_test(mapped_addresses_are_not_ours),
                cmocka_unit_test(one_family_says_nothing_of_the_other),
                cmocka_unit_test(never_wider_than_the_rule),
                cmocka_unit_test(overlapping_fragments_rewrite_no_header),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
