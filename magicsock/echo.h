/* magicsock/echo.h - ICMP echo requests to relays: how far they are where UDP does not get through.
 *
 * Glue, data thread.  By the kernel's ping socket, which needs no right where ping_group_range lets us, else by a raw one.  It is
 * open only while answers are waited for.  Source: RFC 792, icmp(7).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"

enum { ECHO_WAITING = 16, ECHO_WORD_MAX = 64 };

struct echo;

/* mark: SO_MARK, 0 = none.  NULL: out of memory. */
struct echo *echo_new(struct loop *l, uint32_t mark, void (*answered)(void *arg, uint32_t id, int64_t rtt_ns, mono_t now), void *arg);
void echo_free(struct echo *e);   /* NULL is fine */
/* IPv4; word comes back with the answer.  False: it may not be asked, or ECHO_WAITING are. */
bool echo_ask(struct echo *e, uint32_t id, struct ip to, const char *word, mono_t now);
void echo_forget(struct echo *e);   /* what was asked; closes */

struct echo_reply {
        uint16_t ident, seq;
        const uint8_t *word;     /* in the datagram */
        size_t word_len;
};
/* has_head: behind an IPv4 header, as a raw socket shows it.  ERR_FORMAT: no echo reply. */
ERR_CHECK enum err echo_parse(const void *data, size_t len, bool has_head, struct echo_reply *ret);
