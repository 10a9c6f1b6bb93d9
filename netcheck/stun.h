/* netcheck/stun.h - the two STUN messages that matter: our binding request and any server's answer.
 *
 * Pure.  The request carries SOFTWARE "tailnode" and FINGERPRINT, without which a DERP server is silent.
 * Source: RFC 5389 6, 15.2, 15.5.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

enum { STUN_TXID_LEN = 12, STUN_REQUEST_LEN = 40 };

struct stun_txid {
        uint8_t b[STUN_TXID_LEN];
};

/* By its first 20 bytes: any STUN message. */
bool stun_is(const void *data, size_t len);
/* A STUN message that netcheck should see (byte 1 is 1), so a binding request, or an answer to one: how a shared socket tells
 * it from the rest. */
bool stun_is_binding(const void *data, size_t len);

void stun_request(const struct stun_txid *txid, uint8_t out[STUN_REQUEST_LEN]);
/* ERR_FORMAT: not a binding request.  Its attributes are not looked at. */
ERR_CHECK enum err stun_parse_request(const void *data, size_t len, struct stun_txid *ret_txid);
/* ERR_FORMAT: not a success response, damaged, or without an address.  IPv4-mapped comes out as IPv4. */
ERR_CHECK enum err stun_parse_response(const void *data, size_t len, struct stun_txid *ret_txid,
        struct addr *ret_addr);
