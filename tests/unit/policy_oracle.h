/* tests/unit/policy_oracle.h - what a policy says of a packet, read slowly from the server's JSON.
 *
 * The oracle of the packet filter, and the packets it is asked about.  It shares no code with what it judges,
 * only the names of protocols and verdicts.
 */
#pragma once

#include <arpa/inet.h>
#include <jansson.h>

#include "base/reader.h"
#include "tests/unit/check.h"
#include "tun/filter.h"
#include "tun/packet.h"

enum { PEERS = 6 };   /* of the node */

/* ---- addresses ---- */

struct span {
        int v; /* 4, 6; 0 = nothing */
        uint8_t lo[16], hi[16];
};

static inline int o_address(const char *s, uint8_t out[16])
{
        memset(out, 0, 16);
        return inet_pton(AF_INET, s, out) == 1 ? 4 : inet_pton(AF_INET6, s, out) == 1 ? 6 : 0;
}

static inline bool o_mapped(const uint8_t ip[16])
{
        static const uint8_t head[12] = {[10] = 0xff, [11] = 0xff};
        return memcmp(ip, head, 12) == 0;
}

static inline struct span o_cidr(const char *ip, int bits)
{
        struct span s = {0};
        s.v = o_address(ip, s.lo);
        if (s.v == 0 || bits < 0 || bits > (s.v == 4 ? 32 : 128))
                return (struct span){0};
        memcpy(s.hi, s.lo, 16);
        for (int i = bits; i < (s.v == 4 ? 32 : 128); i++) {
                if (s.lo[i / 8] & (0x80 >> i % 8)) /* a host bit */
                        return (struct span){0};
                s.hi[i / 8] |= (uint8_t)(0x80 >> i % 8);
        }
        return s;
}

/* How many spans of out a text means: "*" is two. */
static inline size_t o_spans(const char *text, struct span out[2])
{
        char a[64], b[64];
        size_t n = 1;
        snprintf(a, sizeof(a), "%s", text);
        char *slash = strchr(a, '/'), *dash = strchr(a, '-');
        if (strcmp(text, "*") == 0) {
                out[0] = o_cidr("0.0.0.0", 0);
                out[1] = o_cidr("::", 0);
                n = 2;
        } else if (slash != NULL) {
                *slash = '\0';
                out[0] = o_cidr(a, atoi(slash + 1));
        } else if (dash != NULL) {
                *dash = '\0';
                snprintf(b, sizeof(b), "%s", dash + 1);
                out[0].v = o_address(a, out[0].lo);
                if (o_address(b, out[0].hi) != out[0].v || memcmp(out[0].lo, out[0].hi, 16) > 0)
                        out[0].v = 0;
        } else {
                out[0] = o_cidr(a, strchr(a, ':') != NULL ? 128 : 32);
        }
        /* IPv4 written as IPv6 is no source and no destination. */
        if (out[0].v == 6 && n == 1 && (o_mapped(out[0].lo) || o_mapped(out[0].hi)))
                out[0].v = 0;
        return out[0].v == 0 ? 0 : n;
}

static inline bool o_in(const struct span *s, int v, const uint8_t ip[16])
{
        return s->v == v && memcmp(s->lo, ip, 16) <= 0 && memcmp(ip, s->hi, 16) <= 0;
}

/* ---- rules ---- */

struct o_dst {
        struct span span;
        unsigned first, last;
};

struct o_rule {
        struct span src[64];
        size_t src_count, cap_count, dst_count;
        const char *caps[8];
        struct o_dst dst[64];
        bool proto[256];
};

struct o_node {
        bool there, jailed;
        struct span ip[2];
        bool has_a, has_b; /* the capabilities cap/a and cap/b */
};

struct oracle {
        struct o_rule rules[64];
        size_t rule_count;
        struct o_node peers[PEERS];
        struct span own[2], advertised[3], lan[2]; /* lan: the networks the host stands in */
        struct span lan_ip[2];
        bool exit_node, shields;
};

