/* base/lookup.h - host names to addresses, without blocking the loop.
 *
 * Each lookup is a short-lived helper thread that answers with one message.  At most LOOKUP_MAX run at a time; the
 * others wait for their turn.
 */
#pragma once

#include "base/addr.h"
#include "base/loop.h"

enum { LOOKUP_MAX = 8, LOOKUP_WAITING_MAX = 1024, LOOKUP_HOST_MAX = 256 };

struct lookup;
/* ip none: there is no such address, or no thread to ask.  It may start more look-ups, but not free k. */
typedef void (*lookup_fn)(void *arg, uint32_t id, struct ip ip, mono_t now);

struct lookup *lookup_new(struct loop *l, lookup_fn fn, void *arg);   /* NULL: errno */
void lookup_free(struct lookup *k);   /* answers under way are dropped; NULL is fine */
/* ERR_FULL: too many waiting, name too long, or no memory; then fn is not called. */
ERR_CHECK enum err lookup_start(struct lookup *k, uint32_t id, const char *host, enum ip_family f);
/* Nobody waits any more: fn is not called for those that have not begun. */
void lookup_forget(struct lookup *k);
