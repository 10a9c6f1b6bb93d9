/* tun/rules.h - the rules of the packet filter, compiled for look-up.  Immutable once built; any thread.
 *
 * Rules with the same sources and protocols share one set.  Each prefix of a source leads to its sets, each prefix of
 * a destination to its targets (a set with a stretch of ports); a packet is allowed when a set is among both.  A
 * look-up costs two binary searches and, for each pair of prefixes that cover the addresses, a search in the longer
 * list for every entry of the shorter: it does not grow with the rules of other peers.  Memory is linear in the input.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "tun/filter.h"
#include "tun/packet.h"

struct rules;

struct rules *rules_new(const struct filter_allow *allow, size_t n); /* copies; NULL: out of memory */
void rules_free(struct rules *r);                                    /* NULL is fine */

enum rules_match {
        RULES_PORTS,     /* protocol, addresses and destination port */
        RULES_WHOLE,     /* protocol and addresses, by a rule for all ports: protocols that have none */
        RULES_ADDRESSES, /* addresses alone, whatever the protocols and ports: ICMP */
};
bool rules_allow(const struct rules *r, const struct packet *p, enum rules_match how);
size_t rules_bytes(const struct rules *r);
