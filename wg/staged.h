/* wg/staged.h - packets that wait for a session, and which peer keeps most of them.
 *
 * Peers stand in lists by how many they keep, so that who has to give way is found at once, however many peers there
 * are.  Packets belong to whoever stages and whoever takes them out.  Data thread.
 */
#pragma once

#include "base/pkt.h"
#include "wg/device.h"

struct wg_peer;

struct staged {
        struct wg_peer *first[WG_STAGED_MAX + 1];   /* of those who keep so many; none at 0 */
        size_t most;                                /* the highest that is not empty */
        size_t total;
};

/* At most WG_STAGED_MAX a peer. */
void staged_push(struct staged *s, struct wg_peer *p, struct pkt *pkt);
struct pkt *staged_pop(struct staged *s, struct wg_peer *p);   /* the oldest; NULL: none */
struct wg_peer *staged_fullest(const struct staged *s);        /* NULL: nobody stages */
