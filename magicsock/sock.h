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
        SOCK_BATCH = 64,               /* datagrams or trains that leave in one system call */
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
        int buffer_bytes;    /* wanted of the kernel, each way; SOCK_BUFFER_BYTES at first */
        unsigned wanted;     /* offloads */
        unsigned offloads;   /* that are on */
        uint16_t shares;     /* during a renewal: this port with the socket that it takes over from; 0 = none */
};

void sock_init(struct sock *s, enum ip_family f);
/* From now on, whether open or not.  All are wanted at first; those that the kernel lacks stay off. */
void sock_want_offloads(struct sock *s, unsigned wanted);
/* Open: what the kernel may hold, from now on. */
void sock_want_buffers(struct sock *s, int bytes);
bool sock_is_open(const struct sock *s);
/* Wildcard address.  mark: SO_MARK, 0 = none; ERR_IO with errno: the port is taken, or no such family. */
ERR_CHECK enum err sock_open(struct sock *s, uint16_t port, uint32_t mark);
void sock_close(struct sock *s);
/* Both on the first port of `ports` (0 = any) that is free.  IPv6 may fail, IPv4 may not: ERR_IO, both closed. */
ERR_CHECK enum err sock_open_both(struct sock *v4, struct sock *v6, const uint16_t *ports, size_t n,
        uint32_t mark);
/* fresh, closed and with all that is wanted of `old`, may then be opened on the same port beside it; what comes from then
 * on comes to fresh, and `old` has what it had.  Ends at once, or others could join in. */
void sock_begin_renewal(struct sock *fresh, struct sock *old);
void sock_end_renewal(struct sock *fresh, struct sock *old);

enum {
        SOCK_VIEWS_MAX = 64,           /* datagrams handed out at once */
        SOCK_TRAIN_BYTES = 1 << 16,
        SOCK_ROOM_TRAINS = 2,
        SOCK_ROOM = SOCK_ROOM_TRAINS * SOCK_TRAIN_BYTES,
};
/* What system calls received.  room: SOCK_ROOM bytes, lent; of use for other things while nothing in it is wanted. */
struct sock_rx;
struct sock_rx *sock_rx_new(uint8_t *room);   /* NULL: out of memory */
void sock_rx_free(struct sock_rx *rx);
/* Receives what is there, as far as there is room.  What was there before is gone, but, if keep, what the last
 * sock_rx_next() returned, for which sock_rx_may_keep() must hold.  False: nothing. */
bool sock_recv(struct sock *s, struct sock_rx *rx, bool keep);
/* Up to SOCK_VIEWS_MAX of the datagrams received, in order, as views with their sources; a train that fits into one call is not
 * torn into two.  Those longer than PKT_DATA_MAX have len 0, but a cap.  They last until the call after the next, and
 * see sock_recv().  0: that was all. */
size_t sock_rx_next(struct sock_rx *rx, struct pkt *ret[SOCK_VIEWS_MAX]);
/* There is room beside what the last sock_rx_next() returned. */
bool sock_rx_may_keep(const struct sock_rx *rx);
/* Borrows the packets.  Returns how many the kernel took; if not all, errno says why of the next one. */
size_t sock_send(struct sock *s, struct addr to, struct pkt *const *pkts, size_t n);
/* One datagram from anywhere; false: errno. */
bool sock_send_bytes(struct sock *s, struct addr to, const void *data, size_t len);
