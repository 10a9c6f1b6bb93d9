/* magicsock/search.h - looking for a path to one peer: rounds of pings, calls, and all that repeats them.
 *
 * The half of magicsock/peer.c that asks; the other half says what comes of it.  Nobody else includes it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "magicsock/peer.h"

#define SEARCH_CALL_GAP_NS         (2 * NS_PER_SEC)  /* between two of our calls that something of the peer's asks for */
#define SEARCH_BURST_AFTER_SEND_NS (30 * NS_PER_SEC) /* least time between bursts, by what asks for them */
#define SEARCH_BURST_AFTER_PING_NS (10 * NS_PER_SEC)
#define SEARCH_BURST_AFTER_CALL_NS (10 * NS_PER_SEC)

static inline bool is_due(mono_t at, mono_t now)
{
        return mono_is_set(at) && mono_reached(now, at);
}

/* False: that would be more than most_ns / cost_ns at once, or one each cost_ns. */
bool ms_bucket_take(struct ms_bucket *b, int64_t cost_ns, int64_t most_ns, mono_t now);
int ms_search_relay(const struct ms_peer *p);   /* the region to reach it by; 0 = unknown */

struct ms_action *ms_action_add(struct ms_actions *out, enum ms_action_kind kind);
/* cookie: NULL unless the CLI asked.  to none: by relay. */
void ms_search_ping(struct ms_peer *p, struct addr to, size_t padding, const uint64_t *cookie, mono_t now,
        struct ms_actions *out);
void ms_search_call(struct ms_peer *p, mono_t now, struct ms_actions *out);

/* Pings whom the gates allow, and calls. */
void ms_search_round(struct ms_peer *p, bool call, mono_t now, struct ms_actions *out);
/* The pings of a fresh round are repeated soon, unless that was done less than min_gap_ns ago. */
void ms_search_burst(struct ms_peer *p, int64_t min_gap_ns, mono_t now);
/* Pings by relay, until a peer that never answered does; or speaks, and then once more. */
void ms_search_knock(struct ms_peer *p, mono_t now);

/* The direct path is gone: its address is tried again and again. */
void ms_search_lost(struct ms_peer *p, mono_t now);

/* Nothing is looked for any more. */
void ms_search_stop(struct ms_peer *p);

mono_t ms_search_deadline(const struct ms_peer *p);
void ms_search_expire(struct ms_peer *p, mono_t now, struct ms_actions *out);
