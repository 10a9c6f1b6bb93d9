/* magicsock/hardnat_status.h - the searches for a path through our hard NAT: whether, and what became of them.
 *
 * One a peer, filled by hn_peer_status() and shown by `tailscale ping --verbose`; the totals are metrics.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"

enum hn_pref {
        HN_PREF_OWN,                 /* with peers that take part */
        HN_PREF_ON,                  /* with all */
        HN_PREF_OFF,
};

enum hn_outcome {
        HN_NOT_TRIED,
        HN_SEARCHING,
        HN_FOUND,            /* a guess was right, and the path carried */
        HN_MISSED,           /* none was, or the path did not carry */
        HN_STOPPED,          /* another way was found, or the network, the keys or the preference changed meanwhile */
};

/* Why none is under way. */
enum hn_why {
        HN_WHY_NOTHING,      /* one is, or it is not wanted: a direct path, or no traffic */
        HN_WHY_OFF,          /* --hard-nat=off */
        HN_WHY_EASY,         /* our NAT is not a hard one, as far as is known */
        HN_WHY_ASKED,        /* the peer has not said whether it takes part, or long ago */
        HN_WHY_FOREIGN,      /* it does not, and --hard-nat is own */
        HN_WHY_BOTH_HARD,    /* its NAT is hard as well: no guess can be right */
        HN_WHY_NO_ADDRESS,   /* it has no public IPv4 address to send to, or we know none of ours */
        HN_WHY_NO_RELAY,     /* nothing to name guesses by */
        HN_WHY_FIRST,        /* the usual ways come first, until `next` */
        HN_WHY_LATER,        /* the last try missed; not before `next` */
        HN_WHY_TURN,         /* another peer's search is under way */
};

struct hn_status {
        enum hn_outcome outcome;     /* of the newest try */
        enum hn_why why;
        uint32_t tries, found;
        mono_t next;                 /* MONO_NEVER: what stands in the way has no end known beforehand */
        /* The newest try. */
        mono_t started;
        int64_t took_ns;             /* to the path, or to giving up */
        uint32_t sockets, pings, answers;   /* opened; sent from them; STUN answers to them */
        uint32_t calls, guesses;     /* messages to the peer, and the ports named in them */
        uint16_t low, high;          /* the ports that were guessed from; 0 = it did not get that far */
        bool pinned;                 /* the path found is there still */
        struct addr outside;         /* as which the peer sees it */
};

struct hn_totals {
        uint64_t tries, found, missed, stopped, sockets, pings, calls, guesses;
};

const char *hn_outcome_str(enum hn_outcome o);   /* "found" */
const char *hn_why_str(enum hn_why w);           /* a clause: "its NAT is hard as well" */
