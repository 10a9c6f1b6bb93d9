/* daemon/api_metrics.h - the LocalAPI's counters: those of dashboards, and all of them; part of the table in api.c. */
#pragma once

#include "daemon/localapi/server.h"

/* arg is the struct api. */
void api_user_metrics(void *arg, struct lapi_req *r);
void api_debug_metrics(void *arg, struct lapi_req *r);
