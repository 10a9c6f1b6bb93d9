#include "tun/filter.h"

#include <stdlib.h>
#include <string.h>

#include "tun/flows.h"
#include "tun/packet.h"

struct range {
        uint8_t version;   /* 4 or 6 */
        uint8_t first[16], last[16];
};

struct dst {
        struct range ips;
        uint16_t first, last;
};

struct rule {
        uint64_t protos[4];   /* a bit a protocol */
        size_t src_count, dst_count;
        const struct range *srcs;
        const struct dst *dsts;
};

struct filter {
        size_t rule_count, local_count;
        struct rule *rules;
        struct prefix *local;
        struct range *ranges;   /* storage behind the rules */
        struct dst *dsts;
};

struct filter_state {
        struct flows *flows;
};

static struct range range_of(const struct filter_range *r)
{
        struct range out = {.version = r->first.family};
        memcpy(out.first, r->first.b, 16);
        memcpy(out.last, r->last.b, 16);
        return out;
}

static bool range_has(const struct range *r, uint8_t version, const uint8_t ip[16])
{
        return r->version == version && memcmp(r->first, ip, 16) <= 0 && memcmp(ip, r->last, 16) <= 0;
}

static enum err alloc_all(struct filter *f, const struct filter_allow *allow, size_t n, size_t local_count)
{
        size_t srcs = 0, dsts = 0;
        for (size_t i = 0; i < n; i++) {
                srcs += allow[i].src_count;
                dsts += allow[i].dst_count;
        }
        f->rules = calloc(n + 1, sizeof(*f->rules));
        f->ranges = calloc(srcs + 1, sizeof(*f->ranges));
        f->dsts = calloc(dsts + 1, sizeof(*f->dsts));
        f->local = calloc(local_count + 1, sizeof(*f->local));
        return f->rules && f->ranges && f->dsts && f->local ? ERR_NONE : ERR_FULL;
}

static void compile(struct rule *r, const struct filter_allow *a, struct range *srcs, struct dst *dsts)
{
        for (size_t i = 0; i < a->src_count; i++)
                srcs[i] = range_of(&a->srcs[i]);
        for (size_t i = 0; i < a->dst_count; i++)
                dsts[i] = (struct dst){range_of(&a->dsts[i].dst), a->dsts[i].first, a->dsts[i].last};
        for (size_t i = 0; i < a->proto_count; i++)
                r->protos[a->protos[i] / 64] |= UINT64_C(1) << (a->protos[i] % 64);
        r->srcs = srcs;
        r->src_count = a->src_count;
        r->dsts = dsts;
        r->dst_count = a->dst_count;
}

struct filter *filter_new(const struct filter_allow *allow, size_t allow_count, const struct prefix *local,
        size_t local_count, bool shields_up)
{
        if (shields_up)
                allow_count = 0;
        struct filter *f = calloc(1, sizeof(*f));
        if (f == NULL)
                return NULL;
        if (alloc_all(f, allow, allow_count, local_count) != ERR_NONE) {
                filter_free(f);
                return NULL;
        }
        struct range *srcs = f->ranges;
        struct dst *dsts = f->dsts;
        for (size_t i = 0; i < allow_count; i++) {
                compile(&f->rules[i], &allow[i], srcs, dsts);
                srcs += allow[i].src_count;
                dsts += allow[i].dst_count;
        }
        f->rule_count = allow_count;
        for (size_t i = 0; i < local_count; i++)
                f->local[i] = prefix_masked(local[i]);
        f->local_count = local_count;
        return f;
}

void filter_free(struct filter *f)
{
        if (f == NULL)
                return;
        free(f->rules);
        free(f->ranges);
        free(f->dsts);
        free(f->local);
        free(f);
}

struct filter_state *filter_state_new(void)
{
        struct filter_state *s = calloc(1, sizeof(*s));
        if (s == NULL)
                return NULL;
        s->flows = flows_new(FILTER_FLOWS);
        if (s->flows == NULL) {
                free(s);
                return NULL;
        }
        return s;
}

void filter_state_free(struct filter_state *s)
{
        if (s == NULL)
                return;
        flows_free(s->flows);
        free(s);
}

const char *filter_verdict_str(enum filter_verdict v)
{
        switch (v) {
        case FILTER_ACCEPT:
                return "accept";
        case FILTER_DROP_MALFORMED:
                return "malformed";
        case FILTER_DROP_FRAGMENT:
                return "fragment";
        case FILTER_DROP_MULTICAST:
                return "multicast";
        case FILTER_DROP_LINK_LOCAL:
                return "link_local";
        case FILTER_DROP_NOT_LOCAL:
                return "not_local";
        case FILTER_DROP_RULE:
                return "acl";
        case FILTER_DROP_TSMP:
                return "tsmp";
        case FILTER_VERDICTS:
                break;
        }
        return "?";
}

/* ---- verdicts ---- */

static bool is_multicast(const struct packet *p)
{
        if (p->version == 4)
                return (p->dst[0] & 0xf0) == 0xe0 || (p->dst[0] == 255 && p->dst[1] == 255 &&
                        p->dst[2] == 255 && p->dst[3] == 255);
        return p->dst[0] == 0xff;
}

/* The metadata address of clouds is link-local, and meant to be reached through an exit node. */
static bool is_link_local(const struct packet *p)
{
        if (p->version == 4)
                return p->dst[0] == 169 && p->dst[1] == 254 && !(p->dst[2] == 169 && p->dst[3] == 254);
        return p->dst[0] == 0xfe && (p->dst[1] & 0xc0) == 0x80;
}

