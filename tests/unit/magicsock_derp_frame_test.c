#include "magicsock/derp_frame.h"

#include <stdlib.h>

#include "tests/unit/check.h"
#include "tests/unit/derp_vectors.h"

static struct derp_msg parse(const char *hex, enum err want)
{
        static uint8_t frame[2048];
        struct derp_head h;
        struct derp_msg m = {0};
        size_t n = check_unhex(hex, frame, sizeof(frame));
        assert_int_equal(derp_head_parse(frame, n, &h), ERR_NONE);
        assert_int_equal(h.len, n - DERP_HEAD_LEN);
        assert_int_equal(derp_msg_parse(h.type, frame + DERP_HEAD_LEN, h.len, &m), want);
        return m;
}

static void test_from_server(void **state)
{
        (void)state;
        struct derp_msg m = parse(VEC_SERVER_KEY, ERR_NONE);
        assert_int_equal(m.type, DERP_SERVER_KEY);
        check_hex(m.key.b, KEY_LEN, VEC_SERVER_PUBLIC);
        m = parse(VEC_RECV, ERR_NONE);
        check_hex(m.key.b, KEY_LEN, VEC_CLIENT_PUBLIC);
        check_hex(m.data, m.len, "deadbeef");
        m = parse(VEC_GONE, ERR_NONE);
        check_hex(m.key.b, KEY_LEN, VEC_CLIENT_PUBLIC);
        assert_int_equal(m.reason, 1);
        m = parse("0800000020" VEC_CLIENT_PUBLIC, ERR_NONE);
        assert_int_equal(m.reason, 0);
        m = parse("0600000000", ERR_NONE);
        assert_int_equal(m.type, DERP_KEEP_ALIVE);
        m = parse("12000000080102030405060708", ERR_NONE);
        check_hex(m.ping, DERP_PING_LEN, "0102030405060708");
        m = parse("13000000090102030405060708ff", ERR_NONE);
        assert_int_equal(m.type, DERP_PONG);
        m = parse("1400000003424144", ERR_NONE);
        check_hex(m.data, m.len, "424144");
        m = parse("1400000000", ERR_NONE);
        assert_int_equal(m.len, 0);
        m = parse("15000000080000000100000002", ERR_NONE);
        assert_int_equal(m.reconnect_in_ms, 1);
        assert_int_equal(m.try_for_ms, 2);
        (void)parse(VEC_PRESENT, ERR_UNSUPPORTED);
        (void)parse("77000000020102", ERR_UNSUPPORTED);
}

static void test_damaged(void **state)
{
        (void)state;
        (void)parse("010000002844455250f09f9490" VEC_SERVER_PUBLIC, ERR_FORMAT);   /* the magic's last byte */
        (void)parse("080000001f" "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e", ERR_SHORT);
        (void)parse("1200000007" "01020304050607", ERR_SHORT);
        (void)parse("1500000007" "00000001000000", ERR_SHORT);
}

static void test_head_bounds(void **state)
{
        (void)state;
        uint8_t b[DERP_HEAD_LEN];
        struct derp_head h = {0};
        check_unhex("0400000400", b, sizeof(b));
        for (size_t n = 0; n < DERP_HEAD_LEN; n++)
                assert_int_equal(derp_head_parse(b, n, &h), ERR_SHORT);
        assert_int_equal(derp_head_parse(b, DERP_HEAD_LEN, &h), ERR_NONE);
        assert_int_equal(h.type, DERP_SEND_PACKET);
        assert_int_equal(h.len, 1024);
        check_unhex("0500100000", b, sizeof(b));
        assert_int_equal(derp_head_parse(b, DERP_HEAD_LEN, &h), ERR_NONE);
        check_unhex("0500100001", b, sizeof(b));
        assert_int_equal(derp_head_parse(b, DERP_HEAD_LEN, &h), ERR_FORMAT);
        check_unhex("05ffffffff", b, sizeof(b));
        assert_int_equal(derp_head_parse(b, DERP_HEAD_LEN, &h), ERR_FORMAT);
        assert_int_equal(h.len, 1 << 20);   /* as left by the last good one */
}

static void test_length_bounds(void **state)
{
        (void)state;
        size_t max = KEY_LEN + DERP_PACKET_MAX;
        uint8_t *b = calloc(1, max + 1);
        struct derp_msg m;
        assert_non_null(b);
        assert_int_equal(derp_msg_parse(DERP_RECV_PACKET, b, max, &m), ERR_NONE);
        assert_int_equal(m.len, DERP_PACKET_MAX);
        assert_int_equal(derp_msg_parse(DERP_RECV_PACKET, b, max + 1, &m), ERR_FORMAT);
        assert_int_equal(derp_msg_parse(DERP_RECV_PACKET, b, KEY_LEN, &m), ERR_NONE);
        assert_int_equal(m.len, 0);
        check_unhex("44455250f09f9491", b, 8);
        assert_int_equal(derp_msg_parse(DERP_SERVER_KEY, b, DERP_SERVER_KEY_MAX, &m), ERR_NONE);
        assert_int_equal(derp_msg_parse(DERP_SERVER_KEY, b, DERP_SERVER_KEY_MAX + 1, &m), ERR_FORMAT);
        free(b);
}

