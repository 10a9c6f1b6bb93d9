#include "wg/noise.h"

#include <string.h>

#include "base/crypto.h"
#include "base/mono.h"

static const uint8_t zero_nonce[12];

/* H("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"), and H(that, "WireGuard v1 zx2c4 Jason@zx2c4.com"). */
static const uint8_t chain_start[32] = {
        0x60, 0xe2, 0x6d, 0xae, 0xf3, 0x27, 0xef, 0xc0, 0x2e, 0xc3, 0x35, 0xe2, 0xa0, 0x25, 0xd2, 0xd0,
        0x16, 0xeb, 0x42, 0x06, 0xf8, 0x72, 0x77, 0xf5, 0x2d, 0x38, 0xd1, 0x98, 0x8b, 0x78, 0xcd, 0x36,
};
static const uint8_t hash_start[32] = {
        0x22, 0x11, 0xb3, 0x61, 0x08, 0x1a, 0xc5, 0x66, 0x69, 0x12, 0x43, 0xdb, 0x45, 0x8a, 0xd5, 0x32,
        0x2d, 0x9c, 0x6c, 0x66, 0x22, 0x93, 0xe8, 0xb7, 0x0e, 0xe1, 0x9c, 0x65, 0xba, 0x07, 0x9e, 0xf3,
};

/* All scratch secrets of one function, wiped as one at its single exit. */
struct scratch {
        uint8_t hash[32];
        uint8_t chain[32];
        uint8_t key[32];
        uint8_t dh[32];
        uint8_t tau[32];
};

static void scratch_start(struct scratch *s, const struct node_public *responder)
{
        memcpy(s->chain, chain_start, sizeof(s->chain));
        blake2s(s->hash, hash_start, sizeof(hash_start), responder->b, KEY_LEN);
}

static void mix_hash(struct scratch *s, const void *data, size_t len)
{
        uint8_t old[32];
        memcpy(old, s->hash, sizeof(old));
        blake2s(s->hash, old, sizeof(old), data, len);
}

/* An ephemeral public key goes into the hash and, as IKpsk2 asks, into the chain. */
static void mix_ephemeral(struct scratch *s, const uint8_t pub[32])
{
        uint8_t old[32];
        memcpy(old, s->chain, sizeof(old));
        hkdf_blake2s(old, pub, KEY_LEN, s->chain, NULL, NULL);
        crypto_wipe(old, sizeof(old));
        mix_hash(s, pub, KEY_LEN);
}

static void mix_key(struct scratch *s, const void *input, size_t len, bool with_key)
{
        uint8_t old[32];
        memcpy(old, s->chain, sizeof(old));
        hkdf_blake2s(old, input, len, s->chain, with_key ? s->key : NULL, NULL);
        crypto_wipe(old, sizeof(old));
}

static enum err mix_dh(struct scratch *s, const struct key_private *priv, const uint8_t pub[32], bool with_key)
{
        enum err e = x25519(s->dh, priv->b, pub);
        if (e == ERR_NONE)
                mix_key(s, s->dh, sizeof(s->dh), with_key);
        return e;
}

static void mix_psk(struct scratch *s, const uint8_t psk[32])
{
        uint8_t old[32];
        memcpy(old, s->chain, sizeof(old));
        hkdf_blake2s(old, psk, 32, s->chain, s->tau, s->key);
        crypto_wipe(old, sizeof(old));
        mix_hash(s, s->tau, sizeof(s->tau));
}

static void seal_and_mix(struct scratch *s, const void *plain, size_t len, uint8_t *out)
{
        aead_seal(s->key, zero_nonce, s->hash, sizeof(s->hash), plain, len, out);
        mix_hash(s, out, len + MSG_TAG_LEN);
}

static enum err open_and_mix(struct scratch *s, const uint8_t *cipher, size_t len, uint8_t *ret_plain)
{
        enum err e = aead_open(s->key, zero_nonce, s->hash, sizeof(s->hash), cipher, len, ret_plain);
        if (e == ERR_NONE)
                mix_hash(s, cipher, len);
        return e;
}

static void mac_keys(const struct node_public *pub, uint8_t mac1_key[32], uint8_t cookie_key[32])
{
        blake2s(mac1_key, "mac1----", 8, pub->b, KEY_LEN);
        blake2s(cookie_key, "cookie--", 8, pub->b, KEY_LEN);
}

void noise_local_set(struct noise_local *us, const struct key_private *key)
{
        crypto_wipe(us, sizeof(*us));
        if (key == NULL || key_private_is_zero(key))
                return;
        us->priv = *key;
        us->pub = key_node_public(key);
        mac_keys(&us->pub, us->mac1_key, us->cookie_key);
        us->is_set = true;
}

