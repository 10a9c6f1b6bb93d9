/* libipsec-mb, called as base/aead.c does where it gains: against libcrypto's packets, whatever processor this is. */
#include "base/aead_mb.h"

#include <stdlib.h>
#include <string.h>

#include "base/openssl.h"
#include "base/reader.h"
#include "tests/unit/check.h"

enum { PACKET_MAX = 1500, BURST = 5 };

/* RFC 8439 2.8 without additional data, the nonce as WireGuard makes it. */
static void seal_by_libcrypto(const uint8_t key[AEAD_KEY_LEN], uint64_t counter, const uint8_t *src, size_t len, uint8_t *dst)
{
        uint8_t nonce[12] = {0};
        int n;
        store_le64(nonce + 4, counter);
        EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
        assert_non_null(c);
        assert_int_equal(EVP_EncryptInit_ex(c, EVP_chacha20_poly1305(), NULL, key, nonce), 1);
        assert_int_equal(EVP_EncryptUpdate(c, dst, &n, src, (int)len), 1);
        assert_int_equal(EVP_EncryptFinal_ex(c, dst + n, &n), 1);
        assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, dst + len), 1);
        EVP_CIPHER_CTX_free(c);
}

static void test_same_packets(void **state)
{
        (void)state;
        static uint8_t plain[BURST][PACKET_MAX], sealed[BURST][PACKET_MAX + AEAD_TAG_LEN], want[PACKET_MAX + AEAD_TAG_LEN],
                opened[BURST][PACKET_MAX];
        uint8_t key[AEAD_KEY_LEN];
        check_count_up(key, sizeof(key), 3);
        for (size_t len = 0; len + BURST <= PACKET_MAX; len += len < 300 ? 1 : 97) {
                struct aead_op ops[BURST];
                for (size_t i = 0; i < BURST; i++) {
                        check_count_up(plain[i], len + i, (uint8_t)(len + 7 * i));
                        ops[i] = (struct aead_op){.src = plain[i], .dst = sealed[i], .len = len + i, .counter = len << 33 | i};
                }
                aead_mb_seal(key, ops, BURST);
                for (size_t i = 0; i < BURST; i++) {
                        assert_true(ops[i].ok);
                        seal_by_libcrypto(key, ops[i].counter, plain[i], len + i, want);
                        assert_memory_equal(sealed[i], want, len + i + AEAD_TAG_LEN);
                        ops[i] = (struct aead_op){.src = sealed[i], .dst = opened[i], .len = len + i + AEAD_TAG_LEN,
                                .counter = ops[i].counter};
                }
                sealed[1][len / 2] ^= 1;                      /* a bit of the packet, or of the tag of an empty one */
                sealed[2][len + 2 + AEAD_TAG_LEN - 1] ^= 0x80;
                ops[3].counter++;
                ops[4].len = len % AEAD_TAG_LEN;              /* no room for a tag */
                aead_mb_open(key, ops, BURST);
                assert_true(ops[0].ok);
                assert_memory_equal(opened[0], plain[0], len);
                for (size_t i = 1; i < BURST; i++)
                        assert_false(ops[i].ok);
        }
}

int main(void)
{
        if (!aead_mb_available()) {
                fprintf(stderr, "libipsec-mb is not installed, or not built in\n");
                return 77;
        }
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_same_packets),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
