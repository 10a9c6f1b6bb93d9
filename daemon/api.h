/* daemon/api.h - the LocalAPI endpoints: each asks or tells the backend.  Control thread. */
#pragma once

#include "daemon/backend.h"
#include "daemon/localapi/server.h"

struct api {
        struct backend *backend;
        struct notify *notify;
        struct profiles *profiles;
        struct dialer *inside;   /* its connections go through the tunnel; NULL: there are none */
        struct loop *loop;
        struct dialer *dialer;   /* past the tunnel */
        uint32_t mark;           /* of sockets past the tunnel; 0 = none */
        unsigned looks;          /* under way: api_netcheck.c */
};

extern const struct lapi_endpoint api_endpoints[];
const char *api_operator_user(void *arg);   /* for lapi_ops; arg is the struct api */
