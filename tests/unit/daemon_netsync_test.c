#include "tests/unit/check.h"

#include <stdlib.h>

#include "base/crypto.h"
#include "daemon/netsync.h"
#include "tests/unit/tun_packets.h"

static struct prefix pfx(const char *s)
{
        struct prefix p;
        assert_int_equal(prefix_parse(s, &p), ERR_NONE);
        return p;
}

/* A node with two addresses, which also advertises a subnet, a default route and a prefix with host bits. */
struct node {
        struct netmap_node n;
        struct prefix addresses[2], allowed[6];
};

static void node_init(struct node *x, int64_t id, const char *ip4, const char *ip6)
{
        memset(x, 0, sizeof(*x));
        x->addresses[0] = x->allowed[0] = pfx(ip4);
        x->addresses[1] = x->allowed[1] = pfx(ip6);
        x->allowed[2] = pfx("192.168.7.0/24");
        x->allowed[3] = pfx("0.0.0.0/0");
        x->allowed[4] = pfx("::/0");
        x->allowed[5] = pfx("10.1.2.3/8");
        x->n.id = id;
        x->n.home_derp = 1;
        x->n.addresses = x->addresses;
        x->n.address_count = 2;
        x->n.allowed = x->allowed;
        x->n.allowed_count = 6;
        x->n.cap_map = id == 2 ? "{\"tailscale.com/cap/x\":null}" : "";
}

static void only_what_is_accepted_is_allowed(void **state)
{
        (void)state;
        static const struct {
                const char *prefix;
                bool plain, accepting;
        } rows[] = {
                {"100.64.0.2/32", true, true},
                {"fd7a:115c:a1e0::2/128", true, true},
                {"100.64.0.9/32", true, true},     /* a service address */
                {"192.168.7.0/24", false, true},
                {"192.168.7.1/32", false, true},
                {"0.0.0.0/0", false, false},
                {"::/0", false, false},
                {"10.1.2.3/8", false, false},
        };
        struct node x;
        node_init(&x, 2, "100.64.0.2", "fd7a:115c:a1e0::2");
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct netsync_prefs off = {0}, on = {.accept_routes = true};
                assert_int_equal(netsync_allows(&x.n, pfx(rows[i].prefix), &off), rows[i].plain);
                assert_int_equal(netsync_allows(&x.n, pfx(rows[i].prefix), &on), rows[i].accepting);
        }
}

/* An address is one address: a server that calls a network a node's address gets no more for it than for a route. */
static void a_network_is_nobodys_address(void **state)
{
        (void)state;
        struct node x;
        struct netsync_prefs off = {0}, on = {.accept_routes = true};
        node_init(&x, 2, "172.16.0.0/12", "::/0");
        assert_false(netsync_allows(&x.n, pfx("172.16.0.0/12"), &off));
        assert_true(netsync_allows(&x.n, pfx("172.16.0.0/12"), &on));
        assert_false(netsync_allows(&x.n, pfx("::/0"), &on));
        node_init(&x, 2, "198.51.100.7", "2001:db8::7");   /* but it may be anywhere */
        assert_true(netsync_allows(&x.n, pfx("198.51.100.7/32"), &off));
}

static void default_routes_are_the_exit_nodes_alone(void **state)
{
        (void)state;
        struct node a, b;
        node_init(&a, 2, "100.64.0.2", "fd7a:115c:a1e0::2");
        node_init(&b, 3, "100.64.0.3", "fd7a:115c:a1e0::3");
        struct netmap_node *peers[] = {&a.n, &b.n};
        struct netmap nm = {.peers = peers, .peer_count = 2};
        struct netsync_prefs sp = {.exit_node = 2};
        struct prefix *routes, *allowed;
        struct engine_peer p;
        size_t n;
        assert_true(netsync_allows(&a.n, pfx("0.0.0.0/0"), &sp) && netsync_allows(&a.n, pfx("::/0"), &sp));
        assert_false(netsync_allows(&b.n, pfx("0.0.0.0/0"), &sp) || netsync_allows(&b.n, pfx("::/0"), &sp));
        assert_false(netsync_allows(&a.n, pfx("192.168.7.0/24"), &sp));
        assert_int_equal(netsync_peer(&a.n, &sp, &p, &allowed), ERR_NONE);
        assert_int_equal(p.allowed_count, 4);
        free(allowed);
        a.n.expired = true;   /* nothing goes there, and nowhere else instead */
        assert_int_equal(netsync_peer(&a.n, &sp, &p, &allowed), ERR_NONE);
        assert_int_equal(p.allowed_count, 0);
        free(allowed);
        a.n.expired = false;
        /* The host's default routes do not depend on the exit node: they are not in this list. */
        assert_int_equal(netsync_routes(&nm, &sp, &routes, &n), ERR_NONE);
        for (size_t i = 0; i < n; i++)
                assert_int_not_equal(routes[i].bits, 0);
        free(routes);
        assert_true(netsync_offers_exit(&a.n));
        a.allowed[4] = pfx("10.0.0.0/8");
        assert_false(netsync_offers_exit(&a.n));
}

