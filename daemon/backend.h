/* daemon/backend.h - the state machine of the agent: logged in or not, running or not, and what follows.
 *
 * Joins profile, control client, engine and host on the control thread.  One object a process.
 * Source: Tailscale LocalAPI, states and preferences.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/dial.h"
#include "base/err.h"
#include "base/loop.h"
#include "daemon/control/hostinfo.h"
#include "daemon/control/netmap.h"
#include "daemon/dns/service.h"
#include "daemon/engine.h"
#include "daemon/host/firewall.h"
#include "daemon/host/forwarding.h"
#include "daemon/host/router.h"
#include "daemon/localapi/prefs.h"
#include "daemon/notify.h"
#include "daemon/profile.h"

enum ipn_state {   /* numbers as in Notify */
        IPN_NO_STATE = 0,
        IPN_NEEDS_LOGIN = 2,
        IPN_NEEDS_MACHINE_AUTH = 3,
        IPN_STOPPED = 4,
        IPN_STARTING = 5,
        IPN_RUNNING = 6,
};
const char *ipn_state_str(enum ipn_state s);

struct backend;
struct sizes;   /* daemon/sizes.h */

struct backend_opts {   /* all borrowed for the backend's life */
        struct loop *loop;
        struct dialer *dialer;
        struct profiles *profiles;
        struct state_file *store;    /* what profiles is kept in; NULL: addresses of servers are not kept */
        struct router *router;       /* NULL: the host is not touched */
        struct firewall *firewall;   /* NULL: the host's firewall is not touched */
        const char *tun_name;        /* the interface on which peers reach our PeerAPI; NULL: there is none */
        bool userspace;              /* a stack of our own is the host: see backend_net.h */
        struct notify *notify;
        const struct sizes *sizes;    /* NULL: normal */
        const char *version;
        const char *backend_log_id;   /* NULL: none */
        void (*on_tun_gone)(void *arg);   /* the interface was deleted; NULL: ignored */
        void *arg;
};

/* NULL: out of memory. */
struct backend *backend_new(const struct backend_opts *o);
void backend_free(struct backend *b);
/* The callbacks an engine needs, with b as their argument; then give the engine to the backend. */
extern const struct engine_callbacks backend_engine_callbacks;
/* Takes up work: with a stored login that wants to run, connects. */
void backend_run(struct backend *b, struct engine *e);

/* What a client asks.  NULL: done; else a sentence for a person (static or until the next call). */
const char *backend_start(struct backend *b, const struct prefs *update /* NULL: as they are */,
        const char *auth_key);
void backend_login_interactive(struct backend *b);
const char *backend_edit_prefs(struct backend *b, const json_t *masked);
typedef void (*backend_done_fn)(void *arg, const char *error);
void backend_logout(struct backend *b, backend_done_fn fn, void *arg);
/* Another login: an empty one, a stored one, or one less (the current one: then an empty one). */
const char *backend_new_profile(struct backend *b);
const char *backend_switch_profile(struct backend *b, const char *id);
const char *backend_delete_profile(struct backend *b, const char *id);

/* The host's network changed, or it slept (0: it did not). */
void backend_link_changed(struct backend *b, int64_t slept_ms);
void backend_clock_stepped(struct backend *b, int64_t ms);   /* the wall clock was set; > 0: forward */

/* ---- to look at ---- */
enum ipn_state backend_state(const struct backend *b);
const struct prefs *backend_prefs(const struct backend *b);
const struct netmap *backend_netmap(const struct backend *b);   /* self NULL: none */
struct engine *backend_engine(const struct backend *b);
const char *backend_auth_url(const struct backend *b);          /* "" = none */
bool backend_online(const struct backend *b);                   /* the map stream stands */
bool backend_has_node_key(const struct backend *b);
const struct netcheck_report *backend_report(const struct backend *b);   /* the latest; NULL: none */
/* Array of strings, what is wrong; empty when fine. New reference. */
json_t *backend_health(const struct backend *b);
const struct netmap_node *backend_exit_node(const struct backend *b);    /* NULL: none, or not in the map */
/* Whether the kernel passes on what our advertised routes attract. */
void backend_forwarding_text(const struct backend *b, char out[FORWARDING_TEXT_MAX]);
const struct hostinfo_os *backend_os(const struct backend *b);
const char *backend_version(const struct backend *b);
const char *backend_tun_name(const struct backend *b);   /* NULL: there is no interface */
bool backend_is_userspace(const struct backend *b);              /* there is no TUN device */
uint16_t backend_peerapi_port(const struct backend *b, enum ip_family family);   /* 0: not open */
/* The resolver, with all that changed so far taken into account. */
struct dns_service *backend_dns(struct backend *b);
/* Who tells the host what to resolve with, borrowed from then on; before it is freed, NULL. */
struct osdns;
void backend_set_osdns(struct backend *b, struct osdns *o);
void backend_os_dns_changed(struct backend *b);   /* its on_change */
void backend_os_dns_settled(struct backend *b);   /* its on_settled */
/* fn is called once, perhaps before this returns: when the host's resolver has been told what it was to be told up to
 * now, or BACKEND_DNS_PATIENCE_MS later. */
enum { BACKEND_DNS_PATIENCE_MS = 2000 };
void backend_when_dns_set(struct backend *b, void (*fn)(void *arg), void *arg);
/* What the host resolves with when left alone; NULL: not known. */
const struct dns_os_config *backend_os_dns_base(const struct backend *b);
