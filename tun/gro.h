/* tun/gro.h - neighbours of one flow joined, so that the kernel takes them in one write.  Pure; one thread.
 *
 * Packets are given in order of arrival.  Those that continue the newest packet of their flow (same header but for what
 * must differ, next sequence number, right checksum) are appended to it; every other starts an item of its own.  Items are
 * in the order in which they were started, and no packet overtakes another of its flow.
 *
 * The packets are borrowed from gro_append() or gro_start() to gro_drop() and are not changed: the header of what was
 * joined is a copy.  Sources: RFC 9293, RFC 768; virtio 1.2, 5.1.6.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/pkt.h"
#include "tun/vnet.h"

enum {
        GRO_ITEMS_MAX = 80,
        GRO_PIECES_MAX = 64,    /* packets in one item */
        GRO_HEAD_MAX = 40 + 60,
        GRO_IOV_MAX = GRO_PIECES_MAX + 1,
};

struct gro_item {
        struct pkt *first, *last;   /* linked by their next */
        uint16_t count;
        uint16_t transport, head;   /* where the transport header and the payload begin; 0: of no flow */
        uint16_t size;              /* payload of the first */
        uint32_t payload;           /* of all */
        uint8_t proto, version;
        bool open;                  /* may grow */
        bool summed;                /* the first one's checksum was looked at */
        bool push;                  /* the last one had it set */
};

struct gro {
        bool tcp, udp;              /* what may be joined */
        size_t count;
        size_t floor;               /* items before this one are closed to everybody */
        struct gro_item item[GRO_ITEMS_MAX];
};

/* True: p is now part of an item.  False: it continues none; ask gro_start(). */
bool gro_append(struct gro *g, struct pkt *p);
/* A new item.  False: all are taken. */
bool gro_start(struct gro *g, struct pkt *p);
/* How many items, from the front, have nothing to wait for: all, or all but the last if it was begun at `fresh` or later,
 * has grown, and may grow on. */
size_t gro_ready(const struct gro *g, size_t fresh);
void gro_drop(struct gro *g, size_t n);   /* the first n items */

/* The header of the whole and what follows it.  head: where a changed packet header is built.  Returns how many of iov
 * are used, the vnet header not among them. */
size_t gro_vector(const struct gro_item *it, struct vnet *ret_vnet, uint8_t head[GRO_HEAD_MAX], struct iovec iov[GRO_IOV_MAX]);
