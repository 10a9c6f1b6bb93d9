/* magicsock/derp_meta.h - the relay's key as told by its TLS handshake.
 *
 * A relay appends a certificate to its chain whose subject names its DERP key: CN = "derpkey" + 64 hex
 * digits, serial = protocol version.  It chains to nothing and may be expired; it saves a round trip (fast
 * start) and proves nothing: the box around ServerInfo does.  Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/key.h"

/* False: an ordinary certificate, not a certificate, or of another protocol version. */
bool derp_meta_parse(const uint8_t *der, size_t len, struct node_public *ret);
