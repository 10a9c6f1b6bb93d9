/* daemon/offload.h - which offloads may be used: what the kernel has, less what somebody switched off.
 *
 * A set of OFFLOAD_ bits.  The data side keeps those that the administrator leaves on (environment) and that are known to
 * work (kernel); the server may switch off more (node attributes).  What is left and the kernel lacks or refuses stays off
 * by itself.  Pure.
 */
#pragma once

#include "magicsock/sock.h"
#include "tun/device.h"

struct netmap_node; /* daemon/control/netmap.h */

enum {
        OFFLOAD_TUN = TUN_OFFLOADS,
        OFFLOAD_SOCK_SHIFT = 4,
        OFFLOAD_SOCK = SOCK_OFFLOADS << OFFLOAD_SOCK_SHIFT,
        OFFLOAD_UDP_GSO = SOCK_GSO << OFFLOAD_SOCK_SHIFT,
        OFFLOAD_UDP_GRO = SOCK_GRO << OFFLOAD_SOCK_SHIFT,
        OFFLOAD_ALL = OFFLOAD_TUN | OFFLOAD_SOCK,
};
_Static_assert((OFFLOAD_TUN & OFFLOAD_SOCK) == 0, "apart");

/* What the environment leaves on: TS_TUN_DISABLE_TCP_GSO and others, see offload.c, set to a true value. */
unsigned offload_by_env(const char *(*env)(const char *));
/* What works in a kernel; release as uname says. */
unsigned offload_by_kernel(const char *release);
/* What the server leaves on. */
unsigned offload_by_node(const struct netmap_node *self);