/* The checks that both directions share; FILTER_ACCEPT means: go on. */
static enum filter_verdict precheck(const struct packet *p)
{
        if (p->kind == PACKET_MALFORMED)
                return FILTER_DROP_MALFORMED;
        if (p->kind == PACKET_BAD_FRAGMENT)
                return FILTER_DROP_FRAGMENT;
        if (is_multicast(p))
                return FILTER_DROP_MULTICAST;
        if (is_link_local(p))
                return FILTER_DROP_LINK_LOCAL;
        /* The mesh's own messages are never the host's business, whichever way they go. */
        if (p->proto == PROTO_TSMP)
                return FILTER_DROP_TSMP;
        return FILTER_ACCEPT;
}

static struct ip ip_of(const struct packet *p, const uint8_t b[16])
{
        return p->version == 4 ? ip_from_bytes4(b) : ip_from_bytes16(b);
}

static bool is_local(const struct filter *f, const struct packet *p)
{
        /* A v4-mapped IPv6 destination unmaps to IPv4 and must not borrow an IPv4 permission. */
        struct ip dst = ip_of(p, p->dst);
        if (dst.family != p->version)
                return false;
        for (size_t i = 0; i < f->local_count; i++)
                if (prefix_contains(f->local[i], dst))
                        return true;
        return false;
}

static bool has_proto(const struct rule *r, uint8_t proto)
{
        return (r->protos[proto / 64] >> (proto % 64)) & 1;
}

static bool src_matches(const struct rule *r, const struct packet *p)
{
        for (size_t i = 0; i < r->src_count; i++)
                if (range_has(&r->srcs[i], p->version, p->src))
                        return true;
        return false;
}

static bool dst_matches(const struct rule *r, const struct packet *p, bool ports, bool whole_range)
{
        for (size_t i = 0; i < r->dst_count; i++) {
                const struct dst *d = &r->dsts[i];
                if (!range_has(&d->ips, p->version, p->dst))
                        continue;
                if (whole_range && (d->first != 0 || d->last != UINT16_MAX))
                        continue;
                if (ports && (p->dst_port < d->first || p->dst_port > d->last))
                        continue;
                return true;
        }
        return false;
}

enum match { MATCH_ADDRESSES, MATCH_PORTS, MATCH_PROTOCOL };

static bool rules_allow(const struct filter *f, const struct packet *p, enum match how)
{
        for (size_t i = 0; i < f->rule_count; i++) {
                const struct rule *r = &f->rules[i];
                if (how != MATCH_ADDRESSES && !has_proto(r, p->proto))
                        continue;
                if (src_matches(r, p) && dst_matches(r, p, how == MATCH_PORTS, how == MATCH_PROTOCOL))
                        return true;
        }
        return false;
}

static bool icmp_passes_alone(const struct packet *p)
{
        if (p->version == 4)   /* echo reply, unreachable, time exceeded, parameter problem */
                return p->icmp_type == 0 || p->icmp_type == 3 || p->icmp_type == 11 || p->icmp_type == 12;
        return p->icmp_type == 129 || (p->icmp_type >= 1 && p->icmp_type <= 4);
}

static struct flow flow_of(const struct packet *p)
{
        struct flow f = {
                .proto = p->proto,
                .version = p->version,
                .src_port = p->src_port,
                .dst_port = p->dst_port,
        };
        memcpy(f.src, p->src, 16);
        memcpy(f.dst, p->dst, 16);
        return f;
}

static bool allowed_in(const struct filter *f, struct filter_state *s, const struct packet *p)
{
        switch (p->proto) {
        case PROTO_TCP:   /* only the packet that opens a connection needs leave */
                return (p->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN || rules_allow(f, p, MATCH_PORTS);
        case PROTO_UDP:
        case PROTO_SCTP: {
                struct flow flow = flow_of(p);
                return flows_has(s->flows, &flow) || rules_allow(f, p, MATCH_PORTS);
        }
        case PROTO_ICMP:
        case PROTO_ICMPV6:
                if ((p->proto == PROTO_ICMP) != (p->version == 4))
                        return false;
                return icmp_passes_alone(p) || rules_allow(f, p, MATCH_ADDRESSES);
        default:
                return rules_allow(f, p, MATCH_PROTOCOL);
        }
}

enum filter_verdict filter_in(const struct filter *f, struct filter_state *s, const uint8_t *pkt, size_t len)
{
        struct packet p = packet_parse(pkt, len);
        enum filter_verdict v = precheck(&p);
        if (v != FILTER_ACCEPT)
                return v;
        if (f == NULL || !is_local(f, &p))
                return FILTER_DROP_NOT_LOCAL;
        if (p.kind == PACKET_LATER_FRAGMENT)   /* useless without its first fragment */
                return FILTER_ACCEPT;
        return allowed_in(f, s, &p) ? FILTER_ACCEPT : FILTER_DROP_RULE;
}

enum filter_verdict filter_out(const struct filter *f, struct filter_state *s, const uint8_t *pkt, size_t len)
{
        (void)f;
        struct packet p = packet_parse(pkt, len);
        enum filter_verdict v = precheck(&p);
        if (v != FILTER_ACCEPT || p.kind != PACKET_WHOLE)
                return v;
        if (p.proto == PROTO_UDP || p.proto == PROTO_SCTP) {
                struct flow back = flow_of(&p);
                struct flow here = back;
                back.src_port = here.dst_port;
                back.dst_port = here.src_port;
                memcpy(back.src, here.dst, 16);
                memcpy(back.dst, here.src, 16);
                flows_add(s->flows, &back);
        }
        return FILTER_ACCEPT;
}
