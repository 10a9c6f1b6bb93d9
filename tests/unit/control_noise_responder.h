/* The server's side of the control Noise channel, for tests: written against the Noise paper, token by token. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/key.h"
#include "daemon/control/noise.h"

static inline void responder_mix_hash(uint8_t h[32], const void *data, size_t len)
{
        uint8_t out[32];
        blake2s(out, h, 32, data, len);
        memcpy(h, out, 32);
}

static inline bool responder_mix_key(uint8_t ck[32], const uint8_t priv[32], const uint8_t pub[32],
                                     uint8_t key[32])
{
        uint8_t dh[32];
        uint8_t next[32];
        if (x25519(dh, priv, pub) != ERR_NONE)
                return false;
        hkdf_blake2s(ck, dh, 32, next, key, NULL);
        memcpy(ck, next, 32);
        return true;
}

/* Answers msg; on true *ret has the keys swapped (ours to send first) and response the 51 bytes. */
static inline bool responder_answer(const uint8_t msg[CNOISE_INITIATION_LEN], const struct key_private *s,
                                    const struct key_private *e, uint8_t response[CNOISE_RESPONSE_LEN],
                                    struct cnoise_session *ret, struct machine_public *ret_machine)
{
        static const char name[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
        const uint8_t nonce[12] = {0};
        uint8_t h[32], ck[32], key[32], s_pub[32], e_pub[32], none[1];
        char prologue[64];
        int n = snprintf(prologue, sizeof(prologue), "Tailscale Control Protocol v%d", msg[0] << 8 | msg[1]);
        x25519_base(s_pub, s->b);
        x25519_base(e_pub, e->b);
        if (msg[2] != 1 || msg[3] != 0 || msg[4] != 96)
                return false;
        blake2s(h, name, sizeof(name) - 1, NULL, 0);
        memcpy(ck, h, 32);
        responder_mix_hash(h, prologue, (size_t)n);
        responder_mix_hash(h, s_pub, 32);

        const uint8_t *re = msg + 5;
        responder_mix_hash(h, re, 32);
        if (!responder_mix_key(ck, s->b, re, key))
                return false;
        if (aead_open(key, nonce, h, 32, msg + 37, 48, ret_machine->b) != ERR_NONE)
                return false;
        responder_mix_hash(h, msg + 37, 48);
        if (!responder_mix_key(ck, s->b, ret_machine->b, key))
                return false;
        if (aead_open(key, nonce, h, 32, msg + 85, 16, none) != ERR_NONE)
                return false;
        responder_mix_hash(h, msg + 85, 16);

        response[0] = 2;
        response[1] = 0;
        response[2] = 48;
        memcpy(response + 3, e_pub, 32);
        responder_mix_hash(h, e_pub, 32);
        if (!responder_mix_key(ck, e->b, re, key) || !responder_mix_key(ck, e->b, ret_machine->b, key))
                return false;
        aead_seal(key, nonce, h, 32, NULL, 0, response + 35);
        responder_mix_hash(h, response + 35, 16);
        memset(ret, 0, sizeof(*ret));
        hkdf_blake2s(ck, NULL, 0, ret->recv_key, ret->send_key, NULL);
        memcpy(ret->hash, h, 32);
        return true;
}
