#include "tun/gso.h"

#include <string.h>

#include "base/checksum.h"
#include "base/reader.h"
#include "tun/packet.h"

enum { TCP_PSH = 8, TCP_CWR = 128, TCP_AT_FLAGS = 13, TCP_AT_SUM = 16, UDP_AT_SUM = 6 };

static uint16_t complement(uint64_t sum)
{
        return (uint16_t)~sum_fold(sum);
}

/* The sum of the pseudo header is in the place of the checksum already. */
static enum err finish_checksum(const struct vnet *v, uint8_t *data, size_t len)
{
        size_t at = (size_t)v->csum_start + v->csum_offset;
        if (at + 2 > len)
                return ERR_FORMAT;
        uint16_t sum = complement(sum_add(0, data + v->csum_start, len - v->csum_start));
        if (sum == 0 && v->csum_offset == UDP_AT_SUM)
                sum = 0xffff;   /* 0 would say that there is none */
        memcpy(data + at, &sum, sizeof(sum));
        return ERR_NONE;
}

/* The families and protocols that each type may have. */
static bool type_fits(uint8_t type, uint8_t version)
{
        return (type == VNET_GSO_TCP4 && version == 4) || (type == VNET_GSO_TCP6 && version == 6) ||
               (type == VNET_GSO_UDP && (version == 4 || version == 6));
}

static enum err begin_super(struct gso *g, const struct vnet *v, uint8_t type)
{
        const uint8_t *d = g->data;
        if (type != VNET_GSO_TCP4 && type != VNET_GSO_TCP6 && type != VNET_GSO_UDP)
                return ERR_UNSUPPORTED;
        if (g->len == 0 || !type_fits(type, d[0] >> 4))
                return ERR_FORMAT;
        g->version = d[0] >> 4;
        g->proto = type == VNET_GSO_UDP ? PROTO_UDP : PROTO_TCP;
        g->transport = v->csum_start;
        size_t least = g->version == 4 ? 20 : 40;
        bool placed = g->version == 4 ? g->transport == (size_t)(d[0] & 15) * 4 : g->transport >= least;
        if (!placed || g->transport < least || g->transport + (g->proto == PROTO_TCP ? 20u : 8u) > g->len)
                return ERR_FORMAT;
        size_t header = g->proto == PROTO_TCP ? (size_t)(d[g->transport + 12] >> 4) * 4 : 8;
        g->head = g->transport + header;
        g->size = v->gso_size;
        if (header < 8 || (g->proto == PROTO_TCP && header < 20) || g->head >= g->len || g->size == 0)
                return ERR_FORMAT;
        g->pseudo = g->version == 4 ? sum_pseudo(d + 12, d + 16, 4, g->proto) : sum_pseudo(d + 8, d + 24, 16, g->proto);
        return ERR_NONE;
}

enum err gso_begin(struct gso *g, const struct vnet *v, uint8_t *data, size_t len)
{
        *g = (struct gso){.data = data, .len = len};
        if (len == 0 || len > VNET_PACKET_MAX)
                return ERR_FORMAT;
        uint8_t type = (uint8_t)(v->gso_type & ~VNET_GSO_ECN);
        if (type != VNET_GSO_NONE)
                return begin_super(g, v, type);
        g->head = len;
        return v->flags & VNET_NEEDS_CSUM ? finish_checksum(v, data, len) : ERR_NONE;
}

/* Payload bytes of the next segment. */
static size_t next_payload(const struct gso *g)
{
        size_t left = g->len - g->head - g->at;
        return left < g->size ? left : g->size;
}

size_t gso_count(const struct gso *g)
{
        return g->size == 0 ? 1 : (g->len - g->head + g->size - 1) / g->size;
}

size_t gso_next_len(const struct gso *g)
{
        return g->done ? 0 : g->head + next_payload(g);
}

static void patch_ip(const struct gso *g, uint8_t *dst, size_t len)
{
        if (g->version == 6) {
                store_be16(dst + 4, (uint16_t)(len - 40));
                return;
        }
        store_be16(dst + 2, (uint16_t)len);
        store_be16(dst + 4, (uint16_t)(load_be16(g->data + 4) + g->index));
        ip4_checksum(dst, g->transport);
}

static void patch_transport(const struct gso *g, uint8_t *dst, size_t len, bool last)
{
        uint8_t *t = dst + g->transport;
        size_t transport_len = len - g->transport, sum_at = UDP_AT_SUM;
        if (g->proto == PROTO_TCP) {
                sum_at = TCP_AT_SUM;
                store_be32(t + 4, load_be32(g->data + g->transport + 4) + (uint32_t)g->at);
                if (!last)
                        t[TCP_AT_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
                if (g->index > 0)
                        t[TCP_AT_FLAGS] &= (uint8_t)~TCP_CWR;
        } else {
                store_be16(t + 4, (uint16_t)transport_len);
        }
        memset(t + sum_at, 0, 2);
        uint64_t sum = sum_add_u16(g->pseudo, (uint16_t)transport_len);
        uint16_t folded = complement(sum_add(sum, t, transport_len));
        if (folded == 0 && g->proto == PROTO_UDP)
                folded = 0xffff;
        memcpy(t + sum_at, &folded, sizeof(folded));
}

void gso_cut(struct gso *g, uint8_t *dst)
{
        size_t payload = next_payload(g), len = g->head + payload;
        memcpy(dst, g->data, g->head);
        if (g->size == 0) {
                g->done = true;
                return;
        }
        memcpy(dst + g->head, g->data + g->head + g->at, payload);
        bool last = g->at + payload == g->len - g->head;
        patch_ip(g, dst, len);
        patch_transport(g, dst, len, last);
        g->at += payload;
        g->index++;
        g->done = last;
}
