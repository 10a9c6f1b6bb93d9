/* portmap/pxp.h - the messages of NAT-PMP and of PCP, by which a host asks its router for a port.
 *
 * Pure.  Both speak on the same port of the router and are told apart by their first byte.  Lifetimes and epochs in
 * seconds, as on the wire; whoever uses them decides what to believe.  Source: RFC 6886 3, RFC 6887 7 and 11.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

enum {
        PXP_PORT = 5351,        /* of the router */
        PXP_REQUEST_MAX = 60,
        PXP_REPLY_MAX = 1100,   /* no longer answer is one */
        PCP_NONCE_LEN = 12,
};

enum pxp_kind {
        PXP_PMP_ADDRESS,    /* which address does the router have outside? */
        PXP_PMP_MAP,        /* for UDP */
        PXP_PCP_ANNOUNCE,   /* are you there? */
        PXP_PCP_MAP,        /* for UDP */
};

enum pxp_result {   /* NAT-PMP and PCP have some in common, and each its own */
        PXP_OK = 0,
        PCP_NOT_AUTHORIZED = 2,
        PCP_ADDRESS_MISMATCH = 12,
};

struct pcp_nonce {
        uint8_t b[PCP_NONCE_LEN];
};

struct pxp_ask {
        enum pxp_kind kind;
        struct ip self;            /* PCP: our address as the router sees it */
        struct pcp_nonce nonce;    /* PCP_MAP: the same for renewal and release */
        uint16_t inner;            /* MAP: our port */
        uint16_t outer;            /* MAP: the one we would like; 0 = any */
        uint32_t lifetime;         /* MAP: 0 releases */
};
/* Fills out[PXP_REQUEST_MAX] and returns the length. */
size_t pxp_encode(const struct pxp_ask *ask, uint8_t out[PXP_REQUEST_MAX]);

struct pxp_reply {
        enum pxp_kind kind;
        unsigned result;           /* other than PXP_OK: only kind and epoch are set */
        uint32_t epoch;            /* since the router knows of its mappings */
        struct ip outside;         /* PMP_ADDRESS, PCP_MAP; none: it has none */
        uint16_t inner, outer;     /* MAP */
        uint32_t lifetime;         /* MAP */
        struct pcp_nonce nonce;    /* PCP_MAP */
};
/* ERR_FORMAT: no answer to one of ours, or damaged.  IPv6 outside comes out as it is. */
ERR_CHECK enum err pxp_parse(const void *data, size_t len, struct pxp_reply *ret);
