/* daemon/netsync.h - what the network map means for the data side and the host: pure translations.
 *
 * Control thread.  Borrows the map for the call; what is returned belongs to the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"
#include "daemon/control/netmap.h"
#include "daemon/engine.h"
#include "tun/filter.h"

struct netsync_prefs {
        bool accept_routes;              /* install what peers advertise beyond their own addresses */
        bool shields_up;
        int64_t exit_node;               /* id of the node that gets the default routes; 0: none */
        const struct prefix *advertised; /* routes of ours: destinations the filter lets in */
        size_t advertised_count;
        const struct prefix *interfaces; /* addresses of the host's other interfaces, each with its length: an exit
                                          * node lets nobody into their networks */
        size_t interface_count;
        uint16_t peerapi4_port, peerapi6_port; /* the PeerAPI asks for itself who may; 0 = none */
};

/* Both default routes are among its AllowedIPs. */
bool netsync_offers_exit(const struct netmap_node *n);

/* Which of a peer's AllowedIPs count: its own addresses always, subnet routes if accepted, default routes only
 * of the exit node, prefixes with host bits never. */
bool netsync_allows(const struct netmap_node *n, struct prefix p, const struct netsync_prefs *prefs);

/* Would accepting routes add any? */
bool netsync_leaves_routes(const struct netmap *nm, const struct netsync_prefs *prefs);

/* The engine's view of one peer; *ret_allowed is malloc'ed storage that ret points into. */
ERR_CHECK enum err netsync_peer(const struct netmap_node *n, const struct netsync_prefs *prefs,
        struct engine_peer *ret, struct prefix **ret_allowed);

/* Routes into the tunnel: a /32 a peer, one /48 for all IPv6 addresses of the mesh, accepted subnets, and the service
 * address where DNS is answered (the IPv6 one lies in the /48).  Default routes are not among them: they stay when
 * the exit node goes. */
ERR_CHECK enum err netsync_routes(const struct netmap *nm, const struct netsync_prefs *prefs,
        struct prefix **ret, size_t *ret_count);

/* Those of them that are there for one peer: appended to out, which has room for n->allowed_count.  *ret_mesh6: it also
 * is a reason for the /48. */
void netsync_peer_routes(const struct netmap_node *n, const struct netsync_prefs *prefs, struct prefix *out, size_t *count,
        bool *ret_mesh6);
bool netsync_has_family(const struct netmap_node *n, enum ip_family f);   /* among its addresses; n may be NULL */

/* The packet filter.  NULL: out of memory.  Of a forged set of rules nothing is used. */
struct filter *netsync_filter(const struct netmap *nm, const struct netsync_prefs *prefs);
/* Does it depend on more of the map than rules and self? */
bool netsync_filter_needs_peers(const struct netmap *nm);
/* Rules that let in a node for which nobody signed: the server is broken or malicious. */
bool netsync_filter_is_forged(const struct netmap *nm);
