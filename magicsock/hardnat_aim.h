/* magicsock/hardnat_aim.h - which outside ports of our NAT to guess.
 *
 * Pure.  What STUN saw of some of the sockets tells the range that the NAT takes its ports from: with samples spread
 * over the sockets in the order in which they were opened, one that hands out blocks or counts up gives nearly all of
 * them ports between the least and the greatest seen.  So guesses come from that range, widened by half of it on
 * either side, and when it is used up, from all ports.  None is guessed twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
        HN_PORT_FIRST = 1024,        /* below it no NAT at hand goes */
        HN_SAMPLES_MAX = 16,
        HN_SAMPLES_MIN = 4,          /* fewer say nothing of a range */
};

struct hn_aim {
        struct addr seen[HN_SAMPLES_MAX];
        size_t seen_count;
        uint16_t low, high;          /* the range in use; 0 = hn_aim_fix() was not called */
        uint32_t left;               /* ports in it not guessed yet */
        uint8_t guessed[65536 / 8];  /* a bit each */
};

void hn_aim_init(struct hn_aim *a);
/* A socket's outside address.  More than HN_SAMPLES_MAX are ignored. */
void hn_aim_seen(struct hn_aim *a, struct addr outside);
/* The address that most of them have; none = nothing seen. */
struct ip hn_aim_ip(const struct hn_aim *a);
/* From now on the range stands. */
void hn_aim_fix(struct hn_aim *a);
/* Up to n ports not guessed before, by crypto_random(); returns how many there were. */
size_t hn_aim_pick(struct hn_aim *a, uint16_t *ret, size_t n);
