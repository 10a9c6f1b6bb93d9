#include "base/crypto.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/aead.h"
#include "base/log.h"
#include "base/openssl.h"
#include "base/reader.h"

enum { HASH_BLOCK = 64 };

/* Fetched once: naming an algorithm at each use costs more than sealing a small packet. */
static EVP_MD *blake2s_md;
static EVP_MAC *blake2s_keyed;

/* For what can only fail when memory is out or crypto_init() was forgotten. */
static void must(bool worked, const char *what)
{
        if (worked)
                return;
        log_err("crypto: %s failed", what);
        abort();
}

enum err crypto_init(void)
{
        if (blake2s_keyed != NULL)
                return ERR_NONE;
        if (sodium_init() < 0)
                return ERR_IO;
        /* Nobody reads its words: what TLS has to say are those of libssl.  Nor does anybody ask for a cipher by its name,
         * as who reads encrypted key files would. */
        (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_NO_ADD_ALL_CIPHERS, NULL);
        blake2s_md = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
        blake2s_keyed = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
        if (blake2s_md == NULL || blake2s_keyed == NULL)
                return ERR_UNSUPPORTED;
        return aead_init();
}

void crypto_random(void *out, size_t n)
{
        randombytes_buf(out, n);
}

uint32_t crypto_random_u32(void)
{
        return randombytes_random();
}

uint64_t crypto_random_below(uint64_t bound)
{
        /* Values under 2^64 mod bound would favour the low results: draw again. */
        uint64_t skip = -bound % bound, v;
        do
                randombytes_buf(&v, sizeof(v));
        while (v < skip);
        return v % bound;
}

void crypto_wipe(void *p, size_t n)
{
        sodium_memzero(p, n);
}

uint64_t crypto_short_hash(const uint8_t key[SHORT_HASH_KEY_LEN], const void *data, size_t n)
{
        uint8_t out[crypto_shorthash_BYTES];
        crypto_shorthash(out, data, n, key);
        return load_le64(out);
}

bool crypto_eq(const void *a, const void *b, size_t n)
{
        return sodium_memcmp(a, b, n) == 0;
}

void aead_seal(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[12], const void *ad, size_t ad_len,
        const void *plain, size_t len, uint8_t *ret_cipher)
{
        crypto_aead_chacha20poly1305_ietf_encrypt(ret_cipher, NULL, plain, len, ad, ad_len, NULL, nonce, key);
}

enum err aead_open(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[12], const void *ad, size_t ad_len,
        const void *cipher, size_t len, uint8_t *ret_plain)
{
        if (len < AEAD_TAG_LEN)
                return ERR_AUTH;
        return crypto_aead_chacha20poly1305_ietf_decrypt(ret_plain, NULL, NULL, cipher, len, ad, ad_len, nonce,
                       key) == 0
                       ? ERR_NONE
                       : ERR_AUTH;
}

void xaead_seal(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[24], const void *ad, size_t ad_len,
        const void *plain, size_t len, uint8_t *ret_cipher)
{
        crypto_aead_xchacha20poly1305_ietf_encrypt(ret_cipher, NULL, plain, len, ad, ad_len, NULL, nonce, key);
}

enum err xaead_open(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[24], const void *ad, size_t ad_len,
        const void *cipher, size_t len, uint8_t *ret_plain)
{
        if (len < AEAD_TAG_LEN)
                return ERR_AUTH;
        return crypto_aead_xchacha20poly1305_ietf_decrypt(ret_plain, NULL, NULL, cipher, len, ad, ad_len, nonce,
                       key) == 0
                       ? ERR_NONE
                       : ERR_AUTH;
}

static void hash3(uint8_t out[HASH_LEN], EVP_MD_CTX *ctx, const uint8_t *head, size_t head_len, const void *a,
        size_t a_len, const void *b, size_t b_len)
{
        must(EVP_DigestInit_ex2(ctx, blake2s_md, NULL) == 1 && EVP_DigestUpdate(ctx, head, head_len) == 1 &&
                     EVP_DigestUpdate(ctx, a, a_len) == 1 && EVP_DigestUpdate(ctx, b, b_len) == 1 &&
                     EVP_DigestFinal_ex(ctx, out, NULL) == 1,
                "BLAKE2s");
}

static EVP_MD_CTX *hash_ctx(void)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        must(ctx != NULL, "memory for BLAKE2s");
        return ctx;
}

