/* daemon/netstack/stack_state.h - the insides of the stack, for the files that make it up (stack*.c) alone: the only ones
 * that know lwIP. */
#pragma once

#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/raw.h>
#include <lwip/tcp.h>

#include "daemon/netstack/stack.h"

enum {
        SYN_MAX = 256,           /* an opening packet is a header and a few options */
        WINDOW_SHIFT = 3,        /* of RFC 7323: STACK_RECEIVE in 16 bits */
};

struct stack_syn {
        struct stack_syn *next;
        struct stack_end from, to;
        size_t len;
        uint8_t pkt[SYN_MAX];
};

struct stack_conn {
        struct tcp_pcb *pcb;         /* NULL: lwIP has none any more */
        enum stack_state state;
        bool eof, queued;
        tcpwnd_size_t window, window_max;
        bool lossy, missing;         /* something was lost ever, and now */
        stack_fn fn;
        void *user;
        uint8_t *rx;                 /* a ring of rx_cap bytes */
        size_t rx_at, rx_len, rx_cap;
        struct stack_conn *next, **prev;             /* all */
        struct stack_conn *queue_next, **queue_prev; /* to be called */
};

struct stack {
        bool initialised, started, blocked;
        struct netif netif;
        struct tcp_pcb_listen *listener;
        struct raw_pcb *raw[3];
        struct stack_syn *held;
        size_t held_count;
        struct stack_conn *conns, *queue;
        const struct stack_ops *ops;
        void *arg;
};
extern struct stack stack;

/* stack.c */
void stack_to_lwip(const struct stack_end *e, ip_addr_t *out);
void stack_from_lwip(const ip_addr_t *a, uint16_t port, struct stack_end *out);
bool stack_is_remote(const struct stack_end *e);

/* stack_conn.c */
struct stack_conn *stack_conn_new(struct tcp_pcb *pcb, stack_fn fn, void *user);
void stack_conn_opened(struct stack_conn *c);
void stack_call_owners(void);
void stack_drop_excess(void);
