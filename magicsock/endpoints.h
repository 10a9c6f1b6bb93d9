/* magicsock/endpoints.h - the addresses at which we may be reached, as told to control and to peers.
 *
 * Pure: interface addresses and what STUN saw go in with `now`, an ordered list without duplicates comes
 * out.  What STUN saw stays in the list for 5 min 10 s after it was last seen, at most 6 an IP address.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"

/* Numbers as in EndpointTypes of the control protocol. */
enum ms_endpoint_type {
        MS_ENDPOINT_UNKNOWN = 0,
        MS_ENDPOINT_LOCAL = 1,
        MS_ENDPOINT_STUN = 2,
        MS_ENDPOINT_PORTMAP = 3,
        MS_ENDPOINT_STUN4_LOCAL_PORT = 4,   /* hard NAT, fixed port: there may be a static forward */
        MS_ENDPOINT_CONFIG = 5,
};

enum {
        MS_ENDPOINTS_MAX = 64,
        MS_TRACKED_MAX = 48,
        MS_TRACKED_PER_IP = 6,
        MS_LOCAL_MAX = 32,
        MS_STATIC_MAX = 8,
};

struct ms_endpoint {
        struct addr addr;
        enum ms_endpoint_type type;
};

struct endpoint_tracker {
        struct {
                struct ms_endpoint ep;
                mono_t seen;
        } e[MS_TRACKED_MAX];
        size_t count;
};

/* All that the list is made from; arrays are borrowed. */
struct endpoints_input {
        const struct addr *portmap;      /* NULL = none */
        const struct addr *stun4;        /* the first seen first */
        size_t stun4_count;
        const struct addr *stun6;
        size_t stun6_count;
        bool hard_nat;                   /* MappingVariesByDestIP is true */
        uint16_t fixed_port;             /* configured; 0 = any */
        const struct ip *local;          /* interface addresses, filtered and sorted */
        size_t local_count;
        uint16_t port4, port6;           /* where we listen; 0 = that family is off */
        const struct addr *statics;      /* by the administrator: what comes there is forwarded to us */
        size_t static_count;
};

/* Fills ret[MS_ENDPOINTS_MAX] and returns how many; remembers what was seen in t. */
size_t endpoints_build(struct endpoint_tracker *t, const struct endpoints_input *in, mono_t now,
        struct ms_endpoint ret[MS_ENDPOINTS_MAX]);
/* Those of this type are gone, and not only out of sight. */
void endpoints_forget(struct endpoint_tracker *t, enum ms_endpoint_type type);
/* STUN has seen us at this address, now or lately. */
bool endpoints_seen_at(const struct endpoint_tracker *t, const struct endpoints_input *in, struct ip ip);
/* As sets, types included. */
bool endpoints_same(const struct ms_endpoint *a, size_t an, const struct ms_endpoint *b, size_t bn);

/* One address of an interface, for endpoints_filter_local(). */
struct local_addr {
        struct ip ip;
        uint8_t bits;            /* prefix length */
        const char *ifname;
};
/* Leaves out tunnels of ours and of others, and what no peer could use; IPv4 first, sorted.  Loopback only
 * if there is nothing else.  Returns how many of ret[MS_LOCAL_MAX] are filled. */
size_t endpoints_filter_local(const struct local_addr *in, size_t n, const char *tun_name,
        struct ip ret[MS_LOCAL_MAX]);
