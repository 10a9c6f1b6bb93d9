/* daemon/host/osdns.h - tells the host's resolver which DNS servers and domains to use, and takes it back.
 *
 * The way it is done follows what rules DNS on this host (see osdns_decide.h) and follows it when that
 * changes while we run.  Everything that touches the host happens in a thread of its own behind a socket
 * (osdns_worker.h), so nothing here blocks but osdns_free(), which waits for programs of the host (5 s at most, see
 * patience.h), and osdns_cleanup(), which gives them the time they take.  Control thread.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/loop.h"
#include "daemon/host/osdns_config.h"
#include "daemon/host/osdns_decide.h"

struct osdns;

struct osdns_callbacks {
        /* Mode, base configuration or the ability to split are other than before: compile again. */
        void (*on_change)(void *arg);
        /* A sentence for the list of what is wrong; "" = nothing any more. */
        void (*on_trouble)(void *arg, const char *text);
        /* All that was asked for so far has been done, or cannot be. */
        void (*on_settled)(void *arg);
};

/* Looks at the host, changes nothing yet; on_change follows.  NULL: errno. */
struct osdns *osdns_open(struct loop *l, const char *ifname, const struct osdns_callbacks *cb, void *arg);
/* The host has its own DNS back when it returns.  NULL is fine. */
void osdns_free(struct osdns *o);

/* From now on this is wanted; its names are taken, and c is empty.  An empty one gives the host its own DNS back.  What a
 * newer call supersedes may never have been in place. */
void osdns_set(struct osdns *o, struct osdns_config *c);
/* The host's network changed: look whether its DNS did. */
void osdns_recheck(struct osdns *o);

enum osdns_mode osdns_mode(const struct osdns *o); /* OSDNS_MODE_UNKNOWN before the first on_change */
/* Names can be sent to our servers by domain; false: either all of them or none. */
bool osdns_can_split(const struct osdns *o);
/* The host's own servers and search domains, without ours; NULL: this mode does not tell. */
const struct osdns_config *osdns_base(const struct osdns *o);
const char *osdns_trouble(const struct osdns *o); /* "" = none */
bool osdns_is_settled(const struct osdns *o);     /* all that was asked for has been answered */

/* Removes what a process before us left.  Before osdns_open(), or without it. */
void osdns_cleanup(const char *ifname);
