/* magicsock/history.h - what lately happened to the paths of one peer, for whoever asks why it is not direct.
 *
 * Pure; part of each peer that is awake, of fixed size: the newest HISTORY_MAX events.  What repeats while nothing
 * changes (calls and pings of a search that finds nothing, a path that is silent now and then) is counted in one entry, so
 * that it does not push out the changes before it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/mono.h"

enum { HISTORY_MAX = 32 };

enum history_kind {
        HISTORY_CONFIG = 1,    /* the map named the peer or changed it; value: its addresses there */
        HISTORY_PINGED,        /* we pinged it by UDP */
        HISTORY_CALL_OUT,      /* we told it our addresses; value: how many */
        HISTORY_CALL_IN,       /* it told us its own; value: how many */
        HISTORY_PING_IN,       /* its ping came by UDP from addr */
        HISTORY_DIRECT,        /* data goes to addr; value: round trip in 0.1 ms */
        HISTORY_DOUBT,         /* addr is silent: data goes both ways */
        HISTORY_RELAY,         /* data goes by relay alone; value: the region */
        HISTORY_LOST,          /* there is no way at all */
        HISTORY_REBIND,        /* our network changed, or the peer's disco key: every path has to prove itself anew */
        HISTORY_UNREACHABLE,   /* the kernel knows no route to addr */
        HISTORY_GONE,          /* the relay says that the peer is not there; value: the region */
};

struct history_entry {
        mono_t at;             /* the first of `times` */
        struct addr addr;      /* none: not about one */
        uint8_t kind;          /* enum history_kind */
        uint16_t value;        /* of the last time */
        uint16_t times;
        uint32_t last_ms;      /* after `at` */
};

struct history {
        struct history_entry e[HISTORY_MAX];
        uint8_t next, count;
};

void history_add(struct history *h, enum history_kind k, struct addr a, int64_t value, mono_t now);
/* The i-th, oldest first; i < h->count. */
const struct history_entry *history_at(const struct history *h, size_t i);
const char *history_word(enum history_kind k);   /* "call-in"; as JSON names it */
enum { HISTORY_TEXT_MAX = 160 };
const char *history_text(const struct history_entry *e, char out[HISTORY_TEXT_MAX]);   /* for a person */
