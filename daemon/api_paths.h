/* daemon/api_paths.h - LocalAPI: the paths to a peer, what happened to them, and why none is direct.  Control thread. */
#pragma once

#include <jansson.h>

#include "base/derpmap.h"
#include "daemon/localapi/server.h"
#include "magicsock/explain.h"

void api_debug_paths(void *arg, struct lapi_req *r);

/* wall_ns: the time of x->now; map NULL: regions have no names.  New reference. */
json_t *paths_json(const struct ms_explain *x, const struct derpmap *map, int64_t wall_ns);
