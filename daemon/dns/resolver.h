/* daemon/dns/resolver.h - what a query of this host gets: an answer of ours, or which upstreams are asked.  Pure.
 *
 * Sources: RFC 1034/1035, RFC 2308 (SOA with all negative answers), RFC 6761 and 7686 (.onion), RFC 6763 section 11
 * (DNS-SD domains).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/dns/config.h"
#include "daemon/dns/wire.h"

enum { DNS_LOCAL_TTL = 5, DNS_SOA_TTL = 10, DNS_LOCAL_MAX = 1232 };

enum dns_verdict {
        DNS_ANSWERED,     /* *ret_len bytes in out */
        DNS_FORWARD,      /* ask *ret_route */
        DNS_SILENT,
};

/* wall_s: seconds since 1970, the serial of SOA records.  *q is filled in every case but silence. */
enum dns_verdict dns_resolve(const struct dns_config *c, const uint8_t *msg, size_t len, int64_t wall_s,
        struct dns_query *q, uint8_t out[DNS_LOCAL_MAX], size_t *ret_len, const struct dns_route **ret_route);