static inline void o_read_rule(struct o_rule *r, const json_t *j)
{
        const json_t *list;
        size_t i;
        json_t *v;
        memset(r, 0, sizeof(*r));
        list = json_object_get(j, "SrcIPs");
        json_array_foreach(list, i, v)
        {
                const char *s = json_string_value(v);
                if (strncmp(s, "cap:", 4) == 0)
                        r->caps[r->cap_count++] = s + 4;
                else
                        r->src_count += o_spans(s, r->src + r->src_count);
        }
        list = json_object_get(j, "DstPorts");
        json_array_foreach(list, i, v)
        {
                struct span two[2];
                json_t *ports = json_object_get(v, "Ports");
                size_t n = o_spans(json_string_value(json_object_get(v, "IP")), two);
                for (size_t k = 0; k < n; k++)
                        r->dst[r->dst_count++] = (struct o_dst){
                                two[k], (unsigned)json_integer_value(json_object_get(ports, "First")),
                                (unsigned)json_integer_value(json_object_get(ports, "Last"))};
        }
        list = json_object_get(j, "IPProto");
        json_array_foreach(list, i, v) if (json_integer_value(v) >= 0 && json_integer_value(v) <= 255)
                r->proto[json_integer_value(v)] = true;
        if (json_array_size(list) == 0)
                r->proto[1] = r->proto[6] = r->proto[17] = r->proto[58] = true;
}

static inline void o_read_rules(struct oracle *o, const json_t *chunks)
{
        const char *name;
        json_t *list, *v;
        size_t i;
        o->rule_count = 0;
        json_object_foreach((json_t *)(uintptr_t)chunks, name, list) json_array_foreach(list, i, v)
                o_read_rule(&o->rules[o->rule_count++], v);
}

/* ---- packets ---- */

struct sample {
        int v;
        uint8_t src[16], dst[16];
        uint8_t proto;
        uint16_t sport, dport;
        uint8_t flags;      /* TCP */
        uint8_t type, code; /* ICMP */
        enum { WHOLE, FIRST, TINY, OVERLAP, LATER } frag;
        bool extension; /* IPv6: a hop-by-hop header in front */
        uint8_t bytes[128];
        size_t len;
};

static inline void build(struct sample *s)
{
        uint8_t body[40] = {0};
        size_t head = s->v == 4 ? 20 : 40, n = s->frag == TINY ? 7 : 32;
        store_be16(body, s->sport);
        store_be16(body + 2, s->dport);
        body[13] = s->flags;
        if (s->proto == PROTO_ICMP || s->proto == PROTO_ICMPV6) {
                body[0] = s->type;
                body[1] = s->code;
        }
        uint16_t offset = s->frag == OVERLAP ? 1 : s->frag == LATER ? 10 : 0;
        bool more = s->frag == FIRST || s->frag == TINY;
        uint8_t *b = s->bytes;
        memset(b, 0, sizeof(s->bytes));
        if (s->v == 4) {
                b[0] = 0x45;
                store_be16(b + 2, (uint16_t)(head + n));
                store_be16(b + 6, (uint16_t)(offset | (more ? 0x2000 : 0)));
                b[9] = s->proto;
                memcpy(b + 12, s->src, 4);
                memcpy(b + 16, s->dst, 4);
        } else {
                uint8_t *next = b + 6;
                b[0] = 0x60;
                memcpy(b + 8, s->src, 16);
                memcpy(b + 24, s->dst, 16);
                if (s->extension) {
                        *next = 0;
                        next = b + head;
                        head += 8;
                }
                if (s->frag != WHOLE) {
                        *next = PROTO_FRAGMENT6;
                        next = b + head;
                        store_be16(b + head + 2, (uint16_t)(offset << 3 | more));
                        head += 8;
                }
                *next = s->proto;
                store_be16(b + 4, (uint16_t)(head - 40 + n));
        }
        memcpy(b + head, body, n);
        s->len = head + n;
}

/* ---- verdicts ---- */

