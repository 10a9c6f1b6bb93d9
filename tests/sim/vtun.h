/* tests/sim/vtun.h - tun/device.h in memory, base/ring.h and base/pktring.h without a second thread. */
#pragma once

#include "tests/sim/net.h"
#include "tun/device.h"

struct tun *vtun_new(struct host *h);
void vtun_send(struct tun *t, const void *packet, size_t len);   /* the host sends into the mesh */

/* To be set: the host got a packet. */
extern void (*vtun_got)(struct host *h, const uint8_t *packet, size_t len);
