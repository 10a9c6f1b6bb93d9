#include "tun/filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "tun/cover.h"
#include "tun/flows.h"
#include "tun/packet.h"
#include "tun/rules.h"

struct filter {
        uint64_t id; /* never used twice: what was learnt under one is not said of another */
        struct rules *rules;
        struct cover *local[2], *jailed[2]; /* IPv4, IPv6 */
        struct addr services[2];
        bool shields_up;
};

struct allowed {
        uint64_t filter;
        struct flow flow;
};

struct filter_state {
        struct flows *flows;
        uint64_t filter; /* id of the filter that ran last; 0 = none */
        bool shields_up; /* of that filter */
        uint64_t seed;
        struct allowed allowed[FILTER_VERDICTS_KEPT]; /* by hash; of use only under the filter named in it */
        struct flow opens[FILTER_OPENS];              /* by hash; version 0 = free */
};

/* ---- compiling ---- */

static int prefix_order(const void *a, const void *b)
{
        return cover_prefix_cmp(*(const struct prefix *)a, *(const struct prefix *)b);
}

/* One index a family. */
static enum err cover_both(struct cover *ret[2], const struct prefix *p, size_t n)
{
        struct prefix *sorted = malloc((n + 1) * sizeof(*sorted));
        size_t four = 0;
        if (sorted == NULL)
                return ERR_FULL;
        for (size_t i = 0; i < n; i++)
                sorted[i] = prefix_masked(p[i]);
        qsort(sorted, n, sizeof(*sorted), prefix_order);
        while (four < n && sorted[four].ip.family != IP_V6)
                four++;
        ret[0] = cover_new(sorted, four);
        ret[1] = cover_new(sorted + four, n - four);
        free(sorted);
        return ret[0] != NULL && ret[1] != NULL ? ERR_NONE : ERR_FULL;
}

struct filter *filter_compile(const struct filter_config *c)
{
        static _Atomic uint64_t ids;
        struct filter *f = calloc(1, sizeof(*f));
        if (f == NULL)
                return NULL;
        f->id = ++ids;
        f->shields_up = c->shields_up;
        memcpy(f->services, c->services, sizeof(f->services));
        f->rules = rules_new(c->allow, c->shields_up ? 0 : c->allow_count);
        if (f->rules == NULL || cover_both(f->local, c->local, c->local_count) != ERR_NONE ||
            cover_both(f->jailed, c->jailed, c->jailed_count) != ERR_NONE) {
                filter_free(f);
                return NULL;
        }
        return f;
}

struct filter *filter_new(const struct filter_allow *allow, size_t allow_count, const struct prefix *local,
                          size_t local_count, bool shields_up)
{
        return filter_compile(&(struct filter_config){
                .allow = allow,
                .allow_count = allow_count,
                .local = local,
                .local_count = local_count,
                .shields_up = shields_up,
        });
}

void filter_free(struct filter *f)
{
        if (f == NULL)
                return;
        rules_free(f->rules);
        for (size_t i = 0; i < 2; i++) {
                cover_free(f->local[i]);
                cover_free(f->jailed[i]);
        }
        free(f);
}

size_t filter_bytes(const struct filter *f)
{
        return sizeof(*f) + rules_bytes(f->rules) + cover_bytes(f->local[0]) + cover_bytes(f->local[1]) +
               cover_bytes(f->jailed[0]) + cover_bytes(f->jailed[1]);
}

bool filter_shields_up(const struct filter *f)
{
        return f != NULL && f->shields_up;
}

uint16_t filter_service_port(const struct filter *f, const uint8_t *ip, size_t len)
{
        for (size_t i = 0; f != NULL && i < 2; i++) {
                const struct addr *a = &f->services[i];
                if (addr_is_set(*a) && len == (a->ip.family == IP_V4 ? 4u : 16u) &&
                    memcmp(a->ip.b, ip, len) == 0)
                        return a->port;
        }
        return 0;
}

/* ---- what is remembered ---- */

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
        crypto_random(&s->seed, sizeof(s->seed));
        return s;
}

void filter_state_free(struct filter_state *s)
{
        if (s == NULL)
                return;
        flows_free(s->flows);
        free(s);
}

static struct flow flow_between(const struct packet *p, const uint8_t src[16], uint16_t src_port, const uint8_t dst[16],
        uint16_t dst_port)
{
        struct flow f = {
                .proto = p->proto,
                .version = p->version,
                .src_port = src_port,
                .dst_port = dst_port,
        };
        memcpy(f.src, src, 16);
        memcpy(f.dst, dst, 16);
        return f;
}

static struct flow flow_of(const struct packet *p)
{
        return flow_between(p, p->src, p->src_port, p->dst, p->dst_port);
}

static struct flow flow_back(const struct packet *p)
{
        return flow_between(p, p->dst, p->dst_port, p->src, p->src_port);
}

static struct flow *open_slot(struct filter_state *s, const struct flow *flow)
{
        return &s->opens[flow_hash(flow, s->seed) % FILTER_OPENS];
}

static bool take_open(struct filter_state *s, const struct flow *flow)
{
        struct flow *open = open_slot(s, flow);
        if (!flow_eq(open, flow))
                return false;
        *open = (struct flow){0};
        return true;
}

