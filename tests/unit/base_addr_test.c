#include "base/addr.h"

#include <arpa/inet.h>

#include "tests/unit/check.h"

static struct ip ip_of(const char *s)
{
        struct ip ip;
        assert_int_equal(ip_parse(s, &ip), ERR_NONE);
        return ip;
}

static struct addr addr_of(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

static struct prefix prefix_of_text(const char *s)
{
        struct prefix p;
        assert_int_equal(prefix_parse(s, &p), ERR_NONE);
        return p;
}

/* Text as read and as written back (RFC 5952 section 4). */
static void test_ip_text(void **state)
{
        (void)state;
        static const struct {
                const char *in, *out;
        } rows[] = {
                {"0.0.0.0", "0.0.0.0"},
                {"255.255.255.255", "255.255.255.255"},
                {"100.64.0.1", "100.64.0.1"},
                {"::", "::"},
                {"::1", "::1"},
                {"1::", "1::"},
                {"2001:0db8:0000:0000:0000:0000:0002:0001", "2001:db8::2:1"},
                {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},         /* one group is not shortened */
                {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},                   /* the longest run */
                {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},            /* the first of two */
                {"0:0:1:2:3:4:5:6", "::1:2:3:4:5:6"},
                {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
                {"FD7A:115C:A1E0::AB", "fd7a:115c:a1e0::ab"},
                {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
                {"::ffff:1.2.3.4", "1.2.3.4"},
                {"::ffff:102:304", "1.2.3.4"},
                {"::1.2.3.4", "::102:304"},                                  /* not dotted */
                {"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char s[IP_STR_MAX];
                assert_string_equal(ip_str(ip_of(rows[i].in), s), rows[i].out);
                assert_true(ip_eq(ip_of(rows[i].in), ip_of(rows[i].out)));
        }
        char s[IP_STR_MAX];
        assert_string_equal(ip_str((struct ip){0}, s), "");
}

static void test_ip_text_refused(void **state)
{
        (void)state;
        static const char *const bad[] = {"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ",
                " 1.2.3.4", "1.2.3.-4", "0x1.2.3.4", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3",
                "12345::", "g::", "fe80::1%eth0", "[::1]", "::1/64", "1.2.3.4:5", "::ffff:1.2.3"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct ip ip = ip_v4(9, 9, 9, 9);
                assert_int_equal(ip_parse(bad[i], &ip), ERR_FORMAT);
                assert_true(ip_eq(ip, ip_v4(9, 9, 9, 9)));
        }
}

static void test_bytes(void **state)
{
        (void)state;
        uint8_t b[16];
        ip_to_bytes16(ip_v4(1, 2, 3, 4), b);
        check_hex(b, 16, "00000000000000000000ffff01020304");
        assert_true(ip_eq(ip_from_bytes16(b), ip_v4(1, 2, 3, 4)));
        ip_to_bytes16(ip_of("2001:db8::1"), b);
        check_hex(b, 16, "20010db8000000000000000000000001");
        assert_true(ip_eq(ip_from_bytes16(b), ip_of("2001:db8::1")));
        ip_to_bytes16((struct ip){0}, b);
        check_hex(b, 16, "00000000000000000000000000000000");
        assert_true(ip_eq(ip_from_bytes4((const uint8_t[]){1, 2, 3, 4}), ip_v4(1, 2, 3, 4)));
        assert_int_equal(ip_bits(ip_v4(0, 0, 0, 0)), 32);
        assert_int_equal(ip_bits(ip_of("::")), 128);
        assert_int_equal(ip_bits((struct ip){0}), 0);
}

enum { LOOP = 1, LINK = 2, MULTI = 4, UNSPEC = 8, PRIV = 16, TAILNET = 32, PUBLIC = 64 };

static void test_kinds(void **state)
{
        (void)state;
        static const struct {
                const char *ip;
                int kinds;
        } rows[] = {
                {"126.255.255.255", PUBLIC}, {"127.0.0.1", LOOP}, {"127.255.255.255", LOOP}, {"128.0.0.0", PUBLIC},
                {"169.253.0.1", PUBLIC}, {"169.254.0.1", LINK}, {"169.255.0.1", PUBLIC},
                {"223.255.255.255", PUBLIC}, {"224.0.0.1", MULTI}, {"239.255.255.255", MULTI}, {"240.0.0.0", 0},
                {"0.0.0.0", UNSPEC}, {"0.0.0.1", 0},
                {"9.255.255.255", PUBLIC}, {"10.0.0.0", PRIV}, {"10.255.255.255", PRIV}, {"11.0.0.0", PUBLIC},
                {"172.15.255.255", PUBLIC}, {"172.16.0.0", PRIV}, {"172.31.255.255", PRIV}, {"172.32.0.0", PUBLIC},
                {"192.167.255.255", PUBLIC}, {"192.168.0.0", PRIV}, {"192.168.255.255", PRIV}, {"192.169.0.0", PUBLIC},
                {"100.63.255.255", PUBLIC}, {"100.64.0.0", TAILNET}, {"100.127.255.255", TAILNET}, {"100.128.0.0", PUBLIC},
                {"192.0.0.1", 0}, {"192.0.1.0", PUBLIC}, {"203.0.113.1", PUBLIC}, {"198.17.255.255", PUBLIC}, {"198.18.0.0", 0},
                {"198.19.255.255", 0}, {"198.20.0.0", PUBLIC}, {"1.0.0.0", PUBLIC}, {"255.255.255.255", 0},
                {"1fff::", 0}, {"2000::", PUBLIC}, {"3fff:ffff::", PUBLIC}, {"4000::", 0},
                {"::", UNSPEC}, {"::1", LOOP}, {"::2", 0}, {"2001:db8::1", PUBLIC},
                {"fe7f:ffff::", 0}, {"fe80::1", LINK}, {"febf::1", LINK}, {"fec0::1", 0},
                {"fbff::", 0}, {"fc00::", PRIV}, {"fdff::", PRIV}, {"fe00::", 0},
                {"fd7a:115c:a1df:ffff::1", PRIV}, {"fd7a:115c:a1e0::1", PRIV | TAILNET},
                {"fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff", PRIV | TAILNET}, {"fd7a:115c:a1e1::", PRIV},
                {"ff02::1", MULTI}, {"::ffff:127.0.0.1", LOOP},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct ip ip = ip_of(rows[i].ip);
                int kinds = (ip_is_loopback(ip) ? LOOP : 0) | (ip_is_link_local(ip) ? LINK : 0) |
                            (ip_is_multicast(ip) ? MULTI : 0) | (ip_is_unspecified(ip) ? UNSPEC : 0) |
                            (ip_is_private(ip) ? PRIV : 0) | (ip_is_tailnet(ip) ? TAILNET : 0) |
                            (ip_is_public(ip) ? PUBLIC : 0);
                if (kinds != rows[i].kinds)
                        fail_msg("%s: kinds %d, not %d", rows[i].ip, kinds, rows[i].kinds);
        }
        struct ip none = {0};
        assert_false(ip_is_set(none) || ip_is_loopback(none) || ip_is_link_local(none) || ip_is_multicast(none) ||
                     ip_is_unspecified(none) || ip_is_private(none) || ip_is_tailnet(none) ||
                     ip_is_public(none));
}

static void test_order(void **state)
{
        (void)state;
        static const char *const up[] = {"0.0.0.0:1", "1.2.3.4:0", "1.2.3.4:65535", "1.2.4.0:1", "[::]:9", "[::1]:1",
                "[::1]:2", "[ff00::]:0"};
        size_t n = sizeof(up) / sizeof(up[0]);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < n; k++) {
                        int c = addr_cmp(addr_of(up[i]), addr_of(up[k]));
                        assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
                        assert_int_equal(addr_eq(addr_of(up[i]), addr_of(up[k])), i == k);
                }
        assert_true(addr_cmp((struct addr){0}, addr_of(up[0])) < 0);
}

static void test_addr_text(void **state)
{
        (void)state;
        static const struct {
                const char *in, *out;
        } rows[] = {
                {"1.2.3.4:5", "1.2.3.4:5"},
                {"1.2.3.4:0", "1.2.3.4:0"},
                {"255.255.255.255:65535", "255.255.255.255:65535"},
                {"[::1]:41641", "[::1]:41641"},
                {"[::ffff:1.2.3.4]:5", "1.2.3.4:5"},
                {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char s[ADDR_STR_MAX];
                assert_string_equal(addr_str(addr_of(rows[i].in), s), rows[i].out);
        }
        static const char *const bad[] = {"", ":", "1.2.3.4", "1.2.3.4:", ":5", "1.2.3.4:65536", "1.2.3.4:-1",
                "1.2.3.4:+1", "1.2.3.4:05", "1.2.3.4:5 ", "1.2.3.4:99999999999999999999", "::1:5", "[::1]", "[::1]5",
                "[::1:5", "::1]:5", "[1.2.3.4]:5", "[]:5", "[[::1]]:5", "[fe80::1%lo]:5", "[::1]x:5",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct addr a = {.port = 7};
                if (addr_parse(bad[i], &a) != ERR_FORMAT)
                        fail_msg("taken: %s", bad[i]);
                assert_int_equal(a.port, 7);
        }
        char s[ADDR_STR_MAX];
        assert_string_equal(addr_str((struct addr){.port = 5}, s), "");
        assert_false(addr_is_set((struct addr){.port = 5}));
}

static void test_sockaddr(void **state)
{
        (void)state;
        static const char *const texts[] = {"1.2.3.4:41641", "[2001:db8::1]:3478"};
        static const int families[] = {AF_INET, AF_INET6};
        static const socklen_t lens[] = {sizeof(struct sockaddr_in), sizeof(struct sockaddr_in6)};
        for (size_t i = 0; i < 2; i++) {
                struct sockaddr_storage ss;
                assert_int_equal(addr_to_sockaddr(addr_of(texts[i]), &ss), lens[i]);
                assert_int_equal(ss.ss_family, families[i]);
                assert_true(addr_eq(addr_from_sockaddr((const struct sockaddr *)&ss), addr_of(texts[i])));
        }
        struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
        assert_int_equal(inet_pton(AF_INET6, "::ffff:1.2.3.4", &mapped.sin6_addr), 1);
        assert_true(addr_eq(addr_from_sockaddr((const struct sockaddr *)&mapped), addr_of("1.2.3.4:9")));
        struct sockaddr_storage ss;
        assert_int_equal(addr_to_sockaddr((struct addr){0}, &ss), 0);
        ss.ss_family = AF_UNIX;
        assert_false(addr_is_set(addr_from_sockaddr((const struct sockaddr *)&ss)));
}

static void test_prefix_text(void **state)
{
        (void)state;
        static const struct {
                const char *in, *out, *masked;
        } rows[] = {
                {"10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"},
                {"10.1.2.3/8", "10.1.2.3/8", "10.0.0.0/8"},
                {"1.2.3.255/25", "1.2.3.255/25", "1.2.3.128/25"},
                {"1.2.3.4/0", "1.2.3.4/0", "0.0.0.0/0"},
                {"1.2.3.4", "1.2.3.4/32", "1.2.3.4/32"},
                {"fd7a::1", "fd7a::1/128", "fd7a::1/128"},
                {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127",
                        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"},
                {"::/0", "::/0", "::/0"},
                {"::ffff:10.1.2.3/104", "10.1.2.3/8", "10.0.0.0/8"},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char s[PREFIX_STR_MAX];
                struct prefix p = prefix_of_text(rows[i].in);
                assert_string_equal(prefix_str(p, s), rows[i].out);
                assert_string_equal(prefix_str(prefix_masked(p), s), rows[i].masked);
        }
        static const char *const bad[] = {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+1",
                "10.0.0.0/08", "10.0.0.0/8 ", "10.0.0.0/8/8", "::/129", "10/8", "::ffff:10.0.0.0/95",
                "::ffff:10.0.0.0/129", "10.0.0.0/256", "10.0.0.0/4294967304",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/1"};
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct prefix p = {.bits = 7};
                if (prefix_parse(bad[i], &p) != ERR_FORMAT)
                        fail_msg("taken: %s", bad[i]);
                assert_int_equal(p.bits, 7);
        }
        char s[PREFIX_STR_MAX];
        assert_string_equal(prefix_str((struct prefix){0}, s), "");
}

static void test_prefix_contains(void **state)
{
        (void)state;
        struct prefix p = prefix_of_text("100.64.0.9/10");
        assert_true(prefix_contains(p, ip_v4(100, 127, 255, 255)));
        assert_false(prefix_contains(p, ip_v4(100, 128, 0, 0)));
        assert_false(prefix_contains(prefix_of_text("::/0"), ip_v4(1, 2, 3, 4)));
        assert_true(prefix_contains(prefix_of_text("0.0.0.0/0"), ip_v4(1, 2, 3, 4)));
        assert_false(prefix_contains((struct prefix){0}, (struct ip){0}));
        assert_true(prefix_contains(prefix_of_text("::1"), ip_of("::1")));
        assert_false(prefix_contains(prefix_of_text("::1"), ip_of("::")));
        assert_true(prefix_is_host(prefix_of(ip_v4(1, 2, 3, 4))));
        assert_true(prefix_is_host(prefix_of(ip_of("::"))));
        assert_false(prefix_is_host(prefix_of_text("::/32")));
        assert_false(prefix_is_host((struct prefix){0}));
        assert_true(prefix_eq(prefix_of_text("1.2.3.4"), prefix_of_text("1.2.3.4/32")));
        assert_false(prefix_eq(prefix_of_text("1.2.3.4/31"), prefix_of_text("1.2.3.4/32")));
}

/* Each masked length against a bit-by-bit reading. */
static void test_mask_every_length(void **state)
{
        (void)state;
        struct ip full = ip_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        for (unsigned bits = 0; bits <= 128; bits++) {
                struct prefix p = prefix_masked((struct prefix){.ip = full, .bits = (uint8_t)bits});
                for (unsigned i = 0; i < 128; i++)
                        assert_int_equal(p.ip.b[i / 8] >> (7 - i % 8) & 1, i < bits);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ip_text),
                cmocka_unit_test(test_ip_text_refused),
                cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_kinds),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_addr_text),
                cmocka_unit_test(test_sockaddr),
                cmocka_unit_test(test_prefix_text),
                cmocka_unit_test(test_prefix_contains),
                cmocka_unit_test(test_mask_every_length),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
