/* base/crypto.h - the primitives everything else is built from, behind one door.
 *
 * ChaCha20-Poly1305 (RFC 8439), BLAKE2s (RFC 7693), X25519 (RFC 7748), HMAC and HKDF over BLAKE2s as in
 * Noise and WireGuard, NaCl box.  Packets (struct aead) are done by one of the backends in base/aead.h, BLAKE2s by
 * libcrypto, the rest by libsodium.
 * Call crypto_init() once before anything else.  Thread-safe but for struct aead, which one thread owns.
 * Out of memory in a function that cannot say so ends the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
        AEAD_KEY_LEN = 32,
        AEAD_TAG_LEN = 16,
        HASH_LEN = 32,
        BOX_NONCE_LEN = 24,
        BOX_TAG_LEN = 16,
        SHORT_HASH_KEY_LEN = 16,
        AEAD_CREW_MAX = 63,
};

ERR_CHECK enum err crypto_init(void);   /* ERR_UNSUPPORTED: libcrypto lacks one; again is harmless */
void crypto_random(void *out, size_t n);
uint32_t crypto_random_u32(void);
uint64_t crypto_random_below(uint64_t bound);   /* uniform in [0, bound); bound > 0 */
void crypto_wipe(void *p, size_t n);
bool crypto_eq(const void *a, const void *b, size_t n);   /* constant time */
/* SipHash-2-4, for tables whose keys strangers choose: without the key no two are known to meet. */
uint64_t crypto_short_hash(const uint8_t key[SHORT_HASH_KEY_LEN], const void *data, size_t n);

/* A key schedule that lives as long as its session: no fetch, no allocation a packet. */
struct aead;
struct aead *aead_new(const uint8_t key[AEAD_KEY_LEN]);   /* NULL: out of memory */
void aead_free(struct aead *a);                            /* wipes; NULL is fine */

/* One packet of a burst.  The nonce is 4 zero bytes and the counter, little-endian (WireGuard 5.4.6). */
struct aead_op {
        uint64_t counter;
        const uint8_t *src;
        uint8_t *dst;     /* may equal src */
        size_t len;       /* plain text length for seal, cipher text with tag for open */
        bool ok;          /* open: the tag verified, dst is garbage otherwise.  seal: do not send if not ok */
};
/* Seal writes len + 16 bytes to dst.  No associated data.  A struct aead is meant for one direction. */
void aead_seal_burst(struct aead *a, struct aead_op *ops, size_t n);
void aead_open_burst(struct aead *a, struct aead_op *ops, size_t n);

/* Threads that do large bursts together with the one that owns the keys; all keys that share a crew belong to one thread.
 * Results are as without.  What a helper did with a key it has forgotten when the call returns.  NULL: errno says why. */
struct aead_crew;
struct aead_crew *aead_crew_new(unsigned helpers /* up to AEAD_CREW_MAX */);
void aead_crew_free(struct aead_crew *c);   /* after the keys, or when they are no longer used; NULL is fine */
void aead_share(struct aead *a, struct aead_crew *c);   /* NULL: with nobody, as at first */

/* One-shot with explicit nonce and associated data, for handshakes and control records. */
void aead_seal(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[12], const void *ad, size_t ad_len,
        const void *plain, size_t len, uint8_t *ret_cipher /* len + 16 */);
ERR_CHECK enum err aead_open(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[12], const void *ad,
        size_t ad_len, const void *cipher, size_t len /* with tag */, uint8_t *ret_plain);
/* XChaCha20-Poly1305 with a 24-byte nonce (WireGuard cookies). */
void xaead_seal(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[24], const void *ad, size_t ad_len,
        const void *plain, size_t len, uint8_t *ret_cipher);
ERR_CHECK enum err xaead_open(const uint8_t key[AEAD_KEY_LEN], const uint8_t nonce[24], const void *ad,
        size_t ad_len, const void *cipher, size_t len, uint8_t *ret_plain);

/* BLAKE2s-256 of up to two parts; keyed BLAKE2s with a 16-byte output for WireGuard MACs. */
void blake2s(uint8_t out[HASH_LEN], const void *a, size_t a_len, const void *b, size_t b_len);
void blake2s_mac16(uint8_t out[16], const void *key, size_t key_len, const void *data, size_t len);
void hmac_blake2s(uint8_t out[HASH_LEN], const uint8_t *key, size_t key_len, const void *a, size_t a_len,
        const void *b, size_t b_len);
/* HKDF with salt ck and input ikm, no info: one to three outputs of 32 bytes; later ones may be NULL. */
void hkdf_blake2s(const uint8_t ck[HASH_LEN], const void *ikm, size_t len, uint8_t out1[HASH_LEN],
        uint8_t *out2, uint8_t *out3);

/* ERR_AUTH: the result is all zero (a low-order point). */
ERR_CHECK enum err x25519(uint8_t out[32], const uint8_t priv[32], const uint8_t pub[32]);
void x25519_base(uint8_t out[32], const uint8_t priv[32]);

/* NaCl box with a precomputed shared key. */
struct box_key {
        uint8_t b[32];
};
ERR_CHECK enum err box_precompute(struct box_key *ret, const uint8_t pub[32], const uint8_t priv[32]);
void box_seal(const struct box_key *k, const uint8_t nonce[BOX_NONCE_LEN], const void *plain, size_t len,
        uint8_t *ret_cipher /* tag first: len + 16 */);
ERR_CHECK enum err box_open(const struct box_key *k, const uint8_t nonce[BOX_NONCE_LEN], const void *cipher,
        size_t len /* with tag */, uint8_t *ret_plain);
