/* daemon/api_dns.h - the LocalAPI endpoints about DNS; part of the table in api.c.  Control thread. */
#pragma once

#include "daemon/localapi/server.h"

/* arg is the struct api. */
void api_dns_config(void *arg, struct lapi_req *r);
void api_dns_osconfig(void *arg, struct lapi_req *r);
void api_dns_query(void *arg, struct lapi_req *r);
