/* What a rule matches and does: a row of expressions, as the kernel runs them through its registers. */
#include "daemon/host/nft_rule.h"

#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

static struct nftnl_expr *expr(struct nft_rule *r, const char *name)
{
        if (r == NULL)
                return NULL;
        struct nftnl_expr *e = nftnl_expr_alloc(name);
        if (e == NULL)
                r->failed = true;
        else
                nftnl_rule_add_expr(r->r, e);
        return e;
}

static void load_meta(struct nft_rule *r, uint32_t key)
{
        struct nftnl_expr *e = expr(r, "meta");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
        nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

static void load_ct(struct nft_rule *r, uint32_t key)
{
        struct nftnl_expr *e = expr(r, "ct");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, key);
        nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
}

static void load_payload(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t len)
{
        struct nftnl_expr *e = expr(r, "payload");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
}

static void compare(struct nft_rule *r, uint32_t op, const void *data, uint32_t len)
{
        struct nftnl_expr *e = expr(r, "cmp");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
        nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
        nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len);
}

/* register 1 = (register 1 & mask) ^ flip */
static void bits(struct nft_rule *r, const void *mask, const void *flip, uint32_t len)
{
        struct nftnl_expr *e = expr(r, "bitwise");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
        nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
        nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, len);
        nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, mask, len);
        nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, flip, len);
}

/* All 16 bytes are compared: a shorter comparison would match every name that begins so. */
static void match_name(struct nft_rule *r, uint32_t key, const char *ifname, bool equal)
{
        char padded[IFNAMSIZ] = {0};
        memcpy(padded, ifname, strnlen(ifname, IFNAMSIZ - 1));
        load_meta(r, key);
        compare(r, equal ? NFT_CMP_EQ : NFT_CMP_NEQ, padded, sizeof(padded));
}

void nft_match_in(struct nft_rule *r, const char *ifname, bool equal)
{
        match_name(r, NFT_META_IIFNAME, ifname, equal);
}

void nft_match_out(struct nft_rule *r, const char *ifname, bool equal)
{
        match_name(r, NFT_META_OIFNAME, ifname, equal);
}

void nft_match_source(struct nft_rule *r, struct prefix p, bool inet_table)
{
        bool v6 = p.ip.family == IP_V6;
        uint32_t len = v6 ? 16 : 4;
        uint8_t mask[16] = {0}, none[16] = {0};
        if (inet_table) {
                uint8_t family = v6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
                load_meta(r, NFT_META_NFPROTO);
                compare(r, NFT_CMP_EQ, &family, 1);
        }
        for (unsigned i = 0; i < p.bits; i++)
                mask[i / 8] |= (uint8_t)(0x80 >> (i % 8));
        load_payload(r, NFT_PAYLOAD_NETWORK_HEADER, v6 ? 8 : 12, len);
        if (p.bits < len * 8)
                bits(r, mask, none, len);
        compare(r, NFT_CMP_EQ, p.ip.b, len);
}

void nft_match_udp_port(struct nft_rule *r, uint16_t port)
{
        uint8_t proto = IPPROTO_UDP;
        uint16_t be = htons(port);
        load_meta(r, NFT_META_L4PROTO);
        compare(r, NFT_CMP_EQ, &proto, 1);
        load_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
        compare(r, NFT_CMP_EQ, &be, 2);
}

static const uint32_t zero32;

void nft_match_mark(struct nft_rule *r, uint32_t value, uint32_t mask)
{
        load_meta(r, NFT_META_MARK);
        bits(r, &mask, &zero32, 4);
        compare(r, NFT_CMP_EQ, &value, 4);
}

void nft_match_conn_mark(struct nft_rule *r, uint32_t value, uint32_t mask)
{
        load_ct(r, NFT_CT_MARK);
        bits(r, &mask, &zero32, 4);
        compare(r, NFT_CMP_EQ, &value, 4);
}

void nft_match_state(struct nft_rule *r, uint32_t states, bool any_of)
{
        load_ct(r, NFT_CT_STATE);
        bits(r, &states, &zero32, 4);
        compare(r, any_of ? NFT_CMP_NEQ : NFT_CMP_EQ, &zero32, 4);
}

void nft_set_mark(struct nft_rule *r, uint32_t value, uint32_t mask)
{
        uint32_t others = ~mask;
        load_meta(r, NFT_META_MARK);
        bits(r, &others, &value, 4);
        struct nftnl_expr *e = expr(r, "meta");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, NFT_META_MARK);
        nftnl_expr_set_u32(e, NFTNL_EXPR_META_SREG, NFT_REG_1);
}

void nft_set_conn_mark(struct nft_rule *r, uint32_t value, uint32_t mask)
{
        uint32_t others = ~mask;
        load_ct(r, NFT_CT_MARK);
        bits(r, &others, &value, 4);
        struct nftnl_expr *e = expr(r, "ct");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, NFT_CT_MARK);
        nftnl_expr_set_u32(e, NFTNL_EXPR_CT_SREG, NFT_REG_1);
}

void nft_masquerade(struct nft_rule *r)
{
        (void)expr(r, "masq");
}

static void verdict(struct nft_rule *r, uint32_t v)
{
        struct nftnl_expr *e = expr(r, "immediate");
        if (e == NULL)
                return;
        nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
        nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, v);
}

void nft_accept(struct nft_rule *r)
{
        verdict(r, NF_ACCEPT);
}

void nft_drop(struct nft_rule *r)
{
        verdict(r, NF_DROP);
}
