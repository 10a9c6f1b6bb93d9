/* daemon/netstack/ping.h - echo requests of peers: to this host, answered here; through it, asked again by the kernel's
 * sockets for that, which need no right, or else by the program `ping` of the host.  Control thread.
 *
 * Sources: RFC 792, RFC 4443; icmp(7), ping_group_range.
 */
#pragma once

#include "base/loop.h"
#include "daemon/netstack/netstack.h"

enum { PING_WAITING = 256, PING_PATIENCE_MS = 5000 };

struct ping;

enum ping_way { PING_NOWHERE, PING_HERE, PING_KERNEL };

struct ping_ops {
        /* May change *to to the address that the kernel is to ask. */
        enum ping_way (*where)(void *arg, struct ip *to);
        /* The kernel lets us ask nobody: ask by other means, and call ping_answered() if there is an answer. */
        void (*ask)(void *arg, uint16_t number, struct ip to);
};

struct ping *ping_new(struct loop *l, const struct ping_ops *ops, void *arg);   /* NULL: out of memory */
void ping_free(struct ping *p);
void ping_datagram(struct ping *p, struct ip from, struct ip to, const uint8_t *data, size_t len);   /* ICMP or ICMPv6 */
void ping_answered(struct ping *p, uint16_t number);
