#include "daemon/proxy/socks5.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static size_t bytes(const char *hex, uint8_t *out)
{
        return check_unhex(hex, out, 512);
}

/* A copy of its own, so that a sanitizer sees a read behind the end. */
static enum socks5_parsed parse_copy(const uint8_t *in, size_t n, size_t *used, struct socks5_request *r,
        enum socks5_code *code)
{
        uint8_t *p = malloc(n ? n : 1);
        assert_non_null(p);
        memcpy(p, in, n);
        enum socks5_parsed got = socks5_request(p, n, used, r, code);
        free(p);
        return got;
}

static void greetings(void **state)
{
        (void)state;
        static const struct {
                const char *hex;
                enum socks5_parsed want;
                size_t used;
        } rows[] = {
                {"", SOCKS5_MORE, 0},
                {"05", SOCKS5_MORE, 0},
                {"0501", SOCKS5_MORE, 0},
                {"050100", SOCKS5_DONE, 3},
                {"05020200", SOCKS5_DONE, 4},
                {"05020002aa", SOCKS5_DONE, 4},
                {"0500", SOCKS5_BAD, 0},
                {"050102", SOCKS5_BAD, 0},
                {"04", SOCKS5_BAD, 0},
                {"474554", SOCKS5_BAD, 0},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint8_t in[512];
                size_t used = 0, n = bytes(rows[i].hex, in);
                assert_int_equal(socks5_greeting(in, n, &used), rows[i].want);
                if (rows[i].want == SOCKS5_DONE)
                        assert_int_equal(used, rows[i].used);
        }
        uint8_t out[2];
        assert_int_equal(socks5_choice(true, out), 2);
        check_hex(out, 2, "0500");
        (void)socks5_choice(false, out);
        check_hex(out, 2, "05ff");
}

static const struct {
        const char *hex, *host;
        uint16_t port;
        uint8_t command;
} good[] = {
        {"0501000164400002 1f90", "100.64.0.2", 8080, SOCKS5_CONNECT},
        {"05010004 fd7a115ca1e00000000000000000000201bb", "fd7a:115c:a1e0::2", 443, SOCKS5_CONNECT},
        {"05010003 04 62657461 0050", "beta", 80, SOCKS5_CONNECT},
        {"05030001 00000000 0000", "0.0.0.0", 0, SOCKS5_ASSOCIATE},
        {"0501ff03 01 61 ffff", "a", 65535, SOCKS5_CONNECT},
};

static void requests_and_each_of_their_beginnings(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                struct socks5_request r;
                enum socks5_code code;
                uint8_t in[513];
                size_t used = 0, n = bytes(good[i].hex, in);
                for (size_t cut = 0; cut < n; cut++)
                        assert_int_equal(parse_copy(in, cut, &used, &r, &code), SOCKS5_MORE);
                in[n] = 0x47;   /* what follows is not touched */
                for (size_t more = 0; more < 2; more++) {
                        assert_int_equal(parse_copy(in, n + more, &used, &r, &code), SOCKS5_DONE);
                        assert_int_equal(used, n);
                        assert_string_equal(r.host, good[i].host);
                        assert_int_equal(r.port, good[i].port);
                        assert_int_equal(r.command, good[i].command);
                }
        }
}

static void the_longest_name(void **state)
{
        (void)state;
        uint8_t in[262] = {5, 1, 0, 3, 255};
        struct socks5_request r;
        enum socks5_code code;
        size_t used;
        memset(in + 5, 'x', 255);
        assert_int_equal(parse_copy(in, sizeof(in), &used, &r, &code), SOCKS5_DONE);
        assert_int_equal(strlen(r.host), 255);
}

static void wrong_requests_have_their_code(void **state)
{
        (void)state;
        static const struct {
                const char *hex;
                enum socks5_code code;
        } rows[] = {
                {"04010001 01020304 0050", SOCKS5_FAILURE},
                {"05020001 01020304 0050", SOCKS5_COMMAND_UNKNOWN},
                {"05090003 0161 0050", SOCKS5_COMMAND_UNKNOWN},
                {"05010002", SOCKS5_ADDRESS_UNKNOWN},
                {"05010003 00 0050", SOCKS5_ADDRESS_UNKNOWN},
                {"05010003 02 6100 0050", SOCKS5_ADDRESS_UNKNOWN},
                {"05010003 02 6120 0050", SOCKS5_ADDRESS_UNKNOWN},
                {"05010003 02 61e4 0050", SOCKS5_ADDRESS_UNKNOWN},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct socks5_request r;
                enum socks5_code code = SOCKS5_SUCCEEDED;
                uint8_t in[512];
                size_t used, n = bytes(rows[i].hex, in);
                assert_int_equal(parse_copy(in, n, &used, &r, &code), SOCKS5_BAD);
                assert_int_equal(code, rows[i].code);
        }
}

static void replies(void **state)
{
        (void)state;
        uint8_t out[SOCKS5_REPLY_MAX];
        struct addr a;
        assert_int_equal(socks5_reply(SOCKS5_REFUSED, (struct addr){0}, out), 10);
        check_hex(out, 10, "05050001000000000000");
        assert_int_equal(addr_parse("[fd7a::1]:258", &a), ERR_NONE);
        assert_int_equal(socks5_reply(SOCKS5_SUCCEEDED, a, out), 22);
        check_hex(out, 22, "05000004fd7a00000000000000000000000000010102");
        assert_int_equal(addr_parse("1.2.3.4:80", &a), ERR_NONE);
        assert_int_equal(socks5_datagram_header(a, out), 10);
        check_hex(out, 10, "00000001010203040050");
}

static void datagrams(void **state)
{
        (void)state;
        uint8_t in[512];
        struct socks5_request r;
        const uint8_t *data;
        size_t len, n = bytes("000000 01 64400002 0035 6869", in);
        assert_true(socks5_datagram(in, n, &r, &data, &len));
        assert_string_equal(r.host, "100.64.0.2");
        assert_int_equal(r.port, 53);
        assert_int_equal(len, 2);
        assert_memory_equal(data, "hi", 2);
        assert_true(socks5_datagram(in, n - 2, &r, &data, &len));
        assert_int_equal(len, 0);
        for (size_t cut = 0; cut < n - 2; cut++)
                assert_false(socks5_datagram(in, cut, &r, &data, &len));
        in[2] = 1;   /* a fragment */
        assert_false(socks5_datagram(in, n, &r, &data, &len));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(greetings),
                cmocka_unit_test(requests_and_each_of_their_beginnings),
                cmocka_unit_test(the_longest_name),
                cmocka_unit_test(wrong_requests_have_their_code),
                cmocka_unit_test(replies),
                cmocka_unit_test(datagrams),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
