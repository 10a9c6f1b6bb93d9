#include "tun/rules.h"

#include <stdlib.h>
#include <string.h>

#include "tun/cover.h"

struct protos {
        uint64_t bit[4];
};

/* A stretch of ports at a destination that a set of sources may reach. */
struct target {
        uint32_t set;
        uint8_t how;          /* enum rules_match */
        uint16_t first, last; /* ports; all of them unless RULES_PORTS */
};

struct axis {
        struct cover *srcs, *dsts;
        uint32_t *sets;         /* in the order of srcs' list */
        struct target *targets; /* in the order of dsts' list; by set, how, port within one prefix */
        size_t set_entries, target_entries;
};

struct rules {
        struct axis axis[2];   /* IPv4, IPv6 */
        struct protos *protos; /* of each set */
        size_t set_count;
};

/* ---- compiling: sets ---- */

struct source { /* the sources of one rule: sorted, apart from one another */
        struct filter_range *ranges;
        size_t count;
        struct protos protos;
        uint64_t hash;
        uint32_t rule, set;
};

static int range_cmp(const void *a, const void *b)
{
        const struct filter_range *x = a, *y = b;
        int c = ip_cmp(x->first, y->first);
        return c != 0 ? c : ip_cmp(x->last, y->last);
}

static bool touches(struct ip last, struct ip next)
{
        for (size_t i = ip_bits(last) / 8; i-- > 0 && ++last.b[i] == 0;)
                ;
        return ip_cmp(next, last) <= 0;
}

/* Sorts and joins what overlaps or touches; returns how many are left. */
static size_t join_ranges(struct filter_range *r, size_t n)
{
        size_t out = 0;
        qsort(r, n, sizeof(*r), range_cmp);
        for (size_t i = 0; i < n; i++) {
                struct filter_range *prev = out > 0 ? &r[out - 1] : NULL;
                if (prev != NULL && prev->last.family == r[i].first.family &&
                    (ip_cmp(r[i].first, prev->last) <= 0 || touches(prev->last, r[i].first))) {
                        if (ip_cmp(r[i].last, prev->last) > 0)
                                prev->last = r[i].last;
                } else {
                        r[out++] = r[i];
                }
        }
        return out;
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
        const uint8_t *b = p;
        for (size_t i = 0; i < n; i++)
                h = (h ^ b[i]) * UINT64_C(0x100000001b3);
        return h;
}

static bool is_range(const struct filter_range *r)
{
        return ip_is_set(r->first) && r->first.family == r->last.family && ip_cmp(r->first, r->last) <= 0;
}

static void read_sources(struct source *s, const struct filter_allow *a, struct filter_range *room)
{
        for (size_t i = 0; i < a->src_count; i++)
                if (is_range(&a->srcs[i]))
                        room[s->count++] = a->srcs[i];
        s->ranges = room;
        s->count = join_ranges(room, s->count);
        for (size_t i = 0; i < a->proto_count; i++)
                s->protos.bit[a->protos[i] / 64] |= UINT64_C(1) << (a->protos[i] % 64);
        s->hash = hash_bytes(UINT64_C(0xcbf29ce484222325), &s->protos, sizeof(s->protos));
        s->hash = hash_bytes(s->hash, s->ranges, s->count * sizeof(*s->ranges));
}

static int by_hash(const void *a, const void *b)
{
        const struct source *x = a, *y = b;
        return (x->hash > y->hash) - (x->hash < y->hash);
}

static int by_rule(const void *a, const void *b)
{
        const struct source *x = a, *y = b;
        return (x->rule > y->rule) - (x->rule < y->rule);
}

static bool same_source(const struct source *a, const struct source *b)
{
        return a->hash == b->hash && a->count == b->count &&
               memcmp(&a->protos, &b->protos, sizeof(a->protos)) == 0 &&
               memcmp(a->ranges, b->ranges, a->count * sizeof(*a->ranges)) == 0;
}

/* Numbers the sets; rules of one set get the same number and all but the first lose their ranges.  Two of a hash
 * that differ may part equal ones, which costs memory and nothing else. */
static enum err number_sets(struct rules *r, struct source *s, size_t n)
{
        struct source last = {.count = 0};
        r->protos = calloc(n + 1, sizeof(*r->protos));
        if (r->protos == NULL)
                return ERR_FULL;
        qsort(s, n, sizeof(*s), by_hash);
        for (size_t i = 0; i < n; i++) {
                if (i > 0 && same_source(&last, &s[i])) {
                        s[i].set = last.set;
                        s[i].count = 0;
                        continue;
                }
                s[i].set = (uint32_t)r->set_count;
                r->protos[r->set_count++] = s[i].protos;
                last = s[i];
        }
        qsort(s, n, sizeof(*s), by_rule);
        return ERR_NONE;
}

/* ---- compiling: lists ---- */

struct entry {
        struct prefix prefix;
        struct target target; /* of a source: the set alone */
};

struct list {
        struct entry *e;
        size_t count, room;
};

