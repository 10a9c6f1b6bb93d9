/* daemon/host/hostbus.h - the system bus, as we need it: systemd-resolved, NetworkManager and firewalld.
 *
 * libsystemd is loaded when there is one and a bus to reach by it, so the same binary runs on hosts without them.
 * Calls wait for their answer, HOSTBUS_CALL_MS at most, so: the thread of osdns_worker.c or firewalld.c, or a
 * start-up that has no loop yet.
 * Source: org.freedesktop.resolve1(5); NetworkManager's D-Bus interface; firewalld.dbus(5).
 */
#pragma once

#include <net/if.h>

#include "base/err.h"
#include "base/loop.h"
#include "daemon/host/osdns_decide.h"

enum { HOSTBUS_CALL_MS = 1000, FIREWALLD_WAIT_MS = 3000, HOSTBUS_WHY_MAX = 256 };

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

/* Servers and domains of the link; ours alone if there are no match names.  Once one of them was refused, the link
 * has none of ours. */
ERR_CHECK enum err hostbus_resolved_set(struct hostbus *b, int ifindex, const struct osdns_config *c,
                                        char why[HOSTBUS_WHY_MAX]);
ERR_CHECK enum err hostbus_resolved_revert(struct hostbus *b, int ifindex, char why[HOSTBUS_WHY_MAX]);

/* The same through NetworkManager, for a device that it knows.  Waits a second for it to know its address.  It may
 * take IPv6 routes of the device for its own and drop them: the router sees that and puts them back. */
ERR_CHECK enum err hostbus_nm_set(struct hostbus *b, const char *ifname, const struct osdns_config *c,
                                  char why[HOSTBUS_WHY_MAX]);
ERR_CHECK enum err hostbus_nm_revert(struct hostbus *b, const char *ifname, char why[HOSTBUS_WHY_MAX]);

/* An interface in zone "trusted" and a UDP port in another zone; either may be missing: "", 0. */
struct firewalld_part {
        char ifname[IFNAMSIZ];
        uint16_t port;
        char zone[64];
};
/* Each call waits FIREWALLD_WAIT_MS at most: it rebuilds its rules in Python.  p: what is wanted; left in it is what
 * is missing, and the default zone. */
ERR_CHECK enum err hostbus_firewalld_look(struct hostbus *b, struct firewalld_part *p, char why[HOSTBUS_WHY_MAX]);
/* Until it is reloaded. */
ERR_CHECK enum err hostbus_firewalld_add(struct hostbus *b, const struct firewalld_part *p, char why[HOSTBUS_WHY_MAX]);
ERR_CHECK enum err hostbus_firewalld_remove(struct hostbus *b, const struct firewalld_part *p,
                                            char why[HOSTBUS_WHY_MAX]);
