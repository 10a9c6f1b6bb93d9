/* daemon/dns/cache.h - answers of upstreams, for as long as they say and in bounded memory.  Pure; one owner.
 *
 * An answer is good for the same name, type and flags of a query without EDNS options.  Sources: RFC 1035 section
 * 7.4, RFC 2308 section 5 (negative answers), RFC 9520 (failures).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mono.h"
#include "daemon/dns/wire.h"

enum {
        DNS_CACHE_WAYS = 4,           /* places that an answer may have */
        DNS_CACHE_MSG_MAX = 1232,     /* longer ones are not kept */
        DNS_CACHE_TTL_MAX = 3600,     /* seconds */
        DNS_CACHE_FAILURE_TTL = 5,
};

struct dns_cache;

/* Of up to `answers` answers, a multiple of DNS_CACHE_WAYS; NULL: out of memory. */
struct dns_cache *dns_cache_new(uint32_t seed, size_t answers);
void dns_cache_free(struct dns_cache *c);
void dns_cache_flush(struct dns_cache *c);
/* An answer made for q, with its time to live run down: length, or 0. */
size_t dns_cache_get(struct dns_cache *c, const struct dns_query *q, uint8_t out[DNS_CACHE_MSG_MAX], mono_t now);
/* Keeps msg if it may be kept; it belongs to q. */
void dns_cache_put(struct dns_cache *c, const struct dns_query *q, const uint8_t *msg, size_t len, mono_t now);
/* Keeps that nobody could answer q, whatever its flags and options. */
void dns_cache_put_failure(struct dns_cache *c, const struct dns_query *q, mono_t now);
