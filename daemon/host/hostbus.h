/* daemon/host/hostbus.h - the system bus, as DNS needs it: systemd-resolved and NetworkManager.
 *
 * libsystemd is loaded when there is one, so the same binary runs on hosts without it.  Calls wait for their
 * answer, HOSTBUS_CALL_MS at most, so: the thread of osdns_worker.c, or a start-up that has no loop yet.
 * Source: org.freedesktop.resolve1(5); NetworkManager's D-Bus interface.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "daemon/host/osdns_decide.h"

enum { HOSTBUS_CALL_MS = 1000, HOSTBUS_WHY_MAX = 256 };

struct hostbus;

/* on_change: systemd-resolved or NetworkManager came, went or was restarted (the settings are lost then), or the
 * bus closed; never called from within another function here.  loop NULL: no watching.  NULL: there is no bus, or no
 * libsystemd; why says which. */
struct hostbus *hostbus_open(struct loop *l, void (*on_change)(void *arg), void *arg,
                             char why[HOSTBUS_WHY_MAX]);
void hostbus_close(struct hostbus *b);         /* NULL is fine */
bool hostbus_is_open(const struct hostbus *b); /* false: closed by the other side; close it and open anew */

/* Starts it, where it is set up to be started by the bus. */
bool hostbus_resolved_answers(struct hostbus *b);
void hostbus_ask_nm(struct hostbus *b, struct nm_facts *ret);

/* Servers and domains of the link; ours alone if there are no match names. */
ERR_CHECK enum err hostbus_resolved_set(struct hostbus *b, int ifindex, const struct osdns_config *c,
                                        char why[HOSTBUS_WHY_MAX]);
ERR_CHECK enum err hostbus_resolved_revert(struct hostbus *b, int ifindex, char why[HOSTBUS_WHY_MAX]);

/* The same through NetworkManager, for a device that it knows.  Waits a second for it to know its address.  It may
 * take IPv6 routes of the device for its own and drop them: the router sees that and puts them back. */
ERR_CHECK enum err hostbus_nm_set(struct hostbus *b, const char *ifname, const struct osdns_config *c,
                                  char why[HOSTBUS_WHY_MAX]);
ERR_CHECK enum err hostbus_nm_revert(struct hostbus *b, const char *ifname, char why[HOSTBUS_WHY_MAX]);
