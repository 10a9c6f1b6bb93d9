/* daemon/dns/tcpleg.h - one query to one upstream by TCP: a connection for a question.  Control thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/dial.h"
#include "base/loop.h"
#include "daemon/dns/wire.h"

struct tcp_leg;

/* msg: an answer that belongs to the question, the callee's to change; NULL: there will be none. */
typedef void (*tcp_leg_fn)(void *arg, uint8_t *msg, size_t len, mono_t now);

/* Copies q's message and gives it a random id.  NULL: cannot be done at all.  fn is called once, never before this
 * returns, and may free the leg. */
struct tcp_leg *tcp_leg_start(struct loop *l, struct dialer *d, struct addr to, const struct dns_query *q, tcp_leg_fn fn, void *arg);
void tcp_leg_free(struct tcp_leg *t);   /* NULL is fine */
