/* tests/sim/nat.h - one box that translates addresses, or only filters, or neither.  Pure: time is an argument.
 *
 * Words of RFC 4787: an inner address is mapped to one outer port for all destinations (endpoint-independent), or to one
 * for each address or address and port; and what comes back in is let in from anywhere, from addresses that were sent to,
 * or only from addresses and ports that were.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"
#include "tests/sim/rng.h"

enum nat_by { NAT_ANY, NAT_ADDRESS, NAT_PORT };   /* endpoint-independent; by address; by address and port */
enum nat_ports { NAT_PRESERVE, NAT_NEXT, NAT_RANDOM };

struct nat_conf {
        bool translates;        /* false: a firewall, or nothing if it does not filter either */
        bool filters;
        enum nat_by mapping, filtering;
        enum nat_ports ports;
        uint16_t first, last;   /* outer ports */
        int64_t timeout_ns;
        bool inbound_refreshes;
        bool hairpin;
};

struct nat_remote {
        struct addr addr;
        mono_t last;
};

enum { NAT_BUCKETS = 512 };

struct nat_mapping {
        struct nat_mapping *next, *next_by_port;
        struct addr inner, dst;   /* dst: as far as the mapping depends on it */
        uint16_t port;
        mono_t last;
        struct nat_remote *remote;   /* hashed by address; those never sent to are unset */
        size_t remote_count, remote_cap;   /* a power of two, at least twice as many */
};

struct nat_table {
        struct nat_mapping *by_flow[NAT_BUCKETS], *by_port[NAT_BUCKETS];
};

struct nat {
        struct nat_conf conf;
        struct rng rng;
        uint16_t next;
        struct nat_table *table;   /* made for the first mapping */
};

void nat_init(struct nat *n, const struct nat_conf *c, struct rng rng);
void nat_done(struct nat *n);
void nat_flush(struct nat *n);   /* it was restarted */
/* The outer port of a packet that leaves from inner to dst; 0: no port is free. */
uint16_t nat_out(struct nat *n, struct addr inner, struct addr dst, mono_t now);
/* A packet from src to one of its ports (of a firewall: to this inner address).  False: dropped. */
bool nat_in(struct nat *n, struct addr src, struct addr to, mono_t now, struct addr *ret_inner);