static void routes_that_are_left_are_noticed(void **state)
{
        (void)state;
        struct node x;
        struct netmap_node *peers[] = {&x.n};
        struct netmap nm = {.peers = peers, .peer_count = 1}, nobody = {0};
        struct netsync_prefs off = {0}, on = {.accept_routes = true};
        node_init(&x, 2, "100.64.0.2", "fd7a:115c:a1e0::2");
        assert_true(netsync_leaves_routes(&nm, &off));
        assert_false(netsync_leaves_routes(&nm, &on));
        assert_false(netsync_leaves_routes(&nobody, &off));
        x.n.expired = true;
        assert_false(netsync_leaves_routes(&nm, &off));
        x.n.expired = false;
        x.allowed[2] = pfx("100.64.0.9/32");   /* what is left then, default routes and host bits, is not accepted either way */
        assert_false(netsync_leaves_routes(&nm, &off));
}

static void a_peer_becomes_engine_configuration(void **state)
{
        (void)state;
        struct node x;
        node_init(&x, 2, "100.64.0.2", "fd7a:115c:a1e0::2");
        struct netsync_prefs sp = {.accept_routes = true};
        struct engine_peer p;
        struct prefix *allowed;
        assert_int_equal(netsync_peer(&x.n, &sp, &p, &allowed), ERR_NONE);
        assert_int_equal(p.node_id, 2);
        assert_int_equal(p.home_region, 1);
        assert_int_equal(p.allowed_count, 3);
        free(allowed);

        x.n.expired = true;   /* known, but nothing goes there */
        assert_int_equal(netsync_peer(&x.n, &sp, &p, &allowed), ERR_NONE);
        assert_true(p.expired);
        assert_int_equal(p.allowed_count, 0);
        free(allowed);

        x.n.expired = false;
        /* A newcomer that has only registered yet: it may speak to us, by whatever relay, the next moment. */
        x.n.home_derp = 0;
        x.n.disco = (struct disco_public){{0}};
        assert_int_equal(netsync_peer(&x.n, &sp, &p, &allowed), ERR_NONE);
        assert_int_equal(p.allowed_count, 3);
        free(allowed);
}

static void routes_are_one_each_and_one_for_ipv6(void **state)
{
        (void)state;
        struct node a, b, c;
        node_init(&a, 2, "100.64.0.2", "fd7a:115c:a1e0::2");
        node_init(&b, 3, "100.64.0.3", "fd7a:115c:a1e0::3");
        node_init(&c, 4, "100.64.0.4", "fd7a:115c:a1e0::4");
        c.n.expired = true;
        struct netmap_node *peers[] = {&a.n, &b.n, &c.n};
        struct netmap nm = {.peers = peers, .peer_count = 3};
        struct netsync_prefs sp = {0};
        struct prefix *routes;
        size_t n;
        assert_int_equal(netsync_routes(&nm, &sp, &routes, &n), ERR_NONE);
        assert_int_equal(n, 3);
        assert_true(prefix_eq(routes[0], pfx("100.64.0.2/32")));
        assert_true(prefix_eq(routes[1], pfx("100.64.0.3/32")));
        assert_true(prefix_eq(routes[2], pfx("fd7a:115c:a1e0::/48")));
        free(routes);
        nm.peer_count = 0;
        assert_int_equal(netsync_routes(&nm, &sp, &routes, &n), ERR_NONE);
        assert_int_equal(n, 0);
        free(routes);
        struct node self;
        node_init(&self, 1, "100.64.0.1", "fd7a:115c:a1e0::1");
        nm.self = &self.n;   /* DNS is answered even where no peer is */
        assert_int_equal(netsync_routes(&nm, &sp, &routes, &n), ERR_NONE);
        assert_int_equal(n, 2);
        assert_true(prefix_eq(routes[0], pfx("fd7a:115c:a1e0::/48")));
        assert_true(prefix_eq(routes[1], pfx("100.100.100.100/32")));
        free(routes);
}

