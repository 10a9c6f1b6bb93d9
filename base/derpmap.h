/* base/derpmap.h - the relays there are: regions with their nodes, as in the network map.
 *
 * Immutable once parsed, so it may cross threads by pointer; the last holder frees it.  Bounds: 256 regions
 * of 16 nodes; what is beyond is dropped.  Strings longer than their field make the node be skipped.
 * Source: DERPMap of the control protocol; JSON names are those of the reference.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { DERPMAP_REGIONS_MAX = 256, DERPMAP_NODES_MAX = 16 };

struct derp_node {
        char name[64];
        char hostname[256];
        char cert_name[256];     /* "" = hostname; "sha256-raw:HEX" = pin */
        char ipv4[64];           /* "" = resolve; literal; anything else = family off */
        char ipv6[64];
        char stun_test_ip[64];   /* "" = none */
        uint16_t stun_port;      /* 3478 by default; 0 = no STUN here */
        uint16_t derp_port;      /* 443 by default */
        bool stun_only;
        bool insecure;           /* InsecureForTests */
        bool can_port80;
};

struct derp_region {
        int id;                  /* 1..65535 */
        char code[32];
        char name[64];
        double score;            /* HomeParams.RegionScore; 1 by default */
        bool avoid;
        bool no_measure_no_home;
        size_t node_count;
        struct derp_node *nodes;   /* in order of preference */
};

struct derpmap {
        size_t region_count;
        struct derp_region *regions;   /* ascending id */
};

/* From the DERPMap object; null regions are dropped, a bad node is skipped.  *ret is owned by the caller. */
ERR_CHECK enum err derpmap_from_json(const json_t *obj, struct derpmap **ret);
/* The object as the LocalAPI shows it; new reference, NULL: out of memory. */
json_t *derpmap_to_json(const struct derpmap *m);
struct derpmap *derpmap_copy(const struct derpmap *m);
void derpmap_free(struct derpmap *m);   /* NULL is fine */
bool derpmap_eq(const struct derpmap *a, const struct derpmap *b);
const struct derp_region *derpmap_region(const struct derpmap *m, int id);   /* NULL: none */
bool derp_region_has_relay(const struct derp_region *r);     /* not all of its nodes are for STUN alone */
bool derp_region_may_be_home(const struct derp_region *r);   /* ... and the operator wants it for one */
