/* daemon/control/hostinfo.h - what a node tells the server about itself.
 *
 * Plain structs the caller fills and the client copies by turning them into JSON.  NULL or empty strings and
 * unknown optionals are left out.  Pure but for hostinfo_os_read(), which asks uname(2) and reads os-release.
 * Source: Tailscale control protocol, Hostinfo and NetInfo.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum tri { TRI_UNSET = 0, TRI_FALSE, TRI_TRUE };

/* Facts about the machine; fixed-size so that they can be embedded. */
struct hostinfo_os {
        char os_version[96]; /* kernel release */
        char distro[64];     /* "debian" */
        char distro_version[64];
        char distro_code_name[64];
        char machine[32];  /* "x86_64" */
        char go_arch[16];  /* "amd64": what servers and UIs expect */
        char hostname[65]; /* first label of the host name */
        bool container;
};

struct hostinfo_service {
        const char *proto; /* "peerapi4", "peerapi6", "peerapi-dns-proxy", "tcp", "udp" */
        uint16_t port;
};

struct hostinfo {
        struct hostinfo_os os;
        const char *hostname;       /* NULL: os.hostname */
        const char *ipn_version;    /* "0.1.0-..." */
        const char *backend_log_id; /* 64 hex digits or NULL */
        const char *package;
        const struct prefix *routable_ips; /* advertised routes; sent sorted, masked, without duplicates */
        size_t routable_count;
        const char *const *request_tags; /* "tag:x" */
        size_t tag_count;
        const struct hostinfo_service *services;
        size_t service_count;
        const char *const *ssh_host_keys;
        size_t ssh_key_count;
        bool shields_up;
        bool no_logs; /* NoLogsNoSupport */
        enum tri userspace;
        enum tri userspace_router;
};

struct netinfo_latency {
        int region;
        bool v6;
        double seconds;
};

struct netinfo {
        enum tri mapping_varies; /* MappingVariesByDestIP */
        enum tri working_ipv6;
        enum tri os_has_ipv6;
        enum tri working_udp;
        enum tri working_icmp4;
        enum tri upnp, pmp, pcp;
        bool have_port_map;
        int preferred_derp;        /* 0 = unknown */
        const char *link_type;     /* "wired", "wifi" or NULL */
        const char *firewall_mode; /* "nft-forced" or NULL */
        const struct netinfo_latency *latency;
        size_t latency_count;
};

void hostinfo_os_read(struct hostinfo_os *ret);
/* From the text of an os-release file (pure). */
void hostinfo_parse_os_release(struct hostinfo_os *h, const char *text, size_t len);

/* New reference; NULL: out of memory. */
json_t *hostinfo_to_json(const struct hostinfo *h); /* without NetInfo */
json_t *netinfo_to_json(const struct netinfo *ni);
/* Equal but for DERPLatency, which the server need not hear about. */
bool netinfo_json_same(json_t *a, json_t *b);
