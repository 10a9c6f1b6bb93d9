/* daemon/dns/config.h - from the network map, preferences and what the host can do to what is answered, what is
 * forwarded where, and what the operating system is told.  Pure.
 *
 * dns_compile() copies all it keeps.  A compiled configuration is only read from then on, but for dns_config_change();
 * one owner, any thread.
 * Names fold to lower case on both sides.  Sources: Tailscale control protocol, DNSConfig.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "daemon/dns/doh.h"
#include "daemon/dns/name.h"
#include "daemon/dns/osconfig.h"

#define DNS_SERVICE_NAME "magicdns.localhost-tailscale-daemon"

struct dns_node {
        const char *name;                 /* full */
        const struct prefix *addresses;   /* /32 and /128 */
        size_t address_count;
        bool subdomains;                  /* also answers for all names below its own */
};

struct dns_input {
        const json_t *map;                /* DNSConfig; NULL: none sent */
        const struct dns_node *self;      /* NULL: no map, or not running, or expired: all is empty */
        const struct dns_node *peers;
        size_t peer_count;
        const char *suffix;               /* of the tailnet, no dots around; "" = none */
        bool peers_aaaa;                  /* IPv6 of peers also where they have IPv4 */
        bool service4_only;               /* never name the service's IPv6 address to the system */
        bool accept_dns;                  /* preference */
        bool exit_node;                   /* one is in use ... */
        const char *exit_proxy;           /* ... and answers DNS at this URL; NULL: it does not */
        bool os_split;                    /* the system can send only some suffixes to us */
        bool for_others;                  /* peers ask: where the map has nobody for a name, the base does */
        const struct dns_os_config *base; /* what the system would use without us; NULL: not to be had */
};

enum {   /* bits of dns_config.faults */
        DNS_FAULT_RESOLVER = 1,           /* an entry of the map is neither an address nor a usable URL */
        DNS_FAULT_LOOP = 2,               /* the map names this node itself, or the service, as resolver */
        DNS_FAULT_NAME = 4,               /* a suffix or record has an impossible name, or there are too many */
        DNS_FAULT_NO_BASE = 8,            /* names outside the tailnet have nobody to answer them */
};

/* Where the names below one suffix go. */
struct dns_route {
        bool local;                       /* nowhere: we are the authority */
        struct dns_try *tries;            /* asked in a race */
        size_t try_count;
        char **resolvers;                 /* as the map names them, for people */
        size_t resolver_count;
};

struct dns_host {
        struct ip first, v4, v6;          /* none: there is no such address */
        bool subdomains;
};

struct dns_config;

/* NULL: out of memory.  *ret_os is to be freed by dns_os_config_free(). */
struct dns_config *dns_compile(const struct dns_input *in, struct dns_os_config *ret_os);
/* A peer that was there (NULL: not) is different now (NULL: gone); in as for dns_compile(), without the peers.  What that
 * costs does not grow with the peers there are.  False: more than its own names may change, or nodes share names or
 * addresses, or much has changed in this way already: compile anew, c may be half changed. */
ERR_CHECK bool dns_config_change(struct dns_config *c, const struct dns_input *in, const struct dns_node *was,
        const struct dns_node *is);
void dns_config_free(struct dns_config *c);
unsigned dns_config_faults(const struct dns_config *c);
/* What others answered under the one may be said again under the other. */
bool dns_config_same_routes(const struct dns_config *a, const struct dns_config *b);

const struct dns_host *dns_config_host(const struct dns_config *c, const struct dns_name *n);   /* NULL: none */
/* The name that goes with an address; false: none. */
bool dns_config_name_of(const struct dns_config *c, struct ip ip, struct dns_name *ret);
/* The longest suffix we are the authority for that n is within; false: none. */
bool dns_config_zone(const struct dns_config *c, const struct dns_name *n, struct dns_name *ret);
/* The route of the longest suffix that has upstreams; NULL: nobody to ask.  Ask dns_config_zone() first: what is
 * within a zone of ours goes nowhere. */
const struct dns_route *dns_config_route(const struct dns_config *c, const struct dns_name *n);
