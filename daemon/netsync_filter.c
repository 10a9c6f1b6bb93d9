/* The packet filter that the network map means. */
#include "daemon/netsync.h"

#include <stdlib.h>
#include <string.h>

#include "tun/packet.h"

/* ---- destinations that are ours ---- */

struct prefixes {
        struct prefix *p;
        size_t count, room;
        bool failed;
};

static void add(struct prefixes *l, struct prefix p)
{
        if (l->count == l->room && !l->failed) {
                size_t room = l->room * 2 + 16;
                struct prefix *grown = reallocarray(l->p, room, sizeof(*grown));
                l->failed = grown == NULL;
                if (grown != NULL) {
                        l->p = grown;
                        l->room = room;
                }
        }
        if (!l->failed)
                l->p[l->count++] = p;
}

static bool overlap(struct prefix a, struct prefix b)
{
        return prefix_contains(a, b.ip) || prefix_contains(b, a.ip);
}

/* What is no Internet: the host itself, private networks, link-local, multicast and the mesh's own. */
static const char *const NO_INTERNET[] = {
        "127.0.0.0/8",   "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",     "224.0.0.0/4",
        "100.64.0.0/10", "::1/128",    "fe80::/10",     "ff00::/8",       "fd7a:115c:a1e0::/48"};
enum { NO_INTERNET_COUNT = sizeof(NO_INTERNET) / sizeof(NO_INTERNET[0]) };

/* p without the holes. */
static void add_without(struct prefixes *l, struct prefix p, const struct prefix *holes, size_t n)
{
        size_t some = 0;
        for (size_t i = 0; i < n; i++) {
                if (!overlap(p, holes[i]))
                        continue;
                if (holes[i].bits <= p.bits)
                        return;
                some++;
        }
        if (some == 0) {
                add(l, p);
                return;
        }
        struct prefix half = {p.ip, (uint8_t)(p.bits + 1)};
        add_without(l, half, holes, n);
        half.ip.b[p.bits / 8] |= (uint8_t)(0x80 >> (p.bits % 8));
        add_without(l, half, holes, n);
}

/* An exit node gives the Internet, not the networks it stands in; those have to be advertised by name. */
static void add_internet(struct prefixes *l, struct prefix all, const struct netsync_prefs *prefs)
{
        size_t n = 0;
        struct prefix *holes = calloc(NO_INTERNET_COUNT + prefs->interface_count, sizeof(*holes));
        if (holes == NULL) {
                l->failed = true;
                return;
        }
        for (size_t i = 0; i < NO_INTERNET_COUNT; i++)
                if (prefix_parse(NO_INTERNET[i], &holes[n]) == ERR_NONE)
                        n++;
        size_t fixed = n;
        for (size_t i = 0; i < prefs->interface_count; i++)
                if (!prefix_is_host(prefs->interfaces[i]))
                        holes[n++] = prefix_masked(prefs->interfaces[i]);
        add_without(l, all, holes, n);
        for (size_t i = 0; i < prefs->interface_count; i++)
                if (!prefix_is_host(prefs->interfaces[i]) && prefs->interfaces[i].ip.family == all.ip.family)
                        add_without(l, prefix_of(prefs->interfaces[i].ip), holes, fixed);
        free(holes);
}

static void add_local(struct prefixes *l, const struct netmap *nm, const struct netsync_prefs *prefs)
{
        for (uint32_t i = 0; nm->self != NULL && i < nm->self->address_count; i++)
                add(l, nm->self->addresses[i]);
        for (size_t i = 0; i < prefs->advertised_count; i++) {
                if (prefs->advertised[i].bits == 0)
                        add_internet(l, prefix_masked(prefs->advertised[i]), prefs);
                else
                        add(l, prefs->advertised[i]);
        }
}

static void add_jailed(struct prefixes *l, const struct netmap *nm)
{
        for (size_t i = 0; i < nm->peer_count; i++)
                for (uint32_t k = 0; nm->peers[i]->jailed && k < nm->peers[i]->allowed_count; k++)
                        add(l, nm->peers[i]->allowed[k]);
}

static void add_services(struct addr services[2], const struct netmap *nm, const struct netsync_prefs *prefs)
{
        for (uint32_t i = 0; nm->self != NULL && i < nm->self->address_count; i++) {
                struct ip ip = nm->self->addresses[i].ip;
                uint16_t port = ip.family == IP_V4 ? prefs->peerapi4_port : prefs->peerapi6_port;
                struct addr *a = &services[ip.family == IP_V6];
                if (port != 0 && !addr_is_set(*a))
                        *a = (struct addr){ip, port};
        }
}

/* ---- rules ---- */

/* A node that nobody signed for is good for the PeerAPI and no more: a capability does not make it a source. */
static bool is_source(const struct netmap_node *p, const char *cap)
{
        return !p->unsigned_peerapi_only && cap[0] != '\0' && netmap_node_has_cap(p, cap);
}

static size_t count_cap_addresses(const struct netmap *nm, const struct filter_rule *r)
{
        size_t n = 0;
        for (uint32_t c = 0; c < r->src_cap_count; c++)
                for (size_t i = 0; i < nm->peer_count; i++)
                        if (is_source(nm->peers[i], r->src_caps[c]))
                                n += nm->peers[i]->address_count;
        return n;
}

