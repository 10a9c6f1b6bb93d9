/* daemon/view.h - what clients are shown of the backend, the map and the engine.  Control thread. */
#pragma once

#include <jansson.h>

#include "daemon/backend.h"

/* The Status object; st from engine_status().  New reference. */
json_t *view_status(const struct backend *b, const struct engine_status *st, bool peers);
/* Self or the peer that owns ip, or whose accepted routes contain it; NULL: none. */
const struct netmap_node *view_node_for_ip(const struct backend *b, struct ip ip);
/* WhoIs of a node, with what it may do at the services of our address dst (NULL: of its first address's family); new
 * reference. */
json_t *view_whois(const struct backend *b, const struct netmap_node *n, const struct ip *dst);
/* The report as `netcheck --format json` shows it; new reference. */
json_t *view_netcheck(const struct netcheck_report *r);
/* First label of the node's DNS name, else its host name. */
const char *view_node_name(const struct netmap_node *n, char *out, size_t cap);
