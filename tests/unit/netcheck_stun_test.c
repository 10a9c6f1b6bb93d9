#include "netcheck/stun.h"

#include <stdlib.h>

#include "tests/unit/check.h"

static void test_request_vectors(void **state)
{
        (void)state;
        static const char *const want[] = {
                "000100142112a442000102030405060708090a0b802200087461696c6e6f6465802800048aabad90",
                "000100142112a442000000000000000000000000802200087461696c6e6f6465802800042a804712",
                "000100142112a442ffffffffffffffffffffffff802200087461696c6e6f64658028000495d0a215",
        };
        struct stun_txid id[3];
        uint8_t out[STUN_REQUEST_LEN];
        check_count_up(id[0].b, STUN_TXID_LEN, 0);
        memset(&id[1], 0x00, sizeof(id[1]));
        memset(&id[2], 0xff, sizeof(id[2]));
        for (size_t i = 0; i < 3; i++) {
                stun_request(&id[i], out);
                check_hex(out, sizeof(out), want[i]);
                assert_true(stun_is(out, sizeof(out)));
                assert_false(stun_is_binding(out + 0, 19));
        }
}

struct sample {
        const char *hex;
        const char *addr;
};

/* Servers of several makes; the last three are of RFC 5769 and with an IPv4-mapped address. */
static const struct sample samples[] = {
        {"0101000c2112a44201010101010101010101010100200008000121ec2010a746", "1.2.3.4:254"},
        {"0101000c2112a44202020202020202020202020200200008000120132010a746", "1.2.3.4:257"},
        {"010100182112a44203030303030303030303030300200014000221ec2113a442030303030303030303030307",
                "[1::4]:254"},
        {"010100182112a44204040404040404040404040400200014000220132113a442040404040404040404040400",
                "[1::4]:257"},
        {"0101000c2112a4422360b11e3ec68ffa93e08007002000080001c7866957856f", "72.69.33.45:59028"},
        {"010100442112a442482eb64715e8b28eaead6444000100080001e4ab4845212d0004000800012710d90a4498"
         "0005000800012711d9747a8a802000080001c5b96957856f80220010566f766964612e6f726720302e393600",
                "72.69.33.45:58539"},
        {"010100242112a4427e57966829f444609d1deaa6000100080001e9d34845212d0004000800010d964d48a9d4"
         "0005000800010d974d48a9d5",
                "72.69.33.45:59859"},
        {"010100242112a442ebc2d36ef471217c4f3e308e8022000a656e64706f696e7465720000002000080001ce66"
         "5e12a44380280004b699bb02010100242112a442",
                "127.0.0.1:61300"},
        {"010100482112a44206f56685d28af3e69ce341e200010014000290ce260200d1b4cfc10038b231fffeef96f6"
         "802b001400020d962604a880000200d10000000000c57001002000140002b1dc0710a493b23aa785ea38c219"
         "620cd714",
                "[2602:d1:b4cf:c100:38b2:31ff:feef:96f6]:37070"},
        {"010100142112a442ebc2d36ef471217c4f3e308e8022000161000000002000080001ce665e12a443",
                "127.0.0.1:61300"},
        {"010100142112a442ebc2d36ef471217c4f3e308e8022000361626300002000080001ce665e12a443",
                "127.0.0.1:61300"},
        {"010100182112a4424fd5d202dcb37d31fc773306002000140002cd3d2112a4424fd5d202dcb382ce2dc3fcc7",
                "209.180.207.193:60463"},
        {"0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147"
         "e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96",
                "192.0.2.1:32853"},
        {"010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a147"
         "0113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004"
         "c8fb0b4c",
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
};

static void test_response_vectors(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
                uint8_t msg[256];
                char text[ADDR_STR_MAX];
                struct stun_txid id;
                struct addr addr;
                size_t n = check_unhex(samples[i].hex, msg, sizeof(msg));
                assert_true(stun_is_binding(msg, n));
                assert_int_equal(stun_parse_response(msg, n, &id, &addr), ERR_NONE);
                assert_memory_equal(id.b, msg + 8, STUN_TXID_LEN);
                assert_string_equal(addr_str(addr, text), samples[i].addr);
        }
}

