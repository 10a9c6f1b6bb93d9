#include "tun/cover.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 129 }; /* prefixes inside one another: one a length */

/* starts cuts the address space into stretches: from starts[i] on, owners[i] is the narrowest prefix. */
struct cover {
        size_t width; /* bytes an address: 4 or 16 */
        size_t start_count, node_count;
        uint8_t *starts;  /* ascending, width bytes each; the first is all zero */
        uint32_t *owners; /* a node or COVER_NONE */
        struct cover_node *nodes;
};

static struct ip last_of(struct prefix p)
{
        size_t whole = p.bits / 8, bytes = ip_bits(p.ip) / 8;
        if (whole < bytes) {
                p.ip.b[whole] |= (uint8_t)(0xff >> p.bits % 8);
                memset(p.ip.b + whole + 1, 0xff, bytes - whole - 1);
        }
        return p.ip;
}

/* False: there is no next one. */
static bool successor(struct ip *ip)
{
        for (size_t i = ip_bits(*ip) / 8; i-- > 0;)
                if (++ip->b[i] != 0)
                        return true;
        return false;
}

int cover_prefix_cmp(struct prefix a, struct prefix b)
{
        int c = ip_cmp(a.ip, b.ip);
        return c != 0 ? c : (a.bits > b.bits) - (a.bits < b.bits);
}

/* From here on the owner is another one; what began here before covers nothing and goes. */
static void cut(struct cover *c, struct ip at, uint32_t owner)
{
        uint8_t *last = c->start_count > 0 ? c->starts + (c->start_count - 1) * c->width : NULL;
        if (last == NULL || memcmp(last, at.b, c->width) != 0) {
                memcpy(c->starts + c->start_count * c->width, at.b, c->width);
                c->start_count++;
        }
        c->owners[c->start_count - 1] = owner;
}

/* Prefixes on the way from the widest to the one we are in. */
struct open {
        struct ip last[DEPTH_MAX];
        uint32_t node[DEPTH_MAX];
        size_t depth;
};

static uint32_t innermost(const struct open *o)
{
        return o->depth > 0 ? o->node[o->depth - 1] : COVER_NONE;
}

/* Leaves the prefixes that end before `next`; all of them if NULL. */
static void leave(struct cover *c, struct open *o, const struct ip *next)
{
        while (o->depth > 0 && (next == NULL || ip_cmp(o->last[o->depth - 1], *next) < 0)) {
                struct ip after = o->last[--o->depth];
                if (successor(&after))
                        cut(c, after, innermost(o));
        }
}

static void build(struct cover *c, const struct prefix *p, size_t n)
{
        struct open o = {.depth = 0};
        cut(c, (struct ip){.family = p[0].ip.family}, COVER_NONE);
        for (size_t i = 0; i < n;) {
                struct cover_node *node = &c->nodes[c->node_count];
                leave(c, &o, &p[i].ip);
                node->parent = innermost(&o);
                node->begin = (uint32_t)i;
                cut(c, p[i].ip, (uint32_t)c->node_count);
                o.last[o.depth] = last_of(p[i]);
                o.node[o.depth++] = (uint32_t)c->node_count++;
                do
                        i++;
                while (i < n && prefix_eq(p[i], p[i - 1]));
                node->end = (uint32_t)i;
        }
        leave(c, &o, NULL);
}

struct cover *cover_new(const struct prefix *p, size_t n)
{
        struct cover *c = n < UINT32_MAX / 4 ? calloc(1, sizeof(*c)) : NULL;
        size_t distinct = 1;
        if (c == NULL || n == 0)
                return c;
        for (size_t i = 1; i < n; i++)
                distinct += !prefix_eq(p[i], p[i - 1]);
        c->width = p[0].ip.family == IP_V4 ? 4 : 16;
        c->starts = malloc((2 * distinct + 1) * c->width);
        c->owners = malloc((2 * distinct + 1) * sizeof(*c->owners));
        c->nodes = malloc(distinct * sizeof(*c->nodes));
        if (c->starts == NULL || c->owners == NULL || c->nodes == NULL) {
                cover_free(c);
                return NULL;
        }
        build(c, p, n);
        return c;
}

void cover_free(struct cover *c)
{
        if (c == NULL)
                return;
        free(c->starts);
        free(c->owners);
        free(c->nodes);
        free(c);
}

/* The width is a constant where this is called, so that the comparison is one of words. */
static inline __attribute__((always_inline)) uint32_t find(const struct cover *c, const uint8_t *ip,
                                                           size_t width)
{
        size_t low = 0, n = c->start_count;
        while (n > 1) {
                size_t half = n / 2;
                if (memcmp(c->starts + (low + half) * width, ip, width) <= 0)
                        low += half;
                n -= half;
        }
        return c->owners[low];
}

uint32_t cover_find(const struct cover *c, const uint8_t *ip)
{
        if (c->start_count == 0)
                return COVER_NONE;
        return c->width == 4 ? find(c, ip, 4) : find(c, ip, 16);
}

const struct cover_node *cover_node(const struct cover *c, uint32_t node)
{
        return &c->nodes[node];
}

size_t cover_bytes(const struct cover *c)
{
        return sizeof(*c) + c->start_count * (c->width + sizeof(*c->owners)) +
               c->node_count * sizeof(*c->nodes);
}

static size_t split(struct prefix p, struct ip first, struct ip last, struct prefix *out)
{
        struct ip end = last_of(p);
        if (ip_cmp(end, first) < 0 || ip_cmp(last, p.ip) < 0)
                return 0;
        if (ip_cmp(first, p.ip) <= 0 && ip_cmp(end, last) <= 0) {
                *out = p;
                return 1;
        }
        struct prefix upper = {p.ip, (uint8_t)(p.bits + 1)}, lower = upper;
        upper.ip.b[p.bits / 8] |= (uint8_t)(0x80 >> p.bits % 8);
        size_t n = split(lower, first, last, out);
        return n + split(upper, first, last, out + n);
}

size_t cover_split(struct ip first, struct ip last, struct prefix out[COVER_SPLIT_MAX])
{
        /* What both ends have in common is the narrowest prefix that has them all. */
        struct prefix all = {first, 0};
        while (all.bits < ip_bits(first) &&
               ((first.b[all.bits / 8] ^ last.b[all.bits / 8]) & (0x80 >> all.bits % 8)) == 0)
                all.bits++;
        return split(prefix_masked(all), first, last, out);
}