struct o_flow {
        int v;
        uint8_t proto, src[16], dst[16];
        uint16_t sport, dport;
};
static struct o_flow flows[FILTER_FLOWS]; /* newest first */
static size_t flow_count;

static inline struct o_flow o_flow_of(const struct sample *s, bool back)
{
        struct o_flow f = {.v = s->v, .proto = s->proto};
        f.sport = back ? s->dport : s->sport;
        f.dport = back ? s->sport : s->dport;
        memcpy(f.src, back ? s->dst : s->src, 16);
        memcpy(f.dst, back ? s->src : s->dst, 16);
        return f;
}

/* Moves a flow to the front; adds it if asked to.  False: not there. */
static inline bool o_flow_touch(const struct o_flow *f, bool insert)
{
        size_t i = 0;
        while (i < flow_count && (flows[i].v != f->v || flows[i].proto != f->proto ||
                                  flows[i].sport != f->sport || flows[i].dport != f->dport ||
                                  memcmp(flows[i].src, f->src, 16) || memcmp(flows[i].dst, f->dst, 16)))
                i++;
        bool there = i < flow_count;
        if (!there && !insert)
                return false;
        if (!there && flow_count < FILTER_FLOWS)
                flow_count++;
        if (i == FILTER_FLOWS)
                i--;
        memmove(flows + 1, flows, i * sizeof(flows[0]));
        flows[0] = *f;
        return there;
}

static inline bool o_cap(const struct oracle *o, const struct sample *s, const char *cap)
{
        for (int i = 0; i < PEERS; i++)
                for (int k = 0; k < 2; k++)
                        if (o->peers[i].there && o_in(&o->peers[i].ip[k], s->v, s->src) &&
                            ((strcmp(cap, "cap/a") == 0 && o->peers[i].has_a) ||
                             (strcmp(cap, "cap/b") == 0 && o->peers[i].has_b)))
                                return true;
        return false;
}

static inline bool o_rule_allows(const struct oracle *o, const struct o_rule *r, const struct sample *s)
{
        bool icmp = s->proto == PROTO_ICMP || s->proto == PROTO_ICMPV6;
        bool ports = s->proto == PROTO_TCP || s->proto == PROTO_UDP || s->proto == PROTO_SCTP;
        bool src = false;
        for (size_t i = 0; i < r->src_count; i++)
                src |= o_in(&r->src[i], s->v, s->src);
        for (size_t i = 0; i < r->cap_count && (icmp || ports); i++)
                src |= o_cap(o, s, r->caps[i]);
        if (!src || !(icmp || r->proto[s->proto]))
                return false;
        for (size_t i = 0; i < r->dst_count; i++) {
                const struct o_dst *d = &r->dst[i];
                if (d->first > d->last || !o_in(&d->span, s->v, s->dst))
                        continue;
                if (icmp || (ports && d->first <= s->dport && s->dport <= d->last) ||
                    (!ports && d->first == 0 && d->last == 65535))
                        return true;
        }
        return false;
}

static inline bool o_rules_allow(const struct oracle *o, const struct sample *s)
{
        for (int i = 0; i < PEERS; i++)
                for (int k = 0; k < 2; k++)
                        if (o->peers[i].there && o->peers[i].jailed && o_in(&o->peers[i].ip[k], s->v, s->src))
                                return false;
        for (size_t i = 0; i < o->rule_count && !o->shields; i++)
                if (o_rule_allows(o, &o->rules[i], s))
                        return true;
        return false;
}

