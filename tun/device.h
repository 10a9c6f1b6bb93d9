/* tun/device.h - the TUN device: IP packets between the kernel and us, in batches.
 *
 * Opened on the control thread, then owned by the data thread.  The interface is layer 3 without packet
 * information (IFF_TUN | IFF_NO_PI); it goes away when the descriptor closes.  A device in memory with the
 * same calls serves tests.  Interfaces take many packets at a time, so that segmentation offload (one vnet
 * super-packet in, many packets out) fits behind them.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pkt.h"

enum { TUN_MTU = 1280, TUN_BATCH = 64 };

struct tun;

/* name: wanted interface name, IFNAMSIZ - 1 at most.  On failure *ret_why is a sentence with the remedy
 * (static storage). */
ERR_CHECK enum err tun_open(const char *name, struct tun **ret, const char **ret_why);

/* Two ends in memory: what one writes the other reads.  ring: packets each way before the oldest is lost. */
ERR_CHECK enum err tun_pair(size_t ring, struct tun **ret_a, struct tun **ret_b);

void tun_close(struct tun *t);          /* NULL is fine */
int tun_fd(const struct tun *t);        /* to watch for LOOP_READ */
const char *tun_name(const struct tun *t);

/* Reads up to max packets into packets taken from pool.  Returns how many; 0: nothing to read now.
 * A packet longer than PKT_DATA_MAX is dropped and counted. */
size_t tun_read(struct tun *t, struct pkt_pool *pool, struct pkt **ret_pkts, size_t max);
/* The last read found that the interface was deleted (in memory: that the other end was closed).  Its descriptor is
 * readable for ever and good for nothing. */
bool tun_is_gone(const struct tun *t);

/* Writes n packets; borrows them.  Returns how many the kernel took; the rest are to be dropped. */
size_t tun_write(struct tun *t, struct pkt *const *pkts, size_t n);

struct tun_counters {
        uint64_t read, written, read_dropped, write_dropped;
};
struct tun_counters tun_counters(const struct tun *t);
