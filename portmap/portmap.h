/* portmap/portmap.h - a port of our router: asked for, kept, and given back.
 *
 * Pure: no socket, no clock.  The owner says where we are, looks from time to time, performs what portmap_next() returns
 * until that is PORTMAP_IDLE, after every call and at portmap_deadline(), and feeds back what comes.
 *
 *      portmap_set_net(), portmap_look(), portmap_on_packet(), portmap_on_answer(), portmap_stop();
 *      after each, and at the deadline:
 *              while (portmap_next(p, now, &act) != PORTMAP_IDLE) perform it
 *
 * NAT-PMP is asked first, PCP where there is nothing else of its kind, UPnP where both are silent.  What the router says
 * is believed of itself only: answers come from its address, and a mapping has a public address and a lease that ends.  Where
 * nobody answers, nothing is sent for minutes.  Source: RFC 6886 3, RFC 6887 8, 11, 15.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"
#include "portmap/pxp.h"
#include "portmap/upnp.h"

enum portmap_way { PORTMAP_NONE, PORTMAP_PMP, PORTMAP_PCP, PORTMAP_UPNP, PORTMAP_WAYS };
#define PORTMAP_BIT(way) (1u << (way))
enum { PORTMAP_ALL = 1 << PORTMAP_PMP | 1 << PORTMAP_PCP | 1 << PORTMAP_UPNP };
const char *portmap_way_str(enum portmap_way way);

struct portmap_net {
        struct ip router;    /* IPv4; none: no port mapping here */
        struct ip self;      /* our address in the router's network */
        uint16_t port;       /* ours, to be reached from outside; 0 = none */
};

struct portmap_lease {
        enum portmap_way way;          /* PORTMAP_NONE: none */
        struct portmap_net net;
        struct addr outside;
        mono_t renew, end;
        bool is_lost;                  /* the router restarted and may not know of it any more */
        struct pcp_nonce nonce;        /* PCP */
        struct upnp_service service;   /* UPnP */
};

struct portmap_counts {
        uint64_t looks, answers;
        uint64_t strangers;            /* datagrams that did not come from the router */
        uint64_t garbage;              /* those that did, and were no answer */
        uint64_t made, renewed;
        uint64_t failed;               /* refused, silent, or of no use */
        uint64_t lost;                 /* router restarts noticed */
};

struct portmap {
        void (*random)(void *out, size_t n);
        struct portmap_net net;
        unsigned off;                  /* ways that are not to be used */
        unsigned due;                  /* actions to come, in the order of their bits */

        bool looking;
        unsigned look_for;             /* ways asked in this look */
        mono_t look_again, look_end;
        mono_t hear_end;               /* UPnP is waited for until then; unset = no more */
        mono_t looked;                 /* the last full one began; unset = never */
        mono_t seen[PORTMAP_WAYS];
        struct ip pmp_outside;         /* none: it has none, or has not said */
        struct upnp_url location;
        uint32_t boot;                 /* of the UPnP router; 0 = not said */
        unsigned igd_version;

        enum portmap_way asking;
        mono_t ask_again, ask_end;
        struct pcp_nonce nonce;
        uint16_t pmp_port;             /* 0: no answer yet */
        uint32_t pmp_lifetime;
        struct upnp upnp;
        uint16_t wish;                 /* the outside port we had last */
        unsigned failures;             /* in a row */
        mono_t not_before;             /* for want of success */
        mono_t retry;                  /* the next try, if there is still somebody to ask; unset = none is planned */

        bool has_epoch;
        uint32_t epoch;
        mono_t epoch_at;

        struct portmap_lease lease;
        struct portmap_lease old;      /* to be given back */
        struct portmap_counts counts;
};

void portmap_init(struct portmap *p, void (*random)(void *out, size_t n));
/* Another network: what we had is given back, and nothing of the old one is believed.  The same one: nothing happens. */
void portmap_set_net(struct portmap *p, const struct portmap_net *net, mono_t now);
void portmap_set_off(struct portmap *p, unsigned ways, mono_t now);
/* Who is there?  Then a mapping is made if we have none.  fresh: also if nobody was, minutes ago.  True: a PORTMAP_FOUND
 * comes, within 250 ms; false: portmap_ways() is as good as it gets, although one may come if what we have is looked after. */
bool portmap_look(struct portmap *p, bool fresh, mono_t now);
/* Gives back what we have; asks nothing more until the next portmap_set_net(). */
void portmap_stop(struct portmap *p, mono_t now);

enum portmap_kind {
        PORTMAP_IDLE,
        PORTMAP_SEND,      /* data to that address, from any port of our address self */
        PORTMAP_FETCH,     /* over HTTP, then portmap_on_answer(); it replaces one that is under way */
        PORTMAP_FOUND,     /* the look is over: portmap_ways() */
        PORTMAP_CHANGED,   /* another mapping, or none: portmap_mapping() */
};

enum { PORTMAP_DATA_MAX = 160 };

struct portmap_action {
        enum portmap_kind kind;
        struct addr to;                    /* PORTMAP_SEND */
        size_t len;
        uint8_t data[PORTMAP_DATA_MAX];
        struct upnp_request fetch;         /* PORTMAP_FETCH */
};

enum portmap_kind portmap_next(struct portmap *p, mono_t now, struct portmap_action *ret);
mono_t portmap_deadline(const struct portmap *p);
/* It waits for nobody and has nothing to say: the socket may go. */
bool portmap_is_quiet(const struct portmap *p);

void portmap_on_packet(struct portmap *p, struct addr from, const void *data, size_t len, mono_t now);
/* status 0: no answer came. */
void portmap_on_answer(struct portmap *p, long status, const char *body, size_t len, mono_t now);

/* The address at which the world reaches our port; NULL: none. */
const struct addr *portmap_mapping(const struct portmap *p);
unsigned portmap_ways(const struct portmap *p, mono_t now);   /* PORTMAP_BITs of those that answered lately */
