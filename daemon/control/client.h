/* daemon/control/client.h - our side of the control protocol: log in, keep the network map, report what changes.
 *
 * One object per profile, on the control thread's loop.  Every call returns at once; news comes through
 * the callbacks, which may call back into the object but must not free it.  Arguments are copied.
 * It connects, reconnects with growing jittered pauses for as long as it takes, and keeps one HTTP/2
 * connection inside the Noise channel for everything.  An http:// server is always dialled on its own port.
 * Source: Tailscale ts2021 control protocol.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/dial.h"
#include "base/err.h"
#include "base/key.h"
#include "base/loop.h"
#include "daemon/control/hostinfo.h"
#include "daemon/control/netmap.h"

struct control;

enum control_error_kind {
        CONTROL_ERROR_BAD_URL,     /* the login server's URL cannot be used */
        CONTROL_ERROR_NAME,        /* host name not found */
        CONTROL_ERROR_REFUSED,     /* connection refused */
        CONTROL_ERROR_NO_ROUTE,    /* network or host unreachable */
        CONTROL_ERROR_TIMEOUT,     /* no answer */
        CONTROL_ERROR_TLS,         /* certificate or TLS failure */
        CONTROL_ERROR_SERVER,      /* 5xx, or hung up: down or restarting */
        CONTROL_ERROR_NOT_CONTROL, /* something answers that is not a control server */
        CONTROL_ERROR_VERSION,     /* the server does not speak our version */
        CONTROL_ERROR_SERVER_KEY,  /* the server's Noise key is not what it published */
        CONTROL_ERROR_AUTH_KEY,    /* wrong, unknown or malformed auth key */
        CONTROL_ERROR_AUTH_KEY_USED,
        CONTROL_ERROR_AUTH_KEY_EXPIRED,
        CONTROL_ERROR_REJECTED, /* the server refused the registration for another reason */
        CONTROL_ERROR_RATE_LIMITED,
        CONTROL_ERROR_PROTOCOL, /* the server sent what we cannot understand */
        CONTROL_ERROR_INTERNAL, /* out of memory */
};

struct control_error {
        enum control_error_kind kind;
        const char *message;     /* one or two lines for a person: the cause, and what to do */
        const char *server_text; /* the server's own words ("invalid pre auth key"); "" = none */
        bool fatal;              /* will not get better without the user: no retry (retry_ms is -1) */
        int64_t retry_ms;        /* until the next attempt */
};

enum control_need_login {
        CONTROL_NEED_KEY_EXPIRED,  /* the node key expired or was logged out elsewhere */
        CONTROL_NEED_NODE_DELETED, /* the server no longer knows this node */
        CONTROL_NEED_MIXED_STATE,  /* node key and machine key belong to different nodes */
};

struct control_registered {
        struct key_private node_key;     /* in force from now on */
        struct key_private old_node_key; /* zero = none */
        int64_t user_id;
        const char *login_name; /* of the profile to persist */
        const char *display_name;
        const char *profile_pic_url;
        bool machine_authorized; /* false: an admin must approve; check expiry of self first */
};

struct control_callbacks {
        /* A candidate node key was made and is about to be sent: persist it first. */
        void (*on_node_key)(void *arg, const struct key_private *candidate, const struct key_private *old);
        /* Show this to the user; we wait for the approval meanwhile.  May come again with another one. */
        void (*on_auth_url)(void *arg, const char *url);
        void (*on_registered)(void *arg, const struct control_registered *r);
        /* The user must log in again (control_login with force or a key).  Polling goes on where it can. */
        void (*on_need_login)(void *arg, enum control_need_login why);
        /* nm is ours, valid until the next callback; d lists exactly what is new. */
        void (*on_netmap)(void *arg, const struct netmap *nm, const struct netmap_delta *d);
        void (*on_online)(void *arg, bool online); /* a map stream is / is no longer established */
        void (*on_error)(void *arg, const struct control_error *e);
        void (*on_logged_out)(void *arg, const struct control_error *e); /* e NULL: done */
        void (*on_browser_url)(void *arg, const char *url);              /* PopBrowserURL */
};

struct control_login {
        const char *auth_key; /* NULL or "" = none; blanks around and a --TL suffix are cut off */
        bool force;           /* register a new node key even if the old one would do */
        bool ephemeral;
        int64_t expiry_ns; /* wanted key expiry, wall clock; 0 = the server's default */
};

enum control_endpoint_type { /* as on the wire */
                             CONTROL_ENDPOINT_UNKNOWN = 0,
                             CONTROL_ENDPOINT_LOCAL = 1,
                             CONTROL_ENDPOINT_STUN = 2,
                             CONTROL_ENDPOINT_PORTMAPPED = 3,
                             CONTROL_ENDPOINT_STUN4_LOCAL_PORT = 4,
                             CONTROL_ENDPOINT_EXPLICIT = 5,
};

struct control_endpoint {
        struct addr addr;
        enum control_endpoint_type type;
};

enum { CONTROL_CAP_VERSION = 138, CONTROL_ENDPOINTS_MAX = 64 };

/* NULL: out of memory. */
struct control *control_new(struct loop *l, struct dialer *d, const struct control_callbacks *cb, void *arg);
void control_free(struct control *c);

/* Any of the setters may come before or after login.  ERR_FORMAT: no http(s) URL with a host. */
ERR_CHECK enum err control_set_server(struct control *c, const char *url);
/* node and old_node may be NULL or zero (no stored key: the next login makes one and tells). */
void control_set_keys(struct control *c, const struct key_private *machine, const struct key_private *node,
                      const struct key_private *old_node, const struct disco_public *disco);
void control_set_disco(struct control *c, const struct disco_public *disco);
/* The three below start a coalesced, non-streaming update when something the server keeps has changed. */
void control_set_hostinfo(struct control *c, const struct hostinfo *h);
void control_set_netinfo(struct control *c, const struct netinfo *ni); /* latency alone sends nothing */
void control_set_endpoints(struct control *c, const struct control_endpoint *eps, size_t n);

/* Registers; with a stored key and no auth key this is the quiet restart form.  Keeps trying. */
void control_login(struct control *c, const struct control_login *opts);
/* Want the map stream (from the next successful registration on) or not. */
void control_set_poll(struct control *c, bool on);
/* Expires the node key on the server; on_logged_out comes once, at the latest after timeout_ms. */
void control_logout(struct control *c, int64_t timeout_ms);
/* Stop everything and hang up; login starts again.  The map stays readable. */
void control_stop(struct control *c);
/* The network changed (link, default route, addresses): drop the connection, dial again at once. */
void control_network_changed(struct control *c);
/* The host's wall clock was set: keys run out at other moments of ours than we thought. */
void control_clock_stepped(struct control *c, int64_t step_ns);
const char *control_server_host(const struct control *c);   /* "": none yet */
/* For peers whose expiry passed: called by itself; the map as it is. */
const struct netmap *control_netmap(const struct control *c);
