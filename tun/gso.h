/* tun/gso.h - what the kernel hands over as one, cut into the packets it stands for.  Pure; any thread.
 *
 * A super-packet is one header and up to 64 KiB of payload.  gso_begin() judges it once; gso_cut() then makes one
 * segment a call wherever the caller wants it, with right lengths, IDs, sequence numbers, flags and checksums.  A plain
 * packet is the case of one segment.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tun/vnet.h"

struct gso {
        const uint8_t *data;   /* borrowed from gso_begin() to the last gso_cut() */
        size_t len;
        size_t head;           /* bytes of IP and transport header, in front of each segment */
        size_t transport;      /* where the transport header begins */
        size_t size;           /* payload bytes a segment; 0: this is one plain packet */
        size_t at;             /* payload bytes cut so far */
        uint16_t index;        /* segments cut so far */
        bool done;
        uint8_t proto, version;
        uint64_t pseudo;       /* sum of the pseudo header but for the length */
};

/* Completes the checksum of a plain packet in place.  ERR_FORMAT: a header that contradicts the packet; ERR_UNSUPPORTED:
 * an offload that was not asked for. */
ERR_CHECK enum err gso_begin(struct gso *g, const struct vnet *v, uint8_t *data, size_t len);
size_t gso_count(const struct gso *g);   /* segments in all */
/* Bytes of the next segment; 0: there are no more. */
size_t gso_next_len(const struct gso *g);
/* Writes it. */
void gso_cut(struct gso *g, uint8_t *dst);
