/* Vectors: inner messages as the reference's own tests have them; sealed packets computed with two
 * independent implementations of NaCl box. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "magicsock/disco.h"

#define TXID "0102030405060708090a0b0c"
#define K1 "0001020000000000000000000000000000000000000000000000000000001e1f"
#define K2 "0001020300000000000000000000000000000000000000000000000000001e1f"
#define K3 "0001020004000000000000000000000000000000000000000000000000001e1f"
#define CHALLENGE "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define EPS "00000000000000000000ffff010203040237200100000000000000000000000034560315"
#define RECORD K1 K2 K3 "000000000000007b000001c8000000003b9aca000000000df8475800" EPS

static size_t unhex(const char *s, uint8_t *out, size_t cap)
{
        size_t n = strlen(s) / 2;
        assert_true(n <= cap);
        for (size_t i = 0; i < n; i++) {
                char byte[3] = {s[2 * i], s[2 * i + 1], 0};
                out[i] = (uint8_t)strtoul(byte, NULL, 16);
        }
        return n;
}

static struct addr addr(const char *s)
{
        struct addr a;
        assert_int_equal(addr_parse(s, &a), ERR_NONE);
        return a;
}

/* Exactly n bytes on the heap, so that a sanitizer sees a read past the end. */
static enum err parse_exact(const uint8_t *b, size_t n, struct disco_msg *m)
{
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, b, n);
        enum err e = disco_parse(copy, n, m);
        free(copy);
        return e;
}

static void check_round_trip(const char *hex, struct disco_msg *m)
{
        uint8_t b[4096], again[4096];
        size_t n = unhex(hex, b, sizeof(b));
        assert_int_equal(parse_exact(b, n, m), ERR_NONE);
        assert_int_equal(disco_encode(m, again, sizeof(again)), n);
        assert_memory_equal(again, b, n);
        assert_int_equal(disco_encode(m, again, n - 1), 0);
}

static void test_ping(void **state)
{
        (void)state;
        static const struct {
                const char *hex;
                bool has_key;
                size_t padding;
        } rows[] = {
                {"0100" TXID, false, 0},
                {"0100" TXID K1, true, 0},
                {"0100" TXID "000000", false, 3},
                {"0100" TXID K1 "000000", true, 3},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct disco_msg m;
                check_round_trip(rows[i].hex, &m);
                assert_int_equal(m.type, DISCO_PING);
                assert_int_equal(m.ping.has_key, rows[i].has_key);
                assert_int_equal(m.ping.padding, rows[i].padding);
                assert_int_equal(m.ping.txid.b[0], 1);
                assert_int_equal(m.ping.txid.b[11], 12);
                assert_int_equal(m.ping.key.b[31], rows[i].has_key ? 0x1f : 0);
        }
}

static void test_pong(void **state)
{
        (void)state;
        struct disco_msg m;
        check_round_trip("0200" TXID "00000000000000000000ffff0203040504d2", &m);
        assert_true(addr_eq(m.pong.seen, addr("2.3.4.5:1234")));
        check_round_trip("0200" TXID "fed000000000000000000000000000121a0a", &m);
        assert_true(addr_eq(m.pong.seen, addr("[fed0::12]:6666")));

        m.pong.seen = disco_relay_addr(10);
        assert_true(disco_is_relay_addr(m.pong.seen));
        uint8_t b[64], want[18];
        assert_int_equal(disco_encode(&m, b, sizeof(b)), DISCO_PONG_LEN);
        unhex("00000000000000000000ffff7f030328000a", want, sizeof(want));
        assert_memory_equal(b + 14, want, sizeof(want));
}

/* A hello lies in a ping's padding, whose length stays; what is not one is padding. */
static void test_hello(void **state)
{
        (void)state;
        static const struct {
                const char *hex;
                bool has_hello;
                uint8_t hello;
                size_t padding;
        } rows[] = {
                {"0100" TXID K1 "484e0102", true, 2, 4},
                {"0100" TXID K1 "484e010100000000", true, 1, 8},
                {"0100" TXID K1 "00000000", false, 0, 4},
        };
        struct disco_msg m;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                check_round_trip(rows[i].hex, &m);
                assert_int_equal(m.ping.has_hello, rows[i].has_hello);
                assert_int_equal(m.ping.hello, rows[i].hello);
                assert_int_equal(m.ping.padding, rows[i].padding);
        }
        uint8_t b[128];
        const char *others[] = {"0100" TXID K1 "484e01", "0100" TXID K1 "484e0202", "0100" TXID "484e0102"};
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                assert_int_equal(parse_exact(b, unhex(others[i], b, sizeof(b)), &m), ERR_NONE);
                assert_false(m.ping.has_hello);
        }

        check_round_trip("0200" TXID "00000000000000000000ffff0203040504d2" "484e0103", &m);
        assert_true(m.pong.has_hello);
        assert_int_equal(m.pong.hello, 3);
        assert_int_equal(parse_exact(b, unhex("0200" TXID "00000000000000000000ffff0203040504d2" "484e01", b, sizeof(b)), &m),
                         ERR_NONE);
        assert_false(m.pong.has_hello);
}

