#include "tests/sim/oracle.h"

enum { PORTS_MANY = 20000 };   /* a hit by chance is out of the question */

/* What all boxes between a host and the core are together. */
struct outside {
        bool reachable;            /* UDP passes at all */
        enum nat_by mapping, filtering;
        bool by_chance;            /* of how the port comes out, or is hit by somebody who does not know it */
        bool foretold;             /* each port follows from the one before */
};

static enum nat_by stricter(enum nat_by a, enum nat_by b)
{
        return a > b ? a : b;
}

static int hosts_with_v4(const struct site *s)
{
        return s->lan_next - 2;
}

/* A NAT that preserves ports and counts flows by both ends gives a lone host the same port towards everybody. */
static void add_nat(struct outside *o, const struct site *s)
{
        const struct nat_conf *c = &s->nat.conf;
        if (!c->translates && !c->filters)
                return;
        o->filtering = stricter(o->filtering, stricter(c->filtering, c->mapping));
        if (!c->translates || c->mapping == NAT_ANY)
                return;
        if (c->ports == NAT_PRESERVE) {
                o->by_chance |= hosts_with_v4(s) > 1;
                return;
        }
        o->mapping = stricter(o->mapping, c->mapping);
        o->by_chance |= c->last - c->first < PORTS_MANY;
        o->foretold |= c->ports == NAT_NEXT;
}

static struct outside outside_v4(const struct host *h)
{
        struct outside o = {.reachable = ip_is_set(h->v4), .filtering = h->fw.conf.filters ? h->fw.conf.filtering : NAT_ANY};
        for (const struct site *s = h->site; s != NULL; s = s->up) {
                o.reachable &= !s->udp_blocked;
                add_nat(&o, s);
        }
        return o;
}

/* Nothing translates: the address is what the others know, and both sides' packets open what filters. */
static struct outside outside_v6(const struct host *h)
{
        struct outside o = {.reachable = ip_is_set(h->v6), .filtering = NAT_PORT};
        for (const struct site *s = h->site; s != NULL; s = s->up)
                o.reachable &= !s->udp_blocked;
        return o;
}

/* x's outer address is the same for all, and lets in what comes from y, to whose known address x sends as well. */
static bool can_be_reached(const struct outside *x, const struct outside *y)
{
        return x->mapping == NAT_ANY && (x->filtering != NAT_PORT || y->mapping == NAT_ANY);
}

static enum oracle_path between(const struct outside *x, const struct outside *y)
{
        if (!x->reachable || !y->reachable)
                return ORACLE_NO;
        bool luck = x->by_chance || y->by_chance;
        if (can_be_reached(x, y) || can_be_reached(y, x))
                return luck ? ORACLE_LUCK : ORACLE_YES;
        /* A hard NAT's ports are guessed, if the other side's is known, or does not matter to it. */
        luck |= x->foretold && y->foretold;
        luck |= x->mapping == NAT_ANY || y->mapping == NAT_ANY || x->filtering != NAT_PORT || y->filtering != NAT_PORT;
        return luck ? ORACLE_LUCK : ORACLE_FLUKE;
}

enum oracle_path oracle_path(const struct host *a, const struct host *b)
{
        const struct site *top = site_top(a->site);
        struct outside x = outside_v4(a), y = outside_v4(b);
        if (a->unplugged || b->unplugged)
                return ORACLE_NO;
        bool lan = a->site == b->site && a->site->nat.conf.translates && !a->site->isolates;
        if (lan && ip_is_set(a->v4) && ip_is_set(b->v4))
                return ORACLE_YES;
        if (net_is_cut(top, site_top(b->site)))
                return ORACLE_NO;
        enum oracle_path v4 = between(&x, &y);
        if (top == site_top(b->site) && top->nat.conf.translates && !top->nat.conf.hairpin)
                v4 = ORACLE_NO;
        struct outside x6 = outside_v6(a), y6 = outside_v6(b);
        enum oracle_path v6 = between(&x6, &y6);
        return v4 > v6 ? v4 : v6;
}

const char *oracle_str(enum oracle_path p)
{
        static const char *const word[] = {
                [ORACLE_NO] = "no direct path",
                [ORACLE_FLUKE] = "no direct path but by a fluke",
                [ORACLE_LUCK] = "perhaps a direct path",
                [ORACLE_YES] = "a direct path",
        };
        return word[p];
}
