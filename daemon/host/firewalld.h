/* daemon/host/firewalld.h - the tunnel in firewalld's zone "trusted", and our UDP port open in its default zone.
 *
 * firewalld rejects what no zone of its own lets in, and its word is the last.  What is asked for lasts until
 * firewalld is reloaded, when the owner asks again; an interface that the administrator has put into a zone stays
 * where it is.  What we added is noted in the host file first, and taken back at the end, or by the next process
 * or --cleanup.  firewalld takes its time, so each question is asked in a short-lived thread.  Control thread.
 * Source: firewalld.dbus(5).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "daemon/host/hostfile.h"

struct firewalld;

/* host: for the notes; NULL: they last as long as we do.  on_done: an answer came, or none will.  NULL: errno. */
struct firewalld *firewalld_new(struct loop *l, const char *ifname, struct hostfile *host, void (*on_done)(void *arg),
        void *arg);
/* firewalld is there: see that it lets us through.  port 0: no port.  Cheap when it does. */
void firewalld_want(struct firewalld *d, uint16_t port);
void firewalld_leave(struct firewalld *d);            /* takes back what we added, soon */
bool firewalld_is_asking(const struct firewalld *d);
/* Takes back and waits for it, 5 s at most (patience.h).  NULL is fine. */
void firewalld_free(struct firewalld *d);
/* Of a process that died. */
void firewalld_cleanup(struct hostfile *host);
