/* daemon/host/hostnl.h - netlink requests, answered before the call returns, for router.c.  Values only; libnl stays behind this. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct hostnl;

struct hostnl_rule {
        uint8_t family;       /* enum ip_family */
        uint32_t priority;
        uint32_t mark, mask;  /* 0: matches all */
        uint32_t table;       /* 0: action unreachable */
};

enum hostnl_route_type {
        HOSTNL_TUNNEL,        /* out by the interface */
        HOSTNL_THROW,         /* leave this table and look in the next one */
        HOSTNL_UNREACHABLE,   /* refuse */
};

struct hostnl_route {
        struct prefix dst;
        uint8_t type;         /* enum hostnl_route_type */
        uint32_t metric;      /* 0: the kernel's default; lower wins */
        uint32_t uses;        /* who keeps a list may count in it; netlink knows nothing of it */
};

struct hostnl *hostnl_open(void);   /* NULL: errno */
void hostnl_close(struct hostnl *n);
/* The netlink addresses that what it changes is reported with. */
enum { HOSTNL_PORTS = 2 };
void hostnl_ports(const struct hostnl *n, uint32_t out[HOSTNL_PORTS]);
/* Text of the last failure, until the next call. */
const char *hostnl_error(const struct hostnl *n);

int hostnl_ifindex(struct hostnl *n, const char *ifname);   /* 0: none */
ERR_CHECK enum err hostnl_link_set(struct hostnl *n, int ifindex, bool up, unsigned mtu /* 0: as it is */);
/* Adding what is there, or removing what is not, succeeds. */
ERR_CHECK enum err hostnl_addr(struct hostnl *n, int ifindex, struct prefix p, bool add);
/* Up to HOSTNL_ROUTES_MAX at once; how each went in ret.  hostnl_error() is about the last that failed. */
enum { HOSTNL_ROUTES_MAX = 32 };
void hostnl_routes(struct hostnl *n, int ifindex, const uint32_t *tables, const struct hostnl_route *at, size_t count,
        bool add, enum err *ret);
ERR_CHECK enum err hostnl_rule(struct hostnl *n, const struct hostnl_rule *r, bool add);
bool hostnl_rules_usable(struct hostnl *n, enum ip_family f);   /* policy routing of that family answers */

/* Dumps; fn may not call back into n. */
typedef void (*hostnl_rule_fn)(void *arg, const struct hostnl_rule *r);
void hostnl_each_rule(struct hostnl *n, enum ip_family f, hostnl_rule_fn fn, void *arg);
typedef void (*hostnl_route_fn)(void *arg, const struct hostnl_route *r);
void hostnl_each_route(struct hostnl *n, uint32_t table, hostnl_route_fn fn, void *arg);
/* Deletes every route of the table, whatever its type. */
void hostnl_flush_table(struct hostnl *n, uint32_t table);
typedef void (*hostnl_addr_fn)(void *arg, int ifindex, struct prefix p);
void hostnl_each_addr(struct hostnl *n, hostnl_addr_fn fn, void *arg);   /* of every interface */
