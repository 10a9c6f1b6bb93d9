/* daemon/control/mapsession.h - merges map messages into the network map: one decoded message in, changes out.
 *
 * Pure: the wall clock is an argument.  Nodes are decoded one at a time, so that memory holds the compact peers
 * and never a JSON tree of them all.  After an error the stream should be closed and opened anew; what the refused
 * message changed all the same is in the delta of the next one, so that no change is ever left untold.
 * Control thread.
 * Source: Tailscale control protocol, MapResponse and its merge rules.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/control/netmap.h"

struct mapsession;

/* What one message brought; borrowed until the next call on the session. */
struct map_news {
        bool keepalive;            /* nothing was merged */
        struct netmap_delta delta; /* may be empty */
        const char *ping_url;      /* PingRequest; "" = none */
        bool ping_noise;           /* URLIsNoise */
        const char *ping_types;    /* "" = HTTP HEAD; "c2n"; "disco" ... */
        const char *ping_payload; /* base64 */
        const char *browser_url;  /* PopBrowserURL; "" = none */
};

struct mapsession *mapsession_new(void); /* NULL: out of memory */
void mapsession_free(struct mapsession *s);
const struct netmap *mapsession_map(const struct mapsession *s);

/* Everybody was told of the last delta: frees it. */
void mapsession_told(struct mapsession *s);

/* The next message is the first of a new stream: it replaces what is here, and only then. */
void mapsession_restart(struct mapsession *s);
/* Nobody, nothing: after log-out. */
void mapsession_clear(struct mapsession *s);

/* text: the JSON of one message.  ERR_FORMAT: no JSON object, a node without ID or key, or a first message
 * without our own node; ERR_FULL: a bound or memory. */
ERR_CHECK enum err mapsession_apply(struct mapsession *s, const char *text, size_t len, int64_t wall_ns,
                                    struct map_news *ret);
/* Marks peers whose key expiry has passed: expired, without endpoints and home relay. */
ERR_CHECK enum err mapsession_expire(struct mapsession *s, int64_t wall_ns, struct netmap_delta *ret);
/* Our wall clock was set forward by step_ns (or back): what we know of the server's moves with it. */
void mapsession_clock_stepped(struct mapsession *s, int64_t step_ns);
/* The wall-clock time at which mapsession_expire() has something to do; INT64_MAX = never. */
int64_t mapsession_next_expiry(const struct mapsession *s, int64_t wall_ns);
/* Has our own key expired by the server's word or by the local clock? */
bool mapsession_self_expired(const struct mapsession *s, int64_t wall_ns);
