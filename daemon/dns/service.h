/* daemon/dns/service.h - the resolver with its forwarder behind it, as whoever receives queries sees it.  Control
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "daemon/dns/config.h"
#include "daemon/dns/forward.h"

enum { DNS_SERVICE_UDP_MAX = 1232 };   /* an answer by UDP fits into one packet of the tunnel */

struct dns_service;

/* Keeps up to `answers` answers: dns/cache.h.  NULL: out of memory. */
struct dns_service *dns_service_new(struct loop *l, size_t answers);
void dns_service_free(struct dns_service *s);
/* How its upstreams are reached; see base/dial.h. */
void dns_service_set_ways(struct dns_service *s, const struct dialer_ways *w, void *arg);
/* Consumes c.  What is on its way to an upstream of before is answered all the same. */
void dns_service_set(struct dns_service *s, struct dns_config *c);
/* dns_config_change() of what is set. */
ERR_CHECK bool dns_service_change(struct dns_service *s, const struct dns_input *in, const struct dns_node *was,
        const struct dns_node *is);
const struct dns_config *dns_service_config(const struct dns_service *s);
/* Another network: what was learnt there does not hold here. */
void dns_service_network_changed(struct dns_service *s);

/* One query.  fn is called once, with length 0 if silence is the answer; perhaps before this returns: then NULL is
 * returned.  dns_forward_cancel() takes it back. */
struct dns_forward *dns_service_ask(struct dns_service *s, const uint8_t *msg, size_t len, bool tcp_client,
        dns_forward_fn fn, void *arg, mono_t now);

struct dns_service_counters {
        uint64_t local;
        struct dns_forward_counters forwarded;
};
struct dns_service_counters dns_service_counters(const struct dns_service *s);
