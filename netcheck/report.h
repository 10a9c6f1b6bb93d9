/* netcheck/report.h - what one look at the network found.
 *
 * A plain value.  The daemon turns it into NetInfo for control and into the `netcheck` command's output;
 * the names are those of that JSON.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/derpmap.h"
#include "base/mono.h"

enum nc_tri { NC_UNKNOWN = 0, NC_FALSE, NC_TRUE };   /* null, false, true */

enum { NC_COUNTERS_MAX = 16 };   /* distinct endpoints remembered a family */

/* Of one region; 0 = not measured, a measured one is at least 1. */
struct nc_latency {
        int region;
        int64_t any_ns;   /* RegionLatency: the least by any method */
        int64_t v4_ns;    /* RegionV4Latency: STUN */
        int64_t v6_ns;
};

struct nc_counter {
        struct addr addr;
        unsigned seen;
};

/* Ways to a port of the router, and whether we have one. */
struct nc_portmap {
        enum nc_tri upnp, pmp, pcp;
        bool have;
};

struct netcheck_report {
        mono_t at;             /* Now: when it was finished; unset while it runs */
        mono_t began;
        bool full;             /* all regions were asked */
        bool udp;
        bool ipv4, ipv6;
        bool ipv4_can_send, ipv6_can_send;
        bool os_has_ipv6;
        bool icmp4;            /* ICMPv4: a relay answered an echo, while UDP is silent */
        bool https;            /* a relay answered by HTTPS, while UDP is silent */
        enum nc_tri mapping_varies;   /* MappingVariesByDestIP: a hard NAT */
        enum nc_tri upnp, pmp, pcp;
        enum nc_tri captive;          /* CaptivePortal: a portal answers in place of the relays; see captive.h */
        bool have_portmap;            /* HavePortMap: the router gave us a port */
        enum nc_tri translated;       /* by a NAT: others see global_v4, which is no address of this host */
        bool unasked_in;              /* a peer got through to which nothing had been sent: see nat.h */
        enum nc_tri hairpin;          /* the NAT leads back to us what we send to our own outside address */
        bool hairpin_filtered;        /* but only from where we had sent to */
        uint16_t port4;               /* our own, that global_v4 stands for; 0 = unknown */
        int preferred;                /* PreferredDERP; 0 = unknown */
        size_t latency_count;         /* regions with any latency */
        struct nc_latency latency[DERPMAP_REGIONS_MAX];   /* ascending region */
        size_t v4_count, v6_count;
        struct nc_counter v4[NC_COUNTERS_MAX];   /* GlobalV4Counters, in order of first sight */
        struct nc_counter v6[NC_COUNTERS_MAX];
        struct addr global_v4;        /* the first answer's */
        struct ip server_v4;          /* who said so */
        struct addr global_v6;        /* the latest answer's */
};

/* A STUN answer of that server; rtt_ns > 0.  Sets udp, ipv4/6, latencies, counters, global_*, mapping_varies, for which it
 * takes two servers to say that it does not. */
void nc_report_stun(struct netcheck_report *r, int region, struct ip server, struct addr seen, int64_t rtt_ns);
/* An HTTPS answer from a server reached over family f. */
void nc_report_https(struct netcheck_report *r, int region, enum ip_family f, int64_t rtt_ns);
/* An ICMP echo came back from the region's relay. */
void nc_report_icmp(struct netcheck_report *r, int region, int64_t rtt_ns);
/* NULL: nothing measured. */
const struct nc_latency *nc_report_latency(const struct netcheck_report *r, int region);
/* Our public endpoints worth telling: global_v4/6 first, then others seen more than once.  Returns how
 * many of ret[NC_COUNTERS_MAX] are filled. */
size_t nc_report_endpoints(const struct netcheck_report *r, enum ip_family f,
        struct addr ret[NC_COUNTERS_MAX]);
/* One line for the log: "udp=true v6=false mapvarydest= portmap=? derp=1 derpdist=1v4:10ms". */
const char *nc_report_line(const struct netcheck_report *r, char *out, size_t cap);
