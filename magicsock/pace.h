/* magicsock/pace.h - when the next piece of what waits for a relay may leave.
 *
 * A relay keeps a few dozen packets for each of its clients and drops what is more, whatever its own speed: a heap of
 * packets at once is mostly lost there, and the rest of them is sent again.  So they leave in pieces, at twice the rate
 * of late; who sends steadily is never held up for long, and may double the rate with every window.  It counts packets,
 * not their lengths: a small one is taken for a full one.
 *
 * Pure; all zero is at rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mono.h"

enum {
        PACE_PIECE = 16 * 1024,        /* most that leaves at once: a TLS record */
        PACE_PACKETS = 11,             /* full ones in a piece, and all that leave at once of small ones */
        PACE_RATE_MIN = 16000000,      /* bytes a second that are never too many */
        PACE_WINDOW_MS = 20,           /* over which the rate is taken */
};

struct pace {
        mono_t next;       /* a piece may leave then */
        mono_t since;      /* beginning of the present window */
        uint64_t bytes;    /* that left in it, small packets at the length of full ones */
        uint64_t rate;     /* of the last one */
};

static inline bool pace_ready(const struct pace *p, mono_t now)
{
        return mono_reached(now, p->next);
}
/* How much may leave at once of packets of that mean length. */
size_t pace_piece(size_t mean);
/* n bytes of such packets left. */
void pace_sent(struct pace *p, size_t n, size_t mean, mono_t now);
