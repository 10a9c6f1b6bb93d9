#include "tun/packet.h"

#include <string.h>

#include "base/reader.h"

/* No later fragment may begin before this byte of the payload, else it could rewrite a transport header
 * that was already judged: 20 bytes of TCP plus all its options. */
enum { FRAGMENT_MIN_OFFSET = 80 };

/* What must be there of each transport header before a verdict is possible. */
static size_t header_len(uint8_t proto)
{
        switch (proto) {
        case PROTO_TCP:
                return 20;
        case PROTO_UDP:
                return 8;
        case PROTO_SCTP:
                return 12;
        case PROTO_ICMP:
        case PROTO_ICMPV6:
                return 4;
        case PROTO_TSMP:
                return 1;
        default:
                return 0;
        }
}

static void parse_transport(struct packet *p, bool fragmented)
{
        if (p->payload_len < header_len(p->proto)) {
                p->kind = fragmented ? PACKET_BAD_FRAGMENT : PACKET_MALFORMED;
                return;
        }
        p->kind = PACKET_WHOLE;
        switch (p->proto) {
        case PROTO_TCP:
                p->tcp_flags = p->payload[13];
                __attribute__((fallthrough));
        case PROTO_UDP:
        case PROTO_SCTP:
                p->src_port = load_be16(p->payload);
                p->dst_port = load_be16(p->payload + 2);
                break;
        case PROTO_ICMP:
        case PROTO_ICMPV6:
                p->icmp_type = p->payload[0];
                p->icmp_code = p->payload[1];
                break;
        case PROTO_TSMP:
                if (fragmented)
                        p->kind = PACKET_BAD_FRAGMENT;
                break;
        default:
                break;
        }
}

/* offset in bytes into the unfragmented payload. */
static void parse_payload(struct packet *p, size_t offset, bool more)
{
        if (offset == 0)
                parse_transport(p, more);
        else
                p->kind = offset < FRAGMENT_MIN_OFFSET ? PACKET_BAD_FRAGMENT : PACKET_LATER_FRAGMENT;
}

static void parse4(struct packet *p, const uint8_t *d, size_t len)
{
        if (len < 20)
                return;
        size_t head = (size_t)(d[0] & 15) * 4, total = load_be16(d + 2);
        if (head < 20 || total < head || total > len)
                return;
        p->ip_len = 4;
        p->proto = d[9];
        memcpy(p->src, d + 12, 4);
        memcpy(p->dst, d + 16, 4);
        p->payload = d + head;
        p->payload_len = total - head;
        uint16_t frag = load_be16(d + 6);
        parse_payload(p, (size_t)(frag & 0x1fff) * 8, (frag & 0x2000) != 0);
}

/* Headers that only say where the next one is: a verdict on them would be a guess. */
static bool is_extension(uint8_t proto)
{
        switch (proto) {
        case PROTO_FRAGMENT6:
        case 0:     /* hop by hop */
        case 43:    /* routing */
        case 51:    /* authentication */
        case 60:    /* destination options */
        case 135:   /* mobility */
        case 139:   /* HIP */
        case 140:   /* shim6 */
        case 255:   /* reserved */
                return true;
        default:
                return false;
        }
}

static void parse6(struct packet *p, const uint8_t *d, size_t len)
{
        if (len < 40)
                return;
        size_t payload = load_be16(d + 4);
        if (payload > len - 40)
                return;
        p->ip_len = 16;
        p->proto = d[6];
        memcpy(p->src, d + 8, 16);
        memcpy(p->dst, d + 24, 16);
        p->payload = d + 40;
        p->payload_len = payload;
        size_t offset = 0;
        bool more = false;
        if (p->proto == PROTO_FRAGMENT6) {
                if (payload < 8)
                        return;
                uint16_t frag = load_be16(p->payload + 2);
                p->proto = p->payload[0];
                offset = frag & 0xfff8u;
                more = (frag & 1) != 0;
                p->payload += 8;
                p->payload_len -= 8;
        }
        if (is_extension(p->proto))
                return;
        parse_payload(p, offset, more);
}

struct packet packet_parse(const uint8_t *data, size_t len)
{
        struct packet p = {.kind = PACKET_MALFORMED};
        if (len == 0)
                return p;
        p.version = data[0] >> 4;
        if (p.version == 4)
                parse4(&p, data, len);
        else if (p.version == 6)
                parse6(&p, data, len);
        return p;
}