static enum err add(struct list *l, struct ip first, struct ip last, struct target t)
{
        struct prefix p[COVER_SPLIT_MAX];
        size_t n = cover_split(first, last, p);
        if (l->count + n > l->room) {
                size_t room = l->room * 2 + n + 64;
                struct entry *e = reallocarray(l->e, room, sizeof(*e));
                if (e == NULL)
                        return ERR_FULL;
                l->e = e;
                l->room = room;
        }
        for (size_t i = 0; i < n; i++)
                l->e[l->count++] = (struct entry){p[i], t};
        return ERR_NONE;
}

static int target_cmp(const struct target *a, const struct target *b)
{
        if (a->set != b->set)
                return a->set < b->set ? -1 : 1;
        if (a->how != b->how)
                return a->how < b->how ? -1 : 1;
        return (a->first > b->first) - (a->first < b->first);
}

static int entry_cmp(const void *a, const void *b)
{
        const struct entry *x = a, *y = b;
        int c = cover_prefix_cmp(x->prefix, y->prefix);
        return c != 0 ? c : target_cmp(&x->target, &y->target);
}

/* Sorts; stretches of ports of one prefix and set that overlap or touch become one. */
static void order(struct list *l)
{
        size_t out = 0;
        if (l->count == 0)
                return;
        qsort(l->e, l->count, sizeof(*l->e), entry_cmp);
        for (size_t i = 0; i < l->count; i++) {
                struct entry *prev = out > 0 ? &l->e[out - 1] : NULL, *e = &l->e[i];
                if (prev != NULL && prefix_eq(prev->prefix, e->prefix) && prev->target.set == e->target.set &&
                    prev->target.how == e->target.how && e->target.first <= prev->target.last + 1) {
                        if (e->target.last > prev->target.last)
                                prev->target.last = e->target.last;
                } else {
                        l->e[out++] = *e;
                }
        }
        l->count = out;
}

static struct cover *cover_of(const struct list *l)
{
        struct prefix *p = malloc((l->count + 1) * sizeof(*p));
        if (p == NULL)
                return NULL;
        for (size_t i = 0; i < l->count; i++)
                p[i] = l->e[i].prefix;
        struct cover *c = cover_new(p, l->count);
        free(p);
        return c;
}

static bool has_proto(const struct protos *p, uint8_t proto)
{
        return (p->bit[proto / 64] >> (proto % 64)) & 1;
}

static bool has_any(const struct protos *p, bool with_ports)
{
        struct protos rest = *p;
        bool ports = has_proto(p, PROTO_TCP) || has_proto(p, PROTO_UDP) || has_proto(p, PROTO_SCTP);
        if (with_ports)
                return ports;
        static const uint8_t others[] = {PROTO_TCP,  PROTO_UDP,    PROTO_SCTP,
                                         PROTO_ICMP, PROTO_ICMPV6, PROTO_TSMP};
        for (size_t i = 0; i < sizeof(others); i++)
                rest.bit[others[i] / 64] &= ~(UINT64_C(1) << (others[i] % 64));
        return (rest.bit[0] | rest.bit[1] | rest.bit[2] | rest.bit[3]) != 0;
}

static enum err list_dst(struct list lists[2], const struct filter_ports *d, const struct source *s)
{
        struct list *l = &lists[d->dst.first.family == IP_V6];
        bool whole = d->first == 0 && d->last == UINT16_MAX;
        struct target t = {s->set, RULES_ADDRESSES, 0, UINT16_MAX};
        if (!is_range(&d->dst) || d->first > d->last)
                return ERR_NONE;
        enum err e = add(l, d->dst.first, d->dst.last, t);
        if (e == ERR_NONE && whole && has_any(&s->protos, false)) {
                t.how = RULES_WHOLE;
                e = add(l, d->dst.first, d->dst.last, t);
        }
        if (e == ERR_NONE && has_any(&s->protos, true))
                e = add(l, d->dst.first, d->dst.last,
                        (struct target){s->set, RULES_PORTS, d->first, d->last});
        return e;
}

static enum err list_all(struct list srcs[2], struct list dsts[2], const struct filter_allow *allow,
                         const struct source *s, size_t n)
{
        enum err e = ERR_NONE;
        for (size_t i = 0; i < n; i++) {
                struct target set = {.set = s[i].set};
                for (size_t k = 0; k < s[i].count && e == ERR_NONE; k++)
                        e = add(&srcs[s[i].ranges[k].first.family == IP_V6], s[i].ranges[k].first,
                                s[i].ranges[k].last, set);
                for (size_t k = 0; k < allow[i].dst_count && e == ERR_NONE; k++)
                        e = list_dst(dsts, &allow[i].dsts[k], &s[i]);
        }
        return e;
}

static enum err fill_axis(struct axis *a, struct list *srcs, struct list *dsts)
{
        order(srcs);
        order(dsts);
        a->srcs = cover_of(srcs);
        a->dsts = cover_of(dsts);
        a->sets = malloc((srcs->count + 1) * sizeof(*a->sets));
        a->targets = malloc((dsts->count + 1) * sizeof(*a->targets));
        if (a->srcs == NULL || a->dsts == NULL || a->sets == NULL || a->targets == NULL)
                return ERR_FULL;
        for (size_t i = 0; i < srcs->count; i++)
                a->sets[i] = srcs->e[i].target.set;
        for (size_t i = 0; i < dsts->count; i++)
                a->targets[i] = dsts->e[i].target;
        a->set_entries = srcs->count;
        a->target_entries = dsts->count;
        return ERR_NONE;
}

