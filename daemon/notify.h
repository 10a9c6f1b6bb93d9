/* daemon/notify.h - the notification bus: what the backend tells everybody who watches.
 *
 * Each event is one object with the fixed fields of the reference's Notify, null but for what happened.  Which
 * watcher sees what depends on the mask it asked with.  Control thread.
 * Source: Tailscale LocalAPI, watch-ipn-bus.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/localapi/server.h"

enum {   /* bits of the mask */
        NOTIFY_ENGINE = 1,
        NOTIFY_INITIAL_STATE = 2,
        NOTIFY_INITIAL_PREFS = 4,
        NOTIFY_INITIAL_NETMAP = 8,
        NOTIFY_INITIAL_HEALTH = 128,
        NOTIFY_RATE_LIMIT = 256,
        NOTIFY_PEER_CHANGES = 4096,
        NOTIFY_NO_NETMAP = 8192,
        NOTIFY_INITIAL_STATUS = 16384,
        NOTIFY_PEER_PATCHES = 32768,
        NOTIFY_IN_PROCESS = 65536,
};

struct notify;

struct notify *notify_new(const char *version);   /* NULL: out of memory.  version is borrowed */
void notify_free(struct notify *n);

/* A new object with every fixed field null; the caller sets what it has. */
json_t *notify_object(const struct notify *n);

/* False: a mask that is refused. */
bool notify_mask_ok(uint64_t mask);
/* Turns the request into a watcher; first (consumed, may be NULL) is sent at once. */
void notify_watch(struct notify *n, struct lapi_req *r, uint64_t mask, json_t *first);

/* One event with one field; consumes value. */
void notify_post(struct notify *n, const char *key, json_t *value);
/* Is anybody there who would see this field? */
bool notify_wanted(const struct notify *n, const char *key);
