/* magicsock/mapper.h - carries out portmap/portmap.h: finds the router, sends and receives, talks HTTP to it.
 *
 * Glue, data thread.  A socket is open only while an answer is waited for; where no router answers there is none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dial.h"
#include "base/loop.h"
#include "netcheck/report.h"
#include "portmap/portmap.h"

struct mapper;

struct mapper_callbacks {
        /* A look is over: mapper_report(). */
        void (*on_found)(void *arg, mono_t now);
        /* Another mapping, or none: mapper_mapping(). */
        void (*on_changed)(void *arg, mono_t now);
        /* NULL: nobody wants to know.  What is said to the router and by it, a line at a time. */
        void (*on_trace)(void *arg, const char *line);
        bool trace_bodies;   /* also those of HTTP, as they are */
};

/* d: its sockets carry the mark, too.  NULL: out of memory. */
struct mapper *mapper_new(struct loop *l, struct dialer *d, uint32_t mark, const struct mapper_callbacks *cb, void *arg);
void mapper_free(struct mapper *m);   /* NULL is fine; gives nothing back */
/* ways: PORTMAP_BITs that are not to be used. */
void mapper_set_off(struct mapper *m, unsigned ways, mono_t now);
/* Who is our router, and what does it offer for this port?  True: on_found comes soon; see portmap_look(). */
bool mapper_look(struct mapper *m, uint16_t port, bool fresh, mono_t now);
/* The same with a network that is not asked for. */
bool mapper_look_in(struct mapper *m, const struct portmap_net *net, bool fresh, mono_t now);
/* Gives back what we have; mapper_is_quiet() when that is done. */
void mapper_stop(struct mapper *m, mono_t now);
bool mapper_is_quiet(const struct mapper *m);
const struct addr *mapper_mapping(const struct mapper *m);   /* NULL: none */
/* All but `have`. */
struct nc_portmap mapper_report(const struct mapper *m, mono_t now);
const struct portmap *mapper_state(const struct mapper *m);
