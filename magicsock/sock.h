/* magicsock/sock.h - UDP sockets for IPv4 and IPv6 on one port, many datagrams a system call.
 *
 * Glue: non-blocking, data thread.  Where the kernel can, datagrams of one size and destination leave as one
 * (UDP_SEGMENT), and those of one flow arrive as one (UDP_GRO): a train.  Logs what cannot be opened; errno where it
 * says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/pkt.h"

enum {
        SOCK_BATCH = 64,               /* datagrams or trains in one system call */
        SOCK_TRAIN_MAX = 64,           /* datagrams that leave as one */
        SOCK_BUFFER_BYTES = 7 << 20,
        SOCK_GSO = 1,                  /* offloads, a bit each */
        SOCK_GRO = 2,
        SOCK_OFFLOADS = 3,
};

struct sock {
        int fd;              /* -1 = closed */
        uint16_t port;       /* bound to, host order */
        enum ip_family family;
        unsigned wanted;     /* offloads */
        unsigned offloads;   /* that are on */
};

void sock_init(struct sock *s, enum ip_family f);
/* From now on, whether open or not.  All are wanted at first; those that the kernel lacks stay off. */
void sock_want_offloads(struct sock *s, unsigned wanted);
bool sock_is_open(const struct sock *s);
/* Wildcard address.  mark: SO_MARK, 0 = none; ERR_IO with errno: the port is taken, or no such family. */
ERR_CHECK enum err sock_open(struct sock *s, uint16_t port, uint32_t mark);
void sock_close(struct sock *s);
/* Both on the first port of `ports` (0 = any) that is free.  IPv6 may fail, IPv4 may not: ERR_IO, both closed. */
ERR_CHECK enum err sock_open_both(struct sock *v4, struct sock *v6, const uint16_t *ports, size_t n,
        uint32_t mark);

/* Room for what one system call receives. */
struct sock_rx;
struct sock_rx *sock_rx_new(void);   /* NULL: out of memory */
void sock_rx_free(struct sock_rx *rx);
/* Receives what is there, as far as there is room; what was there before is gone.  False: nothing. */
bool sock_recv(struct sock *s, struct sock_rx *rx);
/* Up to max <= SOCK_VIEWS_MAX of the datagrams received, in order, as views with their sources; those longer than
 * PKT_DATA_MAX have len 0, but a cap.  They last until the next call.  0: that was all. */
enum { SOCK_VIEWS_MAX = 128 };
size_t sock_rx_next(struct sock_rx *rx, struct pkt **ret, size_t max);
/* Borrows the packets.  Returns how many the kernel took; if not all, errno says why of the next one. */
size_t sock_send(struct sock *s, struct addr to, struct pkt *const *pkts, size_t n);
/* One datagram from anywhere; false: errno. */
bool sock_send_bytes(struct sock *s, struct addr to, const void *data, size_t len);
