/* daemon/localapi/prefs.h - the user's settings, as stored, as shown by the LocalAPI, as set by the CLI.
 *
 * Control thread (or the CLI).  A struct owns its strings and lists: prefs_done() frees them, prefs_copy()
 * copies.  Strings are never NULL after prefs_init().  JSON has the reference's keys in its order; members
 * we do not know are kept and written back.  Source: Tailscale LocalAPI, Prefs and MaskedPrefs.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/key.h"

#define PREFS_DEFAULT_CONTROL_URL "https://controlplane.tailscale.com"

enum { PREFS_NETFILTER_OFF = 0, PREFS_NETFILTER_NODIVERT = 1, PREFS_NETFILTER_ON = 2 };

enum prefs_opt { PREFS_UNSET = 0, PREFS_FALSE, PREFS_TRUE };   /* bool or null */

/* The identity that belongs to a profile ("Config"): absent until a login began. */
struct prefs_identity {
        bool present;
        struct key_private node_key;       /* zero: none */
        struct key_private old_node_key;
        int64_t user_id;
        char *login_name, *display_name, *profile_pic_url;
        char *network_lock_key;            /* "nlpriv:..." as stored; "" = none */
        char *node_id;                     /* stable id of the node */
        json_t *unknown;                   /* members of other versions, of UserProfile too; never shown, NULL = none */
};

struct prefs {
        char *control_url;                 /* "" = never set; see prefs_control_url() */
        bool route_all;                    /* accept routes of peers */
        char *exit_node_id;
        char *exit_node_ip;
        char *auto_exit_node;
        char *internal_exit_node_prior;
        bool exit_node_allow_lan;
        bool corp_dns;
        bool run_ssh, run_web_client;
        bool want_running, logged_out;
        bool shields_up;
        char **advertise_tags;             /* NULL-terminated or NULL */
        char *hostname;                    /* "" = the host's */
        bool notepad_urls, force_daemon, egg;
        struct prefix *advertise_routes;   /* NULL when none */
        size_t advertise_route_count;
        char **advertise_services;
        enum prefs_opt sync;
        bool no_snat;
        enum prefs_opt no_stateful_filtering;
        int netfilter_mode;
        char *operator_user;
        char *profile_name;
        bool auto_update_check;
        enum prefs_opt auto_update_apply;
        bool app_connector;
        bool posture_checking;
        char *netfilter_kind;
        char *hard_nat;                    /* whom to search for through a hard NAT: "on", "off"; "" = own */
        bool remote_config;
        struct prefs_identity identity;
        json_t *unknown;                   /* members of other versions, kept as they are; NULL = none */
};

void prefs_init(struct prefs *p);   /* defaults of a fresh profile */
void prefs_done(struct prefs *p);   /* wipes keys */
ERR_CHECK enum err prefs_copy(const struct prefs *p, struct prefs *ret);   /* ERR_FULL: out of memory */
const char *prefs_control_url(const struct prefs *p);   /* control_url or the default */

/* secrets: with the real private keys (state file), else zero keys (LocalAPI).  New reference; NULL: memory. */
json_t *prefs_to_json(const struct prefs *p, bool secrets);
/* Keys match case-insensitively; absent ones keep their default.  On an error *ret_why names the member (static
 * storage) and *ret is untouched. */
ERR_CHECK enum err prefs_from_json(const json_t *obj, struct prefs *ret, const char **ret_why);
/* MaskedPrefs: applies the members whose "<Key>Set" is true.  All or nothing.  *ret_changed: something differs.
 * ERR_FORMAT: no MaskedPrefs; ERR_UNSUPPORTED: refused, by prefs_check_new() too. */
ERR_CHECK enum err prefs_apply_masked(struct prefs *p, const json_t *masked, bool *ret_changed,
        const char **ret_why);
/* Equal as JSON without identity. */
bool prefs_equal(const struct prefs *a, const struct prefs *b);
/* What the daemon refuses, as a sentence with the remedy (static storage); NULL: fine. */
const char *prefs_check(const struct prefs *p);
/* The same, and what this daemon cannot do and before did not ask for either: a profile that was taken over
 * from another program stays usable whatever it asks for. */
const char *prefs_check_new(const struct prefs *before, const struct prefs *after);
