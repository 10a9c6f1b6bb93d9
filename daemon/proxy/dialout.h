/* daemon/proxy/dialout.h - connections that somebody on this host asks for by name or address: through the stack, or by the
 * kernel.  Control thread.
 *
 * A name is asked of our own resolver, A and AAAA at once; what it does not find is asked of the host's (/etc/hosts).
 * Addresses are tried one after the other.  Where each one leads is a function of the daemon.
 */
#pragma once

#include "base/addr.h"
#include "base/loop.h"
#include "daemon/dns/service.h"
#include "daemon/netstack/relay.h"

enum { DIALOUT_HOST_MAX = 256, DIALOUT_ADDRESSES_MAX = 8, DIALOUT_TRY_MS = 10000, DIALOUT_CALLS_MAX = 1024 };

enum dialout_way {
        DIALOUT_KERNEL,
        DIALOUT_STACK,
        DIALOUT_NOWHERE,
};

struct dialout_ops {
        /* May change *dst (an address of ours is this host).  STACK: *ret_local is the source.  NOWHERE: *ret_why. */
        enum dialout_way (*way)(void *arg, struct ip *dst, struct ip *ret_local, const char **ret_why);
        bool (*is_outside)(void *arg, struct ip dst);
        /* One that leads through the stack; where way() says so. */
        int (*datagram)(void *arg, struct ip local, struct addr to);
        struct dns_service *(*resolver)(void *arg);
        bool (*may_ask_host)(void *arg);    /* for names that the resolver does not know */
        const char *(*suffix)(void *arg);   /* of the tailnet's names; "" = none */
};

enum dialout_error {
        DIALOUT_OK,
        DIALOUT_NO_NAME,
        DIALOUT_NO_ROUTE,
        DIALOUT_REFUSED,
        DIALOUT_TIMED_OUT,
        DIALOUT_FAILED,
};

struct dialout_result {
        enum dialout_error error;
        const char *why;           /* a sentence for a person, valid for the call */
        struct relay_end end;      /* belongs to whoever is called */
        struct addr local, remote;
};

struct dialout;
struct dialout_call;

typedef void (*dialout_fn)(void *arg, const struct dialout_result *r);

struct dialout *dialout_new(struct loop *l, const struct dialout_ops *ops, void *arg);   /* NULL: errno */
void dialout_free(struct dialout *d);   /* calls under way are forgotten */
/* fn is called once, never before this returns.  NULL: out of memory, or too many. */
struct dialout_call *dialout_start(struct dialout *d, const char *host, uint16_t port, dialout_fn fn, void *arg);
/* As above, for somebody who may not have this process's rights: what dialout_is_outside() names is not tried, also
 * where a name has another address now than it had when somebody looked. */
struct dialout_call *dialout_start_inside(struct dialout *d, const char *host, uint16_t port, dialout_fn fn, void *arg);
void dialout_cancel(struct dialout_call *c);   /* NULL is fine */

/* Only the addresses of a name, for who decides by them; as above, error OK or not. */
typedef void (*dialout_resolved_fn)(void *arg, enum dialout_error error, const struct ip *ips, size_t n);
struct dialout_call *dialout_resolve(struct dialout *d, const char *host, dialout_resolved_fn fn, void *arg);
/* A socket for datagrams to there and from there alone, by the same way; -1: errno. */
int dialout_datagram(struct dialout *d, struct addr to);
bool dialout_is_outside(struct dialout *d, struct ip dst);   /* not in the tailnet, nor reached through it */
