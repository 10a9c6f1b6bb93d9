/* daemon/dns/build.h - how a dns_config comes about: shared by config.c, which keeps it, compile.c, which reads the map,
 * and compile_os.c, which decides what the operating system is told, and change.c.  Nobody else includes this.
 *
 * What runs out of memory sets `failed` and goes on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/trie.h"
#include "daemon/dns/config.h"
#include "daemon/dns/nametab.h"

struct host {
        struct dns_host h;
        bool shared;           /* more than one node or record says so */
        uint8_t name_len;      /* of the name that PTR answers, at name_at in the block; 0: an alias, none */
        uint32_t name_at;
};

struct dns_config {
        struct nametab *host_names;     /* -> hosts */
        struct host *hosts;
        size_t host_count, host_cap;
        uint8_t *block;                 /* names for PTR */
        size_t block_len, block_cap;
        struct trie *addresses;         /* -> hosts */
        struct nametab *route_names;    /* -> routes */
        struct nametab *zones;          /* local suffixes, value = length of the name */
        struct dns_route *routes;
        size_t route_count, route_cap;
        size_t covering;                /* routes there were before the nodes: those after them are no reason for names */
        uint64_t suffixes;              /* digest of the routes' names, in order */
        unsigned faults;
        bool failed;                    /* out of memory */
        size_t uncovered;               /* nodes whose names lie outside all routes */
        size_t stale;                   /* hosts that are gone */
};

/* The resolvers for everything. */
struct build_default {
        struct dns_route dflt;
        bool dflt_plain, split_plain;   /* the system could use them as they are; those of the splits, too */
};

/* --- config.c --- */

struct dns_config *build_new(void);   /* NULL: out of memory */
/* That of the suffix, a new one if there is none; NULL: failed.  Valid until the next. */
struct dns_route *build_route(struct dns_config *c, const struct dns_name *suffix);
/* We are the authority for it, unless it has upstreams. */
void build_local(struct dns_config *c, const struct dns_name *suffix);
void build_free_route(struct dns_route *r);
bool build_same_resolvers(const struct dns_route *a, const struct dns_route *b);
/* That of the name, h if there is none; NULL: failed.  Valid until the next. */
struct host *build_host(struct dns_config *c, const struct dns_name *name, const struct dns_host *h);
void build_keep_name(struct dns_config *c, struct host *h, const struct dns_name *name);
void build_address(struct dns_config *c, struct host *h, struct ip ip);

/* --- compile.c --- */

bool build_is_own(const struct dns_input *in, struct ip ip);
void build_node(struct dns_config *c, const struct dns_input *in, const struct dns_node *n);
/* The bare first label is an alias where MagicDNS is on, for names right below our own suffix.  False: there is none. */
bool build_alias(const struct dns_input *in, const struct dns_name *name, struct dns_name *ret);
bool build_is_covered(const struct dns_config *c, const struct dns_name *name);
bool build_has_family(const struct dns_node *n, enum ip_family f);
void build_resolver(struct dns_config *c, const struct dns_input *in, struct dns_route *r, const struct dns_upstream *u,
        bool *plain);
enum { BUILD_MAGIC_ZONES = 2 + 64 };
/* The i-th zone of MagicDNS: the suffix, and those of the addresses.  False: there is no such name. */
bool build_magic_zone(const struct dns_input *in, unsigned i, struct dns_name *ret);

/* --- compile_os.c --- */

void build_os(struct dns_config *c, const struct dns_input *in, struct build_default *p, struct dns_os_config *os);
/* The system's own resolvers take the place of "."; how many there are. */
size_t build_use_base(struct dns_config *c, const struct dns_input *in);
