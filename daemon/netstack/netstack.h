/* daemon/netstack/netstack.h - stack.h driven by the loop, with the addresses of base/.  Control thread; one a process.
 *
 * Who uses it: MagicDNS over TCP on a host with a TUN device, everything that a node without one sends and receives.
 */
#pragma once

#include "base/addr.h"
#include "base/loop.h"
#include "daemon/netstack/stack.h"

struct netstack;

struct netstack_ops {   /* as in struct stack_ops */
        bool (*send)(void *arg, const uint8_t *pkt, size_t len);
        void (*syn)(void *arg, struct stack_syn *s);
        void (*datagram)(void *arg, uint8_t proto, struct addr from, struct addr to, const uint8_t *data, size_t len);
};

struct netstack *netstack_new(struct loop *l, const struct netstack_ops *ops, void *arg);   /* NULL: out of memory */
void netstack_free(struct netstack *n);   /* resets all connections, whose owners are not called any more */
/* What follows from it is done when the loop has taken in what else there is, or by netstack_run() now. */
void netstack_in(struct netstack *n, const uint8_t *pkt, size_t len);
void netstack_run(struct netstack *n);
/* A checksum is filled in as stack_send() says. */
void netstack_send(uint8_t proto, struct addr from, struct addr to, const uint8_t *data, size_t len, size_t sum_at);

void netstack_syn_ends(const struct stack_syn *s, struct addr *from, struct addr *to);
struct stack_conn *netstack_connect(struct ip local, struct addr remote, stack_fn fn, void *user);
struct addr netstack_local(const struct stack_conn *c);