/* Each payload cut short in exactly sized memory: refused with nothing written, but for open-ended types. */
static void test_every_truncation(void **state)
{
        (void)state;
        static const struct {
                const char *hex;
                size_t least;   /* shortest payload that is still whole */
        } rows[] = {
                {VEC_SERVER_KEY, 40}, {VEC_RECV, 32}, {VEC_GONE, 32}, {VEC_SERVER_INFO, 40},
                {"12000000080102030405060708", 8}, {"15000000080000000100000002", 8},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint8_t frame[256];
                size_t n = check_unhex(rows[i].hex, frame, sizeof(frame)) - DERP_HEAD_LEN;
                for (size_t len = 0; len < n; len++) {
                        struct derp_msg m = {.reason = 99};
                        uint8_t *exact = malloc(len + 1);
                        assert_non_null(exact);
                        memcpy(exact, frame + DERP_HEAD_LEN, len);
                        enum err e = derp_msg_parse(frame[0], exact, len, &m);
                        free(exact);
                        assert_int_equal(e, len >= rows[i].least ? ERR_NONE : ERR_SHORT);
                        assert_int_equal(m.reason == 99, len < rows[i].least);
                }
        }
}

static void test_to_server(void **state)
{
        (void)state;
        uint8_t out[256], nonce[BOX_NONCE_LEN], head[DERP_SEND_HEAD_LEN];
        struct key_private priv;
        struct node_public server, us;
        struct box_key box;
        check_unhex(VEC_CLIENT_PRIVATE, priv.b, KEY_LEN);
        check_unhex(VEC_SERVER_PUBLIC, server.b, KEY_LEN);
        check_unhex(VEC_NONCE, nonce, sizeof(nonce));
        us = key_node_public(&priv);
        assert_int_equal(box_precompute(&box, server.b, priv.b), ERR_NONE);
        struct wr w = wr_init(out, sizeof(out));
        derp_put_client_info(&w, &us, &box, nonce);
        check_hex(out, w.len, VEC_CLIENT_INFO);
        w = wr_init(out, sizeof(out));
        derp_put_note_preferred(&w, true);
        derp_put_note_preferred(&w, false);
        derp_put_ping(&w, DERP_PONG, nonce);
        check_hex(out, w.len, "070000000101" "070000000100" "130000000869696ee955b62b73");
        derp_send_head(head, &server, 4);
        check_hex(head, sizeof(head), "0400000024" VEC_SERVER_PUBLIC);
        w = wr_init(out, 50);
        derp_put_client_info(&w, &us, &box, nonce);
        assert_false(wr_ok(&w));
}

static void test_server_info(void **state)
{
        (void)state;
        uint8_t frame[256];
        struct key_private priv;
        struct node_public server;
        struct box_key box;
        struct derp_server_info info = {1, 1};
        check_unhex(VEC_CLIENT_PRIVATE, priv.b, KEY_LEN);
        check_unhex(VEC_SERVER_PUBLIC, server.b, KEY_LEN);
        assert_int_equal(box_precompute(&box, server.b, priv.b), ERR_NONE);
        size_t n = check_unhex(VEC_SERVER_INFO, frame, sizeof(frame)) - DERP_HEAD_LEN;
        assert_int_equal(derp_server_info_open(&box, frame + DERP_HEAD_LEN, n, &info), ERR_NONE);
        assert_int_equal(info.bytes_per_sec, 0);
        n = check_unhex(VEC_SERVER_INFO_RATE, frame, sizeof(frame)) - DERP_HEAD_LEN;
        assert_int_equal(derp_server_info_open(&box, frame + DERP_HEAD_LEN, n, &info), ERR_NONE);
        assert_int_equal(info.bytes_per_sec, 100000);
        assert_int_equal(info.burst, 200000);
        for (size_t len = 0; len < n; len++)
                assert_int_not_equal(derp_server_info_open(&box, frame + DERP_HEAD_LEN, len, &info), ERR_NONE);
        for (size_t i = 0; i < n; i++) {
                frame[DERP_HEAD_LEN + i] ^= 1;
                assert_int_equal(derp_server_info_open(&box, frame + DERP_HEAD_LEN, n, &info), ERR_AUTH);
                frame[DERP_HEAD_LEN + i] ^= 1;
        }
}

static void expect_info(const char *json, enum err want)
{
        uint8_t msg[BOX_NONCE_LEN + BOX_TAG_LEN + 8192] = {0};
        struct box_key box = {{1}};
        struct derp_server_info info;
        size_t n = strlen(json);
        box_seal(&box, msg, json, n, msg + BOX_NONCE_LEN);
        assert_int_equal(derp_server_info_open(&box, msg, BOX_NONCE_LEN + BOX_TAG_LEN + n, &info), want);
        if (want == ERR_NONE) {
                assert_true(info.bytes_per_sec >= 0);
                assert_true(info.burst >= DERP_SEND_HEAD_LEN + DERP_PACKET_MAX);   /* a whole frame may pass */
        }
}

static void test_server_info_json(void **state)
{
        (void)state;
        char longer[8000];
        expect_info("{}", ERR_NONE);
        expect_info("{\"TokenBucketBytesPerSecond\":-1,\"TokenBucketBytesBurst\":-7}", ERR_NONE);
        expect_info("{\"TokenBucketBytesPerSecond\":9223372036854775807,\"TokenBucketBytesBurst\":1}", ERR_NONE);
        expect_info("{\"TokenBucketBytesPerSecond\":\"x\"}", ERR_NONE);
        expect_info("[]", ERR_FORMAT);
        expect_info("{", ERR_FORMAT);
        expect_info("", ERR_FORMAT);
        memset(longer, ' ', sizeof(longer));
        memcpy(longer, "{}", 2);
        longer[4096] = '\0';
        expect_info(longer, ERR_NONE);
        longer[4096] = ' ';
        longer[4097] = '\0';
        expect_info(longer, ERR_FULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_from_server),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_head_bounds),
                cmocka_unit_test(test_length_bounds),
                cmocka_unit_test(test_every_truncation),
                cmocka_unit_test(test_to_server),
                cmocka_unit_test(test_server_info),
                cmocka_unit_test(test_server_info_json),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
