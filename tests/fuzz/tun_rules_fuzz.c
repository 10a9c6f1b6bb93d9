/* Compiled rules against the same rules read one by one: what the bytes make of both must agree. */
#include <stdlib.h>
#include <string.h>

#include "base/reader.h"
#include "tun/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RULES = 8, PARTS = 4, PROTOS = 3, PACKETS = 64 };

struct rule {
        struct filter_range srcs[PARTS];
        struct filter_ports dsts[PARTS];
        uint8_t protos[PROTOS];
};

/* Only the last bytes vary, so that addresses meet ranges and a range is not hundreds of prefixes. */
static struct ip read_ip(struct rd *r, bool six)
{
        struct ip ip = {.family = six ? IP_V6 : IP_V4};
        ip.b[six ? 14 : 2] = rd_u8(r) & 3;
        ip.b[six ? 15 : 3] = rd_u8(r);
        return ip;
}

static struct filter_range read_range(struct rd *r)
{
        bool six = rd_u8(r) & 1;
        return (struct filter_range){read_ip(r, six), read_ip(r, six)};
}

static size_t read_rules(struct rd *r, struct rule *rules, struct filter_allow *allow)
{
        static const uint8_t protos[] = {PROTO_TCP,    PROTO_UDP, PROTO_SCTP, PROTO_ICMP,
                                         PROTO_ICMPV6, 47,        0,          255};
        size_t n = rd_u8(r) % (RULES + 1);
        for (size_t i = 0; i < n; i++) {
                uint8_t shape = rd_u8(r);
                allow[i] = (struct filter_allow){rules[i].srcs,   shape % (PARTS + 1),
                                                 rules[i].dsts,   shape / 8 % (PARTS + 1),
                                                 rules[i].protos, shape / 64 % (PROTOS + 1)};
                for (size_t k = 0; k < PARTS; k++) {
                        rules[i].srcs[k] = read_range(r);
                        uint8_t ports = rd_u8(r);
                        bool all = ports == 255;
                        rules[i].dsts[k] = (struct filter_ports){read_range(r), all ? 0 : ports & 15,
                                                                 all ? UINT16_MAX : ports / 16};
                }
                for (size_t k = 0; k < PROTOS; k++)
                        rules[i].protos[k] = protos[rd_u8(r) % sizeof(protos)];
        }
        return n;
}

static bool in_range(const struct filter_range *r, struct ip ip)
{
        return r->first.family == ip.family && ip_cmp(r->first, ip) <= 0 && ip_cmp(ip, r->last) <= 0;
}

static bool dst_fits(const struct filter_ports *d, struct ip dst, uint16_t port, enum rules_match how)
{
        if (!in_range(&d->dst, dst) || d->first > d->last)
                return false;
        if (how == RULES_WHOLE)
                return d->first == 0 && d->last == UINT16_MAX;
        return how == RULES_ADDRESSES || (d->first <= port && port <= d->last);
}

static bool rule_fits(const struct filter_allow *a, struct ip src, struct ip dst, const struct packet *p,
                      enum rules_match how)
{
        bool from = false, to = false, by = how == RULES_ADDRESSES;
        for (size_t i = 0; i < a->src_count; i++)
                from |= in_range(&a->srcs[i], src);
        for (size_t i = 0; i < a->dst_count; i++)
                to |= dst_fits(&a->dsts[i], dst, p->dst_port, how);
        for (size_t i = 0; i < a->proto_count; i++)
                by |= a->protos[i] == p->proto;
        return from && to && by;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct rule rules[RULES];
        struct filter_allow allow[RULES];
        struct rd r = rd_init(data, size);
        size_t n = read_rules(&r, rules, allow);
        struct rules *compiled = rules_new(allow, n);
        if (compiled == NULL)
                abort();
        for (int i = 0; i < PACKETS && rd_ok(&r); i++) {
                uint8_t what = rd_u8(&r);
                bool six = what & 1;
                struct ip src = read_ip(&r, six), dst = read_ip(&r, six);
                struct packet p = {.version = six ? 6 : 4, .dst_port = what / 8 & 15};
                enum rules_match how = (enum rules_match)(what / 2 % 3);
                static const uint8_t with_ports[] = {PROTO_TCP, PROTO_UDP, PROTO_SCTP},
                                     others[] = {47, 0, 255};
                p.proto = how == RULES_WHOLE ? others[what / 128] : with_ports[what / 64 % 3];
                memcpy(p.src, src.b, 16);
                memcpy(p.dst, dst.b, 16);
                bool want = false;
                for (size_t k = 0; k < n; k++)
                        want |= rule_fits(&allow[k], src, dst, &p, how);
                if (rules_allow(compiled, &p, how) != want)
                        abort();
        }
        rules_free(compiled);
        return 0;
}
