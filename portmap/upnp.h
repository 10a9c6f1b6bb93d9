/* portmap/upnp.h - one conversation with a UPnP router: a mapping asked for, or given back.
 *
 * Pure, by value.  Start it with upnp_ask() or upnp_release(); send what upnp_request() says, one request at a time; feed
 * each answer, and whatever came instead of one, to upnp_answer() until it says how it ended.
 * Source: UPnP IGD:1 and IGD:2, WANIPConnection:1 and :2 2.4; miniupnpc for what routers really answer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "portmap/ssdp.h"
#include "portmap/upnp_xml.h"

enum {
        UPNP_LEASE_S = 7200,
        UPNP_DESCRIPTION_MAX = 65536,   /* bytes of a description */
        UPNP_REPLY_MAX = 8192,          /* of any other answer */
        UPNP_PORT_TRIES = 4,            /* ports that others have */
};

enum upnp_step { UPNP_QUIET, UPNP_DESCRIBE, UPNP_ADDRESS, UPNP_MAP, UPNP_RELEASE };

struct upnp {
        enum upnp_step step;
        struct ip router, self;
        uint16_t inner, outer;
        struct ip outside;                  /* after UPNP_MAPPED */
        struct upnp_url location;
        struct upnp_service services[UPNP_SERVICES_MAX];
        size_t count, at;
        bool is_known;                      /* the service is that of the mapping we have */
        bool is_permanent;                  /* the router knows no leases */
        unsigned tries;
        void (*random)(void *out, size_t n);
};

/* With `known` the service that gave the present mapping is asked first.  outer: the port we had; 0 = none. */
void upnp_ask(struct upnp *u, const struct upnp_url *location, const struct upnp_service *known, uint16_t outer);
void upnp_release(struct upnp *u, const struct upnp_service *service, uint16_t outer);

enum { UPNP_HEADER_MAX = 112, UPNP_BODY_MAX = 1024 };

struct upnp_request {
        char url[UPNP_URL_MAX];
        char action[UPNP_HEADER_MAX];       /* the value of SOAPAction; "" = a GET without body */
        char body[UPNP_BODY_MAX];           /* text/xml */
        size_t max;                         /* bytes of the answer */
};
/* False: quiet. */
bool upnp_request(const struct upnp *u, struct upnp_request *ret);

enum upnp_news {
        UPNP_MORE,       /* another request */
        UPNP_MAPPED,     /* outside, outer and services[at] are valid */
        UPNP_RELEASED,
        UPNP_FAILED,     /* nothing was mapped; also of a release */
};
/* status 0: no answer. */
enum upnp_news upnp_answer(struct upnp *u, long status, const char *body, size_t len);
