/* daemon/control/netmap.h - the network map: who we are, who the peers are, and what the server wants.
 *
 * Plain values, owned by the map session (control thread), which changes them in place: whoever needs them on
 * another thread or later copies.  A node is one heap block: the struct, its arrays and all its
 * strings, so that ten thousand of them stay small; it is replaced whole when something of variable size
 * changes, so pointers into it live only until the next change of that node.  Strings are never NULL but
 * where it says so.  Times are nanoseconds since 1970 on the wall clock, 0 = none or never.
 * Source: Tailscale control protocol, Node, UserProfile, FilterRule, DNSConfig.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/derpmap.h"
#include "base/err.h"
#include "base/jview.h"
#include "base/key.h"

enum netmap_opt { NETMAP_UNKNOWN = 0, NETMAP_NO, NETMAP_YES }; /* an optional bool */

/* What a node may at most bring; what is beyond is dropped. */
enum {
        NETMAP_PREFIXES_MAX = 4096,
        NETMAP_ENDPOINTS_MAX = 256,
        NETMAP_STRINGS_MAX = 256,
        NETMAP_PEERS_MAX = 100000,
        NETMAP_RULES_MAX = 65536,
};

struct netmap_node {
        int64_t id;     /* key of all merging */
        int64_t user;   /* see netmap_user(); */
        int64_t sharer; /* 0 = not shared in */
        int64_t created_ns;
        int64_t last_seen_ns;  /* 0 = unknown, as while online */
        int64_t key_expiry_ns; /* 0 = never */
        uint64_t text_hash;    /* of the JSON it was read from, if nothing has changed it since; 0 = none */
        struct node_public key;
        struct machine_public machine;
        struct disco_public disco; /* zero: none (yet), relay only */
        int home_derp;             /* 0 = unknown */
        int cap;                   /* capability version; Headscale puts the viewer's here */
        enum netmap_opt online;    /* unknown is not offline */
        bool expired;              /* the server says so, or its expiry has passed (see mapsession_expire) */
        bool machine_authorized;
        bool wireguard_only; /* no disco, no relay */
        bool jailed;         /* may not open connections to us */
        bool unsigned_peerapi_only;
        bool sharee; /* Hostinfo.ShareeNode */
        bool peerapi_dns_proxy;
        uint16_t peerapi4_port; /* 0 = no PeerAPI */
        uint16_t peerapi6_port;
        struct ip masq_v4; /* the address this peer knows us by, if set */
        struct ip masq_v6;

        /* Arrays inside the block. */
        uint32_t address_count;
        uint32_t allowed_count;
        uint32_t primary_count;
        uint32_t endpoint_count;
        uint32_t tag_count;
        uint32_t ssh_key_count;
        const struct prefix *addresses; /* single addresses: /32 and /128 */
        const struct prefix *allowed;   /* AllowedIPs: addresses and approved routes */
        const struct prefix *primary;   /* PrimaryRoutes */
        const struct addr *endpoints;
        const char *const *tags;
        const char *const *ssh_keys; /* sshHostKeys */

        /* Strings inside the block. */
        const char *stable_id;
        const char *name;     /* FQDN with its final dot */
        const char *hostname; /* Hostinfo.Hostname */
        const char *os;       /* Hostinfo.OS */
        const char *os_version;
        const char *cap_map;  /* JSON object text: capability -> [values] or null; "" = none */
        const char *location; /* Hostinfo.Location as JSON object text; "" = none */
};

struct netmap_user {
        int64_t id;
        const char *login_name;
        const char *display_name;
        const char *profile_pic_url;
};

struct ip_range {
        struct ip first;
        struct ip last; /* inclusive, same family */
};

struct filter_dst {
        struct ip_range ips;
        uint16_t port_first;
        uint16_t port_last;
};

/* One rule of the packet filter.  "*" is two ranges, one a family.  It permits packets when it has
 * destinations; grants never do. */
struct filter_rule {
        uint32_t src_count;
        uint32_t src_cap_count;
        uint32_t dst_count;
        uint32_t proto_count;
        const struct ip_range *srcs;
        const char *const *src_caps; /* "cap:NAME" sources, without "cap:" */
        const struct filter_dst *dsts;
        const uint8_t *protos; /* never empty: the default set is written out */
        const json_t *grants;  /* CapGrant array as sent, NULL = none; borrowed */
};

