#include "portmap/pxp.h"

#include "base/reader.h"
#include "base/writer.h"

enum {
        PMP_VERSION = 0,
        PCP_VERSION = 2,
        PMP_OP_ADDRESS = 0,
        PMP_OP_MAP_UDP = 1,
        PCP_OP_ANNOUNCE = 0,
        PCP_OP_MAP = 1,
        REPLY = 0x80,
        UDP = 17,
};

static void put_ip(struct wr *w, struct ip ip)
{
        uint8_t b[16];
        ip_to_bytes16(ip, b);
        wr_copy(w, b, sizeof(b));
}

static void put_pcp_head(struct wr *w, const struct pxp_ask *ask, uint8_t op, uint32_t lifetime)
{
        wr_u8(w, PCP_VERSION);
        wr_u8(w, op);
        wr_be16(w, 0);
        wr_be32(w, lifetime);
        put_ip(w, ask->self);
}

size_t pxp_encode(const struct pxp_ask *ask, uint8_t out[PXP_REQUEST_MAX])
{
        struct wr w = wr_init(out, PXP_REQUEST_MAX);
        switch (ask->kind) {
        case PXP_PMP_ADDRESS:
                wr_u8(&w, PMP_VERSION);
                wr_u8(&w, PMP_OP_ADDRESS);
                break;
        case PXP_PMP_MAP:
                wr_u8(&w, PMP_VERSION);
                wr_u8(&w, PMP_OP_MAP_UDP);
                wr_be16(&w, 0);
                wr_be16(&w, ask->inner);
                wr_be16(&w, ask->outer);
                wr_be32(&w, ask->lifetime);
                break;
        case PXP_PCP_ANNOUNCE:
                put_pcp_head(&w, ask, PCP_OP_ANNOUNCE, 0);
                break;
        case PXP_PCP_MAP:
                put_pcp_head(&w, ask, PCP_OP_MAP, ask->lifetime);
                wr_copy(&w, ask->nonce.b, PCP_NONCE_LEN);
                wr_u8(&w, UDP);
                wr_zero(&w, 3);
                wr_be16(&w, ask->inner);
                wr_be16(&w, ask->outer);
                put_ip(&w, ip_v4(0, 0, 0, 0));   /* any outside address */
                break;
        }
        return w.len;
}

static enum err parse_pmp(struct rd *r, struct pxp_reply *ret)
{
        uint8_t op = rd_u8(r);
        ret->result = rd_be16(r);
        ret->epoch = rd_be32(r);
        if (op != (REPLY | PMP_OP_ADDRESS) && op != (REPLY | PMP_OP_MAP_UDP))
                return ERR_FORMAT;
        ret->kind = op == (REPLY | PMP_OP_MAP_UDP) ? PXP_PMP_MAP : PXP_PMP_ADDRESS;
        if (!rd_ok(r) || ret->result != PXP_OK)
                return rd_ok(r) ? ERR_NONE : ERR_FORMAT;
        if (ret->kind == PXP_PMP_MAP) {
                ret->inner = rd_be16(r);
                ret->outer = rd_be16(r);
                ret->lifetime = rd_be32(r);
        } else {
                uint8_t b[4];
                rd_copy(r, b, sizeof(b));
                ret->outside = ip_from_bytes4(b);
        }
        return rd_at_end(r) ? ERR_NONE : ERR_FORMAT;
}

/* Options may follow, which are of no use to us. */
static enum err parse_pcp(struct rd *r, struct pxp_reply *ret)
{
        uint8_t b[16];
        uint8_t op = rd_u8(r);
        rd_skip(r, 1);
        ret->result = rd_u8(r);
        ret->lifetime = rd_be32(r);
        ret->epoch = rd_be32(r);
        rd_skip(r, 12);
        if (op != (REPLY | PCP_OP_ANNOUNCE) && op != (REPLY | PCP_OP_MAP))
                return ERR_FORMAT;
        ret->kind = op == (REPLY | PCP_OP_MAP) ? PXP_PCP_MAP : PXP_PCP_ANNOUNCE;
        if (!rd_ok(r) || ret->result != PXP_OK || ret->kind == PXP_PCP_ANNOUNCE)
                return rd_ok(r) ? ERR_NONE : ERR_FORMAT;
        rd_copy(r, ret->nonce.b, PCP_NONCE_LEN);
        uint8_t protocol = rd_u8(r);
        rd_skip(r, 3);
        ret->inner = rd_be16(r);
        ret->outer = rd_be16(r);
        rd_copy(r, b, sizeof(b));
        ret->outside = ip_from_bytes16(b);
        return rd_ok(r) && protocol == UDP ? ERR_NONE : ERR_FORMAT;
}

enum err pxp_parse(const void *data, size_t len, struct pxp_reply *ret)
{
        struct pxp_reply reply = {0};
        struct rd r = rd_init(data, len);
        uint8_t version = rd_u8(&r);
        if (!rd_ok(&r) || len > PXP_REPLY_MAX || (version != PMP_VERSION && version != PCP_VERSION))
                return ERR_FORMAT;
        enum err e = version == PMP_VERSION ? parse_pmp(&r, &reply) : parse_pcp(&r, &reply);
        if (e == ERR_NONE)
                *ret = reply;
        return e;
}
