#include "daemon/dns/quad100.h"

#include <stdlib.h>
#include <string.h>

#include "base/ipmake.h"
#include "base/reader.h"
#include "daemon/dns/tcp53.h"

enum {
        UDP_HEADER = 8,
        P_ICMP = 1,
        P_TCP = 6,
        P_UDP = 17,
        P_ICMP6 = 58,
        ECHO_REQUEST = 8,
        ECHO_REQUEST6 = 128,
        ECHO_REPLY6 = 129,
};

/* Who asked, and so where the answer goes. */
struct client {
        struct quad100 *q;
        struct dns_forward *forward;
        struct client *next, **prev;
        struct ip addr, service;
        uint16_t port;
};

struct quad100 {
        struct dns_service *service;
        struct tcp53 *tcp;
        quad100_send_fn send;
        void *arg;
        struct client *clients;   /* whose questions are with upstreams */
};

struct quad100 *quad100_new(struct loop *l, struct dns_service *s, quad100_send_fn send, void *arg)
{
        struct quad100 *q = calloc(1, sizeof(*q));
        if (q == NULL)
                return NULL;
        q->service = s;
        q->send = send;
        q->arg = arg;
        q->tcp = tcp53_new(l, s, send, arg);
        if (q->tcp != NULL)
                return q;
        free(q);
        return NULL;
}

static void client_free(struct client *c)
{
        *c->prev = c->next;
        if (c->next != NULL)
                c->next->prev = c->prev;
        free(c);
}

void quad100_free(struct quad100 *q)
{
        if (q == NULL)
                return;
        while (q->clients != NULL) {
                dns_forward_cancel(q->clients->forward);
                client_free(q->clients);
        }
        tcp53_free(q->tcp);
        free(q);
}

/* ---- packets ---- */

static void send_udp(struct quad100 *q, const struct client *c, const uint8_t *data, size_t len)
{
        uint8_t pkt[QUAD100_PACKET_MAX];
        if (IP6_HEADER + UDP_HEADER + len > sizeof(pkt))
                return;
        size_t n = UDP_HEADER + len, at = ip_make_header(pkt, c->service, c->addr, P_UDP, n);
        uint8_t *udp = pkt + at;
        store_be16(udp, 53);
        store_be16(udp + 2, c->port);
        store_be16(udp + 4, (uint16_t)n);
        store_be16(udp + 6, 0);
        memcpy(udp + UDP_HEADER, data, len);
        uint16_t check = ip_checksum_pseudo(c->service, c->addr, P_UDP, udp, n);
        store_be16(udp + 6, check != 0 ? check : 0xffff);   /* zero means none */
        q->send(q->arg, pkt, at + n);
}

/* ---- what comes ---- */

static void on_answer(void *arg, const uint8_t *msg, size_t len, mono_t now)
{
        (void)now;
        struct client *c = arg;
        if (len > 0)
                send_udp(c->q, c, msg, len);
        client_free(c);
}

static void udp_in(struct quad100 *q, struct ip from, struct ip to, struct rd *r, mono_t now)
{
        uint16_t port = rd_be16(r), dst = rd_be16(r), len = rd_be16(r);
        rd_skip(r, 2);
        if (!rd_ok(r) || dst != 53 || len < UDP_HEADER)
                return;
        const uint8_t *msg = rd_take(r, len - UDP_HEADER);
        struct client *c = msg != NULL ? calloc(1, sizeof(*c)) : NULL;
        if (c == NULL)
                return;
        *c = (struct client){.q = q, .next = q->clients, .prev = &q->clients, .addr = from, .service = to, .port = port};
        if (c->next != NULL)
                c->next->prev = &c->next;
        q->clients = c;
        struct dns_forward *w = dns_service_ask(q->service, msg, len - UDP_HEADER, false, on_answer, c, now);
        if (w != NULL)   /* else c is gone */
                c->forward = w;
}

static void echo_in(struct quad100 *q, struct ip from, struct ip to, uint8_t proto, const struct rd *r)
{
        uint8_t pkt[QUAD100_PACKET_MAX];
        uint8_t request = proto == P_ICMP ? ECHO_REQUEST : ECHO_REQUEST6;
        if (r->left < 8 || r->at[0] != request || r->at[1] != 0 || IP6_HEADER + r->left > sizeof(pkt))
                return;
        size_t at = ip_make_header(pkt, to, from, proto, r->left);
        uint8_t *icmp = pkt + at;
        memcpy(icmp, r->at, r->left);
        icmp[0] = proto == P_ICMP ? 0 : ECHO_REPLY6;
        store_be16(icmp + 2, 0);
        store_be16(icmp + 2, proto == P_ICMP ? ip_checksum(icmp, r->left) : ip_checksum_pseudo(to, from, proto, icmp, r->left));
        q->send(q->arg, pkt, at + r->left);
}

/* Fills source, destination and protocol, and leaves in r what the IP header says is the payload. */
static bool open_ip(struct rd *r, struct ip *from, struct ip *to, uint8_t *proto)
{
        const uint8_t *p = r->at;
        size_t len = r->left;
        if (len >= IP4_HEADER && p[0] >> 4 == 4) {
                size_t header = 4u * (p[0] & 15), total = load_be16(p + 2);
                if (header < IP4_HEADER || total < header || total > len || (load_be16(p + 6) & 0x3fff) != 0)
                        return false;   /* a fragment is no question */
                *from = ip_from_bytes4(p + 12);
                *to = ip_from_bytes4(p + 16);
                *proto = p[9];
                *r = rd_init(p + header, total - header);
                return true;
        }
        if (len >= IP6_HEADER && p[0] >> 4 == 6 && load_be16(p + 4) <= len - IP6_HEADER) {
                *from = ip_from_bytes16(p + 8);
                *to = ip_from_bytes16(p + 24);
                *proto = p[6];
                *r = rd_init(p + IP6_HEADER, load_be16(p + 4));
                return from->family == IP_V6;
        }
        return false;
}

void quad100_in(struct quad100 *q, const uint8_t *pkt, size_t len, mono_t now)
{
        struct rd r = rd_init(pkt, len);
        struct ip from, to;
        uint8_t proto;
        if (!open_ip(&r, &from, &to, &proto) || !ip_is_service(to) || ip_eq(from, to))
                return;
        if (proto == P_UDP)
                udp_in(q, from, to, &r, now);
        else if (proto == P_TCP)
                tcp53_in(q->tcp, pkt, len);
        else if (proto == (to.family == IP_V4 ? P_ICMP : P_ICMP6))
                echo_in(q, from, to, proto, &r);
}
