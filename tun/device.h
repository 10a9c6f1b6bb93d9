/* tun/device.h - the TUN device: IP packets between the kernel and us, many at a time.
 *
 * Opened on the control thread, then owned by the data thread.  The interface is layer 3 without packet
 * information (IFF_TUN | IFF_NO_PI); it goes away when the descriptor closes.  Where the kernel can, each read and write
 * carries a virtio header (IFF_VNET_HDR), so that one of them moves up to 64 KiB of a flow.  A device in memory with the
 * same calls, and without offloads, serves tests.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pkt.h"
#include "tun/gro.h"
#include "tun/gso.h"

enum {
        TUN_MTU = 1280,
        TUN_ROOM = VNET_PACKET_MAX + 1,   /* for what one read brings; one byte more shows that it was longer */
};

/* What is done for many packets at once; a bit each.  Any of them may be missing or switched off. */
enum {
        TUN_TCP_GSO = 1,   /* the kernel hands over TCP as super-packets */
        TUN_UDP_GSO = 2,   /* and UDP; Linux 6.2 */
        TUN_TCP_GRO = 4,   /* the kernel is given joined TCP */
        TUN_UDP_GRO = 8,
        TUN_OFFLOADS = 15,
};

struct tun;

/* name: wanted interface name, IFNAMSIZ - 1 at most.  On failure *ret_why is a sentence with the remedy
 * (static storage). */
ERR_CHECK enum err tun_open(const char *name, struct tun **ret, const char **ret_why);

/* Two ends in memory: what one writes the other reads.  ring: packets each way before the oldest is lost. */
ERR_CHECK enum err tun_pair(size_t ring, struct tun **ret_a, struct tun **ret_b);

void tun_close(struct tun *t);          /* NULL is fine */
int tun_fd(const struct tun *t);        /* to watch for LOOP_READ */
const char *tun_name(const struct tun *t);

/* Switches on those of the wanted that the kernel has, and the others off.  Returns which are on; none after tun_open(). */
unsigned tun_set_offloads(struct tun *t, unsigned wanted);
unsigned tun_offloads(const struct tun *t);

/* The next packet or super-packet from the kernel, which lies in room.  False: nothing to read now.
 * Packets longer than PKT_DATA_MAX, and what contradicts itself, are dropped and counted. */
bool tun_next(struct tun *t, uint8_t room[TUN_ROOM], struct gso *ret);
/* The last read found that the interface was deleted (in memory: that the other end was closed).  Its descriptor is
 * readable for ever and good for nothing. */
bool tun_is_gone(const struct tun *t);

/* Writes the first n items of g, which may hold joined packets only as far as tun_offloads() says.  What the kernel does not take is
 * dropped and counted; an offload that it turns out to refuse is switched off, and its packets are written singly. */
void tun_write(struct tun *t, const struct gro *g, size_t n);
bool tun_write_one(struct tun *t, const struct pkt *p);

struct tun_counters {
        uint64_t read, written;   /* by the kernel's count: joined packets are one */
        uint64_t read_dropped;    /* by that count, too */
        uint64_t write_dropped;   /* packets, each of those joined */
};
struct tun_counters tun_counters(const struct tun *t);
