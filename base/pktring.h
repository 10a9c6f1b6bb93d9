/* base/pktring.h - packets of any length from one thread to one other: bounded, copied, no lock, no allocation.
 *
 * Single producer, single consumer, like base/ring.h.  Pushing does not wake the consumer, so that a batch costs one
 * wake-up: call pktring_wake() when it is complete.  Watch pktring_fd() for LOOP_READ, call pktring_drain_fd(),
 * then pop; a consumer that stops short calls pktring_wake() itself to be called again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pktring;

enum { PKTRING_PACKET_MAX = 2048 };

struct pktring *pktring_new(size_t bytes);   /* a power of two; NULL: errno */
void pktring_free(struct pktring *r);
/* False: full, or empty or longer than PKTRING_PACKET_MAX; nothing done. */
bool pktring_push(struct pktring *r, const void *pkt, size_t len);
void pktring_wake(struct pktring *r);        /* either side */
size_t pktring_pop(struct pktring *r, uint8_t ret_pkt[PKTRING_PACKET_MAX]);   /* its length; 0: empty */
int pktring_fd(const struct pktring *r);
void pktring_drain_fd(struct pktring *r);
