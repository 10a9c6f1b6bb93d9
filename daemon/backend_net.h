/* daemon/backend_net.h - a host of our own instead of a TUN device (userspace networking), and connections out for programs
 * of this host.  Part of the backend.  Control thread.
 *
 * Inwards, what the packet filter let through becomes sockets of the kernel: our own addresses are 127.0.0.1, others are
 * what an advertised route leads to.  Outwards, who wants into the tailnet is connected by the stack; on a host with a
 * TUN device the kernel connects everybody.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend;
struct dialer;
struct dialout;
struct dns_service;
struct loop;

bool backend_net_open(struct backend *b);    /* false: out of memory */
void backend_net_close(struct backend *b);
void backend_net_packet(struct backend *b, const uint8_t *pkt, size_t len);
/* Connections by name or address, as this node sees them. */
struct dialout *backend_dialout(struct backend *b);
/* What they connect to goes where dialout goes, too. */
void backend_net_reach(struct backend *b, struct dns_service *s);
void backend_net_reach_by(struct backend *b, struct dialer *d);
struct loop *backend_loop(struct backend *b);
