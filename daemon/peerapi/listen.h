/* daemon/peerapi/listen.h - the PeerAPI's socket and its port.
 *
 * Peers learn the port from the network map, so any will do; one that follows from the address is easy to recognise.
 * Source: Tailscale PeerAPI.
 */
#pragma once

#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

enum { PEERAPI_TRIES = 5 };   /* ports of the formula, before any free one */

uint16_t peerapi_port(struct ip ip, uint8_t attempt);   /* pure */
/* Listens at ip, for what comes in by that interface alone (NULL: by any).  The address need not be there yet.
 * ERR_IO: errno. */
ERR_CHECK enum err peerapi_socket(struct ip ip, const char *ifname, int *ret_fd, uint16_t *ret_port);
