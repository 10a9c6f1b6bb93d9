/* daemon/control/c2n.h - requests the server makes of the node: bytes of HTTP/1.1 in, bytes out.
 *
 * Pure.  /echo gives back what it got; every other path is answered as unknown.
 * Source: Tailscale control protocol, PingRequest of type c2n.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends a whole HTTP/1.1 response to out.  ERR_FORMAT: that was no request. */
ERR_CHECK enum err c2n_answer(const char *request, size_t len, struct buf *out);