static void the_filter_follows_rules_capabilities_and_shields(void **state)
{
        (void)state;
        struct node self, a, b;
        node_init(&self, 1, "100.64.0.1", "fd7a:115c:a1e0::1");
        node_init(&a, 2, "100.64.0.2", "fd7a:115c:a1e0::2");
        node_init(&b, 3, "100.64.0.3", "fd7a:115c:a1e0::3");
        struct netmap_node *peers[] = {&a.n, &b.n};
        static const char *const caps[] = {"tailscale.com/cap/x"};
        static const uint8_t tcp[] = {PROTO_TCP};
        struct ip_range any4 = {ip_v4(0, 0, 0, 0), ip_v4(255, 255, 255, 255)};
        struct filter_dst web = {any4, 80, 80}, ssh = {any4, 22, 22};
        struct filter_rule everybody = {.srcs = &any4, .src_count = 1, .dsts = &web, .dst_count = 1,
                .protos = tcp, .proto_count = 1};
        struct filter_rule capable = {.src_caps = caps, .src_cap_count = 1, .dsts = &ssh, .dst_count = 1,
                .protos = tcp, .proto_count = 1};
        struct filter_rule grant = {.srcs = &any4, .src_count = 1, .protos = tcp, .proto_count = 1};
        struct filter_rule *rules[] = {&everybody, &capable, &grant};
        struct netmap nm = {.self = &self.n, .peers = peers, .peer_count = 2, .rules = rules, .rule_count = 3};
        struct netsync_prefs sp = {0};
        struct filter_state *s = filter_state_new();
        struct filter *f = netsync_filter(&nm, &sp);
        const struct {
                struct test_packet p;
                enum filter_verdict want;
        } rows[] = {
                {tcp_packet("100.64.0.3", 1, "100.64.0.1", 80, TCP_SYN), FILTER_ACCEPT},
                {tcp_packet("100.64.0.2", 1, "100.64.0.1", 22, TCP_SYN), FILTER_ACCEPT},
                {tcp_packet("100.64.0.3", 1, "100.64.0.1", 22, TCP_SYN), FILTER_DROP_RULE},
                {tcp_packet("100.64.0.2", 1, "100.64.0.1", 23, TCP_SYN), FILTER_DROP_RULE},
                {tcp_packet("100.64.0.2", 1, "192.168.9.1", 80, TCP_SYN), FILTER_DROP_NOT_LOCAL},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                assert_int_equal(filter_in(f, s, rows[i].p.b, rows[i].p.len), rows[i].want);
        filter_free(f);
        sp.shields_up = true;
        f = netsync_filter(&nm, &sp);
        assert_int_equal(filter_in(f, s, rows[0].p.b, rows[0].p.len), FILTER_DROP_RULE);
        filter_free(f);
        filter_state_free(s);
}

int main(void)
{
        assert_int_equal(crypto_init(), ERR_NONE);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_what_is_accepted_is_allowed),
                cmocka_unit_test(a_network_is_nobodys_address),
                cmocka_unit_test(default_routes_are_the_exit_nodes_alone),
                cmocka_unit_test(routes_that_are_left_are_noticed),
                cmocka_unit_test(a_peer_becomes_engine_configuration),
                cmocka_unit_test(routes_are_one_each_and_one_for_ipv6),
                cmocka_unit_test(the_filter_follows_rules_capabilities_and_shields),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
