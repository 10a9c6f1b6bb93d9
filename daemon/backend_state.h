/* daemon/backend_state.h - the insides of the backend, for the files that make it up (backend*.c) alone. */
#pragma once

#include "daemon/backend.h"
#include "daemon/control/client.h"
#include "daemon/dns/quad100.h"
#include "daemon/host/osdns.h"
#include "daemon/inside.h"
#include "daemon/netstack/forward.h"
#include "daemon/netstack/ping.h"
#include "daemon/netstack/udp.h"
#include "daemon/netsync.h"
#include "daemon/peerapi/server.h"
#include "daemon/pingprog.h"
#include "daemon/proxy/dialout.h"

struct waiter {
        backend_done_fn fn;
        void *arg;
        struct waiter *next;
};

enum { RELAY_TROUBLES_MAX = 4 };

struct backend {
        struct backend_opts o;
        struct engine *engine;
        struct control *control;
        struct prefs prefs;
        enum ipn_state state;
        bool login_blocked;        /* a human has to act: URL shown, key refused */
        bool need_login;           /* the server no longer accepts our key */
        bool key_expired;          /* that is so because the key has expired: it may be prolonged */
        bool control_active;       /* a login was asked for and not stopped since */
        bool online;
        int sessions, relays;
        bool configured;           /* engine up, host configured */
        char *auth_url;            /* "" = none */
        char *auth_key;            /* for the next login; wiped after use */
        bool auth_key_sent;        /* ... and with a registration it went out */
        char login_error[512];     /* why we are not connected; "" = fine */
        struct relay_trouble {
                int region;
                char text[ENGINE_RELAY_TEXT_MAX];
        } relay_troubles[RELAY_TROUBLES_MAX];   /* those that cannot be reached, the newest last */
        size_t relay_trouble_count;
        bool filter_forged;              /* the server's rules are not used: see netsync_filter_is_forged() */
        bool filter_needs_peers;         /* the filter in use looked at peers */
        char host_error[256], firewall_error[256];
        uint16_t udp_port;   /* the engine's: what the firewall lets in; 0: none yet */
        int64_t exit_node;         /* node id; 0: none chosen, or not in the map */
        struct waiter *logouts;
        struct timer logout_timer;
        struct timer save_timer;   /* armed: the state file could not be written */
        struct hostinfo_os os;
        struct dns_service *dns;
        struct quad100 *quad100;         /* NULL: without a TUN device nobody sends it packets */
        struct dns_waiter *dns_waiters;
        bool dns_awaited, dns_ready;   /* of the way from Starting to Running: names are found then */
        struct timer dns_timer;    /* armed: map or preferences have changed since DNS was compiled */
        struct osdns *osdns;           /* NULL: the host is not told */
        struct dns_os_config os_dns;   /* what the host was told last */
        struct dns_os_config os_base;  /* what it would use without us, if that is known */
        bool have_os_base;
        struct peerapi *peerapi;       /* NULL: not open */
        struct addr peerapi_at[2];     /* IPv4, IPv6; none: not open there */
        struct filter *exit_filter;    /* the filter in use, while we offer to be an exit node */
        struct dns_service *proxy_dns; /* for peers who go out through us; NULL: none has asked yet */
        bool proxy_dns_stale;
        struct dialout *dialout;
        struct netstack *netstack;     /* NULL: there is a TUN device */
        struct forward *forward;       /* these as well */
        struct inside *inside;
        struct udp *udp;
        struct ping *ping;
        struct pingprog *pingprog;
        struct netcheck_report report;
        bool have_report;
};

/* backend.c */
void backend_set_str(char **dst, const char *src);
void backend_save_prefs(struct backend *b);
void backend_post_prefs(struct backend *b);
void backend_update_state(struct backend *b);
void backend_configure(struct backend *b, bool on);   /* engine and host follow the map, or rest */

extern const char backend_busy[];   /* what is answered while a logout is under way */

/* backend_login.c: the control client and what it says of our login */
void backend_push_hostinfo(struct backend *b);
void backend_push_keys(struct backend *b);
const char *backend_push_server(struct backend *b);   /* NULL: fine; else why the URL is refused */
void backend_login(struct backend *b, bool force);
void backend_stop_control(struct backend *b);
ERR_CHECK enum err backend_renew_control(struct backend *b);
void backend_forget_auth_key(struct backend *b);
void backend_answer_logouts(struct backend *b, const char *error);
void backend_on_logout_timer(struct timer *t, mono_t now);

/* backend_profile.c */
void backend_saved(struct backend *b, enum err e);   /* of a profiles_ call; a failure is said, and tried again */
void backend_on_save_timer(struct timer *t, mono_t now);
void backend_drop_profile(struct backend *b);   /* the current one is deleted, without a word to the server */

/* backend_host.c: the host follows map and preferences */
struct netsync_prefs backend_sync_prefs(const struct backend *b);
bool backend_update_exit_node(struct backend *b);   /* true: it is another one now */
void backend_apply_host(struct backend *b);
/* The routes alone, after a few peers changed and nothing else did.  False: backend_apply_host() has to do it. */
bool backend_change_routes(struct backend *b, const struct netmap_delta *d);
void backend_on_port(void *arg, uint16_t port);
bool backend_wants_exit_node(const struct backend *b);   /* one is chosen, there or not */
bool backend_offers_exit(const struct backend *b);   /* a default route is advertised */
void backend_apply_filter(struct backend *b);
void backend_host_changed(struct backend *b);    /* links or addresses of the host */
/* Host and engine are brought in line; accepts_changed: whether routes of peers are accepted did. */
void backend_prefs_changed(struct backend *b, bool accepts_changed);
void backend_host_health(const struct backend *b, json_t *lines);

/* backend_map.c: the engine follows the map */
void backend_sync_peer(struct backend *b, const struct netmap_node *n);
void backend_sync_all_peers(struct backend *b);
void backend_forget_map(struct backend *b);   /* nothing of it stays in use */
void backend_on_netmap(void *arg, const struct netmap *nm, const struct netmap_delta *d);

/* backend_peerapi.c: what peers may ask of us */
void backend_apply_peerapi(struct backend *b);   /* open while we are configured, at the addresses of the map */
void backend_peerapi_close(struct backend *b);   /* for good */
size_t backend_peerapi_services(const struct backend *b, struct hostinfo_service out[3]);   /* returns how many */

/* backend_dns.c: what is answered, what is forwarded, what the host is told */
bool backend_dns_open(struct backend *b);   /* false: out of memory */
void backend_dns_close(struct backend *b);
void backend_dns_changed(struct backend *b);
enum { BACKEND_PEER_FOR_NAMES = NETMAP_PEER_ADDED | NETMAP_PEER_REMOVED | NETMAP_PEER_ALLOWED | NETMAP_PEER_INFO };
/* The names alone, after a few peers changed and nothing else did.  False: backend_dns_changed() has to do it. */
bool backend_change_names(struct backend *b, const struct netmap_delta *d);
void backend_dns_network_changed(struct backend *b);
void backend_on_service_packet(void *arg, const uint8_t *pkt, size_t len);
struct dns_config *backend_dns_for_peers(const struct backend *b);   /* NULL: out of memory */
void backend_dns_health(const struct backend *b, json_t *list);
