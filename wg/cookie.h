/* wg/cookie.h - the two MACs of handshake messages and the cookies that feed the second.
 *
 * mac1 shows that the sender knows our public key; mac2, asked for only under load, that it receives at
 * the address it sends from.  A cookie is bound to address and port (or relay and sender), to a secret
 * that changes every two minutes, and, in a reply, to the message that provoked it.  No heap.  Source:
 * WireGuard paper 5.4.4 and 5.4.7.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mono.h"
#include "wg/message.h"

enum {
        COOKIE_LEN = 16,
        COOKIE_SECRET_S = 120,   /* age at which the secret is replaced */
        COOKIE_USE_S = 115,      /* we use one no longer than this: it may have been under way for 5 s */
        COOKIE_SOURCE_MAX = 40,
};

/* The bytes a cookie vouches for, see wg_source in wg/device.h. */
struct cookie_source {
        uint8_t b[COOKIE_SOURCE_MAX];
        uint8_t len;
};

/* Device side: gives cookies out and checks them.  Zero-initialised. */
struct cookie_checker {
        uint8_t secret[32];
        mono_t secret_at;   /* unset: none yet */
};

/* Peer side: the cookie a peer gave us.  Zero-initialised. */
struct cookie_jar {
        uint8_t cookie[COOKIE_LEN];
        mono_t at;          /* unset: none */
};

/* True if the message's mac1 is right under the receiver's mac1 key. */
bool cookie_mac1_ok(const uint8_t mac1_key[32], const uint8_t *msg, size_t len);
/* Fills in both MACs; mac2 stays zero without a fresh cookie. */
void cookie_add_macs(const uint8_t mac1_key[32], const struct cookie_jar *jar, uint8_t *msg, size_t len, mono_t now);

/* True if mac2 was made with a cookie that we gave to this source under the present secret. */
bool cookie_mac2_ok(const struct cookie_checker *c, const struct cookie_source *src, const uint8_t *msg,
        size_t len, mono_t now);
/* Answers msg; makes a new secret when the old one is due.  cookie_key is our own. */
void cookie_reply(struct cookie_checker *c, const uint8_t cookie_key[32], const struct cookie_source *src,
        const uint8_t *msg, size_t len, const uint8_t nonce[24], mono_t now, uint8_t ret_reply[MSG_COOKIE_LEN]);

/* Opens a reply to the message of ours that had this mac1; cookie_key is the peer's.  ERR_AUTH. */
ERR_CHECK enum err cookie_consume(struct cookie_jar *jar, const uint8_t cookie_key[32],
        const uint8_t mac1[MSG_MAC_LEN], const uint8_t reply[MSG_COOKIE_LEN], mono_t now);
