/* daemon/view.h - what clients are shown of the backend, the map and the engine.  Control thread. */
#pragma once

#include <jansson.h>

#include "base/jsontext.h"
#include "daemon/backend.h"
#include "daemon/localapi/source.h"

enum view_status {
        VIEW_FULL,
        VIEW_NO_PEERS,
        VIEW_BRIEF,   /* what `tailscale status` makes its table of */
        VIEW_LINE,    /* all, without the end of a line in it */
};
/* The Status object as of when each piece of it is asked for; st, from engine_status(), is copied.  b must outlive it. */
struct lapi_source view_status(const struct backend *b, const struct engine_status *st, enum view_status form);
/* The reference's NetworkMap, likewise; null without a map. */
struct lapi_source view_netmap(const struct backend *b);
/* An array of those of the peers with these ids that are there then. */
struct lapi_source view_peers(const struct backend *b, const int64_t *ids, size_t n);
/* Writes the user after *last, by ascending id, which *last becomes; false: there is none. */
bool view_next_user(const struct netmap *nm, int64_t *last, struct jtext *out);
/* Self or the peer that owns ip, or whose accepted routes contain it; NULL: none. */
const struct netmap_node *view_node_for_ip(const struct backend *b, struct ip ip);
/* WhoIs of a node, with what it may do at the services of our address dst (NULL: of its first address's family); new
 * reference. */
json_t *view_whois(const struct backend *b, const struct netmap_node *n, const struct ip *dst);
/* The report as `netcheck --format json` shows it; new reference. */
json_t *view_netcheck(const struct netcheck_report *r);
/* First label of the node's DNS name, else its host name. */
const char *view_node_name(const struct netmap_node *n, char *out, size_t cap);
