/* daemon/control/mapparts.h - inside of the map session: its state, and the merging of all that is not a peer.
 *
 * Used by mapsession.c and mapparts.c alone.
 */
#pragma once

#include "base/crypto.h"
#include "daemon/control/mapsession.h"
#include "daemon/control/peerset.h"

struct mapsession {
        struct netmap map; /* map.peers is borrowed from peers */
        struct peerset peers;
        json_t *derp;   /* the DERPMap object as merged so far */
        json_t *chunks; /* packet filter: name -> array of rules */
        uint8_t hash_key[SHORT_HASH_KEY_LEN];   /* of nodes' texts */
        bool fresh;     /* the next message starts a stream */
        unsigned untold; /* parts that a refused message changed: the next delta names them */
        json_t *rest;   /* of the newest message: news borrows from it */
};

/* One message while it is being decoded. */
struct message {
        const struct mapsession *s;
        size_t at;                /* the committed peer that the next of a full list is likely to be */
        struct jview_room room;   /* of the node that is read */
        struct node_list full;    /* Peers */
        struct node_list changed; /* PeersChanged */
        struct netmap_user **users;
        size_t user_count;
        size_t user_cap;
        struct netmap_node *self;
        json_t *rest;
};

struct netmap_user *user_from_json(const json_t *obj); /* NULL: out of memory */
void users_free(struct netmap_user **users, size_t count);

/* Each sets its bit in *parts when something differs, also where a later part is then refused. */
ERR_CHECK enum err merge_derp(struct mapsession *s, const json_t *rest, bool first, unsigned *parts);
ERR_CHECK enum err merge_rest(struct mapsession *s, struct message *m, bool first, unsigned *parts);
void merge_clock(struct mapsession *s, const json_t *rest, int64_t wall_ns);
