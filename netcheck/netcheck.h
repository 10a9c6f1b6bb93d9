/* netcheck/netcheck.h - one look at the network at a time: which relay is near, what are our public addresses.
 *
 * Pure: no socket, no clock, no name lookup.  The owner starts a report, performs what nc_next() returns
 * until it returns NC_IDLE, feeds back what happened, and wakes it at nc_deadline():
 *
 *      nc_start(nc, &args, now);
 *      after every event and timer:
 *              while ((a = nc_next(nc, now, &act)) != NC_IDLE) perform it (NC_DONE: nc_finish)
 *              arm one timer at nc_deadline(nc)
 *
 * STUN packets must leave from the WireGuard sockets, so that the addresses found are theirs.  The object
 * remembers the last report (later ones are incremental) and five minutes of latencies for the choice of home.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/derpmap.h"
#include "base/err.h"
#include "base/mono.h"
#include "netcheck/captive.h"
#include "netcheck/report.h"
#include "netcheck/stun.h"

struct netcheck;

enum nc_action_kind {
        NC_IDLE,      /* nothing to do before nc_deadline() or the next event */
        NC_SEND,      /* send data[40] to addr; then nc_on_sent() */
        NC_RESOLVE,   /* look host up in family; then nc_on_resolved(), in any order, also much later */
        NC_FETCH,     /* GET url as of node; then nc_on_fetched() */
        NC_PING,      /* ICMP echo to addr.ip with the node's name in it; then nc_on_pinged(), if there is an answer */
        NC_CAPTIVE,   /* GET url with captive->challenge, by no proxy; then nc_on_captive() */
        NC_DONE,      /* the report is complete: call nc_finish().  Returned until that is done */
};

struct nc_action {
        enum nc_action_kind kind;
        uint32_t id;                      /* hand it back with the answer */
        bool second;                      /* NC_SEND: from the second socket, which is needed only while a report runs */
        int region;
        enum ip_family family;            /* NC_SEND, NC_RESOLVE */
        struct addr addr;                 /* NC_SEND, NC_PING */
        uint8_t data[STUN_REQUEST_LEN];   /* NC_SEND */
        const char *host;                 /* NC_RESOLVE: borrowed from the map */
        const struct derp_node *node;     /* NC_FETCH, NC_PING: certificate rules and addresses; borrowed from the map */
        char url[320];                    /* NC_FETCH: https://host[:port]/derp/latency-check */
        const struct nc_captive *captive; /* NC_CAPTIVE: borrowed until the report is finished */
        unsigned timeout_ms;              /* NC_FETCH, NC_RESOLVE, NC_CAPTIVE */
};

struct nc_start_args {
        const struct derpmap *map;   /* borrowed until the report is finished or cancelled */
        bool have_v4, have_v6;       /* an interface that is up and not our tunnel has a usable address */
        bool os_has_ipv6;            /* a UDP bind to [::1]:0 works */
        bool full;                   /* ask for all regions */
        bool no_udp;                 /* no STUN at all: HTTPS decides */
        int home;                    /* present choice; 0 = none */
        uint16_t port4;              /* where we listen; 0 = unknown */
        const struct ip *local;      /* this host's addresses, copied; none = unknown */
        size_t local_count;
};

/* random fills out with n unpredictable bytes (crypto_random).  NULL: out of memory. */
struct netcheck *nc_new(void (*random)(void *out, size_t n));
void nc_free(struct netcheck *nc);

/* ERR_STATE: one is running.  ERR_NOT_FOUND: no map. */
ERR_CHECK enum err nc_start(struct netcheck *nc, const struct nc_start_args *args, mono_t now);
bool nc_running(const struct netcheck *nc);
/* Drops the running report, if any; its late answers are ignored. */
void nc_cancel(struct netcheck *nc);
/* Another network: forget latencies and the last report, so that the next one is full. */
void nc_forget(struct netcheck *nc);
/* A datagram of a peer came through the NAT from a host to which nothing had been sent but maybe by the last report: if not
 * that either, the reports from now on say so. */
void nc_on_unasked(struct netcheck *nc, struct ip from);

enum nc_action_kind nc_next(struct netcheck *nc, mono_t now, struct nc_action *ret);
mono_t nc_deadline(const struct netcheck *nc);   /* MONO_NEVER: none running */

/* ok: the kernel took it (EPERM counts as taken). */
void nc_on_sent(struct netcheck *nc, uint32_t id, bool ok, mono_t now);
/* A datagram for which stun_is_binding() holds.  True: it answered one of ours. */
bool nc_on_stun(struct netcheck *nc, const void *data, size_t len, mono_t now);
/* What came in to the second socket; see hairpin.h. */
void nc_on_second(struct netcheck *nc, struct addr src, const void *data, size_t len, mono_t now);
/* ip none: there is no such address. */
void nc_on_resolved(struct netcheck *nc, uint32_t id, struct ip ip, mono_t now);
/* status 0: failed.  rtt_ns: of the request alone (fetch: first_byte_ns - connect_ns). */
void nc_on_fetched(struct netcheck *nc, uint32_t id, long status, enum ip_family f, int64_t rtt_ns);

/* rtt_ns 0: the kernel will not ask. */
void nc_on_pinged(struct netcheck *nc, uint32_t id, int64_t rtt_ns);
/* status 0: nothing answered.  response: the header X-Tailscale-Response, "" without. */
void nc_on_captive(struct netcheck *nc, uint32_t id, long status, const char *response);

/* What the router offers, for the running report. */
void nc_set_portmap(struct netcheck *nc, const struct nc_portmap *found);
/* After NC_DONE: chooses preferred (home_heard: when a frame last came from the present home relay; unset =
 * never), stores the report and ends it.  Borrowed until the next nc_start(). */
const struct netcheck_report *nc_finish(struct netcheck *nc, mono_t home_heard, mono_t now);
/* The running report so far, else the last one; NULL: none yet.  For a node without any home: the first
 * answer is in here long before the report is complete. */
const struct netcheck_report *nc_report(const struct netcheck *nc);
/* The last complete one; NULL: none yet. */
const struct netcheck_report *nc_last(const struct netcheck *nc);
