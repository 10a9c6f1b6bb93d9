#include "tun/tsmp.h"

#include <string.h>

#include "base/ipmake.h"
#include "base/reader.h"
#include "base/writer.h"

/* The first byte says what it is. */
enum { TYPE_REJECTED = '!', TYPE_PING = 'p', TYPE_PONG = 'o', TYPE_DISCO_KEY = 'a' };
enum { MAYBE_BROKEN = 1 };

const char *tsmp_reason_str(uint8_t reason)
{
        switch (reason) {
        case TSMP_REASON_ACL:
                return "its access rules do not allow it";
        case TSMP_REASON_SHIELDS:
                return "it accepts no connections (shields up)";
        case TSMP_REASON_FORWARDING_OFF:
                return "IP forwarding is off there";
        case TSMP_REASON_HOST_FIREWALL:
                return "a firewall of the host there is in the way";
        case TSMP_REASON_TRANSIT:
                return "it does not know that transit address";
        default:
                return "of a reason that is not known here";
        }
}

/* The two ends of the refused flow are those of the message, the other way round. */
static void parse_rejected(struct rd *r, const struct packet *p, struct tsmp *m)
{
        m->kind = TSMP_REJECTED;
        m->rejected = (struct packet){.version = p->version, .ip_len = p->ip_len};
        memcpy(m->rejected.src, p->dst, sizeof(p->dst));
        memcpy(m->rejected.dst, p->src, sizeof(p->src));
        m->rejected.proto = rd_u8(r);
        m->reason = rd_u8(r);
        m->rejected.src_port = rd_be16(r);
        m->rejected.dst_port = rd_be16(r);
        if (rd_ok(r) && r->left > 0)
                m->maybe_broken = (rd_u8(r) & MAYBE_BROKEN) != 0;
}

enum err tsmp_parse(const uint8_t *pkt, size_t len, struct tsmp *ret)
{
        struct packet p = packet_parse(pkt, len);
        struct tsmp m = {0};
        if (p.kind != PACKET_WHOLE || p.proto != PROTO_TSMP)
                return ERR_FORMAT;
        struct rd r = rd_init(p.payload, p.payload_len);
        switch (rd_u8(&r)) {
        case TYPE_REJECTED:
                parse_rejected(&r, &p, &m);
                break;
        case TYPE_PING:
                m.kind = TSMP_PING;
                rd_copy(&r, m.data, sizeof(m.data));
                break;
        case TYPE_PONG:
                m.kind = TSMP_PONG;
                rd_copy(&r, m.data, sizeof(m.data));
                if (rd_ok(&r) && r.left >= 2) /* older ones do not say */
                        m.service_port = rd_be16(&r);
                break;
        case TYPE_DISCO_KEY:
                m.kind = TSMP_DISCO_KEY;
                rd_copy(&r, m.disco, sizeof(m.disco));
                break;
        default:
                return ERR_UNSUPPORTED;
        }
        if (!rd_ok(&r))
                return ERR_FORMAT;
        *ret = m;
        return ERR_NONE;
}

static struct ip address(const struct packet *p, const uint8_t *bytes)
{
        return p->version == 4 ? ip_from_bytes4(bytes) : ip_from_bytes16(bytes);
}

/* A message with the IP header of a packet that has n bytes behind it. */
static struct wr message(struct ip from, struct ip to, size_t n, uint8_t out[TSMP_PACKET_MAX])
{
        struct wr w = wr_init(out, TSMP_PACKET_MAX);
        (void)wr_take(&w, ip_make_header(out, from, to, PROTO_TSMP, n));
        return w;
}

static struct wr answer(const struct packet *p, size_t n, uint8_t out[TSMP_PACKET_MAX])
{
        return message(address(p, p->dst), address(p, p->src), n, out);
}

size_t tsmp_reject(const uint8_t *refused, size_t len, uint8_t reason, uint8_t out[TSMP_PACKET_MAX])
{
        struct packet p = packet_parse(refused, len);
        if (p.kind != PACKET_WHOLE || p.version != 4 || p.proto != PROTO_TCP ||
            (p.tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
                return 0;
        struct wr w = answer(&p, 7, out);
        wr_u8(&w, TYPE_REJECTED);
        wr_u8(&w, p.proto);
        wr_u8(&w, reason);
        wr_be16(&w, p.src_port);
        wr_be16(&w, p.dst_port);
        return wr_ok(&w) ? w.len : 0;
}

size_t tsmp_ping(struct ip from, struct ip to, const uint8_t data[8], uint8_t out[TSMP_PACKET_MAX])
{
        struct wr w = message(from, to, 9, out);
        wr_u8(&w, TYPE_PING);
        wr_copy(&w, data, 8);
        return wr_ok(&w) ? w.len : 0;
}

size_t tsmp_pong(const uint8_t *ping, size_t len, uint16_t service_port, uint8_t out[TSMP_PACKET_MAX])
{
        struct packet p = packet_parse(ping, len);
        struct tsmp m;
        if (tsmp_parse(ping, len, &m) != ERR_NONE || m.kind != TSMP_PING)
                return 0;
        struct wr w = answer(&p, 11, out);
        wr_u8(&w, TYPE_PONG);
        wr_copy(&w, m.data, sizeof(m.data));
        wr_be16(&w, service_port);
        return wr_ok(&w) ? w.len : 0;
}