static enum err compile(struct rules *r, const struct filter_allow *allow, struct source *s, size_t n,
                        struct filter_range *room)
{
        struct list srcs[2] = {{0}}, dsts[2] = {{0}};
        for (size_t i = 0; i < n; i++) {
                s[i].rule = (uint32_t)i;
                read_sources(&s[i], &allow[i], room);
                room += allow[i].src_count;
        }
        enum err e = number_sets(r, s, n);
        if (e == ERR_NONE)
                e = list_all(srcs, dsts, allow, s, n);
        for (size_t i = 0; i < 2; i++) {
                if (e == ERR_NONE)
                        e = fill_axis(&r->axis[i], &srcs[i], &dsts[i]);
                free(srcs[i].e);
                free(dsts[i].e);
        }
        return e;
}

struct rules *rules_new(const struct filter_allow *allow, size_t n)
{
        size_t ranges = 0;
        for (size_t i = 0; i < n; i++)
                ranges += allow[i].src_count;
        struct rules *r = calloc(1, sizeof(*r));
        struct source *s = calloc(n + 1, sizeof(*s));
        struct filter_range *room = calloc(ranges + 1, sizeof(*room));
        enum err e = r != NULL && s != NULL && room != NULL ? compile(r, allow, s, n, room) : ERR_FULL;
        free(s);
        free(room);
        if (e == ERR_NONE)
                return r;
        rules_free(r);
        return NULL;
}

void rules_free(struct rules *r)
{
        if (r == NULL)
                return;
        for (size_t i = 0; i < 2; i++) {
                cover_free(r->axis[i].srcs);
                cover_free(r->axis[i].dsts);
                free(r->axis[i].sets);
                free(r->axis[i].targets);
        }
        free(r->protos);
        free(r);
}

size_t rules_bytes(const struct rules *r)
{
        size_t n = sizeof(*r) + r->set_count * sizeof(*r->protos);
        for (size_t i = 0; i < 2; i++) {
                const struct axis *a = &r->axis[i];
                n += cover_bytes(a->srcs) + cover_bytes(a->dsts) + a->set_entries * sizeof(*a->sets) +
                     a->target_entries * sizeof(*a->targets);
        }
        return n;
}

/* ---- looking up ---- */

struct question {
        enum rules_match how;
        uint8_t proto;
        uint16_t port;
};

static bool set_fits(const struct rules *r, uint32_t set, const struct question *q)
{
        return q->how == RULES_ADDRESSES || has_proto(&r->protos[set], q->proto);
}

static bool has_set(const uint32_t *sets, size_t n, uint32_t set)
{
        while (n > 1) {
                size_t half = n / 2;
                if (sets[half] <= set)
                        sets += half;
                n -= half;
        }
        return n == 1 && *sets == set;
}

static bool has_target(const struct target *t, size_t n, uint32_t set, const struct question *q)
{
        struct target want = {.set = set, .how = (uint8_t)q->how, .first = q->port};
        while (n > 1) {
                size_t half = n / 2;
                if (target_cmp(&t[half], &want) <= 0)
                        t += half;
                n -= half;
        }
        return n == 1 && t->set == set && t->how == want.how && t->first <= q->port && q->port <= t->last;
}

static bool meet(const struct rules *r, const struct axis *a, const struct cover_node *src,
                 const struct cover_node *dst, const struct question *q)
{
        const uint32_t *sets = a->sets + src->begin;
        const struct target *t = a->targets + dst->begin;
        size_t set_count = src->end - src->begin, target_count = dst->end - dst->begin;
        if (set_count <= target_count) {
                for (size_t i = 0; i < set_count; i++)
                        if (set_fits(r, sets[i], q) && has_target(t, target_count, sets[i], q))
                                return true;
                return false;
        }
        for (size_t i = 0; i < target_count; i++)
                if (t[i].how == q->how && t[i].first <= q->port && q->port <= t[i].last &&
                    set_fits(r, t[i].set, q) && has_set(sets, set_count, t[i].set))
                        return true;
        return false;
}

bool rules_allow(const struct rules *r, const struct packet *p, enum rules_match how)
{
        const struct axis *a = &r->axis[p->version == 6];
        struct question q = {how, p->proto, how == RULES_PORTS ? p->dst_port : 0};
        uint32_t narrowest = cover_find(a->dsts, p->dst);
        for (uint32_t s = cover_find(a->srcs, p->src); s != COVER_NONE; s = cover_node(a->srcs, s)->parent)
                for (uint32_t d = narrowest; d != COVER_NONE; d = cover_node(a->dsts, d)->parent)
                        if (meet(r, a, cover_node(a->srcs, s), cover_node(a->dsts, d), &q))
                                return true;
        return false;
}