static inline bool o_local(const struct oracle *o, const struct sample *s)
{
        static const struct {
                const char *ip;
                int bits;
        } never[] = {{"127.0.0.0", 8},    {"::1", 128},        {"10.0.0.0", 8},         {"172.16.0.0", 12},
                     {"192.168.0.0", 16}, {"169.254.0.0", 16}, {"224.0.0.0", 4},        {"100.64.0.0", 10},
                     {"fe80::", 10},      {"ff00::", 8},       {"fd7a:115c:a1e0::", 48}};
        if (s->v == 6 && o_mapped(s->dst))
                return false;
        for (int i = 0; i < 2; i++)
                if (o_in(&o->own[i], s->v, s->dst))
                        return true;
        for (int i = 0; i < 3; i++)
                if (o_in(&o->advertised[i], s->v, s->dst))
                        return true;
        if (!o->exit_node)
                return false;
        for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
                struct span n = o_cidr(never[i].ip, never[i].bits);
                if (o_in(&n, s->v, s->dst))
                        return false;
        }
        for (int i = 0; i < 2; i++)
                if (o_in(&o->lan_ip[i], s->v, s->dst))
                        return true;
        return !o_in(&o->lan[0], s->v, s->dst) && !o_in(&o->lan[1], s->v, s->dst);
}

static inline enum filter_verdict o_before(const struct sample *s)
{
        const uint8_t *d = s->dst;
        if (s->extension || s->proto == 0 || s->proto == 43 || s->proto == 51 || s->proto == 60 ||
            s->proto == 135 || s->proto == 139 || s->proto == 140 || s->proto == 255)
                if (s->v == 6)
                        return FILTER_DROP_MALFORMED;
        if (s->frag == OVERLAP)
                return FILTER_DROP_FRAGMENT;
        if (s->frag == TINY && (s->proto == PROTO_TCP || s->proto == PROTO_UDP || s->proto == PROTO_SCTP))
                return FILTER_DROP_FRAGMENT;
        if ((s->frag == TINY || s->frag == FIRST) && s->proto == PROTO_TSMP)
                return FILTER_DROP_FRAGMENT;
        if (s->v == 4 ? d[0] >> 4 == 14 || (d[0] & d[1] & d[2] & d[3]) == 255 : d[0] == 255)
                return FILTER_DROP_MULTICAST;
        if (s->v == 4 ? d[0] == 169 && d[1] == 254 && (d[2] != 169 || d[3] != 254)
                      : d[0] == 0xfe && d[1] >> 6 == 2)
                return FILTER_DROP_LINK_LOCAL;
        return s->proto == PROTO_TSMP ? FILTER_DROP_TSMP : FILTER_ACCEPT;
}

static inline enum filter_verdict o_in_verdict(const struct oracle *o, const struct sample *s)
{
        enum filter_verdict v = o_before(s);
        struct o_flow f = o_flow_of(s, false);
        bool ok;
        if (v != FILTER_ACCEPT)
                return v;
        if (!o_local(o, s))
                return FILTER_DROP_NOT_LOCAL;
        if (s->frag == LATER)
                return FILTER_ACCEPT;
        bool long_enough = s->frag != TINY, t4 = s->v == 4;
        switch (s->proto) {
        case PROTO_TCP:
                ok = !(s->flags & TCP_SYN) || (s->flags & TCP_ACK) || o_rules_allow(o, s);
                break;
        case PROTO_UDP:
        case PROTO_SCTP:
                ok = o_flow_touch(&f, false) || o_rules_allow(o, s);
                break;
        case PROTO_ICMP:
                ok = t4 && ((long_enough && ((s->type == 0 && s->code == 0) || s->type == 3 ||
                                             s->type == 11 || s->type == 12)) ||
                            o_rules_allow(o, s));
                break;
        case PROTO_ICMPV6:
                ok = !t4 &&
                     ((long_enough && ((s->type == 129 && s->code == 0) || (s->type >= 1 && s->type <= 4))) ||
                      o_rules_allow(o, s));
                break;
        default:
                ok = o_rules_allow(o, s);
        }
        return ok ? FILTER_ACCEPT : FILTER_DROP_RULE;
}

static inline enum filter_verdict o_out_verdict(const struct sample *s)
{
        enum filter_verdict v = o_before(s);
        struct o_flow f = o_flow_of(s, true);
        if (v == FILTER_ACCEPT && s->frag != LATER && (s->proto == PROTO_UDP || s->proto == PROTO_SCTP))
                (void)o_flow_touch(&f, true);
        return v;
}
