/* daemon/control/peerset.h - the peers of a map while one message is merged into them.
 *
 * Nodes never change in place: a change puts a new block there, and peerset_commit() tells what is new by
 * comparing with what was there at peerset_begin().  Used by mapsession.c alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "daemon/control/netmap.h"

/* Of so many at most it is kept what they were: who gets few changes can undo what it made of each. */
enum { PEERSET_OLD_MAX = 32 };

struct peerset {
        struct netmap_node **at; /* committed, ascending id */
        size_t count;
        struct netmap_node **next; /* being merged; shares the unchanged blocks */
        size_t next_count;
        int64_t expiry_floor; /* no key runs out before; INT64_MAX = never */
        int64_t floor_before; /* of the committed ones */
        struct netmap_peer_change *changes; /* of the last commit */
        size_t change_count;
        bool keeps_old;
        size_t old_count;
        struct netmap_node *old[PEERSET_OLD_MAX]; /* those that changes point to */
};

struct node_list {
        const struct peerset *shares; /* its committed nodes may be among them, and stay its own; NULL = none are */
        struct netmap_node **at;
        size_t count;
        size_t cap;
};

/* Takes n over, also on failure. */
ERR_CHECK enum err node_list_add(struct node_list *l, struct netmap_node *n);
void node_list_done(struct node_list *l);

void peerset_done(struct peerset *p);
ERR_CHECK enum err peerset_begin(struct peerset *p, bool empty);
struct netmap_node *peerset_find(const struct peerset *p, int64_t id); /* among next; NULL: none */
size_t peerset_index(const struct peerset *p, int64_t id); /* of the first committed one with at least this id */
void peerset_put(struct peerset *p, struct netmap_node *n); /* takes n; a peer with its id must exist */
void peerset_remove(struct peerset *p, int64_t id);         /* unknown ids are fine */
/* Moves all nodes of l in, leaving it empty; of two with one id the later wins. */
ERR_CHECK enum err peerset_merge(struct peerset *p, struct node_list *l);
/* Makes next the set and fills changes.  ERR_FULL: all is as before peerset_begin(). */
ERR_CHECK enum err peerset_commit(struct peerset *p);
void peerset_rollback(struct peerset *p);
void peerset_told(struct peerset *p); /* the changes are not needed any more */
