/* magicsock/netrun.h - carries out netcheck's plan: STUN through our sockets, names, HTTPS latency.
 *
 * Glue between netcheck/netcheck.h (pure), the loop, lookups and fetches.  Data thread.  One report at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/derpmap.h"
#include "base/dial.h"
#include "base/loop.h"
#include "netcheck/netcheck.h"

struct netrun;

struct netrun_callbacks {
        /* Sends one STUN request, if so from the second socket; false: the kernel would not. */
        bool (*send)(void *arg, bool second, struct addr to, const void *data, size_t len);
        /* A STUN answer changed the running report. */
        void (*on_answer)(void *arg, const struct netcheck_report *so_far, mono_t now);
        /* Borrowed. */
        void (*on_done)(void *arg, const struct netcheck_report *report, mono_t now);
        /* When the home relay was last heard. */
        mono_t (*home_heard)(void *arg);
};

/* mark: of the socket for echoes, 0 = none.  cb is copied, all members must be set.  NULL: out of memory or descriptors. */
struct netrun *netrun_new(struct loop *l, struct dialer *d, uint32_t mark, const struct netrun_callbacks *cb, void *arg);
void netrun_free(struct netrun *n);   /* NULL is fine */

/* ERR_STATE: one is running; ERR_NOT_FOUND: no map.  The map must live until the report is done or cancelled. */
ERR_CHECK enum err netrun_start(struct netrun *n, const struct nc_start_args *args, mono_t now);
/* The report that starts next, or runs, is not complete before netrun_release(). */
void netrun_hold(struct netrun *n);
void netrun_release(struct netrun *n, mono_t now);
/* For reports from now on. */
void netrun_set_portmap(struct netrun *n, const struct nc_portmap *found);
bool netrun_running(const struct netrun *n);
void netrun_cancel(struct netrun *n);
void netrun_forget(struct netrun *n);   /* another network: the next report is full */
void netrun_on_unasked(struct netrun *n, struct ip from);   /* nc_on_unasked() */
void netrun_on_stun(struct netrun *n, const void *data, size_t len, mono_t now);
void netrun_on_second(struct netrun *n, struct addr src, const void *data, size_t len, mono_t now);   /* nc_on_second() */
/* The running report, else the last; NULL: none. */
const struct netcheck_report *netrun_report(const struct netrun *n);
const struct netcheck_report *netrun_last(const struct netrun *n);   /* complete; NULL: none */
