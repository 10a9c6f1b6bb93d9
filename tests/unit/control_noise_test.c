/* Known answers of both handshake messages and of the records, recomputed on both sides; damage of every byte. */
#include "daemon/control/noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/control_noise_responder.h"

static struct key_private counting_key(uint8_t first)
{
        struct key_private k;
        for (size_t i = 0; i < KEY_LEN; i++)
                k.b[i] = (uint8_t)(first + i);
        return k;
}

static size_t unhex(const char *hex, uint8_t *out, size_t cap)
{
        size_t n = strlen(hex) / 2;
        assert_true(n <= cap);
        for (size_t i = 0; i < n; i++) {
                unsigned v;
                assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
                out[i] = (uint8_t)v;
        }
        return n;
}

static void assert_hex(const void *got, const char *hex)
{
        uint8_t want[512];
        size_t n = unhex(hex, want, sizeof(want));
        assert_memory_equal(got, want, n);
}

struct vector {
        uint16_t version;
        const char *initiation;
        const char *response;
        const char *hash;
};

static const struct vector VECTORS[] = {
        {113,
         "0071010060358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254ad5b8febedeb97415be53612"
         "205e6bfab385e34cb127dd8854c4f9afb10f9b0e600b9f09df004acc34c72a234b0edfe512fde66660db25fa49750fa07a"
         "714dc8",
         "020030675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f04a855d028335246f01c17f3ff44"
         "e121",
         "1d74d40023b5daf7cae5d0693113e84604e6be2b8d30b0ce53c031ae8d79819a"},
        {145,
         "0091010060358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254ad5b8febedeb97415be53612"
         "205e6bfab385e34cb127dd8854c4f9afb10f9b0eacef4c3b928b370f94f285b6976dfe679ecba5c448ee81b48854de3513"
         "40c599",
         "020030675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f75865d7f4720afaf7ee19199abb1"
         "4b28",
         "2227aa90cf06044d78a6681737f0be48fac6a2e13f12086e076cb5bbbef55f20"},
};

/* Both ends after a good handshake with the keys of the vectors. */
static void handshake(uint16_t version, struct cnoise_session *client, struct cnoise_session *server,
                      uint8_t init[CNOISE_INITIATION_LEN], uint8_t resp[CNOISE_RESPONSE_LEN])
{
        struct key_private machine = counting_key(0x00);
        struct key_private eph = counting_key(0x20);
        struct key_private server_key = counting_key(0x40);
        struct key_private server_eph = counting_key(0x60);
        struct machine_public server_pub = key_machine_public(&server_key);
        struct machine_public us = key_machine_public(&machine);
        struct machine_public seen;
        struct cnoise_handshake hs;
        assert_int_equal(cnoise_initiate(&hs, version, &machine, &server_pub, &eph, init), ERR_NONE);
        assert_true(responder_answer(init, &server_key, &server_eph, resp, server, &seen));
        assert_memory_equal(seen.b, us.b, KEY_LEN);
        assert_int_equal(cnoise_finish(&hs, resp, CNOISE_RESPONSE_LEN, client), ERR_NONE);
        static const struct cnoise_handshake zero;
        assert_memory_equal(&hs, &zero, sizeof(hs));
}

static void test_known_answers(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(VECTORS) / sizeof(VECTORS[0]); i++) {
                struct cnoise_session c, s;
                uint8_t init[CNOISE_INITIATION_LEN], resp[CNOISE_RESPONSE_LEN];
                handshake(VECTORS[i].version, &c, &s, init, resp);
                assert_hex(init, VECTORS[i].initiation);
                assert_hex(resp, VECTORS[i].response);
                assert_hex(c.hash, VECTORS[i].hash);
                assert_memory_equal(c.hash, s.hash, HASH_LEN);
                assert_hex(c.send_key, "1ffa520b7b784b83355f4ca5754d333f51f53ff31d9d98f697c22e8f79b66e22");
                assert_hex(c.recv_key, "1657d025486888648386e46e37e6722a42c605d3f1b0ec24454190a645355089");
        }
}

