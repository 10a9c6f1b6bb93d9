/* cli/upflags.h - the flags of `up`, the preferences they stand for, and the rule that settings made earlier
 * must be mentioned again.
 *
 * Pure but for reading a key file and the host's users.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "cli/flags.h"

enum { UP_FLAGS = 40, UP_WHY_MAX = 512 };

struct up {
        /* With a preference behind them. */
        const char *login_server, *hostname, *operator, *exit_node, *advertise_routes, *advertise_tags;
        const char *netfilter_mode, *hard_nat;
        bool accept_routes, accept_dns, shields_up, ssh, advertise_exit_node, exit_node_allow_lan, advertise_connector;
        bool report_posture, snat_subnet_routes, stateful_filtering;
        bool update_check, auto_update, webclient;                       /* `set` only, as the next two */
        const char *relay_port, *relay_endpoints;
        char exit_node_ip[64];     /* what exit_node stands for, see up_resolve() */
        char routes_now[8192];     /* see up_keep_other_routes() */
        /* Of this run only. */
        const char *auth_key, *accept_risk, *qr_format, *nickname;
        bool set;                  /* these are the flags of `set` */
        bool force_reauth, reset, json, qr, host_routes, unattended;
        bool login;            /* the flags of `login`: its settings begin from nothing */
        int64_t timeout_ns;
        struct flag flags[UP_FLAGS];
        size_t flag_count;
};

void up_init(struct up *u, bool login);   /* defaults, and the flag table that points into *u: do not move it */

void up_init_set(struct up *u);   /* the same for `set`, which has fewer */

/* ---- cli/upcheck.c ---- */

/* Values that need more than their type: routes, tags, host name, and what this program cannot do yet.
 * False: why says so. */
bool up_check(const struct up *u, char why[UP_WHY_MAX]);
/* The value of --accept-risk.  False: why. */
bool up_risks_ok(const char *risks, char why[UP_WHY_MAX]);
/* The auth key, out of its file for "file:PATH"; malloced.  False: why, and *ret is NULL or as before. */
bool up_auth_key(const struct up *u, char **ret, char why[UP_WHY_MAX]);

/* ---- cli/upflags.c ---- */

/* --exit-node by the names of a status with peers.  False: why. */
bool up_resolve(struct up *u, const json_t *status, char why[UP_WHY_MAX]);
/* Of --advertise-routes and --advertise-exit-node one alone changes only its half.  False: why. */
bool up_keep_other_routes(struct up *u, const json_t *current, char why[UP_WHY_MAX]);
/* The preferences that the flags, given or not, imply; new reference.  What no flag is about stays as in base
 * (NULL: its default); the identity in there is left out. */
json_t *up_prefs(const struct up *u, const json_t *base);
/* MaskedPrefs of the flags given (of all, if all) and WantRunning; new reference. */
json_t *up_masked(const struct up *u, bool all);
/* Settings that are not default now, were not mentioned, and would go back: appends the flags of the line the
 * user should have typed to line and returns how many there are. */
size_t up_reverted(const struct up *u, const json_t *current, struct buf *line);
