/* tun/tsmp.h - the mesh's own messages between nodes: IP protocol 99 inside the tunnel, never for the host.
 *
 * Pure.  Whoever parses has checked that the inner source is the peer's.  Source: Tailscale, TSMP.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "tun/packet.h"

enum { TSMP_PACKET_MAX = 40 + 11 }; /* the longest we make */

enum tsmp_kind {
        TSMP_REJECTED, /* a connection of ours was refused */
        TSMP_PING,
        TSMP_PONG,
        TSMP_DISCO_KEY, /* the sender's disco key */
};

struct tsmp {
        enum tsmp_kind kind;
        /* TSMP_REJECTED: the packet that was refused, as its sender wrote it (version, addresses, ports, proto). */
        struct packet rejected;
        uint8_t reason;        /* a letter; see tsmp_reason_str() */
        bool maybe_broken;     /* no refusal yet: the sender fears that it cannot deliver */
        uint8_t data[8];       /* TSMP_PING, TSMP_PONG */
        uint16_t service_port; /* TSMP_PONG; 0 = none */
        uint8_t disco[32];     /* TSMP_DISCO_KEY; all zero is to be ignored */
};

enum {
        TSMP_REASON_ACL = 'A',
        TSMP_REASON_SHIELDS = 'S',
        TSMP_REASON_FORWARDING_OFF = 'F',
        TSMP_REASON_HOST_FIREWALL = 'W',
        TSMP_REASON_TRANSIT = 'T',
};
const char *tsmp_reason_str(uint8_t reason); /* completes "because ..." */

/* ERR_FORMAT: no such message; ERR_UNSUPPORTED: of a kind that is not known. */
ERR_CHECK enum err tsmp_parse(const uint8_t *pkt, size_t len, struct tsmp *ret);

/* The answer to a packet that the filter refused: only to the opening of a TCP connection over IPv4.  Returns its
 * length, 0 if there is none to give. */
size_t tsmp_reject(const uint8_t *refused, size_t len, uint8_t reason, uint8_t out[TSMP_PACKET_MAX]);
/* Both addresses of one family; returns its length. */
size_t tsmp_ping(struct ip from, struct ip to, const uint8_t data[8], uint8_t out[TSMP_PACKET_MAX]);
/* The answer to a ping, which says where our service is (0 = nowhere). */
size_t tsmp_pong(const uint8_t *ping, size_t len, uint16_t service_port, uint8_t out[TSMP_PACKET_MAX]);
