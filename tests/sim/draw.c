#include "tests/sim/draw.h"

#include <stdio.h>

#include "tests/sim/faults.h"
#include "tests/sim/flow.h"
#include "tests/sim/relay.h"
#include "tests/sim/trace.h"

static struct link draw_link(struct rng *r, int64_t most_ms, bool lossy)
{
        struct link l = {.delay_ns = rng_in(r, 100, most_ms * 1000) * NS_PER_US, .mtu = (size_t)rng_in(r, 1360, 1500)};
        if (rng_chance(r, 0.5))
                l.jitter_ns = rng_in(r, 0, l.delay_ns / 4 + 1);
        if (lossy) {
                l.loss = (double)rng_in(r, 1, 20) / 1000;
                l.reorder = 0.02;
                l.duplicate = 0.01;
        }
        return l;
}

static struct nat_conf draw_nat(struct rng *r)
{
        enum { OPEN, FIREWALL, CONE, ADDRESS, PORT, CONNTRACK, HARD, HARD_NEXT, HARD_ADDRESS };
        static const int weights[] = {2, 2, 2, 2, 6, 4, 3, 1, 1, -1};
        struct nat_conf c = {.translates = true, .filters = true, .filtering = NAT_PORT, .ports = NAT_RANDOM, .first = 1024,
                .last = 65535, .timeout_ns = rng_in(r, 25, 180) * NS_PER_SEC, .inbound_refreshes = rng_chance(r, 0.5),
                .hairpin = rng_chance(r, 0.4)};
        int kind = rng_pick(r, weights);
        if (rng_chance(r, 0.5))
                c.ports = NAT_PRESERVE;
        switch (kind) {
        case OPEN:
                c.filters = false;
                c.translates = false;
                break;
        case FIREWALL:
                c.translates = false;
                break;
        case CONE:
                c.filtering = NAT_ANY;
                break;
        case ADDRESS:
                c.filtering = NAT_ADDRESS;
                break;
        case PORT:
                break;
        case CONNTRACK:
                c.mapping = NAT_PORT;
                c.ports = NAT_PRESERVE;
                break;
        case HARD_NEXT:
                c.mapping = NAT_PORT;
                c.ports = NAT_NEXT;
                break;
        case HARD_ADDRESS:
                c.mapping = c.filtering = NAT_ADDRESS;
                c.ports = NAT_RANDOM;
                break;
        default:
                c.mapping = NAT_PORT;
                c.ports = NAT_RANDOM;
                break;
        }
        if (c.translates && rng_chance(r, 0.1)) {   /* a carrier's block of ports */
                c.first = (uint16_t)rng_in(r, 1024, 60000);
                c.last = (uint16_t)(c.first + rng_in(r, 100, 2000));
                if (c.ports == NAT_PRESERVE)
                        c.ports = NAT_RANDOM;
        }
        return c;
}

static struct nat_conf draw_firewall(struct rng *r, double p)
{
        return (struct nat_conf){.filters = rng_chance(r, p), .filtering = NAT_PORT, .first = 1, .last = 65535,
                .timeout_ns = rng_in(r, 25, 180) * NS_PER_SEC, .inbound_refreshes = true};
}

static struct site *draw_site(struct rng *r, struct site *up, bool lossy)
{
        struct nat_conf nat = draw_nat(r), nat6 = draw_firewall(r, 0.7);
        struct link l = draw_link(r, rng_chance(r, 0.2) ? 80 : 20, lossy);
        if (up != NULL)
                nat.translates = nat.filters = true;
        struct site *s = net_site(up, &l, &nat, &nat6);
        s->udp_blocked = rng_chance(r, 0.05);
        s->isolates = rng_chance(r, 0.2);
        return s;
}

static struct site *draw_carrier(struct rng *r, bool lossy)
{
        struct nat_conf nat = draw_nat(r), none = {.filters = false};
        struct link l = draw_link(r, 10, lossy);
        nat.translates = nat.filters = true;
        return net_site(NULL, &l, &nat, &none);
}

/* One of the sites is its. */
static void draw_node(struct rng *r, const char *name, struct site *const *sites, int site_count, bool late)
{
        struct nat_conf fw = draw_firewall(r, 0.3);
        struct link l = draw_link(r, 4, false);
        bool v6 = rng_chance(r, 0.3), v4 = !v6 || rng_chance(r, 0.8);
        struct host *h = net_host(name, sites[rng_in(r, 0, site_count - 1)], v4, v6, &fw, &l);
        h->clock_offset = rng_in(r, 1, 1000000) * NS_PER_MS;
        h->wall_offset = rng_in(r, -3600, 3600) * NS_PER_SEC;
        int64_t hear_ms = rng_in(r, 5, rng_chance(r, 0.1) ? 5000 : 300), tell_ms = rng_in(r, 5, 200);
        struct node *n = node_add(h, tell_ms, hear_ms);
        if (!late)
                node_start(n);
}

