/* daemon/netstack/udp.h - datagrams of peers become datagrams of the kernel, and ports of ours in the tailnet.
 * Control thread.
 *
 * Inwards each pair of ends has a socket of its own, connected to where it leads, until it was silent for long enough.
 * When all are taken, the one that was silent longest makes room.  Outwards a port is open until it is closed.
 */
#pragma once

#include "base/loop.h"
#include "daemon/netstack/netstack.h"

enum {
        UDP_FLOWS_MAX = 512,
        UDP_FLOWS_EACH = 256,          /* of one source */
        UDP_PORTS_MAX = 1024,
        UDP_IDLE_MS = 120 * 1000,
        UDP_IDLE_DNS_MS = 30 * 1000,   /* to port 53 */
        UDP_DATA_MAX = STACK_DATAGRAM_MAX - 8,
};

struct udp;
struct udp_port;

/* Where a datagram leads: changes *to to what the kernel is to send it to; false: nowhere. */
typedef bool (*udp_where_fn)(void *arg, struct addr from, struct addr *to);

struct udp *udp_new(struct loop *l, udp_where_fn fn, void *arg);   /* NULL: out of memory */
void udp_free(struct udp *u);                                      /* its ports must be closed */
void udp_datagram(struct udp *u, struct addr from, struct addr to, const uint8_t *data, size_t len);   /* with its header */

typedef void (*udp_fn)(void *arg, struct addr from, const uint8_t *data, size_t len);
/* A port at this address of ours.  NULL: out of memory or ports. */
struct udp_port *udp_port_open(struct udp *u, struct ip local, udp_fn fn, void *arg);
void udp_port_send(struct udp_port *p, struct addr to, const uint8_t *data, size_t len);
void udp_port_close(struct udp_port *p);
