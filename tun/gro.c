#include "tun/gro.h"

#include <string.h>

#include "base/checksum.h"
#include "base/reader.h"
#include "tun/packet.h"

enum {
        SEARCH_MAX = 16,        /* a flow that is further back is not found: it starts anew */
        TCP_PSH = 8,
        TCP_AT_FLAGS = 13,
        TCP_AT_SUM = 16,
        UDP_AT_SUM = 6,
};

/* What one packet is, as far as joining goes. */
struct shape {
        const uint8_t *d;
        size_t len;
        size_t transport, head; /* head 0: of no flow that is understood */
        uint8_t proto, version;
        bool joinable;
};

static void shape_transport(struct shape *s)
{
        const uint8_t *t = s->d + s->transport;
        size_t left = s->len - s->transport;
        if (s->proto == PROTO_TCP && left >= 20) {
                size_t header = (size_t)(t[12] >> 4) * 4;
                if (header < 20 || header > left)
                        return;
                s->head = s->transport + header;
                s->joinable = left > header && (t[TCP_AT_FLAGS] & ~TCP_PSH) == TCP_ACK;
        } else if (s->proto == PROTO_UDP && left >= 8) {
                s->head = s->transport + 8;
                s->joinable = left > 8 && load_be16(t + 4) == left && load_be16(t + UDP_AT_SUM) != 0;
        }
}

static struct shape shape_of(const struct pkt *p)
{
        struct shape s = {.d = pkt_cdata(p), .len = p->len};
        if (s.len >= 20 && s.d[0] == 0x45 && load_be16(s.d + 2) == s.len && (load_be16(s.d + 6) & 0x3fff) == 0) {
                s.version = 4;
                s.proto = s.d[9];
                s.transport = 20;
                shape_transport(&s);
        } else if (s.len >= 40 && s.d[0] >> 4 == 6 && load_be16(s.d + 4) + 40u == s.len) {
                s.version = 6;
                s.proto = s.d[6];
                s.transport = 40;
                shape_transport(&s);
        }
        return s;
}

static bool same_flow(const struct gro_item *q, const struct shape *s)
{
        const uint8_t *d = pkt_cdata(q->first);
        if (q->head == 0 || q->version != s->version || q->proto != s->proto ||
            memcmp(d + q->transport, s->d + s->transport, 4) != 0)
                return false;
        return s->version == 4 ? memcmp(d + 12, s->d + 12, 8) == 0 : memcmp(d + 8, s->d + 8, 32) == 0;
}

/* All of the header but lengths, IDs and checksums. */
static bool same_header(const struct gro_item *q, const struct shape *s)
{
        const uint8_t *d = pkt_cdata(q->first), *t = d + q->transport, *u = s->d + s->transport;
        if (q->head != s->head)
                return false;
        if (s->version == 4 ? d[1] != s->d[1] || d[6] != s->d[6] || d[8] != s->d[8]
                            : memcmp(d, s->d, 4) != 0 || d[7] != s->d[7])
                return false;
        return s->proto == PROTO_UDP ||
               (memcmp(t + 8, u + 8, 5) == 0 && memcmp(t + 14, u + 14, 2) == 0 && memcmp(t + 18, u + 18, 2) == 0 &&
                memcmp(t + 20, u + 20, s->head - s->transport - 20) == 0);
}

static bool checksum_right(const uint8_t *d, size_t len, size_t transport, uint8_t proto, uint8_t version)
{
        uint64_t sum = version == 4 ? sum_pseudo(d + 12, d + 16, 4, proto) : sum_pseudo(d + 8, d + 24, 16, proto);
        sum = sum_add_u16(sum, (uint16_t)(len - transport));
        if (version == 4 && sum_fold(sum_add(0, d, transport)) != 0xffff)
                return false;
        return sum_fold(sum_add(sum, d + transport, len - transport)) == 0xffff;
}

/* The first of an item claims nothing until something is to be joined to it. */
static bool first_is_right(struct gro_item *q)
{
        if (!q->summed)
                q->open = checksum_right(pkt_cdata(q->first), q->first->len, q->transport, q->proto, q->version);
        q->summed = true;
        return q->open;
}

static bool continues(struct gro_item *q, const struct shape *s)
{
        size_t payload = s->len - s->head;
        if (!q->open || !s->joinable || q->count >= GRO_PIECES_MAX || payload > q->size ||
            q->head + q->payload + payload > VNET_PACKET_MAX || !same_header(q, s))
                return false;
        if (s->proto == PROTO_TCP && load_be32(s->d + s->transport + 4) !=
                                             load_be32(pkt_cdata(q->first) + q->transport + 4) + q->payload)
                return false;
        return first_is_right(q) && checksum_right(s->d, s->len, s->transport, s->proto, s->version);
}

