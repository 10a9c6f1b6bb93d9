/* daemon/localapi/status.h - what `tailscale status`, `whois` and `ping` show, as JSON.
 *
 * Pure: plain values in, text or a new JSON reference out (NULL: out of memory), key order and omissions as the
 * reference has them, but for two: Peer and User are {} where it writes null, and ProfilePicURL is always there.
 * A status is written in pieces, as there may be many peers: the head, each peer, status_write_users(), each user,
 * the end.  In brief it has no more than `tailscale status` needs for its table, "Peers" is an array, what is zero is
 * left out, and no users come.
 * Everything in the structs is borrowed for the call; a string may be NULL, which is "".  Times are
 * nanoseconds since 1970, 0 = never (written as year 1).  Source: Tailscale LocalAPI, Status and WhoIsResponse.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/jsontext.h"
#include "base/key.h"

struct status_user {
        int64_t id;
        const char *login_name;
        const char *display_name;
        const char *profile_pic_url;
};

enum status_taildrop {   /* TaildropTarget */
        STATUS_TAILDROP_UNKNOWN = 0,
        STATUS_TAILDROP_USABLE = 1,
        STATUS_TAILDROP_NO_NETMAP = 2,
        STATUS_TAILDROP_NOT_RUNNING = 3,
        STATUS_TAILDROP_NO_CAP = 4,
        STATUS_TAILDROP_OFFLINE = 5,
        STATUS_TAILDROP_NO_INFO = 6,
        STATUS_TAILDROP_OS = 7,
        STATUS_TAILDROP_NO_PEERAPI = 8,
        STATUS_TAILDROP_OTHER_OWNER = 9,
};

/* A peer, or with status.self ourselves. */
struct status_peer {
        const char *id;                    /* stable id */
        int64_t node_id;
        struct node_public key;            /* zero for self when logged out */
        const char *host_name;
        const char *dns_name;              /* FQDN with its final dot, or "" */
        const char *os;
        int64_t user_id;
        const char *login_name;            /* in brief, beside the user's id; NULL: unknown */
        int64_t sharer_id;                 /* 0: not shared in */
        const struct prefix *addresses;    /* TailscaleIPs and the PeerAPI's hosts come from these */
        size_t address_count;
        const struct prefix *allowed;      /* ExitNodeOption comes from these */
        size_t allowed_count;
        const char *const *tags;
        size_t tag_count;
        const struct prefix *primary;
        size_t primary_count;
        const struct addr *endpoints;      /* of self only; peers show null whatever is here */
        size_t endpoint_count;
        struct addr cur_addr;              /* while the path is direct, else none */
        const char *relay;                 /* region code of its home */
        int64_t rx_bytes, tx_bytes;
        int64_t created_ns, last_write_ns, last_handshake_ns;
        int64_t last_seen_ns;              /* shown only when not online */
        int64_t key_expiry_ns;             /* 0: never; written in whole seconds */
        bool online;
        bool exit_node;                    /* the selected one */
        bool active;
        uint16_t peerapi4_port, peerapi6_port;   /* 0: none */
        enum status_taildrop taildrop;
        const char *cap_map;               /* JSON object text, sorted; "" = none; self also lists its names */
        const char *const *ssh_keys;
        size_t ssh_key_count;
        bool sharee;
        bool in_map, in_magicsock, in_engine;
        bool expired;
        const char *location;              /* JSON object text; "" = unknown */
};

struct status {
        const char *version;
        bool tun;
        const char *state;                 /* BackendState */
        bool have_node_key;
        const char *auth_url;
        struct status_peer self;           /* always shown; logged out: host name, OS, endpoints, relay only */
        const struct status_peer *exit_node;     /* NULL: none selected, or not in the map */
        const json_t *health;              /* array of strings; NULL: fine */
        bool have_tailnet;                 /* there is a network map */
        const char *tailnet_name;
        const char *magic_dns_suffix;      /* no dots around */
        bool magic_dns;
        const json_t *cert_domains;        /* array; NULL: null */
        const json_t *extra_records;       /* array; NULL: null */
};

void status_write_head(struct jtext *j, const struct status *s, bool brief);
void status_write_peer(struct jtext *j, const struct status_peer *p, bool brief);
void status_write_users(struct jtext *j);
void status_write_user(struct jtext *j, const struct status_user *u);
void status_write_end(struct jtext *j, bool brief);

/* Adds ComputedName and ComputedNameWithHost to a Node as control has it. */
void status_name_node(json_t *node, const char *magic_dns_suffix);
/* WhoIs of a node; consumes node and caps, what the node may do at our services (NULL: nothing).  user NULL: unknown. */
json_t *status_whois_json(json_t *node, const struct status_user *user, json_t *caps, const char *magic_dns_suffix);

struct status_ping {
        struct ip ip;                      /* asked for */
        struct ip node_ip;                 /* first address of the peer; none: no such peer */
        const char *node_name;             /* first DNS label or host name */
        const char *error;                 /* "" or NULL: answered */
        int64_t latency_ns;
        struct addr endpoint;              /* none: by relay */
        int region_id;                     /* 0: direct */
        const char *region_code;
        uint16_t peerapi_port;             /* as the answer to TSMP says; 0: left out */
        const char *peerapi_url;           /* NULL or "": left out */
        bool is_local;                     /* the address is ours */
};
json_t *status_ping_json(const struct status_ping *p);