bool filter_take_open(struct filter_state *s, const struct packet *syn)
{
        struct flow flow = flow_of(syn);
        return take_open(s, &flow);
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
                return (p->dst[0] & 0xf0) == 0xe0 ||
                       (p->dst[0] == 255 && p->dst[1] == 255 && p->dst[2] == 255 && p->dst[3] == 255);
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

/* A v4-mapped IPv6 destination is an IPv4 one in disguise and must not borrow a permission. */
static bool is_mapped(const struct packet *p)
{
        static const uint8_t head[12] = {[10] = 0xff, [11] = 0xff};
        return p->version == 6 && memcmp(p->dst, head, sizeof(head)) == 0;
}

static bool is_local(const struct filter *f, const struct packet *p)
{
        return !is_mapped(p) && cover_find(f->local[p->version == 6], p->dst) != COVER_NONE;
}

static bool allows(const struct filter *f, const struct packet *p, enum rules_match how)
{
        return cover_find(f->jailed[p->version == 6], p->src) == COVER_NONE && rules_allow(f->rules, p, how);
}

static bool icmp_passes_alone(const struct packet *p)
{
        if (p->payload_len < 8)
                return false;
        if (p->version == 4) /* unreachable, time exceeded, parameter problem, echo reply */
                return p->icmp_type == 3 || p->icmp_type == 11 || p->icmp_type == 12 ||
                       (p->icmp_type == 0 && p->icmp_code == 0);
        return (p->icmp_type >= 1 && p->icmp_type <= 4) || (p->icmp_type == 129 && p->icmp_code == 0);
}

/* As allows(), with one comparison for a flow that was allowed before. */
static bool allows_flow(const struct filter *f, struct filter_state *s, const struct packet *p,
                        const struct flow *flow, enum rules_match how)
{
        struct allowed *a = &s->allowed[flow_hash(flow, s->seed) % FILTER_VERDICTS_KEPT];
        if (a->filter == f->id && flow_eq(&a->flow, flow))
                return true;
        if (!allows(f, p, how))
                return false;
        *a = (struct allowed){f->id, *flow};
        return true;
}

static bool is_service(const struct filter *f, const struct packet *p)
{
        return p->dst_port != 0 && filter_service_port(f, p->dst, p->ip_len) == p->dst_port;
}

static bool allowed_in(const struct filter *f, struct filter_state *s, const struct packet *p)
{
        switch (p->proto) {
        case PROTO_TCP: /* only the packet that opens a connection needs leave */
                if (p->tcp_flags & (TCP_SYN | TCP_RST)) {
                        struct flow ours = flow_back(p); /* answered: nothing is pending any more */
                        (void)take_open(s, &ours);
                }
                return (p->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN || is_service(f, p) ||
                       allows(f, p, RULES_PORTS);
        case PROTO_UDP:
        case PROTO_SCTP: {
                struct flow flow = flow_of(p);
                return flows_has(s->flows, &flow) || allows_flow(f, s, p, &flow, RULES_PORTS);
        }
        case PROTO_ICMP:
        case PROTO_ICMPV6:
                if ((p->proto == PROTO_ICMP) != (p->version == 4))
                        return false;
                return icmp_passes_alone(p) || allows(f, p, RULES_ADDRESSES);
        default: {
                struct flow flow = flow_of(p);
                return allows_flow(f, s, p, &flow, RULES_WHOLE);
        }
        }
}

/* The first packet under another filter, either way. */
static void note_filter(struct filter_state *s, const struct filter *f)
{
        uint64_t id = f != NULL ? f->id : 0;
        if (s->filter == id)
                return;
        bool up = filter_shields_up(f);
        if (f == NULL || (up && !s->shields_up))
                flows_clear(s->flows);
        s->filter = id;
        s->shields_up = up;
}

enum filter_verdict filter_in(const struct filter *f, struct filter_state *s, const uint8_t *pkt, size_t len)
{
        struct packet p = packet_parse(pkt, len);
        enum filter_verdict v = precheck(&p);
        note_filter(s, f);
        if (v != FILTER_ACCEPT)
                return v;
        if (f == NULL || !is_local(f, &p))
                return FILTER_DROP_NOT_LOCAL;
        if (p.kind == PACKET_LATER_FRAGMENT) /* useless without its first fragment */
                return FILTER_ACCEPT;
        return allowed_in(f, s, &p) ? FILTER_ACCEPT : FILTER_DROP_RULE;
}

bool filter_would_open(const struct filter *f, struct ip src, struct addr dst)
{
        struct packet p = {
                .kind = PACKET_WHOLE,
                .version = dst.ip.family == IP_V4 ? 4 : 6,
                .proto = PROTO_TCP,
                .ip_len = ip_bits(dst.ip) / 8,
                .dst_port = dst.port,
                .tcp_flags = TCP_SYN,
        };
        memcpy(p.src, src.b, sizeof(p.src));
        memcpy(p.dst, dst.ip.b, sizeof(p.dst));
        return f != NULL && ip_is_set(src) && src.family == dst.ip.family && precheck(&p) == FILTER_ACCEPT &&
               is_local(f, &p) && (is_service(f, &p) || allows(f, &p, RULES_PORTS));
}

enum filter_verdict filter_out(const struct filter *f, struct filter_state *s, const uint8_t *pkt, size_t len)
{
        struct packet p = packet_parse(pkt, len);
        enum filter_verdict v = precheck(&p);
        note_filter(s, f);
        if (v != FILTER_ACCEPT || p.kind != PACKET_WHOLE)
                return v;
        if (p.proto == PROTO_UDP || p.proto == PROTO_SCTP) {
                struct flow back = flow_back(&p);
                flows_add(s->flows, &back);
        } else if (p.proto == PROTO_TCP && (p.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
                struct flow open = flow_of(&p);
                *open_slot(s, &open) = open;
        }
        return FILTER_ACCEPT;
}