void noise_remote_set(struct noise_remote *them, const struct node_public *pub)
{
        crypto_wipe(them, sizeof(*them));
        them->pub = *pub;
        mac_keys(pub, them->mac1_key, them->cookie_key);
}

void noise_remote_forget_ss(struct noise_remote *them)
{
        crypto_wipe(them->ss, sizeof(them->ss));
        them->ss_state = NOISE_SS_UNKNOWN;
}

enum err noise_remote_ready(struct noise_remote *them, const struct noise_local *us)
{
        if (them->ss_state == NOISE_SS_UNKNOWN)
                them->ss_state = x25519(them->ss, us->priv.b, them->pub.b) == ERR_NONE ? NOISE_SS_READY
                                                                                       : NOISE_SS_REFUSED;
        return them->ss_state == NOISE_SS_READY ? ERR_NONE : ERR_AUTH;
}

void noise_stamp(uint8_t ret[STAMP_LEN], int64_t wall_ns, const uint8_t last[STAMP_LEN])
{
        const uint32_t step = UINT32_C(1) << 24;
        int64_t wall = wall_ns > 0 ? wall_ns : 0;
        uint64_t sec = UINT64_C(0x400000000000000a) + (uint64_t)(wall / NS_PER_SEC);
        uint32_t nano = (uint32_t)(wall % NS_PER_SEC) & ~(step - 1);

        uint64_t least_sec = load_be64(last);
        uint32_t least_nano = (load_be32(last + 8) & ~(step - 1)) + step;
        if (least_nano >= NS_PER_SEC) {
                least_nano = 0;
                least_sec++;
        }
        if (sec < least_sec || (sec == least_sec && nano < least_nano)) {
                sec = least_sec;
                nano = least_nano;
        }
        store_be64(ret, sec);
        store_be32(ret + 8, nano);
}

enum err noise_initiate(struct noise_initiation *ret, const struct noise_local *us, struct noise_remote *them,
        const struct key_private *ephemeral, uint32_t index, const uint8_t stamp[STAMP_LEN],
        uint8_t ret_msg[MSG_INITIATION_LEN])
{
        struct scratch s;
        uint8_t msg[MSG_INITIATION_LEN] = {0};
        enum err e = noise_remote_ready(them, us);
        if (e != ERR_NONE)
                return e;

        struct node_public eph_pub = key_node_public(ephemeral);
        store_le32(msg, MSG_INITIATION);
        store_le32(msg + MSG_SENDER, index);
        memcpy(msg + MSG_INITIATION_EPHEMERAL, eph_pub.b, KEY_LEN);

        scratch_start(&s, &them->pub);
        mix_ephemeral(&s, eph_pub.b);                              /* e */
        e = mix_dh(&s, ephemeral, them->pub.b, true);              /* es */
        if (e != ERR_NONE)
                goto out;
        seal_and_mix(&s, us->pub.b, KEY_LEN, msg + MSG_INITIATION_STATIC);   /* s */
        mix_key(&s, them->ss, sizeof(them->ss), true);             /* ss */
        seal_and_mix(&s, stamp, STAMP_LEN, msg + MSG_INITIATION_STAMP);

        ret->ephemeral = *ephemeral;
        memcpy(ret->hash, s.hash, sizeof(ret->hash));
        memcpy(ret->chain, s.chain, sizeof(ret->chain));
        memcpy(them->stamp_sent, stamp, STAMP_LEN);
        memcpy(ret_msg, msg, sizeof(msg));
out:
        crypto_wipe(&s, sizeof(s));
        return e;
}

enum err noise_peek(struct noise_call *ret, const struct noise_local *us, const uint8_t msg[MSG_INITIATION_LEN])
{
        struct scratch s;
        struct noise_call call = {.sender_index = load_le32(msg + MSG_SENDER)};
        memcpy(call.ephemeral.b, msg + MSG_INITIATION_EPHEMERAL, KEY_LEN);

        scratch_start(&s, &us->pub);
        mix_ephemeral(&s, call.ephemeral.b);                       /* e */
        enum err e = mix_dh(&s, &us->priv, call.ephemeral.b, true);   /* es */
        if (e == ERR_NONE)
                e = open_and_mix(&s, msg + MSG_INITIATION_STATIC, KEY_LEN + MSG_TAG_LEN, call.from.b);   /* s */
        if (e != ERR_NONE)
                goto out;
        memcpy(call.hash, s.hash, sizeof(call.hash));
        memcpy(call.chain, s.chain, sizeof(call.chain));
        *ret = call;
out:
        noise_call_wipe(&call);
        crypto_wipe(&s, sizeof(s));
        return e;
}