static void draw_flow(struct rng *r, int a, int b, int64_t least_ms)
{
        bool answered = rng_chance(r, 0.7);
        size_t bytes = (size_t)rng_in(r, 60, 1280);
        struct flow *f = flow_add(node_at(a), node_at(b), rng_in(r, least_ms, 900), bytes, answered);
        f->from = mono_add_ms(clock_now(), rng_in(r, 8000, 12000));
}

/* When nobody sends; returns when that is over. */
static mono_t draw_idle(struct rng *r, mono_t from, struct plan *ret)
{
        if (!rng_chance(r, 0.25))
                return from;
        ret->idle_from = from;
        ret->idle_until = mono_add_ms(from, rng_in(r, 95000, 240000));
        flows_pause(ret->idle_from, ret->idle_until);
        return ret->idle_until;
}

static void draw_faults(struct rng *r, int wanted, mono_t from, struct plan *ret)
{
        ret->calm = wanted == 0;
        ret->quiet_from = mono_add_ms(from, wanted > 0 ? rng_in(r, 8000, 60000) : -3000);
        faults_draw(r, wanted, from, ret->quiet_from);
}

void draw_world(struct rng *r, struct plan *ret)
{
        struct site *sites[8], *carrier = NULL;
        bool lossy = rng_chance(r, 0.25);
        int regions = rng_chance(r, 0.5) ? 1 : (int)rng_in(r, 2, 4), nodes = rng_chance(r, 0.5) ? 2 : (int)rng_in(r, 2, 6);
        int site_count = (int)rng_in(r, 1, nodes < 3 ? 3 : nodes);
        for (int i = 0; i < regions; i++)
                (void)relay_add(1 + i);
        if (rng_chance(r, 0.15))
                carrier = draw_carrier(r, lossy);
        for (int i = 0; i < site_count; i++)
                sites[i] = draw_site(r, carrier != NULL && rng_chance(r, 0.6) ? carrier : NULL, lossy);
        for (int i = 0; i < nodes; i++) {
                char name[8];
                snprintf(name, sizeof(name), "%c", 'A' + i);
                draw_node(r, name, sites, site_count, false);
        }
        int flows = (int)rng_in(r, 1, nodes);
        for (int i = 0; i < flows; i++) {
                int a = (int)rng_in(r, 0, nodes - 1), b = (a + (int)rng_in(r, 1, nodes - 1)) % nodes;
                draw_flow(r, a, b, 50);
        }
        mono_t settled = draw_idle(r, mono_add_ms(clock_now(), 15000), ret);
        if (rng_chance(r, 0.05)) {
                ret->quiet_from = mono_add_ms(settled, 5000);
                ret->calm = false;
                faults_draw_strangers(r, settled);
        } else {
                draw_faults(r, rng_chance(r, 0.4) ? 0 : (int)rng_in(r, 1, 4), settled, ret);
        }
        if (ret->calm && regions > 1 && rng_chance(r, 0.3)) {
                ret->calm = false;
                ret->quiet_from = mono_add_ms(settled, 35000);
                faults_draw_near(r, settled);
        }
}

/* Half of what is sent goes to or from a few, as servers are. */
void draw_crowd(struct rng *r, struct plan *ret)
{
        enum { SITES_MAX = 200, CARRIERS = 3, SERVERS = 3 };
        struct site *sites[SITES_MAX], *carriers[CARRIERS];
        bool lossy = rng_chance(r, 0.1);
        int nodes = (int)rng_in(r, 100, 400), site_count = (int)rng_in(r, nodes / 8, nodes / 2), late = (int)rng_in(r, 0, nodes / 10);
        int regions = (int)rng_in(r, 2, 6), flows = (int)rng_in(r, 8, 24);
        for (int i = 0; i < regions; i++)
                (void)relay_add(1 + i);
        for (int i = 0; i < CARRIERS; i++)
                carriers[i] = draw_carrier(r, lossy);
        for (int i = 0; i < site_count; i++) {
                struct site *up = rng_chance(r, 0.2) ? carriers[rng_in(r, 0, CARRIERS - 1)] : NULL;
                sites[i] = draw_site(r, up, lossy);
        }
        for (int i = 0; i < nodes; i++) {
                char name[8];
                snprintf(name, sizeof(name), "n%d", i % 1000);
                draw_node(r, name, sites, site_count, i >= nodes - late);
        }
        for (int i = 0; i < flows; i++) {
                int here = nodes - late, a = (int)rng_in(r, 0, (rng_chance(r, 0.5) ? SERVERS : here) - 1);
                draw_flow(r, a, (a + (int)rng_in(r, 1, here - 1)) % here, 300);
        }
        mono_t settled = draw_idle(r, mono_add_ms(clock_now(), 15000), ret);
        for (int i = nodes - late; i < nodes; i++)
                faults_draw_newcomer(r, node_at(i), settled, mono_add_ms(settled, 8000));
        draw_faults(r, rng_chance(r, 0.3) ? 0 : (int)rng_in(r, 5, 40), settled, ret);
}
