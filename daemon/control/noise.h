/* daemon/control/noise.h - the Noise channel of the control protocol: handshake and records, bytes in, bytes out.
 *
 * Noise_IK_25519_ChaChaPoly_BLAKE2s as initiator, prologue "Tailscale Control Protocol v" + version, empty
 * payloads.  Records differ from the Noise paper: their 64-bit counter is big-endian in the nonce.
 * No socket, clock or log.  After any error the channel is dead: close the connection.
 * Source: Noise protocol framework; Tailscale ts2021.
 *
 *   initiation   version be16 | 0x01 | 96 be16 | ephemeral 32 | sealed machine key 48 | tag 16
 *   response     0x02 | 48 be16 | ephemeral 32 | tag 16
 *   record       0x04 | length be16 | sealed bytes
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/err.h"
#include "base/key.h"

enum {
        CNOISE_INITIATION_LEN = 101,
        CNOISE_RESPONSE_LEN = 51,
        CNOISE_FRAME_MAX = 4096,
        CNOISE_HEADER_LEN = 3,
        CNOISE_PLAIN_MAX = CNOISE_FRAME_MAX - CNOISE_HEADER_LEN - AEAD_TAG_LEN,
};

/* Between initiation and response; cnoise_finish() wipes it, or wipe it with cnoise_handshake_wipe(). */
struct cnoise_handshake {
        uint8_t h[HASH_LEN];
        uint8_t ck[HASH_LEN];
        struct key_private machine;
        struct key_private ephemeral;
};

struct cnoise_session {
        uint8_t send_key[AEAD_KEY_LEN];
        uint8_t recv_key[AEAD_KEY_LEN];
        uint64_t send_counter;
        uint64_t recv_counter;
        uint8_t hash[HASH_LEN]; /* names the handshake */
};

/* ephemeral is fresh for every call.  ERR_AUTH: server key is a low-order point. */
ERR_CHECK enum err cnoise_initiate(struct cnoise_handshake *hs, uint16_t version,
                                   const struct key_private *machine, const struct machine_public *server,
                                   const struct key_private *ephemeral,
                                   uint8_t ret_msg[CNOISE_INITIATION_LEN]);
/* ERR_SHORT: fewer than 51 bytes (an error frame: fewer than it says); ERR_FORMAT: not a response;
 * ERR_CLOSED: an error frame of the server, its text is in msg + 3; ERR_AUTH. */
ERR_CHECK enum err cnoise_finish(struct cnoise_handshake *hs, const void *msg, size_t len,
                                 struct cnoise_session *ret);
void cnoise_handshake_wipe(struct cnoise_handshake *hs);
void cnoise_session_wipe(struct cnoise_session *s);

/* Appends len bytes as records to out.  ERR_STATE: counter used up; ERR_FULL: out is. */
ERR_CHECK enum err cnoise_seal(struct cnoise_session *s, const void *plain, size_t len, struct buf *out);
/* Takes every complete record off in and appends what they held to out.  A partial one stays. */
ERR_CHECK enum err cnoise_open(struct cnoise_session *s, struct buf *in, struct buf *out);
