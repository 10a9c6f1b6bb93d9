/* wg/message.h - WireGuard messages on the wire: types, lengths, where each field stands.
 *
 *   initiation (148)            response (92)               cookie reply (64)      data (32 + n)
 *     0 type, 3 zero bytes        0 type, 3 zero bytes        0 type, zeros          0 type, zeros
 *     4 sender index              4 sender index              4 receiver index       4 receiver index
 *     8 ephemeral, 32             8 receiver index            8 nonce, 24            8 counter, u64
 *    40 static, 32 + 16          12 ephemeral, 32            32 cookie, 16 + 16     16 cipher text, tag
 *    88 TAI64N stamp, 12 + 16    44 nothing, 0 + 16
 *   116 mac1, 16                 60 mac1, 16
 *   132 mac2, 16                 76 mac2, 16
 *
 * Integers are little-endian.  Source: WireGuard paper 5.4.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/reader.h"

enum msg_type { MSG_INITIATION = 1, MSG_RESPONSE = 2, MSG_COOKIE = 3, MSG_DATA = 4 };

enum {
        MSG_INITIATION_LEN = 148,
        MSG_RESPONSE_LEN = 92,
        MSG_COOKIE_LEN = 64,
        MSG_DATA_MIN_LEN = 32,
        MSG_DATA_HEADER_LEN = 16,
        MSG_TAG_LEN = 16,
        MSG_MAC_LEN = 16,
        MSG_PAD = 16,

        MSG_SENDER = 4,            /* of initiation and response */
        MSG_RECEIVER = 4,          /* of cookie reply and data */
        MSG_RESPONSE_RECEIVER = 8,
        MSG_COUNTER = 8,
        MSG_INITIATION_EPHEMERAL = 8,
        MSG_INITIATION_STATIC = 40,
        MSG_INITIATION_STAMP = 88,
        MSG_RESPONSE_EPHEMERAL = 12,
        MSG_RESPONSE_EMPTY = 44,
        MSG_COOKIE_NONCE = 8,
        MSG_COOKIE_SEALED = 32,

        STAMP_LEN = 12,
};
_Static_assert(MSG_INITIATION_STAMP + STAMP_LEN + MSG_TAG_LEN + 2 * MSG_MAC_LEN == MSG_INITIATION_LEN, "layout");
_Static_assert(MSG_RESPONSE_EMPTY + MSG_TAG_LEN + 2 * MSG_MAC_LEN == MSG_RESPONSE_LEN, "layout");

/* Both MACs stand at the end of either handshake message. */
static inline size_t msg_mac1_at(size_t len)
{
        return len - 2 * MSG_MAC_LEN;
}
static inline size_t msg_mac2_at(size_t len)
{
        return len - MSG_MAC_LEN;
}

/* The type if the length is one this type can have, else 0. */
static inline int msg_classify(const uint8_t *data, size_t len)
{
        if (len < MSG_DATA_MIN_LEN)
                return 0;
        switch (load_le32(data)) {
        case MSG_INITIATION:
                return len == MSG_INITIATION_LEN ? MSG_INITIATION : 0;
        case MSG_RESPONSE:
                return len == MSG_RESPONSE_LEN ? MSG_RESPONSE : 0;
        case MSG_COOKIE:
                return len == MSG_COOKIE_LEN ? MSG_COOKIE : 0;
        case MSG_DATA:
                return MSG_DATA;
        default:
                return 0;
        }
}
