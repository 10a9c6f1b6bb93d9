/* daemon/control/maprequest.h - the map request, streaming or not, and the framing of what comes back.
 *
 * Pure.  A frame is a little-endian length and that many bytes: JSON, or one zstd frame of it where we asked for
 * that.  Source: Tailscale control protocol, MapRequest.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/key.h"
#include "daemon/control/client.h"

struct map_request {
        unsigned version;
        struct node_public node_key;
        struct disco_public disco; /* in every request: a missing one would wipe it on the server */
        const json_t *hostinfo;    /* with NetInfo inside */
        const struct control_endpoint *endpoints;
        size_t endpoint_count;
        bool stream; /* false: just tell the server, and get no map */
};

/* The JSON; NULL: out of memory. */
char *map_request_build(const struct map_request *rq);

enum { MAP_FRAME_MAX = 64 * 1024 * 1024 };

struct map_frames {
        struct buf in;   /* what is not a whole frame yet */
        bool compressed; /* what we asked for; plain messages are taken all the same */
};
typedef enum err (*map_message_fn)(void *arg, const char *json, size_t len);

bool map_can_decompress(void); /* built with zstd */
void map_frames_init(struct map_frames *f);
void map_frames_done(struct map_frames *f);
/* Calls fn for each complete message, until it fails.  ERR_FORMAT: length 0, or not zstd; ERR_FULL: too long. */
ERR_CHECK enum err map_frames_feed(struct map_frames *f, const void *data, size_t len, map_message_fn fn,
                                   void *arg);
