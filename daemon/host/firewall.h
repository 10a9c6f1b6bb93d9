/* daemon/host/firewall.h - the agent's rules in the host's firewall, in nf_tables.
 *
 * Marks, drops and masquerade live in a table of our own (inet tailscale), which is replaced in one
 * transaction and, from Linux 5.12, cannot be flushed by others and goes with the process.  Only what must be
 * said in the host's own chains is said there: "accept" in INPUT and FORWARD of the iptables tables, because
 * an accept of ours does not overrule a drop of theirs.  These are matches iptables-nft can show.  firewalld is
 * asked to let us through (firewalld.h); of others whose word is the last a warning tells.
 *
 * Modes: on, everything; nodivert, marks and masquerade only, so that no packet is dropped or let through
 * against the administrator's rules; off, nothing.  Changes by others are watched and what they flushed is put
 * back, with a limit.  Control thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "daemon/host/hostfile.h"

struct firewall;

enum firewall_mode { FIREWALL_OFF, FIREWALL_NODIVERT, FIREWALL_ON };

struct firewall_config {
        enum firewall_mode mode;
        bool masquerade;        /* what came from the tunnel leaves with the host's own address */
        bool stateful;          /* into the tunnel only answers to what came out of it */
        bool allow_foreign;     /* 100.64.0.0/10 may also be somebody else's: do not drop it elsewhere */
        bool own_routes;        /* the tunnel takes more than tailnet addresses: mind rp_filter */
        uint16_t port;          /* our UDP port; 0: none */
};

/* host: where sysctls are remembered, NULL: they are left alone.  *ret_why as in router.h. */
ERR_CHECK enum err firewall_new(struct loop *l, const char *ifname, struct hostfile *host, struct firewall **ret,
        const char **ret_why);
ERR_CHECK enum err firewall_set(struct firewall *f, const struct firewall_config *c, const char **ret_why);
/* What the administrator should know of other firewalls on this host, with the command to run; "" = nothing. */
const char *firewall_warning(const struct firewall *f);
/* Removes everything.  NULL is fine. */
void firewall_free(struct firewall *f);
/* After a process that died; host: what it noted, or NULL. */
void firewall_cleanup(struct hostfile *host);
