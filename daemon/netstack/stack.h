/* daemon/netstack/stack.h - TCP ends, and whole datagrams, at addresses that no kernel has, over lwIP: packets in,
 * bytes out, and back.
 *
 * The library's state is global: one stack a process, all calls from one thread.  It is run without its own thread
 * (lwip_init and the raw API), which Debian's build allows; control blocks come from malloc there, so bounds are the
 * owner's (syn() decides) and those below.  Plain types only, for lwIP's names clash with those of base/;
 * netstack.h joins it to the loop.
 *
 * Any destination is ours: who sends packets in has decided that.  A connection that comes is held at its first packet
 * until its owner says whether it is wanted, so that a refused one is a refused one for the other side as well.
 * A connection calls back from stack_run() alone, never from within another call, and may close anything; syn() and
 * datagram() come from stack_in() and close nothing but what they were given, send() and wake() come from any call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
        STACK_MTU = 1280,
        STACK_DATAGRAM_MAX = 65535 - 40,   /* of UDP with its header, or of ICMP */
        STACK_RECEIVE = 256 * 1024,        /* what a connection takes in ahead of its reader, and its window */
        STACK_SEND = 192 * 1024,           /* what is kept until the other side has confirmed it */
        STACK_HELD_MAX = 256,              /* connections at their first packet */
        STACK_LINGERING_MAX = 1024,        /* closed ones that wait for stragglers (TIME_WAIT) */
};

struct stack_end {
        uint8_t family;     /* 4 or 6 */
        uint8_t ip[16];     /* network order; IPv4 uses the first 4 */
        uint16_t port;      /* host order */
};

struct stack_syn;
struct stack_conn;

struct stack_ops {
        /* An IP packet for the tunnel.  False: no room now. */
        bool (*send)(void *arg, const uint8_t *pkt, size_t len);
        /* Somebody wants to connect: stack_accept(), _refuse() or _ignore(), now or later. */
        void (*syn)(void *arg, struct stack_syn *s);
        /* UDP or ICMP with its header, complete, its checksum not looked at.  NULL: dropped. */
        void (*datagram)(void *arg, uint8_t proto, const struct stack_end *from, const struct stack_end *to,
                const uint8_t *data, size_t len);
        /* There is work for stack_run(). */
        void (*wake)(void *arg);
};

/* False: out of memory.  ops is borrowed until stack_stop(). */
bool stack_start(const struct stack_ops *ops, void *arg);
void stack_stop(void);                       /* resets all connections, whose owners are not called any more */
void stack_in(const uint8_t *pkt, size_t len);
/* Timers and callbacks that are due; milliseconds until it wants to be called again, -1: only after stack_in(). */
int stack_run(void);
/* The checksum of UDP, ICMP or ICMPv6 in data must be zero and is filled in at byte sum_at; SIZE_MAX: it is right already. */
void stack_send(uint8_t proto, const struct stack_end *from, const struct stack_end *to, const uint8_t *data, size_t len,
        size_t sum_at);

/* ---- a connection that wants to come in ---- */
void stack_syn_ends(const struct stack_syn *s, struct stack_end *from, struct stack_end *to);
/* Calls back when something changed: it opened, there are bytes or room, it ended.  NULL: out of memory. */
typedef void (*stack_fn)(void *user);
struct stack_conn *stack_accept(struct stack_syn *s, stack_fn fn, void *user);
void stack_refuse(struct stack_syn *s);      /* RST */
void stack_ignore(struct stack_syn *s);

/* ---- a connection ---- */
enum stack_state { STACK_OPENING, STACK_OPEN, STACK_REFUSED, STACK_BROKEN, STACK_TIMED_OUT };

struct stack_conn *stack_connect(const struct stack_end *local /* port 0: any */, const struct stack_end *remote, stack_fn fn,
        void *user);   /* NULL: out of memory or ports */
void stack_owner(struct stack_conn *c, stack_fn fn, void *user);
enum stack_state stack_state(const struct stack_conn *c);
void stack_local(const struct stack_conn *c, struct stack_end *ret);
/* What has come, in one or two pieces; returns how many.  It stays until stack_consume(), which opens the window. */
int stack_peek(const struct stack_conn *c, struct iovec out[2]);
void stack_consume(struct stack_conn *c, size_t n);
bool stack_eof(const struct stack_conn *c);          /* the other side writes no more, and all was consumed */
size_t stack_room(const struct stack_conn *c);
size_t stack_write(struct stack_conn *c, const void *data, size_t len);   /* copies; returns how much was taken */
void stack_shut(struct stack_conn *c);               /* we write no more */
void stack_close(struct stack_conn *c);              /* sends what was written first; RST if there is more to read */
void stack_abort(struct stack_conn *c);              /* RST */
