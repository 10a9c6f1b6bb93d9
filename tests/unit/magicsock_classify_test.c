#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "magicsock/classify.h"

#define MAGIC 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac
#define COOKIE 0x21, 0x12, 0xa4, 0x42

/* `start`, zeros up to len; the block has exactly len bytes. */
static enum ms_class classify(const uint8_t *start, size_t n, size_t len, bool relayed)
{
        uint8_t *b = calloc(1, len ? len : 1);
        memcpy(b, start, n < len ? n : len);
        enum ms_class c = relayed ? ms_classify_relayed(b, len) : ms_classify(b, len);
        free(b);
        return c;
}

static void test_table(void **state)
{
        (void)state;
        static const struct {
                uint8_t start[24];
                size_t len;
                enum ms_class udp, relayed;
        } rows[] = {
                /* STUN: success, request, error; method and cookie must be right, 20 bytes at least. */
                {{1, 1, 0, 0, COOKIE}, 20, MS_CLASS_STUN, MS_CLASS_JUNK},
                {{0, 1, 0, 0, COOKIE}, 40, MS_CLASS_STUN, MS_CLASS_WIREGUARD},
                {{1, 0x11, 0, 0, COOKIE}, 40, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{0x81, 1, 0, 0, COOKIE}, 40, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{1, 1, 0, 0, COOKIE}, 19, MS_CLASS_JUNK, MS_CLASS_JUNK},
                {{1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x43}, 32, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                /* Disco: 38 bytes at least. */
                {{MAGIC}, 38, MS_CLASS_DISCO, MS_CLASS_DISCO},
                {{MAGIC}, 37, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{0x54, 0x53, 0xf0, 0x9f, 0x92, 0xad}, 62, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                /* Geneve: WireGuard in it, disco in it, something else in it, a reserved bit. */
                {{0, 0, 0x7a, 0x12, 0, 0, 1, 0}, 48, MS_CLASS_GENEVE, MS_CLASS_WIREGUARD},
                {{0, 0x80, 0x7a, 0x11, 0, 0, 1, 0, MAGIC}, 46, MS_CLASS_GENEVE, MS_CLASS_WIREGUARD},
                {{0, 0x80, 0x7a, 0x11, 0, 0, 1, 0, MAGIC}, 45, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{0, 0, 0x7a, 0x13, 0, 0, 1, 0}, 48, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{0, 0x01, 0x7a, 0x12, 0, 0, 1, 0}, 48, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{0, 0, 0x7a, 0x12, 0, 0, 1, 7}, 48, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                /* WireGuard: the four types and a keepalive; below 32 bytes nothing. */
                {{1, 0, 0, 0}, 148, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{2, 0, 0, 0}, 92, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{3, 0, 0, 0}, 64, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{4, 0, 0, 0}, 32, MS_CLASS_WIREGUARD, MS_CLASS_WIREGUARD},
                {{4, 0, 0, 0}, 31, MS_CLASS_JUNK, MS_CLASS_JUNK},
                {{7}, 1, MS_CLASS_JUNK, MS_CLASS_JUNK},
                {{0}, 0, MS_CLASS_JUNK, MS_CLASS_JUNK},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                assert_int_equal(classify(rows[i].start, sizeof(rows[i].start), rows[i].len, false), rows[i].udp);
                assert_int_equal(classify(rows[i].start, sizeof(rows[i].start), rows[i].len, true),
                        rows[i].relayed);
                /* Every truncation answers something without reading past the end. */
                for (size_t n = 0; n < rows[i].len; n++)
                        assert_in_range(classify(rows[i].start, sizeof(rows[i].start), n, false), MS_CLASS_JUNK,
                                MS_CLASS_WIREGUARD);
        }
}

static void test_handshake(void **state)
{
        (void)state;
        static const uint8_t initiation[148] = {1}, response[92] = {2}, cookie[64] = {3}, data[32] = {4};
        assert_true(ms_is_handshake(initiation, sizeof(initiation)));
        assert_true(ms_is_handshake(response, sizeof(response)));
        assert_true(ms_is_handshake(cookie, sizeof(cookie)));
        assert_false(ms_is_handshake(data, sizeof(data)));
        for (size_t n = 0; n < 32; n++)
                assert_false(ms_is_handshake(cookie, n));
        assert_true(ms_is_initiation(initiation, sizeof(initiation)));
        assert_false(ms_is_initiation(response, sizeof(response)));
        for (size_t n = 0; n < 32; n++)
                assert_false(ms_is_initiation(initiation, n));
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_handshake)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