/* Cut short it is refused, unless only what follows the message is missing; nothing is written then. */
static void test_every_truncation(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
                uint8_t msg[256];
                size_t n = check_unhex(samples[i].hex, msg, sizeof(msg));
                size_t whole = 20u + (size_t)(msg[2] << 8 | msg[3]);
                for (size_t len = 0; len < n; len++) {
                        struct stun_txid id = {{0}};
                        struct addr addr = {0};
                        uint8_t *exact = malloc(len + 1);
                        assert_non_null(exact);
                        memcpy(exact, msg, len);
                        enum err e = stun_parse_response(exact, len, &id, &addr);
                        free(exact);
                        assert_int_equal(e, len >= whole ? ERR_NONE : ERR_FORMAT);
                        assert_int_equal(addr_is_set(addr), len >= whole);
                }
        }
}

static void test_damaged_refused(void **state)
{
        (void)state;
        static const char *const bad[] = {
                /* error class */
                "0111000c2112a44201010101010101010101010100200008000121ec2010a746",
                /* a request */
                "0001000c2112a44201010101010101010101010100200008000121ec2010a746",
                /* no address at all */
                "010100002112a442010101010101010101010101",
                /* family 3 */
                "0101000c2112a44201010101010101010101010100200008000321ec2010a746",
                /* IPv6 in eight bytes */
                "0101000c2112a44201010101010101010101010100200008000221ec2010a746",
                /* attribute longer than the message */
                "0101000c2112a44201010101010101010101010100200009000121ec2010a746",
                /* the last attribute's padding is missing */
                "010100112112a44201010101010101010101010100200008000121ec2010a7468022000161",
                /* a good one, then a malformed MAPPED-ADDRESS */
                "010100182112a44201010101010101010101010100200008000121ec2010a7460001000800050000ffffffff",
                /* three bytes of an attribute header */
                "0101000f2112a44201010101010101010101010100200008000121ec2010a746802200",
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                uint8_t msg[256];
                struct stun_txid id;
                struct addr addr;
                size_t n = check_unhex(bad[i], msg, sizeof(msg));
                assert_int_equal(stun_parse_response(msg, n, &id, &addr), ERR_FORMAT);
        }
}

static void test_is_stun(void **state)
{
        (void)state;
        uint8_t msg[24] = {[4] = 0x21, [5] = 0x12, [6] = 0xa4, [7] = 0x42};
        assert_true(stun_is(msg, 20));
        assert_true(stun_is(msg, 24));
        assert_false(stun_is(msg, 19));
        assert_false(stun_is_binding(msg, 20));
        msg[1] = 1;
        assert_true(stun_is_binding(msg, 20));
        msg[0] = 0x20;
        assert_true(stun_is(msg, 20));
        msg[0] = 0x40;
        assert_false(stun_is(msg, 20));
        msg[0] = 0xf0;
        assert_false(stun_is(msg, 20));
        msg[0] = 0;
        msg[7] = 0;
        assert_false(stun_is(msg, 20));
}

static void test_request_is_recognised(void **state)
{
        (void)state;
        struct stun_txid id, got;
        uint8_t msg[STUN_REQUEST_LEN];
        memset(id.b, 7, sizeof(id.b));
        stun_request(&id, msg);
        assert_true(stun_is_binding(msg, sizeof(msg)));   /* a shared socket shows it to netcheck */
        assert_int_equal(stun_parse_request(msg, sizeof(msg), &got), ERR_NONE);
        assert_memory_equal(&got, &id, sizeof(id));
        for (size_t n = 0; n < 20; n++)
                assert_int_equal(stun_parse_request(msg, n, &got), ERR_FORMAT);
        assert_int_equal(stun_parse_request(msg, 20, &got), ERR_NONE);
        msg[0] = 1;
        assert_int_equal(stun_parse_request(msg, sizeof(msg), &got), ERR_FORMAT);
        msg[0] = 0;
        msg[4] = 0;
        assert_int_equal(stun_parse_request(msg, sizeof(msg), &got), ERR_FORMAT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_request_vectors),
                cmocka_unit_test(test_response_vectors),
                cmocka_unit_test(test_every_truncation),
                cmocka_unit_test(test_damaged_refused),
                cmocka_unit_test(test_is_stun),
                cmocka_unit_test(test_request_is_recognised),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
