#include "daemon/meshping.h"

#include <string.h>

#include "base/crypto.h"
#include "base/ipmake.h"
#include "base/reader.h"
#include "base/writer.h"
#include "tun/packet.h"
#include "tun/tsmp.h"

enum { ECHO4 = 8, ECHO4_REPLY = 0, ECHO6 = 128, ECHO6_REPLY = 129, ECHO_HEADER = 8 };

/* Identifier, sequence number and payload are all of the random data: nothing else is in the packet. */
static size_t echo(const struct meshping *p, uint8_t out[MESHPING_PACKET_MAX])
{
        bool v4 = p->dst.family == IP_V4;
        size_t n = ECHO_HEADER + sizeof(p->data) - 4;
        size_t at = ip_make_header(out, p->src, p->dst, v4 ? PROTO_ICMP : PROTO_ICMPV6, n);
        struct wr w = wr_init(out + at, MESHPING_PACKET_MAX - at);
        wr_u8(&w, v4 ? ECHO4 : ECHO6);
        wr_zero(&w, 3);
        wr_copy(&w, p->data, sizeof(p->data));
        store_be16(out + at + 2, v4 ? ip_checksum(out + at, n) : ip_checksum_pseudo(p->src, p->dst, PROTO_ICMPV6, out + at, n));
        return at + n;
}

static bool is_echo_of(const struct meshping *p, const struct packet *a)
{
        bool v4 = p->dst.family == IP_V4;
        return a->kind == PACKET_WHOLE && a->proto == (v4 ? PROTO_ICMP : PROTO_ICMPV6) &&
                a->icmp_type == (v4 ? ECHO4_REPLY : ECHO6_REPLY) && a->payload_len == ECHO_HEADER + sizeof(p->data) - 4 &&
                memcmp(a->payload + 4, p->data, sizeof(p->data)) == 0;
}

static bool answers(const struct meshping *p, const struct packet *a, const struct tsmp *t, uint16_t *ret_port)
{
        if (a->ip_len != (p->dst.family == IP_V4 ? 4 : 16) || memcmp(a->src, p->dst.b, a->ip_len) != 0)
                return false;
        *ret_port = 0;
        if (p->kind == MESHPING_ICMP)
                return is_echo_of(p, a);
        *ret_port = t->service_port;
        return t->kind == TSMP_PONG && memcmp(t->data, p->data, sizeof(p->data)) == 0;
}

static void forget(struct meshpings *m, size_t i, struct meshping *ret)
{
        *ret = m->at[i];
        m->at[i] = m->at[--m->count];
}

size_t meshping_start(struct meshpings *m, const struct meshping *ask, mono_t now, uint8_t out[MESHPING_PACKET_MAX])
{
        if (m->count == MESHPINGS_MAX)
                return 0;
        struct meshping *p = &m->at[m->count++];
        *p = *ask;
        p->sent = now;
        crypto_random(p->data, sizeof(p->data));
        return p->kind == MESHPING_ICMP ? echo(p, out) : tsmp_ping(p->src, p->dst, p->data, out);
}

bool meshping_answered(struct meshpings *m, uint32_t peer, const uint8_t *pkt, size_t len, struct meshping *ret,
        uint16_t *ret_service_port)
{
        struct packet a = packet_parse(pkt, len);
        struct tsmp t;
        if (tsmp_parse(pkt, len, &t) != ERR_NONE)
                t = (struct tsmp){.kind = TSMP_REJECTED};
        for (size_t i = 0; i < m->count; i++) {
                if (m->at[i].peer == peer && answers(&m->at[i], &a, &t, ret_service_port)) {
                        forget(m, i, ret);
                        return true;
                }
        }
        return false;
}

static mono_t end_of(const struct meshping *p)
{
        return mono_add_ms(p->sent, MESHPING_PATIENCE_MS);
}

bool meshping_expired(struct meshpings *m, mono_t now, struct meshping *ret)
{
        for (size_t i = 0; i < m->count; i++) {
                if (mono_reached(now, end_of(&m->at[i]))) {
                        forget(m, i, ret);
                        return true;
                }
        }
        return false;
}

mono_t meshping_deadline(const struct meshpings *m)
{
        mono_t first = MONO_NEVER;
        for (size_t i = 0; i < m->count; i++)
                first = mono_min(first, end_of(&m->at[i]));
        return first;
}
