/* What of a router's answers is not believed. */
#include "tests/unit/portmap_home.h"

static void test_pcp_answers_of_others(void **state)
{
        (void)state;
        uint8_t b[60];
        look();
        say_pcp_there(0);
        step();
        step();
        struct pcp_nonce other = t.p.nonce;
        other.b[3] ^= 1;
        say(b, pcp_map(b, &other, PORT, 4242, outside, 7200));
        assert_mapping(NULL);
        say(b, pcp_map(b, &t.p.nonce, PORT + 1, 4242, outside, 7200));
        assert_mapping(NULL);
        say(b, pcp_map(b, &t.p.nonce, PORT, 4242, outside, 7200));
        assert_mapping("203.0.113.9:4242");
}

static void test_strangers(void **state)
{
        (void)state;
        uint8_t b[16];
        look();
        size_t len = pmp_address(b, outside);
        say_from(ip_v4(192, 168, 1, 2), PXP_PORT, b, len);
        say_from(home.router, PXP_PORT + 1, b, len);
        say_from((struct ip){0}, PXP_PORT, b, len);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        assert_int_equal(t.p.counts.strangers, 2);
        assert_int_equal(t.p.counts.garbage, 1);
        static const char ssdp[] = "HTTP/1.1 200 OK\r\nST: :InternetGatewayDevice:1\r\nLOCATION: http://192.168.1.1/\r\n\r\n";
        say_from(ip_v4(192, 168, 1, 2), SSDP_PORT, ssdp, sizeof(ssdp) - 1);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        say_pmp_address(outside);
        say_from(ip_v4(192, 168, 1, 2), PXP_PORT, b, pmp_map(b, PORT, 4242, 7200));
        assert_mapping(NULL);
        /* Nor what comes when nobody asked. */
        while (!portmap_is_quiet(&t.p))
                step();
        say_pmp_map(4242, 7200);
        assert_mapping(NULL);
}

static void test_addresses_that_are_none(void **state)
{
        (void)state;
        static const uint8_t bad[][4] = {{0, 0, 0, 0}, {10, 1, 2, 3}, {192, 168, 1, 1}, {172, 16, 0, 1}, {100, 64, 0, 1},
                {127, 0, 0, 1}, {169, 254, 1, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}, {198, 18, 0, 1}};
        uint8_t b[60];
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                look();
                say_pmp_address(ip_from_bytes4(bad[i]));
                assert_false(did_send(0, 1, 12));   /* behind another NAT: not even asked */
                say_pcp_there(0);
                step();
                step();
                assert_true(did_send(2, 1, 60));
                say(b, pcp_map(b, &t.p.nonce, PORT, 4242, ip_from_bytes4(bad[i]), 7200));
                assert_mapping(NULL);
                assert_true(portmap_is_quiet(&t.p));
        }
        /* An IPv6 address is none for an IPv4 port. */
        look();
        say_pcp_there(0);
        step();
        step();
        struct ip six;
        assert_int_equal(ip_parse("2001:db8::1", &six), ERR_NONE);
        say(b, pcp_map(b, &t.p.nonce, PORT, 4242, six, 7200));
        assert_mapping(NULL);
}

static void test_leases_that_are_none(void **state)
{
        (void)state;
        static const struct {
                uint16_t outer;
                uint32_t lifetime;
                int64_t seconds;   /* believed; 0 = refused */
        } rows[] = {
                {4242, 0, 0}, {4242, 1, 0}, {4242, 119, 0}, {4242, 120, 120}, {4242, 7200, 7200}, {4242, 7201, 7200},
                {4242, UINT32_MAX - 1, 7200}, {4242, UINT32_MAX, 0}, {0, 7200, 0},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                look();
                say_pmp_address(outside);
                say_pmp_map(rows[i].outer, rows[i].lifetime);
                assert_mapping(rows[i].seconds > 0 ? "203.0.113.9:4242" : NULL);
                if (rows[i].seconds == 0 && rows[i].lifetime != 0 && rows[i].outer != 0)    /* what is of no use to us is given back */
                        check_hex(only_sent()->data, only_sent()->len, "00010000a2a9000000000000");
                if (rows[i].seconds > 0)
                        assert_int_equal(mono_diff_ms(t.p.lease.end, t.now), rows[i].seconds * 1000);
                while (!portmap_is_quiet(&t.p))
                        step();
        }
}

/* Every answer cut short, at any moment of the life of a mapping, does nothing but be counted. */
static void test_cut_short(void **state)
{
        (void)state;
        uint8_t b[60];
        look();
        size_t len = pmp_address(b, outside);
        for (size_t n = 0; n < len; n++)
                say(b, n);
        assert_int_equal(portmap_ways(&t.p, t.now), 0);
        say_pmp_address(outside);
        len = pmp_map(b, PORT, 4242, 7200);
        for (size_t n = 0; n < len; n++)
                say(b, n);
        assert_mapping(NULL);
        assert_true(t.p.asking == PORTMAP_PMP);
        assert_int_equal(t.p.counts.garbage, 12 + 16);
        assert_int_equal(t.p.counts.answers, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pcp_answers_of_others),
                cmocka_unit_test(test_strangers),
                cmocka_unit_test(test_addresses_that_are_none),
                cmocka_unit_test(test_leases_that_are_none),
                cmocka_unit_test(test_cut_short),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
