/* Packets that we make, against ones that were written down elsewhere. */
#include "base/ipmake.h"

#include "tests/unit/check.h"

static struct ip ip(const char *text)
{
        struct ip ip;
        assert_int_equal(ip_parse(text, &ip), ERR_NONE);
        return ip;
}

static void headers(void **state)
{
        (void)state;
        uint8_t out[IP6_HEADER];
        assert_int_equal(ip_make_header(out, ip("100.64.0.1"), ip("100.64.0.2"), 17, 512), IP4_HEADER);
        check_hex(out, IP4_HEADER, "45000214 00000000 4011b056 64400001 64400002");
        memset(out, 0xee, sizeof(out));
        assert_int_equal(ip_make_header(out, ip("fd7a:115c:a1e0::1"), ip("fd7a:115c:a1e0::53"), 58, 1000), IP6_HEADER);
        check_hex(out, IP6_HEADER, "60000000 03e83a40 fd7a115ca1e000000000000000000001 fd7a115ca1e000000000000000000053");
}

/* RFC 1071: with its own checksum in place the sum of all is all ones, so that what is computed over it is 0. */
static void checksums(void **state)
{
        (void)state;
        uint8_t echo[12], udp[9];
        check_unhex("0800f7ff 00000000 00000000", echo, sizeof(echo));
        assert_int_equal(ip_checksum(echo, sizeof(echo)), 0);
        echo[2] = echo[3] = 0;
        assert_int_equal(ip_checksum(echo, sizeof(echo)), 0xf7ff);
        assert_int_equal(ip_checksum(echo, 0), 0xffff);
        /* an odd length: the last byte is the high one of a word */
        check_unhex("0001 0002 0009 0000 ab", udp, sizeof(udp));
        uint32_t v4 = 0x6440 + 0x0001 + 0x6440 + 0x0002 + 17 + 9 + 0x0001 + 0x0002 + 0x0009 + 0xab00;
        v4 = (v4 & 0xffff) + (v4 >> 16);
        assert_int_equal(ip_checksum_pseudo(ip("100.64.0.1"), ip("100.64.0.2"), 17, udp, sizeof(udp)), (uint16_t)~v4);
        uint32_t v6 = 2 * (0xfd7a + 0x115c + 0xa1e0) + 0x0001 + 0x0002 + 17 + 9 + 0x0001 + 0x0002 + 0x0009 + 0xab00;
        v6 = (v6 & 0xffff) + (v6 >> 16);
        assert_int_equal(ip_checksum_pseudo(ip("fd7a:115c:a1e0::1"), ip("fd7a:115c:a1e0::2"), 17, udp, sizeof(udp)), (uint16_t)~v6);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(headers),
                cmocka_unit_test(checksums),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
