/* daemon/notify.h - the notification bus: what the backend tells everybody who watches.
 *
 * Each event is one object with the fixed fields of the reference's Notify, null but for what happened.  Which
 * watcher sees what depends on the mask it asked with.  What is as large as the map is made piece by piece when a watcher
 * reads it, so that one who does not costs next to nothing.  Control thread.
 * Source: Tailscale LocalAPI, watch-ipn-bus.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/localapi/source.h"

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
struct notify_member {
        const char *name;
        struct lapi_source source;
};
enum { NOTIFY_MEMBERS_MAX = 2 };
/* An object as it is, but for members that are too large to be built; consumes o and their sources. */
struct lapi_source notify_message(json_t *o, const struct notify_member *members, size_t n);
/* Turns the request into a watcher; first (consumed, may be none) is sent at once. */
void notify_watch(struct notify *n, struct lapi_req *r, uint64_t mask, struct lapi_source first);

/* One event with one field; consumes value. */
void notify_post(struct notify *n, const char *key, json_t *value);
/* The same with a field that each watcher gets made for itself when it has read all before. */
struct notify_maker {
        struct lapi_source (*make)(void *arg);
        void *arg;
        size_t weight;   /* bytes that a source holds while it waits */
        bool is_state;   /* what it tells is the state of then: one that waits will do */
};
void notify_post_source(struct notify *n, const char *key, const struct notify_maker *m);
/* Is anybody there who would see this field? */
bool notify_wanted(const struct notify *n, const char *key);
