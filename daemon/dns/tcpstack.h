/* daemon/dns/tcpstack.h - TCP on two addresses that no kernel has, over lwIP: packets in, bytes out, and back.
 *
 * The library's state is global: one stack a process, all calls from one thread.  It is run without its own thread
 * (lwip_init and the raw API), which Debian's build allows.  Plain types only, for lwIP's names clash with those
 * of base/.  Other ports than the one listened on are answered with RST.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TCPSTACK_MTU = 1280 };

struct tcpstack_conn;

struct tcpstack_ops {
        void (*send)(void *arg, const uint8_t *pkt, size_t len);           /* an IP packet for the peer */
        void *(*accept)(void *arg, struct tcpstack_conn *c);               /* NULL: refused */
        /* These three may close the connection. */
        void (*data)(void *conn, const uint8_t *data, size_t len);
        void (*eof)(void *conn);                                           /* the peer writes no more */
        void (*room)(void *conn);                                          /* some of what was written is through */
        void (*closed)(void *conn);                                        /* reset, or the stack was stopped */
};

/* False: out of memory. */
bool tcpstack_start(const uint8_t ip4[4], const uint8_t ip6[16], uint16_t port, const struct tcpstack_ops *ops,
        void *arg);
void tcpstack_stop(void);              /* resets all connections */
void tcpstack_in(const uint8_t *pkt, size_t len);
/* Never from within one of the ops.  Runs the timers that are due; milliseconds until it wants to be called again, -1: only after tcpstack_in(). */
int tcpstack_tick(void);

/* Copies; returns how much was taken. */
size_t tcpstack_write(struct tcpstack_conn *c, const void *data, size_t len);
void tcpstack_close(struct tcpstack_conn *c);    /* sends what was written first */
void tcpstack_abort(struct tcpstack_conn *c);    /* RST */
