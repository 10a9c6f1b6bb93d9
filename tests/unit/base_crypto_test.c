/* Known answers: RFC 7693 (BLAKE2s), RFC 7748 (X25519), RFC 8439 (ChaCha20-Poly1305), the XChaCha draft's
 * appendix, the key-derivation table of wireguard-go.  The box and HMAC rows were computed with
 * independent implementations. */
#include "base/crypto.h"

#include "base/reader.h"
#include "tests/unit/check.h"

static const char sunscreen[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
                                "the future, sunscreen would be it.";
enum { TEXT_LEN = sizeof(sunscreen) - 1 };

static const uint8_t *unhex32(const char *hex)
{
        static uint8_t b[4][32];
        static unsigned next;
        uint8_t *out = b[next++ % 4];
        assert_int_equal(check_unhex(hex, out, 32), 32);
        return out;
}

static void test_blake2s(void **state)
{
        (void)state;
        uint8_t out[HASH_LEN], split[HASH_LEN];
        blake2s(out, NULL, 0, NULL, 0);
        check_hex(out, HASH_LEN, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9");
        blake2s(out, "abc", 3, NULL, 0);
        check_hex(out, HASH_LEN, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
        for (size_t cut = 0; cut <= TEXT_LEN; cut++) {
                blake2s(out, sunscreen, TEXT_LEN, NULL, 0);
                blake2s(split, sunscreen, cut, sunscreen + cut, TEXT_LEN - cut);
                assert_memory_equal(out, split, HASH_LEN);
        }
        blake2s(out, "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s", 37, NULL, 0);
        check_hex(out, HASH_LEN, "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36");
        blake2s(out, out, HASH_LEN, "WireGuard v1 zx2c4 Jason@zx2c4.com", 34);   /* in place */
        check_hex(out, HASH_LEN, "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3");
}

static void test_mac_and_hmac(void **state)
{
        (void)state;
        uint8_t key[100], data[100], out[HASH_LEN];
        check_count_up(key, 32, 0);
        check_count_up(data, 32, 0);
        blake2s_mac16(out, key, 32, data, 16);
        check_hex(out, 16, "246519722001f6e8e97a2183f5985e53");
        memset(key, 'k', sizeof(key));
        memset(data, 'x', sizeof(data));
        blake2s_mac16(out, key, 16, data, 100);
        check_hex(out, 16, "9bac7e192e8b5fa1a5684b5e73f68840");
        check_count_up(data, 32, 0);
        check_count_up(key, 32, 0);
        hmac_blake2s(out, key, 32, data, 32, NULL, 0);
        check_hex(out, HASH_LEN, "8d2cc42fc1055ea43277dfd5d35d3863b228f9cc0c02007dc2afb20907bd7312");
        hmac_blake2s(out, key, 32, data, 10, data + 10, 22);
        check_hex(out, HASH_LEN, "8d2cc42fc1055ea43277dfd5d35d3863b228f9cc0c02007dc2afb20907bd7312");
        memset(key, 'k', sizeof(key));
        hmac_blake2s(out, key, 100, "part one, ", 10, "part two", 8);   /* key longer than a block */
        check_hex(out, HASH_LEN, "54ea13284967faac4529a4273d124a0be7f5de815595e34e92de6e4d9ba3248d");
}

/* The table's keys are shorter than ours; HMAC pads with zeros, so a zero-padded key is the same key. */
static void test_hkdf(void **state)
{
        (void)state;
        static const struct {
                const char *key, *input, *t[3];
        } rows[] = {
                {"test-key", "test-input",
                        {"6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
                                "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
                                "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24"}},
                {"wireguard", "wireguard",
                        {"491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
                                "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
                                "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160"}},
                {"", "",
                        {"8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
                                "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
                                "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e"}},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint8_t ck[HASH_LEN] = {0}, t1[HASH_LEN], t2[HASH_LEN], t3[HASH_LEN];
                memcpy(ck, rows[i].key, strlen(rows[i].key));
                hkdf_blake2s(ck, rows[i].input, strlen(rows[i].input), t1, t2, t3);
                check_hex(t1, HASH_LEN, rows[i].t[0]);
                check_hex(t2, HASH_LEN, rows[i].t[1]);
                check_hex(t3, HASH_LEN, rows[i].t[2]);
                memset(t2, 0xee, sizeof(t2));
                hkdf_blake2s(ck, rows[i].input, strlen(rows[i].input), ck, t2, NULL);   /* ck in place */
                check_hex(ck, HASH_LEN, rows[i].t[0]);
                check_hex(t2, HASH_LEN, rows[i].t[1]);
        }
}

static void test_x25519(void **state)
{
        (void)state;
        uint8_t out[32];
        assert_int_equal(x25519(out, unhex32("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                                 unhex32("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")),
                ERR_NONE);
        check_hex(out, 32, "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        /* RFC 7748 5.2: a thousand rounds, each result the next scalar, each scalar the next point. */
        uint8_t k[32] = {9}, u[32] = {9};
        for (int i = 0; i < 1000; i++) {
                assert_int_equal(x25519(out, k, u), ERR_NONE);
                memcpy(u, k, 32);
                memcpy(k, out, 32);
                if (i == 0)
                        check_hex(k, 32, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
        }
        check_hex(k, 32, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
        uint8_t priv[32];
        check_count_up(priv, 32, 0);
        x25519_base(out, priv);
        check_hex(out, 32, "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
        check_count_up(priv, 32, 0x20);
        x25519_base(out, priv);
        check_hex(out, 32, "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254");
}

static void test_low_order_points(void **state)
{
        (void)state;
        static const char *const points[] = {
                "0000000000000000000000000000000000000000000000000000000000000000",
                "0100000000000000000000000000000000000000000000000000000000000000",
                "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        };
        uint8_t priv[32], out[32];
        struct box_key k;
        check_count_up(priv, 32, 1);
        for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
                assert_int_equal(x25519(out, priv, unhex32(points[i])), ERR_AUTH);
                assert_int_equal(box_precompute(&k, unhex32(points[i]), priv), ERR_AUTH);
        }
}

static void test_aead_known_answer(void **state)
{
        (void)state;
        uint8_t key[32], ad[12], nonce[12], out[TEXT_LEN + 16], back[TEXT_LEN];
        check_count_up(key, 32, 0x80);
        (void)check_unhex("50515253c0c1c2c3c4c5c6c7", ad, sizeof(ad));
        (void)check_unhex("070000004041424344454647", nonce, sizeof(nonce));
        aead_seal(key, nonce, ad, 12, sunscreen, TEXT_LEN, out);
        check_hex(out, 16, "d31a8d34648e60db7b86afbc53ef7ec2");
        check_hex(out + TEXT_LEN, 16, "1ae10b594f09e26a7e902ecbd0600691");
        assert_int_equal(aead_open(key, nonce, ad, 12, out, sizeof(out), back), ERR_NONE);
        assert_memory_equal(back, sunscreen, TEXT_LEN);
        for (size_t i = 0; i < sizeof(out); i++) {
                out[i] ^= 1;
                assert_int_equal(aead_open(key, nonce, ad, 12, out, sizeof(out), back), ERR_AUTH);
                out[i] ^= 1;
        }
        for (size_t n = 0; n < sizeof(out); n++)
                assert_int_equal(aead_open(key, nonce, ad, 12, out, n, back), ERR_AUTH);
        assert_int_equal(aead_open(key, nonce, ad, 11, out, sizeof(out), back), ERR_AUTH);
}

static void test_xaead_known_answer(void **state)
{
        (void)state;
        uint8_t key[32], ad[12], nonce[24], out[TEXT_LEN + 16], back[TEXT_LEN];
        check_count_up(key, 32, 0x80);
        check_count_up(nonce, 24, 0x40);
        (void)check_unhex("50515253c0c1c2c3c4c5c6c7", ad, sizeof(ad));
        xaead_seal(key, nonce, ad, 12, sunscreen, TEXT_LEN, out);
        check_hex(out, 16, "bd6d179d3e83d43b9576579493c0e939");
        check_hex(out + TEXT_LEN, 16, "c0875924c1c7987947deafd8780acf49");
        assert_int_equal(xaead_open(key, nonce, ad, 12, out, sizeof(out), back), ERR_NONE);
        assert_memory_equal(back, sunscreen, TEXT_LEN);
        for (size_t n = 0; n < sizeof(out); n++)
                assert_int_equal(xaead_open(key, nonce, ad, 12, out, n, back), ERR_AUTH);
        out[3] ^= 0x10;
        assert_int_equal(xaead_open(key, nonce, ad, 12, out, sizeof(out), back), ERR_AUTH);
}

enum { BURST = 8, ROOM = 1500 };

/* Packets by one library must be what the other makes of the same key and nonce, at every odd length. */
static void test_bursts_agree_with_one_shot(void **state)
{
        (void)state;
        static const size_t lens[BURST] = {0, 1, 15, 16, 63, 64, 65, 1420};
        static uint8_t plain[ROOM], sealed[BURST][ROOM], opened[BURST][ROOM], want[ROOM];
        uint8_t key[32];
        check_count_up(key, 32, 3);
        check_count_up(plain, sizeof(plain), 0);
        struct aead *tx = aead_new(key), *rx = aead_new(key);
        assert_non_null(tx);
        assert_non_null(rx);
        for (uint64_t base = 0; base < 3; base++) {   /* again: nothing of a packet stays in the context */
                struct aead_op ops[BURST];
                for (size_t i = 0; i < BURST; i++)
                        ops[i] = (struct aead_op){.counter = (base << 61) + i, .src = plain, .dst = sealed[i],
                                .len = lens[i]};
                aead_seal_burst(tx, ops, BURST);
                for (size_t i = 0; i < BURST; i++) {
                        uint8_t nonce[12] = {0};
                        store_le64(nonce + 4, ops[i].counter);
                        aead_seal(key, nonce, NULL, 0, plain, lens[i], want);
                        assert_true(ops[i].ok);
                        assert_memory_equal(sealed[i], want, lens[i] + AEAD_TAG_LEN);
                        ops[i].src = sealed[i];
                        ops[i].dst = opened[i];
                        ops[i].len = lens[i] + AEAD_TAG_LEN;
                }
                sealed[3][2] ^= 1;
                ops[5].counter ^= 1;
                ops[6].len = AEAD_TAG_LEN - 1;
                aead_open_burst(rx, ops, BURST);
                for (size_t i = 0; i < BURST; i++) {
                        assert_int_equal(ops[i].ok, i != 3 && i != 5 && i != 6);
                        if (ops[i].ok)
                                assert_memory_equal(opened[i], plain, lens[i]);
                }
        }
        aead_free(tx);
        aead_free(rx);
        aead_free(NULL);
}

/* WireGuard's keepalive and first data packet of the published handshake. */
static void test_wireguard_packets(void **state)
{
        (void)state;
        uint8_t b[64] = {0};
        struct aead *a = aead_new(unhex32("fabf2974d2119dba6cf6c427de7e432fbece8bd9c7b5c548e0a19d24b4242e3e"));
        struct aead_op op = {.counter = 0, .src = b, .dst = b, .len = 0};
        aead_seal_burst(a, &op, 1);
        check_hex(b, 16, "7b028569a749b05e7f31322f80eca52a");
        size_t n = check_unhex("4500001500000000401100000a0000010a000002780000000000000000000000", b, sizeof(b));
        op = (struct aead_op){.counter = 1, .src = b, .dst = b, .len = n};   /* in place */
        aead_seal_burst(a, &op, 1);
        check_hex(b, 48,
                "c3096544d4d9f27fabf52cb92936a137e4a7f0ffce81193044b39155d6213f172b1690c484fc5d7e840447c130688dfc");
        op.len = n + AEAD_TAG_LEN;
        aead_open_burst(a, &op, 1);   /* one context can turn round */
        assert_true(op.ok);
        check_hex(b, n, "4500001500000000401100000a0000010a000002780000000000000000000000");
        op = (struct aead_op){.counter = 0, .src = b, .dst = b, .len = 0};
        aead_seal_burst(a, &op, 1);
        check_hex(b, 16, "7b028569a749b05e7f31322f80eca52a");
        aead_free(a);
}

static void test_box(void **state)
{
        (void)state;
        uint8_t ours[32], theirs[32], our_public[32], their_public[32], nonce[BOX_NONCE_LEN];
        uint8_t sealed[46 + BOX_TAG_LEN], plain[46], back[46];
        struct box_key k, k2;
        check_count_up(ours, 32, 1);
        check_count_up(theirs, 32, 0x21);
        check_count_up(nonce, sizeof(nonce), 0x80);
        x25519_base(our_public, ours);
        x25519_base(their_public, theirs);
        check_hex(our_public, 32, "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c");
        check_hex(their_public, 32, "5869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b");
        assert_int_equal(box_precompute(&k, their_public, ours), ERR_NONE);
        assert_int_equal(box_precompute(&k2, our_public, theirs), ERR_NONE);
        check_hex(k.b, 32, "ec88f6e13b22bf9f04d480e0d8525c08ac7e2f48e212742bcbcafa104a74b08d");
        assert_memory_equal(k.b, k2.b, 32);
        /* A sealed disco ping whose plain text starts with type 1, version 0. */
        assert_int_equal(check_unhex("11c4498d8a0a6c8c2fba236d9b00a335e9788ec79c5e2f7bb02baf9376411988d77015895a52"
                                     "8f294dbe117710a98a76ebbcea5e0d9746139f3d38075285",
                                 sealed, sizeof(sealed)),
                sizeof(sealed));
        assert_int_equal(box_open(&k2, nonce, sealed, sizeof(sealed), plain), ERR_NONE);
        check_hex(plain, 2, "0100");
        uint8_t again[sizeof(sealed)];
        box_seal(&k, nonce, plain, sizeof(plain), again);
        assert_memory_equal(again, sealed, sizeof(sealed));
        for (size_t i = 0; i < sizeof(sealed); i++) {
                sealed[i] ^= 0x80;
                assert_int_equal(box_open(&k2, nonce, sealed, sizeof(sealed), back), ERR_AUTH);
                sealed[i] ^= 0x80;
        }
        for (size_t n = 0; n < sizeof(sealed); n++)
                assert_int_equal(box_open(&k2, nonce, sealed, n, back), ERR_AUTH);
}

static void test_random(void **state)
{
        (void)state;
        uint8_t a[32] = {0}, b[32] = {0};
        crypto_random(a, sizeof(a));
        crypto_random(b, sizeof(b));
        assert_false(crypto_eq(a, b, sizeof(a)));
        bool seen[3] = {false};
        for (int i = 0; i < 300; i++) {
                uint64_t v = crypto_random_below(3);
                assert_true(v < 3);
                seen[v] = true;
        }
        assert_true(seen[0] && seen[1] && seen[2]);
        assert_int_equal(crypto_random_below(1), 0);
        for (int i = 0; i < 100; i++)
                assert_true(crypto_random_below((UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
        uint32_t any = 0;
        for (int i = 0; i < 8; i++)
                any |= crypto_random_u32();
        assert_int_not_equal(any, 0);
}

static void test_wipe_and_compare(void **state)
{
        (void)state;
        uint8_t a[4] = {1, 2, 3, 4}, b[4] = {1, 2, 3, 5};
        assert_true(crypto_eq(a, b, 3));
        assert_false(crypto_eq(a, b, 4));
        crypto_wipe(a, 3);
        check_hex(a, 4, "00000004");
        assert_int_equal(crypto_init(), ERR_NONE);   /* again */
}

static int set_up(void **state)
{
        (void)state;
        return crypto_init() == ERR_NONE ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_blake2s),
                cmocka_unit_test(test_mac_and_hmac),
                cmocka_unit_test(test_hkdf),
                cmocka_unit_test(test_x25519),
                cmocka_unit_test(test_low_order_points),
                cmocka_unit_test(test_aead_known_answer),
                cmocka_unit_test(test_xaead_known_answer),
                cmocka_unit_test(test_bursts_agree_with_one_shot),
                cmocka_unit_test(test_wireguard_packets),
                cmocka_unit_test(test_box),
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_wipe_and_compare),
        };
        return cmocka_run_group_tests(tests, set_up, NULL);
}
