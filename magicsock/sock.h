/* magicsock/sock.h - UDP sockets for IPv4 and IPv6 on one port, many datagrams a system call.
 *
 * Glue: non-blocking, data thread.  Batches are arrays of struct pkt with one destination, so that
 * segmentation offload can slip in under the same calls.  Logs what cannot be opened; errno where it says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/pkt.h"

enum {
        SOCK_BATCH = 64,               /* datagrams in one system call */
        SOCK_BUFFER_BYTES = 7 << 20,
};

struct sock {
        int fd;              /* -1 = closed */
        uint16_t port;       /* bound to, host order */
        enum ip_family family;
};

void sock_init(struct sock *s, enum ip_family f);
bool sock_is_open(const struct sock *s);
/* Wildcard address.  mark: SO_MARK, 0 = none; ERR_IO with errno: the port is taken, or no such family. */
ERR_CHECK enum err sock_open(struct sock *s, uint16_t port, uint32_t mark);
void sock_close(struct sock *s);
/* Both on the first port of `ports` (0 = any) that is free.  IPv6 may fail, IPv4 may not: ERR_IO, both closed. */
ERR_CHECK enum err sock_open_both(struct sock *v4, struct sock *v6, const uint16_t *ports, size_t n,
        uint32_t mark);

/* Fills up to n <= SOCK_BATCH packets (given empty) with datagrams and sources; those that did not fit into
 * a packet have len 0.  Returns how many; 0 = nothing there. */
size_t sock_recv(struct sock *s, struct pkt *const *pkts, size_t n);
/* Throws away what is waiting, at most a batch: for when there is no packet to put it in. */
void sock_discard(struct sock *s);
/* Borrows the packets.  Returns how many the kernel took; if not all, errno says why of the next one. */
size_t sock_send(struct sock *s, struct addr to, struct pkt *const *pkts, size_t n);
/* One datagram from anywhere; false: errno. */
bool sock_send_bytes(struct sock *s, struct addr to, const void *data, size_t len);
