/* daemon/dns/tcp53.h - DNS over TCP on the service addresses.  Control thread; one a process, as the stack is.
 *
 * Sources: RFC 7766 (pipelining: answers in any order, matched by id).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "daemon/dns/service.h"

enum {
        TCP53_IDLE_MS = 45000,
        TCP53_CONNECTIONS_MAX = 64,
        TCP53_BACKLOG_MAX = 512 * 1024,   /* answers the client does not read */
};

struct tcp53;

typedef void (*tcp53_send_fn)(void *arg, const uint8_t *pkt, size_t len);

struct tcp53 *tcp53_new(struct loop *l, struct dns_service *s, tcp53_send_fn send, void *arg);   /* NULL: no memory */
void tcp53_free(struct tcp53 *t);
void tcp53_in(struct tcp53 *t, const uint8_t *pkt, size_t len);   /* an IP packet with TCP */
