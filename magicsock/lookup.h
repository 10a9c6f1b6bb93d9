/* magicsock/lookup.h - host names to addresses, without blocking the loop.
 *
 * Each lookup is a short-lived helper thread that answers with one message.  At most LOOKUP_MAX at a time.
 */
#pragma once

#include "base/addr.h"
#include "base/loop.h"

enum { LOOKUP_MAX = 8, LOOKUP_HOST_MAX = 256 };

struct lookup;
/* ip none: there is no such address, or it took too many at once. */
typedef void (*lookup_fn)(void *arg, uint32_t id, struct ip ip, mono_t now);

struct lookup *lookup_new(struct loop *l, lookup_fn fn, void *arg);   /* NULL: errno */
void lookup_free(struct lookup *k);   /* answers under way are dropped; NULL is fine */
/* ERR_FULL: too many at once, name too long, or no thread; then fn is not called. */
ERR_CHECK enum err lookup_start(struct lookup *k, uint32_t id, const char *host, enum ip_family f);