/* "cap:NAME" sources: the addresses of every peer that has the capability. */
static size_t add_cap_addresses(const struct netmap *nm, const struct filter_rule *r,
                                struct filter_range *out)
{
        size_t n = 0;
        for (uint32_t c = 0; c < r->src_cap_count; c++) {
                for (size_t i = 0; i < nm->peer_count; i++) {
                        const struct netmap_node *p = nm->peers[i];
                        if (!is_source(p, r->src_caps[c]))
                                continue;
                        for (uint32_t k = 0; k < p->address_count; k++)
                                out[n++] = (struct filter_range){p->addresses[k].ip, p->addresses[k].ip};
                }
        }
        return n;
}

/* Capabilities give no leave for protocols without ports, as in the reference. */
static size_t only_with_ports(const uint8_t *protos, size_t n, uint8_t out[3])
{
        static const uint8_t with_ports[] = {PROTO_TCP, PROTO_UDP, PROTO_SCTP};
        size_t count = 0;
        for (size_t i = 0; i < sizeof(with_ports); i++)
                if (memchr(protos, with_ports[i], n) != NULL)
                        out[count++] = with_ports[i];
        return count;
}

/* What the permissions of one rule point into. */
struct storage {
        struct filter_range *srcs;
        struct filter_ports *dsts;
        uint8_t cap_protos[3];
};

/* Two permissions: for the addresses it names, and for those of the capabilities it names. */
static enum err translate(const struct netmap *nm, const struct filter_rule *r, struct storage *s,
                          struct filter_allow ret[2])
{
        s->srcs = calloc(r->src_count + count_cap_addresses(nm, r) + 1, sizeof(*s->srcs));
        s->dsts = calloc(r->dst_count + 1, sizeof(*s->dsts));
        if (s->srcs == NULL || s->dsts == NULL)
                return ERR_FULL;
        for (uint32_t i = 0; i < r->src_count; i++)
                s->srcs[i] = (struct filter_range){r->srcs[i].first, r->srcs[i].last};
        for (uint32_t i = 0; i < r->dst_count; i++)
                s->dsts[i] = (struct filter_ports){
                        .dst = {r->dsts[i].ips.first, r->dsts[i].ips.last},
                        .first = r->dsts[i].port_first,
                        .last = r->dsts[i].port_last,
                };
        ret[0] = (struct filter_allow){s->srcs,      r->src_count, s->dsts,
                                       r->dst_count, r->protos,    r->proto_count};
        ret[1] = (struct filter_allow){
                .srcs = s->srcs + r->src_count,
                .src_count = add_cap_addresses(nm, r, s->srcs + r->src_count),
                .dsts = s->dsts,
                .dst_count = r->dst_count,
                .protos = s->cap_protos,
                .proto_count = only_with_ports(r->protos, r->proto_count, s->cap_protos),
        };
        return ERR_NONE;
}

static bool ranges_have(const struct filter_rule *r, struct prefix p)
{
        struct ip first = prefix_masked(p).ip, last = first;
        for (size_t i = p.bits; i < ip_bits(last); i++)
                last.b[i / 8] |= (uint8_t)(0x80 >> (i % 8));
        for (uint32_t i = 0; i < r->src_count; i++)
                if (r->srcs[i].first.family == first.family && ip_cmp(r->srcs[i].first, last) <= 0 &&
                    ip_cmp(first, r->srcs[i].last) <= 0)
                        return true;
        return false;
}

bool netsync_filter_is_forged(const struct netmap *nm)
{
        for (size_t i = 0; i < nm->peer_count; i++) {
                const struct netmap_node *n = nm->peers[i];
                for (uint32_t k = 0; n->unsigned_peerapi_only && k < n->allowed_count; k++)
                        for (size_t r = 0; r < nm->rule_count; r++)
                                if (nm->rules[r]->dst_count > 0 && ranges_have(nm->rules[r], n->allowed[k]))
                                        return true;
        }
        return false;
}

bool netsync_filter_needs_peers(const struct netmap *nm)
{
        for (size_t i = 0; i < nm->rule_count; i++)
                if (nm->rules[i]->src_cap_count > 0)
                        return true;
        for (size_t i = 0; i < nm->peer_count; i++)
                if (nm->peers[i]->jailed || nm->peers[i]->unsigned_peerapi_only)
                        return true;
        return false;
}

struct filter *netsync_filter(const struct netmap *nm, const struct netsync_prefs *prefs)
{
        struct filter *f = NULL;
        struct prefixes local = {0}, jailed = {0};
        size_t rules = netsync_filter_is_forged(nm) ? 0 : nm->rule_count, count = 0, stored = 0;
        struct filter_allow *allow = calloc(2 * rules + 1, sizeof(*allow));
        struct storage *storage = calloc(rules + 1, sizeof(*storage));
        bool ok = allow != NULL && storage != NULL;
        for (size_t i = 0; ok && i < rules; i++) {
                if (nm->rules[i]->dst_count == 0) /* grants permit no packet */
                        continue;
                ok = translate(nm, nm->rules[i], &storage[stored++], &allow[count]) == ERR_NONE;
                count += 2;
        }
        add_local(&local, nm, prefs);
        add_jailed(&jailed, nm);
        struct filter_config c = {
                .allow = allow,
                .allow_count = count,
                .local = local.p,
                .local_count = local.count,
                .jailed = jailed.p,
                .jailed_count = jailed.count,
                .shields_up = prefs->shields_up,
        };
        add_services(c.services, nm, prefs);
        if (ok && !local.failed && !jailed.failed)
                f = filter_compile(&c);
        for (size_t i = 0; storage != NULL && i < stored; i++) {
                free(storage[i].srcs);
                free(storage[i].dsts);
        }
        free(storage);
        free(allow);
        free(local.p);
        free(jailed.p);
        return f;
}