static void test_call_me_maybe(void **state)
{
        (void)state;
        struct disco_msg m;
        check_round_trip("0300", &m);
        assert_int_equal(m.cmm.count, 0);
        check_round_trip("0300" EPS, &m);
        assert_int_equal(m.cmm.count, 2);
        assert_true(addr_eq(m.cmm.eps[0], addr("1.2.3.4:567")));
        assert_true(addr_eq(m.cmm.eps[1], addr("[2001::3456]:789")));

        /* Another version or a crooked length names nobody, without being an error. */
        uint8_t b[128];
        size_t n = unhex("0301" EPS, b, sizeof(b));
        assert_int_equal(disco_parse(b, n, &m), ERR_NONE);
        assert_int_equal(m.cmm.count, 0);
        n = unhex("0300" EPS, b, sizeof(b));
        assert_int_equal(disco_parse(b, 2 + 17, &m), ERR_NONE);
        assert_int_equal(m.cmm.count, 0);
}

static void test_call_me_maybe_is_bounded(void **state)
{
        (void)state;
        static uint8_t b[2 + 18 * 1000];
        b[0] = DISCO_CALL_ME_MAYBE;
        struct disco_msg m;
        assert_int_equal(disco_parse(b, sizeof(b), &m), ERR_NONE);
        assert_int_equal(m.cmm.count, DISCO_CMM_MAX);
}

static void test_relay_messages_are_recognised(void **state)
{
        (void)state;
        static const char *const good[] = {
                "04000000000100000002" K1 CHALLENGE, "05000000000100000002" K1 CHALLENGE,
                "06000000000100000002" K1 CHALLENGE, "0700" RECORD, "0800" K2 K3 "00000001",
                "090000000001" RECORD,
        };
        uint8_t b[256];
        struct disco_msg m;
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                size_t n = unhex(good[i], b, sizeof(b));
                assert_int_equal(parse_exact(b, n, &m), ERR_NONE);
                assert_int_equal(m.type, 4 + i);
                assert_int_equal(disco_encode(&m, b, sizeof(b)), 0);
        }
        size_t n = unhex("0700" RECORD, b, sizeof(b));
        assert_int_equal(n, 162);
        assert_int_not_equal(parse_exact(b, 2 + 123 + 18, &m), ERR_NONE);
        assert_int_not_equal(parse_exact(b, 2 + 124, &m), ERR_NONE);
        n = unhex("04000000000100000002" K1 CHALLENGE, b, sizeof(b));
        assert_int_not_equal(parse_exact(b, n - 1, &m), ERR_NONE);
}

static void test_truncations(void **state)
{
        (void)state;
        uint8_t b[64];
        struct disco_msg m;
        size_t n = unhex("0100" TXID K1, b, sizeof(b));
        for (size_t i = 0; i <= n; i++)
                assert_int_equal(parse_exact(b, i, &m) == ERR_NONE, i >= 14);
        n = unhex("0200" TXID "00000000000000000000ffff0203040504d2", b, sizeof(b));
        for (size_t i = 0; i <= n; i++)
                assert_int_equal(parse_exact(b, i, &m) == ERR_NONE, i == n);
        n = unhex("0300" EPS, b, sizeof(b));
        for (size_t i = 0; i <= n; i++)
                assert_int_equal(parse_exact(b, i, &m) == ERR_NONE, i >= 2);
        assert_int_equal(disco_parse((const uint8_t[]){0x0a, 0}, 2, &m), ERR_FORMAT);
        assert_int_equal(disco_parse((const uint8_t[]){0, 0}, 2, &m), ERR_FORMAT);
}

/* ---- sealed ---- */

#define SENDER "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"
#define HEADER "5453f09f92ac" SENDER "808182838485868788898a8b8c8d8e8f9091929394959697"