enum err noise_accept(struct noise_call *call, const struct noise_local *us, struct noise_remote *them,
        const uint8_t msg[MSG_INITIATION_LEN])
{
        struct scratch s;
        uint8_t stamp[STAMP_LEN];
        if (!node_public_eq(&call->from, &them->pub))
                return ERR_AUTH;
        enum err e = noise_remote_ready(them, us);
        if (e != ERR_NONE)
                return e;
        memcpy(s.hash, call->hash, sizeof(s.hash));
        memcpy(s.chain, call->chain, sizeof(s.chain));

        mix_key(&s, them->ss, sizeof(them->ss), true);             /* ss */
        e = open_and_mix(&s, msg + MSG_INITIATION_STAMP, STAMP_LEN + MSG_TAG_LEN, stamp);
        if (e == ERR_NONE && memcmp(stamp, them->stamp_seen, STAMP_LEN) <= 0)
                e = ERR_REPLAY;
        if (e != ERR_NONE)
                goto out;
        memcpy(call->hash, s.hash, sizeof(call->hash));
        memcpy(call->chain, s.chain, sizeof(call->chain));
        memcpy(call->stamp, stamp, STAMP_LEN);
        call->accepted = true;
out:
        crypto_wipe(&s, sizeof(s));
        return e;
}

/* Split: the initiator sends with the first key. */
static void split(struct scratch *s, uint8_t first[32], uint8_t second[32])
{
        uint8_t none = 0;
        hkdf_blake2s(s->chain, &none, 0, first, second, NULL);
}

enum err noise_respond(struct noise_call *call, struct noise_remote *them, const struct key_private *ephemeral,
        uint32_t index, uint8_t ret_msg[MSG_RESPONSE_LEN], struct noise_keys *ret_keys)
{
        struct scratch s;
        uint8_t msg[MSG_RESPONSE_LEN] = {0};
        if (!call->accepted || memcmp(call->stamp, them->stamp_seen, STAMP_LEN) <= 0)
                return ERR_STATE;

        struct node_public eph_pub = key_node_public(ephemeral);
        store_le32(msg, MSG_RESPONSE);
        store_le32(msg + MSG_SENDER, index);
        store_le32(msg + MSG_RESPONSE_RECEIVER, call->sender_index);
        memcpy(msg + MSG_RESPONSE_EPHEMERAL, eph_pub.b, KEY_LEN);

        memcpy(s.hash, call->hash, sizeof(s.hash));
        memcpy(s.chain, call->chain, sizeof(s.chain));
        mix_ephemeral(&s, eph_pub.b);                              /* e */
        enum err e = mix_dh(&s, ephemeral, call->ephemeral.b, false);   /* ee */
        if (e == ERR_NONE)
                e = mix_dh(&s, ephemeral, them->pub.b, false);     /* se */
        if (e != ERR_NONE)
                goto out;
        mix_psk(&s, them->psk);                                    /* psk */
        seal_and_mix(&s, msg, 0, msg + MSG_RESPONSE_EMPTY);

        split(&s, ret_keys->recv, ret_keys->send);
        memcpy(them->stamp_seen, call->stamp, STAMP_LEN);
        memcpy(ret_msg, msg, sizeof(msg));
        noise_call_wipe(call);
out:
        crypto_wipe(&s, sizeof(s));
        return e;
}

enum err noise_finish(const struct noise_initiation *init, const struct noise_local *us,
        const struct noise_remote *them, const uint8_t msg[MSG_RESPONSE_LEN], struct noise_keys *ret_keys)
{
        struct scratch s;
        uint8_t nothing[1];
        const uint8_t *eph = msg + MSG_RESPONSE_EPHEMERAL;
        memcpy(s.hash, init->hash, sizeof(s.hash));
        memcpy(s.chain, init->chain, sizeof(s.chain));

        mix_ephemeral(&s, eph);                                    /* e */
        enum err e = mix_dh(&s, &init->ephemeral, eph, false);     /* ee */
        if (e == ERR_NONE)
                e = mix_dh(&s, &us->priv, eph, false);             /* se */
        if (e != ERR_NONE)
                goto out;
        mix_psk(&s, them->psk);                                    /* psk */
        e = open_and_mix(&s, msg + MSG_RESPONSE_EMPTY, MSG_TAG_LEN, nothing);
        if (e == ERR_NONE)
                split(&s, ret_keys->send, ret_keys->recv);
out:
        crypto_wipe(&s, sizeof(s));
        return e;
}

void noise_call_wipe(struct noise_call *call)
{
        crypto_wipe(call, sizeof(*call));
}
