/* tun/vnet.h - the header in front of every packet of a TUN device with IFF_VNET_HDR, and the limits that go with it.
 *
 * Ten bytes in the byte order of the host.  Source: virtio 1.2, 5.1.6; linux/virtio_net.h, which older headers have
 * without USO.
 */
#pragma once

#include <stdint.h>

enum {
        VNET_NEEDS_CSUM = 1,   /* the checksum at csum_start + csum_offset holds the pseudo header's sum only */
        VNET_GSO_NONE = 0,
        VNET_GSO_TCP4 = 1,
        VNET_GSO_TCP6 = 4,
        VNET_GSO_UDP = 5,      /* USO, both families; since Linux 6.2 */
        VNET_GSO_ECN = 0x80,   /* a bit on top of the above */
        VNET_LEN = 10,
        VNET_PACKET_MAX = 65535,
};

struct vnet {
        uint8_t flags;
        uint8_t gso_type;
        uint16_t hdr_len;      /* of the kernel: a hint and no more */
        uint16_t gso_size;     /* payload bytes of each segment */
        uint16_t csum_start;   /* offset of the transport header */
        uint16_t csum_offset;
};
_Static_assert(sizeof(struct vnet) == VNET_LEN, "as on the wire");