static void test_records(void **state)
{
        (void)state;
        struct cnoise_session c, s;
        uint8_t init[CNOISE_INITIATION_LEN], resp[CNOISE_RESPONSE_LEN];
        static uint8_t zeros[2 * CNOISE_PLAIN_MAX + 5];
        struct buf wire, plain;
        handshake(113, &c, &s, init, resp);
        buf_init(&wire, 1 << 20);
        buf_init(&plain, 1 << 20);
        assert_int_equal(cnoise_seal(&c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, &wire), ERR_NONE);
        assert_int_equal(wire.len, 43);
        assert_hex(wire.data,
                   "040028e42e01d8573d1173d84370e6f20edf94d699eeecda7e16e9df232e7952f0f78675a9b5941bce62c2");

        /* An empty record, as another sender may make it, is skipped. */
        uint8_t empty[19];
        unhex("04001055cf9e7a5c64551f511231b1ac7dbdaf", empty, sizeof(empty));
        buf_add(&wire, empty, sizeof(empty));
        c.send_counter++;
        assert_int_equal(cnoise_seal(&c, zeros, CNOISE_PLAIN_MAX, &wire), ERR_NONE);
        assert_int_equal(wire.len, 43 + 19 + 4096);
        assert_hex(wire.data + wire.len - 16, "a6d61f4a6ef246ca8b3b9df3be8f1d61");
        assert_int_equal(cnoise_open(&s, &wire, &plain), ERR_NONE);
        assert_int_equal(wire.len, 0);
        assert_int_equal(plain.len, 24 + CNOISE_PLAIN_MAX);

        /* More than one record's worth is split; nothing at all sends nothing. */
        buf_clear(&plain);
        assert_int_equal(cnoise_seal(&c, zeros, sizeof(zeros), &wire), ERR_NONE);
        assert_int_equal(cnoise_seal(&c, zeros, 0, &wire), ERR_NONE);
        assert_int_equal(wire.len, sizeof(zeros) + 3 * 19);
        assert_int_equal(cnoise_open(&s, &wire, &plain), ERR_NONE);
        assert_int_equal(plain.len, sizeof(zeros));
        buf_done(&wire);
        buf_done(&plain);
}

static const char SERVER_RECORD[] = "040078970a14771ed6b75bbb3d2fac0e7cc8d329a68c95b5122cee65e7871a1726cd7d8f"
                                    "df8f85a680c7b6be16eca5710489ff0a98a8d2"
                                    "236ae3cd57f5dc5a16a559d2f13da5b6d92c943c97e3019725a768bdc088c9422dc8b786"
                                    "248bbd8df19492a0390b71303e20f94b969a1b"
                                    "febcfe4ff04e097d384db4722f";

/* Byte by byte, as a slow network brings it. */
static void test_trickle(void **state)
{
        (void)state;
        struct cnoise_session c, s;
        uint8_t init[CNOISE_INITIATION_LEN], resp[CNOISE_RESPONSE_LEN], wire[256];
        struct buf in, plain;
        handshake(113, &c, &s, init, resp);
        size_t n = unhex(SERVER_RECORD, wire, sizeof(wire));
        buf_init(&in, 4096);
        buf_init(&plain, 4096);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(plain.len, 0);
                buf_add(&in, wire + i, 1);
                assert_int_equal(cnoise_open(&c, &in, &plain), ERR_NONE);
        }
        assert_int_equal(plain.len, 9 + 95);
        assert_memory_equal(plain.data, "\xff\xff\xffTS\0\0\0\x5f{\"nodeKeyChallenge\":\"chalpub:abab", 42);
        buf_done(&in);
        buf_done(&plain);
}

static void test_damaged_record(void **state)
{
        (void)state;
        uint8_t init[CNOISE_INITIATION_LEN], resp[CNOISE_RESPONSE_LEN], wire[256];
        size_t n = unhex(SERVER_RECORD, wire, sizeof(wire));
        for (size_t i = 0; i < n; i++) {
                struct cnoise_session c, s;
                struct buf in, plain;
                handshake(113, &c, &s, init, resp);
                buf_init(&in, 70000);
                buf_init(&plain, 4096);
                wire[i] ^= 0x01;
                buf_add(&in, wire, n);
                wire[i] ^= 0x01;
                buf_add(&in, (uint8_t[300]){0}, 300); /* so that a longer length is not just a short input */
                assert_int_not_equal(cnoise_open(&c, &in, &plain), ERR_NONE);
                assert_int_equal(plain.len, 0);
                buf_done(&in);
                buf_done(&plain);
        }
}

static void test_bad_frames(void **state)
{
        (void)state;
        static const char *const BAD[] = {"040ffe", "04000f", "040000", "050010", "ffffff"};
        for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
                struct cnoise_session c, s;
                uint8_t init[CNOISE_INITIATION_LEN], resp[CNOISE_RESPONSE_LEN], head[3];
                struct buf in, plain;
                handshake(113, &c, &s, init, resp);
                buf_init(&in, 8192);
                buf_init(&plain, 8192);
                unhex(BAD[i], head, sizeof(head));
                buf_add(&in, head, 3);
                assert_int_equal(cnoise_open(&c, &in, &plain), ERR_FORMAT);
                buf_done(&in);
                buf_done(&plain);
        }
}