struct netmap {
        struct netmap_node *self; /* NULL before the first map */
        size_t peer_count;
        struct netmap_node **peers; /* ascending id */
        size_t user_count;
        struct netmap_user **users; /* ascending id */
        struct derpmap *derpmap;    /* NULL: none sent yet */
        size_t rule_count;          /* 0 = block everything inbound */
        struct filter_rule **rules;
        json_t *packet_filter;    /* the same rules as the JSON array sent; NULL = none */
        json_t *dns;              /* DNSConfig object; NULL: none sent */
        json_t *ssh_policy;       /* SSHPolicy object; NULL: none sent */
        json_t *display_messages; /* object id -> DisplayMessage; NULL = none */
        char **health;            /* messages of the server, NULL-terminated; NULL = healthy */
        char *domain;             /* name of the tailnet; NULL before the first map */
        char *magic_dns_suffix;   /* of self->name, no dots around; "" = none, NULL before the first map */
        bool collect_services;
        bool tailnet_lock;       /* the server wants signatures checked, which we cannot: warn */
        int64_t control_skew_ns; /* server clock minus ours when beyond a minute, else 0 */
        uint64_t generation;     /* grows with every change */
};

/* Bits of netmap_peer_change.what.  ADDED and REMOVED stand alone. */
enum {
        NETMAP_PEER_ADDED = 1,
        NETMAP_PEER_REMOVED = 2,
        NETMAP_PEER_KEY = 4, /* node key: a new tunnel for the same node */
        NETMAP_PEER_DISCO = 8,
        NETMAP_PEER_ALLOWED = 16, /* allowed or addresses */
        NETMAP_PEER_ENDPOINTS = 32,
        NETMAP_PEER_HOME = 64,    /* home_derp */
        NETMAP_PEER_EXPIRY = 128, /* expired or key_expiry */
        NETMAP_PEER_ONLINE = 256, /* online or last_seen */
        NETMAP_PEER_INFO = 512,   /* anything else: names, capabilities, Hostinfo ... */
};

struct netmap_peer_change {
        int64_t id;
        unsigned what;
        struct node_public old_key; /* zero for ADDED */
        const struct netmap_node *old; /* as it was; NULL for ADDED, and where too many changed to keep them */
};

/* Bits of netmap_delta.parts. */
enum {
        NETMAP_SELF = 1,
        NETMAP_DERPMAP = 2,
        NETMAP_DNS = 4,
        NETMAP_FILTER = 8,
        NETMAP_USERS = 16,
        NETMAP_DOMAIN = 32,
        NETMAP_HEALTH = 64,
        NETMAP_SSH = 128,
};

/* Exactly what differs from the map last shown; applying an identical node again changes nothing. */
struct netmap_delta {
        bool first; /* first map of a stream: still only the differences are listed */
        unsigned parts;
        size_t peer_count;
        const struct netmap_peer_change *peers; /* ascending id, each id once */
};

void netmap_init(struct netmap *m);
void netmap_done(struct netmap *m);
const struct netmap_node *netmap_peer(const struct netmap *m, int64_t id); /* NULL: none */
const struct netmap_user *netmap_user(const struct netmap *m, int64_t id); /* NULL: none */
/* The next one by ascending id: whoever walks the map in several turns goes on from the last id it saw.  NULL: none. */
const struct netmap_node *netmap_peer_after(const struct netmap *m, int64_t id);
const struct netmap_user *netmap_user_after(const struct netmap *m, int64_t id);
/* Linear: self or peer with that key / with that single address. */
const struct netmap_node *netmap_by_key(const struct netmap *m, const struct node_public *key);
const struct netmap_node *netmap_by_ip(const struct netmap *m, struct ip ip);
/* Is the capability present (even with null or no values)? */
bool netmap_node_has_cap(const struct netmap_node *n, const char *cap);

/* The text of one Node object, cleaned up as the merge rules say (legacy DERP, absent AllowedIPs; of self also the
 * deprecated list of capabilities).  *ret is one block, freed with free().  ERR_FORMAT: no JSON, no ID or no valid key. */
ERR_CHECK enum err netmap_node_read(struct jview_room *room, const char *text, size_t len, bool self,
                                    struct netmap_node **ret);
ERR_CHECK enum err netmap_node_from_json(const json_t *obj, bool self, struct netmap_node **ret);
struct netmap_node *netmap_node_copy(const struct netmap_node *n);
/* What differs between two states of a peer: bits above, 0 = identical. */
unsigned netmap_node_diff(const struct netmap_node *a, const struct netmap_node *b);
/* The node as the reference shows it in whois and debug netmap; new reference. */
json_t *netmap_node_to_json(const struct netmap_node *n);
/* *ret is one block, freed with free(); it borrows grants from obj. */
ERR_CHECK enum err filter_rule_from_json(const json_t *obj, struct filter_rule **ret);