static const struct {
        const char *inner, *packet;
} sealed[] = {
        {"0100" TXID K1,
                HEADER "11c4498d8a0a6c8c2fba236d9b00a335e9788ec79c5e2f7bb02baf9376411988d77015895a528f294dbe11771"
                       "0a98a76ebbcea5e0d9746139f3d38075285"},
        {"0200" TXID "00000000000000000000ffff0203040504d2",
                HEADER "94602822e27dbca08d97162c70b208a0ea788ec79c5e2f7bb02baf9376411989d57015895a528f29b24113741"
                       "4ac8ea4"},
        {"0300" EPS,
                HEADER "06f9432d00b5da71fa84f9210650c444eb788fc59f5a2a7db723a69982b2188bd67417be7a538f294dbe11771"
                       "0a98a76ebbcde080e82"},
};

static struct box_key shared(uint8_t mine_first, uint8_t theirs_first)
{
        uint8_t mine[32], theirs[32], pub[32];
        for (unsigned i = 0; i < 32; i++) {
                mine[i] = (uint8_t)(mine_first + i);
                theirs[i] = (uint8_t)(theirs_first + i);
        }
        x25519_base(pub, theirs);
        struct box_key k;
        assert_int_equal(box_precompute(&k, pub, mine), ERR_NONE);
        return k;
}

static void test_sealed_vectors(void **state)
{
        (void)state;
        struct box_key send_key = shared(1, 0x21), recv_key = shared(0x21, 1);
        uint8_t want[256], inner[256], got[256], nonce[24];
        struct disco_public self, sender;
        unhex(SENDER, self.b, sizeof(self.b));
        unhex("808182838485868788898a8b8c8d8e8f9091929394959697", nonce, sizeof(nonce));
        for (size_t i = 0; i < sizeof(sealed) / sizeof(sealed[0]); i++) {
                size_t n = unhex(sealed[i].packet, want, sizeof(want));
                size_t in = unhex(sealed[i].inner, inner, sizeof(inner));
                assert_int_equal(disco_seal(&send_key, &self, nonce, inner, in, got, sizeof(got)), n);
                assert_memory_equal(got, want, n);
                assert_int_equal(disco_seal(&send_key, &self, nonce, inner, in, got, n - 1), 0);

                assert_true(disco_sender(want, n, &sender));
                assert_true(disco_public_eq(&sender, &self));
                size_t len = 0;
                assert_int_equal(disco_open(&recv_key, want, n, got, &len), ERR_NONE);
                assert_int_equal(len, in);
                assert_memory_equal(got, inner, in);
        }
}

static void test_damage_does_not_open(void **state)
{
        (void)state;
        struct box_key key = shared(0x21, 1), wrong = shared(0x22, 1);
        uint8_t b[256], inner[256];
        size_t n = unhex(sealed[0].packet, b, sizeof(b)), len = 77;
        for (size_t i = 38; i < n; i++) {
                b[i] ^= 0x40;
                assert_int_equal(disco_open(&key, b, n, inner, &len), ERR_AUTH);
                b[i] ^= 0x40;
        }
        assert_int_equal(disco_open(&wrong, b, n, inner, &len), ERR_AUTH);
        for (size_t i = 0; i < n; i++) {
                uint8_t *copy = malloc(i ? i : 1);
                memcpy(copy, b, i);
                assert_int_not_equal(disco_open(&key, copy, i, inner, &len), ERR_NONE);
                struct disco_public k;
                assert_int_equal(disco_sender(copy, i, &k), i >= DISCO_WRAPPER_MIN);
                free(copy);
        }
        assert_int_equal(len, 77);   /* untouched on failure */
        struct disco_public k;
        b[3] ^= 1;
        assert_false(disco_sender(b, n, &k));
}

static void test_padding(void **state)
{
        (void)state;
        assert_int_equal(disco_ping_padding(0, IP_V4), 0);
        assert_int_equal(disco_ping_padding(1280, IP_V4), 1252 - 124);
        assert_int_equal(disco_ping_padding(1280, IP_V6), 1232 - 124);
        assert_int_equal(disco_ping_padding(152, IP_V4), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ping),
                cmocka_unit_test(test_pong),
                cmocka_unit_test(test_hello),
                cmocka_unit_test(test_call_me_maybe),
                cmocka_unit_test(test_call_me_maybe_is_bounded),
                cmocka_unit_test(test_relay_messages_are_recognised),
                cmocka_unit_test(test_truncations),
                cmocka_unit_test(test_sealed_vectors),
                cmocka_unit_test(test_damage_does_not_open),
                cmocka_unit_test(test_padding),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
