#include "daemon/control/noise.h"

#include <stdio.h>
#include <string.h>

#include "base/reader.h"
#include "base/writer.h"

static const char PROTOCOL_NAME[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
static const uint8_t ZERO_NONCE[12];

enum { TYPE_INITIATION = 1, TYPE_RESPONSE = 2, TYPE_ERROR = 3, TYPE_RECORD = 4 };

static void mix_hash(uint8_t h[HASH_LEN], const void *data, size_t len)
{
        blake2s(h, h, HASH_LEN, data, len);
}

/* X25519, then the result into the chaining key; the key it yields may be unwanted (NULL). */
static enum err mix_dh(uint8_t ck[HASH_LEN], const struct key_private *priv, const uint8_t pub[KEY_LEN],
                       uint8_t ret_key[AEAD_KEY_LEN])
{
        uint8_t shared[KEY_LEN];
        uint8_t next[HASH_LEN];
        enum err e = x25519(shared, priv->b, pub);
        if (e == ERR_NONE) {
                hkdf_blake2s(ck, shared, sizeof(shared), next, ret_key, NULL);
                memcpy(ck, next, HASH_LEN);
        }
        crypto_wipe(shared, sizeof(shared));
        crypto_wipe(next, sizeof(next));
        return e;
}

static void handshake_start(struct cnoise_handshake *hs, uint16_t version,
                            const struct machine_public *server)
{
        char prologue[48];
        int n = snprintf(prologue, sizeof(prologue), "Tailscale Control Protocol v%u", (unsigned)version);
        blake2s(hs->h, PROTOCOL_NAME, sizeof(PROTOCOL_NAME) - 1, NULL, 0);
        memcpy(hs->ck, hs->h, HASH_LEN);
        mix_hash(hs->h, prologue, (size_t)n);
        mix_hash(hs->h, server->b, KEY_LEN);
}

enum err cnoise_initiate(struct cnoise_handshake *hs, uint16_t version, const struct key_private *machine,
                         const struct machine_public *server, const struct key_private *ephemeral,
                         uint8_t ret_msg[CNOISE_INITIATION_LEN])
{
        uint8_t key[AEAD_KEY_LEN] = {0};
        uint8_t msg[CNOISE_INITIATION_LEN];
        uint8_t e_pub[KEY_LEN];
        struct machine_public us = key_machine_public(machine);

        handshake_start(hs, version, server);
        hs->machine = *machine;
        hs->ephemeral = *ephemeral;
        x25519_base(e_pub, ephemeral->b);

        struct wr w = wr_init(msg, sizeof(msg));
        wr_be16(&w, version);
        wr_u8(&w, TYPE_INITIATION);
        wr_be16(&w, CNOISE_INITIATION_LEN - 5);
        wr_copy(&w, e_pub, KEY_LEN); /* e */
        mix_hash(hs->h, e_pub, KEY_LEN);

        enum err e = mix_dh(hs->ck, ephemeral, server->b, key); /* es */
        if (e != ERR_NONE)
                goto out;
        uint8_t *sealed = wr_take(&w, KEY_LEN + AEAD_TAG_LEN); /* s */
        aead_seal(key, ZERO_NONCE, hs->h, HASH_LEN, us.b, KEY_LEN, sealed);
        mix_hash(hs->h, sealed, KEY_LEN + AEAD_TAG_LEN);

        e = mix_dh(hs->ck, machine, server->b, key); /* ss */
        if (e != ERR_NONE)
                goto out;
        sealed = wr_take(&w, AEAD_TAG_LEN); /* the empty payload */
        aead_seal(key, ZERO_NONCE, hs->h, HASH_LEN, NULL, 0, sealed);
        mix_hash(hs->h, sealed, AEAD_TAG_LEN);
        memcpy(ret_msg, msg, sizeof(msg));
out:
        crypto_wipe(key, sizeof(key));
        if (e != ERR_NONE)
                cnoise_handshake_wipe(hs);
        return e;
}

/* The response's header.  Leaves the reader behind it. */
static enum err response_header(struct rd *r)
{
        uint8_t type = rd_u8(r);
        uint16_t len = rd_be16(r);
        if (!rd_ok(r))
                return ERR_SHORT;
        if (type == TYPE_ERROR)
                return r->left < len ? ERR_SHORT : ERR_CLOSED;
        if (type != TYPE_RESPONSE || len != CNOISE_RESPONSE_LEN - CNOISE_HEADER_LEN)
                return ERR_FORMAT;
        return r->left < len ? ERR_SHORT : ERR_NONE;
}

enum err cnoise_finish(struct cnoise_handshake *hs, const void *msg, size_t len, struct cnoise_session *ret)
{
        uint8_t key[AEAD_KEY_LEN] = {0};
        uint8_t e_pub[KEY_LEN];
        uint8_t none[1];
        struct rd r = rd_init(msg, len);
        enum err e = response_header(&r);
        if (e != ERR_NONE)
                return e;

        rd_copy(&r, e_pub, KEY_LEN); /* e */
        mix_hash(hs->h, e_pub, KEY_LEN);
        e = mix_dh(hs->ck, &hs->ephemeral, e_pub, key); /* ee: nothing is sealed under its key */
        if (e != ERR_NONE)
                goto out;
        e = mix_dh(hs->ck, &hs->machine, e_pub, key); /* se */
        if (e != ERR_NONE)
                goto out;
        const uint8_t *tag = rd_take(&r, AEAD_TAG_LEN);
        e = aead_open(key, ZERO_NONCE, hs->h, HASH_LEN, tag, AEAD_TAG_LEN, none);
        if (e != ERR_NONE)
                goto out;
        mix_hash(hs->h, tag, AEAD_TAG_LEN);

        memset(ret, 0, sizeof(*ret));
        hkdf_blake2s(hs->ck, NULL, 0, ret->send_key, ret->recv_key, NULL);
        memcpy(ret->hash, hs->h, HASH_LEN);
out:
        crypto_wipe(key, sizeof(key));
        cnoise_handshake_wipe(hs);
        return e;
}

void cnoise_handshake_wipe(struct cnoise_handshake *hs)
{
        crypto_wipe(hs, sizeof(*hs));
}

void cnoise_session_wipe(struct cnoise_session *s)
{
        crypto_wipe(s, sizeof(*s));
}

static void record_nonce(uint8_t nonce[12], uint64_t counter)
{
        memset(nonce, 0, 4);
        store_be64(nonce + 4, counter);
}

enum err cnoise_seal(struct cnoise_session *s, const void *plain, size_t len, struct buf *out)
{
        const uint8_t *at = plain;
        while (len > 0) {
                uint8_t frame[CNOISE_FRAME_MAX];
                uint8_t nonce[12];
                size_t n = len < CNOISE_PLAIN_MAX ? len : CNOISE_PLAIN_MAX;
                if (s->send_counter == UINT64_MAX)
                        return ERR_STATE;
                record_nonce(nonce, s->send_counter++);
                frame[0] = TYPE_RECORD;
                store_be16(frame + 1, (uint16_t)(n + AEAD_TAG_LEN));
                aead_seal(s->send_key, nonce, NULL, 0, at, n, frame + CNOISE_HEADER_LEN);
                buf_add(out, frame, CNOISE_HEADER_LEN + n + AEAD_TAG_LEN);
                at += n;
                len -= n;
        }
        return buf_ok(out) ? ERR_NONE : ERR_FULL;
}

enum err cnoise_open(struct cnoise_session *s, struct buf *in, struct buf *out)
{
        struct rd r = rd_init(in->data, in->len);
        enum err e = ERR_NONE;
        for (;;) {
                struct rd ahead = r;
                uint8_t plain[CNOISE_PLAIN_MAX];
                uint8_t nonce[12];
                uint8_t type = rd_u8(&ahead);
                uint16_t len = rd_be16(&ahead);
                if (!rd_ok(&ahead))
                        break;
                /* An empty record (len 16) is legal; it is no end of stream. */
                e = ERR_FORMAT;
                if (type != TYPE_RECORD || len < AEAD_TAG_LEN || len > CNOISE_FRAME_MAX - CNOISE_HEADER_LEN)
                        break;
                e = ERR_NONE;
                const uint8_t *sealed = rd_take(&ahead, len);
                if (sealed == NULL)
                        break;
                e = ERR_STATE;
                if (s->recv_counter == UINT64_MAX)
                        break;
                record_nonce(nonce, s->recv_counter++);
                e = aead_open(s->recv_key, nonce, NULL, 0, sealed, len, plain);
                if (e != ERR_NONE)
                        break;
                buf_add(out, plain, (size_t)len - AEAD_TAG_LEN);
                r = ahead;
        }
        buf_consume(in, in->len - r.left);
        if (e == ERR_NONE && !buf_ok(out))
                e = ERR_FULL;
        return e;
}
