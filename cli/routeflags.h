/* cli/routeflags.h - the values of --advertise-routes and --exit-node.
 *
 * Pure.  why: what is wrong with the value and what is allowed.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Comma-separated networks, and both default routes if exit_node: sorted, each once, as an array of strings or
 * null for none.  NULL: why. */
json_t *routes_parse(const char *list, bool exit_node, char *why, size_t cap);
/* The two halves of AdvertiseRoutes: whether both default routes are in it, and the rest as a list. */
bool routes_have_exit(const json_t *routes);
void routes_list(const json_t *routes, char *out, size_t cap);

bool exit_node_is_auto(const char *word);   /* "auto:any": the daemon chooses */
/* An address, a name or a stable id -> the address of a peer that offers to be an exit node.  status: with
 * peers.  "" stays "", and so becomes what is automatic. */
bool exit_node_resolve(const json_t *status, const char *word, char *out, size_t out_cap, char *why, size_t cap);