/* An item ends with the first segment that is short, or pushed. */
static bool stays_open(const struct shape *s, size_t size)
{
        return s->len - s->head == size && !(s->proto == PROTO_TCP && s->d[s->transport + TCP_AT_FLAGS] & TCP_PSH);
}

bool gro_append(struct gro *g, struct pkt *p)
{
        struct shape s = shape_of(p);
        if (!s.joinable)
                return false;
        for (size_t i = g->count, tries = 0; i > g->floor && tries < SEARCH_MAX; i--, tries++) {
                struct gro_item *q = &g->item[i - 1];
                if (!same_flow(q, &s))
                        continue;
                if (!continues(q, &s))
                        return false;
                p->next = NULL;
                q->last->next = p;
                q->last = p;
                q->count++;
                q->payload += (uint32_t)(s.len - s.head);
                q->open = stays_open(&s, q->size);
                q->push = s.proto == PROTO_TCP && s.d[s.transport + TCP_AT_FLAGS] & TCP_PSH;
                return true;
        }
        return false;
}

bool gro_start(struct gro *g, struct pkt *p)
{
        if (g->count == GRO_ITEMS_MAX)
                return false;
        struct shape s = shape_of(p);
        struct gro_item *q = &g->item[g->count++];
        bool may = s.joinable && (s.proto == PROTO_TCP ? g->tcp : g->udp);
        *q = (struct gro_item){.first = p, .last = p, .count = 1, .proto = s.proto, .version = s.version};
        p->next = NULL;
        if (s.head == 0) {   /* whose it is cannot be told (a fragment?): nothing passes it */
                g->floor = g->count;
                return true;
        }
        q->transport = (uint16_t)s.transport;
        q->head = (uint16_t)s.head;
        q->payload = (uint32_t)(s.len - s.head);
        q->size = (uint16_t)q->payload;
        q->open = may && stays_open(&s, q->size);
        return true;
}

size_t gro_ready(const struct gro *g, size_t fresh)
{
        if (g->count <= fresh)
                return g->count;
        const struct gro_item *last = &g->item[g->count - 1];
        return last->open && last->count > 1 ? g->count - 1 : g->count;
}

void gro_drop(struct gro *g, size_t n)
{
        g->count -= n;
        g->floor -= n < g->floor ? n : g->floor;
        memmove(g->item, g->item + n, g->count * sizeof(g->item[0]));
}

/* Lengths, flags and the sum of the pseudo header for the whole. */
static void whole_header(const struct gro_item *it, uint8_t *head)
{
        size_t len = (size_t)it->head + it->payload, transport_len = len - it->transport;
        uint8_t *t = head + it->transport;
        if (it->version == 4) {
                store_be16(head + 2, (uint16_t)len);
                ip4_checksum(head, it->transport);
        } else {
                store_be16(head + 4, (uint16_t)(len - 40));
        }
        if (it->proto == PROTO_TCP)
                t[TCP_AT_FLAGS] |= it->push ? TCP_PSH : 0;
        else
                store_be16(t + 4, (uint16_t)transport_len);
        uint64_t sum = it->version == 4 ? sum_pseudo(head + 12, head + 16, 4, it->proto)
                                        : sum_pseudo(head + 8, head + 24, 16, it->proto);
        uint16_t folded = sum_fold(sum_add_u16(sum, (uint16_t)transport_len));
        memcpy(t + (it->proto == PROTO_TCP ? TCP_AT_SUM : UDP_AT_SUM), &folded, sizeof(folded));
}

size_t gro_vector(const struct gro_item *it, struct vnet *ret_vnet, uint8_t head[GRO_HEAD_MAX], struct iovec iov[GRO_IOV_MAX])
{
        size_t n = 0;
        *ret_vnet = (struct vnet){0};
        if (it->count == 1) {
                iov[0] = (struct iovec){pkt_data(it->first), it->first->len};
                return 1;
        }
        memcpy(head, pkt_cdata(it->first), it->head);
        whole_header(it, head);
        iov[n++] = (struct iovec){head, it->head};
        for (struct pkt *p = it->first; p != NULL; p = p->next)
                iov[n++] = (struct iovec){pkt_data(p) + it->head, (size_t)p->len - it->head};
        *ret_vnet = (struct vnet){
                .flags = VNET_NEEDS_CSUM,
                .gso_type = it->proto == PROTO_UDP ? VNET_GSO_UDP : it->version == 4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6,
                .hdr_len = it->head,
                .gso_size = it->size,
                .csum_start = it->transport,
                .csum_offset = it->proto == PROTO_TCP ? TCP_AT_SUM : UDP_AT_SUM,
        };
        return n;
}