static void test_counter_end(void **state)
{
        (void)state;
        struct cnoise_session c, s;
        uint8_t init[CNOISE_INITIATION_LEN], resp[CNOISE_RESPONSE_LEN];
        struct buf wire, plain;
        handshake(113, &c, &s, init, resp);
        buf_init(&wire, 8192);
        buf_init(&plain, 8192);
        c.send_counter = s.recv_counter = UINT64_MAX - 1;
        assert_int_equal(cnoise_seal(&c, "x", 1, &wire), ERR_NONE);
        assert_int_equal(cnoise_seal(&c, "x", 1, &wire), ERR_STATE);
        assert_int_equal(cnoise_open(&s, &wire, &plain), ERR_NONE);
        buf_add(&wire, (uint8_t[20]){4, 0, 17}, 20);
        assert_int_equal(cnoise_open(&s, &wire, &plain), ERR_STATE);
        buf_done(&wire);
        buf_done(&plain);
}

static void test_damaged_handshake(void **state)
{
        (void)state;
        struct key_private machine = counting_key(0x00);
        struct key_private eph = counting_key(0x20);
        struct key_private server_key = counting_key(0x40);
        struct key_private server_eph = counting_key(0x60);
        struct machine_public server_pub = key_machine_public(&server_key);
        struct machine_public seen;
        uint8_t init[CNOISE_INITIATION_LEN], resp[CNOISE_RESPONSE_LEN];
        struct cnoise_session c, s;
        for (size_t i = 0; i < CNOISE_INITIATION_LEN; i++) {
                struct cnoise_handshake hs;
                assert_int_equal(cnoise_initiate(&hs, 145, &machine, &server_pub, &eph, init), ERR_NONE);
                init[i] ^= 0x01;
                assert_false(responder_answer(init, &server_key, &server_eph, resp, &s, &seen));
                cnoise_handshake_wipe(&hs);
        }
        for (size_t i = 0; i < CNOISE_RESPONSE_LEN; i++) {
                struct cnoise_handshake hs;
                assert_int_equal(cnoise_initiate(&hs, 145, &machine, &server_pub, &eph, init), ERR_NONE);
                assert_true(responder_answer(init, &server_key, &server_eph, resp, &s, &seen));
                resp[i] ^= 0x01;
                assert_int_not_equal(cnoise_finish(&hs, resp, sizeof(resp), &c), ERR_NONE);
                cnoise_handshake_wipe(&hs);
        }
        for (size_t n = 0; n < CNOISE_RESPONSE_LEN; n++) {
                struct cnoise_handshake hs;
                assert_int_equal(cnoise_initiate(&hs, 145, &machine, &server_pub, &eph, init), ERR_NONE);
                assert_true(responder_answer(init, &server_key, &server_eph, resp, &s, &seen));
                assert_int_equal(cnoise_finish(&hs, resp, n, &c), ERR_SHORT);
                cnoise_handshake_wipe(&hs);
        }
}

static void test_error_frame_and_low_order(void **state)
{
        (void)state;
        struct key_private machine = counting_key(0x00);
        struct key_private eph = counting_key(0x20);
        struct key_private server_key = counting_key(0x40);
        struct machine_public server_pub = key_machine_public(&server_key);
        struct machine_public zero = {{0}};
        struct cnoise_session c;
        struct cnoise_handshake hs;
        uint8_t init[CNOISE_INITIATION_LEN];
        assert_int_equal(cnoise_initiate(&hs, 145, &machine, &server_pub, &eph, init), ERR_NONE);
        assert_int_equal(cnoise_finish(&hs,
                                       "\x03\0\x05"
                                       "wron",
                                       7, &c),
                         ERR_SHORT);
        assert_int_equal(cnoise_finish(&hs,
                                       "\x03\0\x05"
                                       "wrong",
                                       8, &c),
                         ERR_CLOSED);
        cnoise_handshake_wipe(&hs);
        assert_int_equal(cnoise_initiate(&hs, 145, &machine, &zero, &eph, init), ERR_AUTH);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_answers),     cmocka_unit_test(test_records),
                cmocka_unit_test(test_trickle),           cmocka_unit_test(test_damaged_record),
                cmocka_unit_test(test_bad_frames),        cmocka_unit_test(test_counter_end),
                cmocka_unit_test(test_damaged_handshake), cmocka_unit_test(test_error_frame_and_low_order),
        };
        if (crypto_init() != ERR_NONE)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
