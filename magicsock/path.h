/* magicsock/path.h - the addresses at which one peer may be reached, and which of two is better.
 *
 * Pure state of magicsock/peer.c.  A candidate lives as long as somebody names it: the network map, the
 * newest call-me-maybe, or the peer itself by pinging us from there (for 45 s after its last ping or pong).
 * At most PATH_CANDIDATES_MAX; a full set makes room by dropping what only an old ping named.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"

enum { PATH_CANDIDATES_MAX = 128 };
#define PATH_PING_GAP_NS (5 * NS_PER_SEC)       /* between two discovery pings to one candidate */
#define PATH_LEARNED_NS (45 * NS_PER_SEC)       /* how long a ping keeps its source a candidate */

/* Who names a candidate: three facts that come and go independently. */
enum path_origin {
        PATH_FROM_MAP = 1,
        PATH_FROM_CALL = 2,
        PATH_FROM_PING = 4,
};

struct path {
        struct addr addr;
        uint8_t origin;        /* enum path_origin, or-ed; 0 = to be dropped */
        mono_t pinged;         /* our last discovery ping or heartbeat; gates the next one */
        mono_t ping_back;      /* our last answer-ping to it */
        mono_t proven;         /* the peer's last ping from it, or its last pong */
        int64_t latency_ns;    /* mean of its last pongs, the newest counts half; 0 = none ever came */
        uint16_t tried;        /* pings that went there */
};

struct path_set {
        struct path *p;        /* grown as needed, freed by path_set_done() */
        size_t count;
        size_t cap;
};

/* The one address in use; addr none = no direct path. */
struct path_best {
        struct addr addr;
        int64_t latency_ns;
};

void path_set_done(struct path_set *s);
struct path *path_find(struct path_set *s, struct addr a);
/* Finds or adds, and sets the origin.  `keep` is never dropped to make room.  NULL: not an address to send
 * to, or no room. */
struct path *path_add(struct path_set *s, struct addr a, enum path_origin from, struct addr keep, mono_t now);
/* Takes the origin away from all (before a new list is entered). */
void path_forget_origin(struct path_set *s, enum path_origin from);
/* Drops what nobody names any more, but for `keep`. */
void path_prune(struct path_set *s, struct addr keep, mono_t now);
/* Never pinged, as far as the gates go. */
void path_reset_gates(struct path_set *s);
bool path_addr_usable(struct addr a);

/* Is a better than b?  Latency first, with bonus points for a nearer kind of address and for IPv6. */
bool path_better(const struct path_best *a, const struct path_best *b);
/* So much better that a path which works is left for it: what is measured now and then is not exact. */
bool path_worth_a_move(const struct path_best *a, const struct path_best *b);
