/* daemon/host/osdns_decide.h - which program rules the host's DNS, decided from facts.  Pure.
 *
 * Source: nsswitch.conf(5), NetworkManager's D-Bus interface.  NetworkManager feeds systemd-resolved or writes
 * the file, and leaves alone what others tell systemd-resolved of their interfaces: it is passed by.  Only 1.26.0
 * to 1.26.5 take foreign settings away there, so there they go through NetworkManager.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "daemon/host/resolvfile.h"

enum osdns_mode {
        OSDNS_MODE_UNKNOWN,  /* not looked yet */
        OSDNS_MODE_DIRECT,   /* nobody: /etc/resolv.conf is ours to write */
        OSDNS_MODE_RESOLVED, /* systemd-resolved */
        OSDNS_MODE_NM,       /* NetworkManager, which hands them on to systemd-resolved */
        OSDNS_MODE_DEBIAN,   /* Debian's resolvconf */
        OSDNS_MODE_OPENRESOLV,
        OSDNS_MODE_DNSMASQ,
};

enum resolvconf_kind {
        RESOLVCONF_NONE,
        RESOLVCONF_DEBIAN,
        RESOLVCONF_OPENRESOLV,
        RESOLVCONF_RESOLVECTL, /* systemd's program under that name */
};

struct nm_facts {
        bool answers;
        bool uses_resolved;
        unsigned major, minor, micro; /* 0.0.0: not known */
};

struct osdns_facts {
        enum resolv_owner owner;                          /* of the host's own resolv.conf, not of ours */
        bool resolvconf_signed, only_stub, only_loopback; /* as in struct resolvfile */
        bool nss_resolve;                                 /* libc asks systemd-resolved first */
        bool resolved_answers;
        struct nm_facts nm;
        enum resolvconf_kind resolvconf;
        bool dnsmasq_usable; /* runs as the local resolver, takes our file, can be restarted */
};

/* ret_note: what a person should know about this host, NULL: nothing; static. */
enum osdns_mode osdns_decide(const struct osdns_facts *f, enum osdns_mode current, const char **ret_note);
const char *osdns_mode_str(enum osdns_mode m);
bool osdns_mode_can_split(enum osdns_mode m);
/* Settings in systemd-resolved do not last beside this NetworkManager. */
bool nm_overrides_resolved(const struct nm_facts *nm);

/* "resolve" stands before "dns" in the hosts line. */
bool nsswitch_asks_resolved(const char *text, size_t len);
/* "1.42.4" or "1.42.4-1.fc38"; false: not a version. */
bool nm_parse_version(const char *s, struct nm_facts *nm);
