/* daemon/dns/forward.h - queries on their way to upstreams: sockets, requests over HTTPS, the cache.
 *
 * Control thread, on its loop.  Each leg has a socket of its own, so that source port and id are both new for each
 * query; an answer counts if it comes from the address asked, with that id and that question.  Sockets carry
 * no mark: resolvers inside the tailnet are reached through it.  Sources: RFC 5452, RFC 7766, RFC 8484.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dial.h"
#include "base/loop.h"
#include "daemon/dns/config.h"
#include "daemon/dns/wire.h"

enum { DNS_IN_FLIGHT_MAX = 256 };

struct dns_forwarder;
struct dns_forward;

/* Keeps up to `answers` answers: dns/cache.h.  NULL: out of memory. */
struct dns_forwarder *dns_forwarder_new(struct loop *l, struct dialer *unmarked, size_t answers);
void dns_forwarder_free(struct dns_forwarder *f);   /* what is on its way is not answered */
/* Forgets what was learnt: routes or the network have changed. */
void dns_forwarder_flush(struct dns_forwarder *f);

/* The answer, or an error made here, with the id of the query; never longer than the client takes. */
typedef void (*dns_forward_fn)(void *arg, const uint8_t *msg, size_t len, mono_t now);
/* Copies what it needs of q and route.  fn is called once, and what was returned is gone after it; perhaps before this
 * returns: then NULL is returned. */
struct dns_forward *dns_forward_start(struct dns_forwarder *f, const struct dns_query *q,
        const struct dns_route *route, bool tcp_client, dns_forward_fn fn, void *arg, mono_t now);
void dns_forward_cancel(struct dns_forward *w);   /* fn is not called */

struct dns_forward_counters {
        uint64_t asked, from_cache, answered, failed, late, too_many;
};
struct dns_forward_counters dns_forwarder_counters(const struct dns_forwarder *f);