void blake2s(uint8_t out[HASH_LEN], const void *a, size_t a_len, const void *b, size_t b_len)
{
        EVP_MD_CTX *ctx = hash_ctx();
        hash3(out, ctx, NULL, 0, a, a_len, b, b_len);
        EVP_MD_CTX_free(ctx);
}

void blake2s_mac16(uint8_t out[16], const void *key, size_t key_len, const void *data, size_t len)
{
        size_t size = 16, wrote = 0;
        const OSSL_PARAM params[] = {
                OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                OSSL_PARAM_construct_end(),
        };
        EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(blake2s_keyed);
        must(ctx != NULL && EVP_MAC_init(ctx, key, key_len, params) == 1 && EVP_MAC_update(ctx, data, len) == 1 &&
                     EVP_MAC_final(ctx, out, &wrote, size) == 1 && wrote == size,
                "keyed BLAKE2s");
        EVP_MAC_CTX_free(ctx);
}

/* RFC 2104 by hand: EVP's own HMAC looks the digest up by name each time. */
void hmac_blake2s(uint8_t out[HASH_LEN], const uint8_t *key, size_t key_len, const void *a, size_t a_len,
        const void *b, size_t b_len)
{
        struct {
                uint8_t key[HASH_BLOCK], pad[HASH_BLOCK], inner[HASH_LEN];
        } s = {0};
        EVP_MD_CTX *ctx = hash_ctx();
        if (key_len > HASH_BLOCK)
                hash3(s.key, ctx, NULL, 0, key, key_len, NULL, 0);
        else if (key_len > 0)
                memcpy(s.key, key, key_len);
        for (size_t i = 0; i < HASH_BLOCK; i++)
                s.pad[i] = s.key[i] ^ 0x36;
        hash3(s.inner, ctx, s.pad, HASH_BLOCK, a, a_len, b, b_len);
        for (size_t i = 0; i < HASH_BLOCK; i++)
                s.pad[i] = s.key[i] ^ 0x5c;
        hash3(out, ctx, s.pad, HASH_BLOCK, s.inner, HASH_LEN, NULL, 0);
        EVP_MD_CTX_free(ctx);
        crypto_wipe(&s, sizeof(s));
}

void hkdf_blake2s(const uint8_t ck[HASH_LEN], const void *ikm, size_t len, uint8_t out1[HASH_LEN], uint8_t *out2,
        uint8_t *out3)
{
        static const uint8_t step[3] = {1, 2, 3};
        struct {
                uint8_t root[HASH_LEN], t[HASH_LEN];
        } s;
        uint8_t *out[3] = {out1, out2, out3};
        /* ck may be out1: everything that needs it is done before the first output is written. */
        hmac_blake2s(s.root, ck, HASH_LEN, ikm, len, NULL, 0);
        for (size_t i = 0; i < 3 && out[i] != NULL; i++) {
                hmac_blake2s(s.t, s.root, HASH_LEN, s.t, i > 0 ? HASH_LEN : 0, &step[i], 1);
                memcpy(out[i], s.t, HASH_LEN);
        }
        crypto_wipe(&s, sizeof(s));
}

enum err x25519(uint8_t out[32], const uint8_t priv[32], const uint8_t pub[32])
{
        return crypto_scalarmult_curve25519(out, priv, pub) == 0 ? ERR_NONE : ERR_AUTH;
}

void x25519_base(uint8_t out[32], const uint8_t priv[32])
{
        must(crypto_scalarmult_curve25519_base(out, priv) == 0, "X25519");
}

enum err box_precompute(struct box_key *ret, const uint8_t pub[32], const uint8_t priv[32])
{
        return crypto_box_beforenm(ret->b, pub, priv) == 0 ? ERR_NONE : ERR_AUTH;
}

void box_seal(const struct box_key *k, const uint8_t nonce[BOX_NONCE_LEN], const void *plain, size_t len,
        uint8_t *ret_cipher)
{
        must(crypto_box_easy_afternm(ret_cipher, plain, len, nonce, k->b) == 0, "box");
}

enum err box_open(const struct box_key *k, const uint8_t nonce[BOX_NONCE_LEN], const void *cipher, size_t len,
        uint8_t *ret_plain)
{
        if (len < BOX_TAG_LEN)
                return ERR_AUTH;
        return crypto_box_open_easy_afternm(ret_plain, cipher, len, nonce, k->b) == 0 ? ERR_NONE : ERR_AUTH;
}
