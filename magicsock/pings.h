/* magicsock/pings.h - the pings to one peer that wait for their pong.
 *
 * Pure; part of magicsock/peer.h.  In the order they were sent, at most PINGS_MAX: one more pushes the oldest out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"
#include "magicsock/disco.h"

enum { PINGS_MAX = 256 };

struct ping {
        struct disco_txid txid;
        struct addr to;          /* none = by relay */
        mono_t sent;
        uint64_t cookie;         /* of the CLI ping it belongs to */
        bool is_cli;
};

struct pings {
        struct ping *p;          /* oldest first; grown as needed, freed by pings_done() */
        size_t count, cap;
};

void pings_done(struct pings *s);
/* A copy of g with an id of its own, borrowed until the next call; NULL: out of memory. */
const struct ping *pings_add(struct pings *s, struct ping g);
/* Takes the one with that id out; false: none has it. */
bool pings_take(struct pings *s, const struct disco_txid *txid, struct ping *ret);
/* Takes the oldest out if it was sent at `before` or earlier. */
bool pings_take_sent(struct pings *s, mono_t before, struct ping *ret);
