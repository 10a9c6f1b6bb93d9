/* Peers that come, go and change one at a time, against everything compiled anew. */
#include "daemon/dns/config.h"

#include "base/json.h"
#include "tests/unit/check.h"

enum { NODES = 24 };

struct world {
        char names[NODES][64];
        struct prefix addresses[NODES][2];
        struct dns_node nodes[NODES];
        bool there[NODES];
        struct prefix own[1];
        struct dns_node self;
        json_t *map;
        struct dns_os_config base;
};

static uint32_t seed = 1;

static uint32_t draw(uint32_t n)
{
        seed = seed * 1664525u + 1013904223u;
        return (seed >> 8) % n;
}

/* Names and addresses out of few, so that some are shared; now and then below another suffix, or none. */
static void redraw(struct world *w, size_t i, bool rich)
{
        static const char *const suffixes[] = {"mesh.example.", "other.example.", ".."};
        uint32_t span = rich ? 1000 : NODES;
        snprintf(w->names[i], sizeof(w->names[i]), "n%u.%s", (unsigned)draw(span), suffixes[draw(12) > 0 ? 0 : 1 + draw(2)]);
        for (uint8_t k = 0; k < 2; k++) {
                uint8_t host = (uint8_t)(1 + draw(rich ? 250 : NODES));
                w->addresses[i][k] = k == 0 ? (struct prefix){{IP_V4, {100, 64, (uint8_t)(rich ? i : 0), host}}, 32}
                        : (struct prefix){{IP_V6, {0xfd, 0x7a, [14] = (uint8_t)(rich ? i : 0), [15] = host}}, 128};
        }
        w->nodes[i] = (struct dns_node){.name = w->names[i], .addresses = w->addresses[i], .address_count = 1 + draw(2),
                .subdomains = draw(8) == 0};
}

static void world_init(struct world *w, const char *map, bool rich)
{
        memset(w, 0, sizeof(*w));
        w->map = json_parse(map, strlen(map));
        assert_true(dns_os_config_add_server(&w->base, ip_v4(192, 0, 2, 53)));
        w->own[0] = (struct prefix){{IP_V4, {100, 64, 255, 1}}, 32};
        w->self = (struct dns_node){.name = "self.mesh.example.", .addresses = w->own, .address_count = 1};
        for (size_t i = 0; i < NODES; i++) {
                w->there[i] = draw(2) == 0;
                redraw(w, i, rich);
        }
}

static struct dns_input input(const struct world *w)
{
        return (struct dns_input){.map = w->map, .self = &w->self, .suffix = "mesh.example", .accept_dns = true,
                .os_split = true, .base = &w->base};
}

static struct dns_config *whole(const struct world *w, struct dns_os_config *os)
{
        struct dns_node peers[NODES];
        struct dns_input in = input(w);
        for (size_t i = 0; i < NODES; i++)
                if (w->there[i])
                        peers[in.peer_count++] = w->nodes[i];
        in.peers = peers;
        struct dns_config *c = dns_compile(&in, os);
        assert_non_null(c);
        return c;
}

static void same_host(const struct dns_config *a, const struct dns_config *b, const char *text)
{
        struct dns_name n;
        if (dns_name_parse(text, &n) != ERR_NONE)
                return;
        const struct dns_host *x = dns_config_host(a, &n), *y = dns_config_host(b, &n);
        assert_int_equal(x != NULL, y != NULL);
        if (x != NULL) {
                assert_true(ip_eq(x->first, y->first) && ip_eq(x->v4, y->v4) && ip_eq(x->v6, y->v6));
                assert_int_equal(x->subdomains, y->subdomains);
        }
}

static void same_address(const struct dns_config *a, const struct dns_config *b, struct ip ip)
{
        struct dns_name x, y;
        bool has = dns_config_name_of(a, ip, &x);
        assert_int_equal(has, dns_config_name_of(b, ip, &y));
        if (has)
                assert_true(dns_name_eq(&x, &y));
}

/* Of the names and addresses of all there ever were in the last changes. */
static void same(const struct world *w, const struct dns_config *a, const struct dns_config *b)
{
        for (size_t i = 0; i < NODES; i++) {
                char bare[64];
                snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(w->names[i], "."), w->names[i]);
                same_host(a, b, w->names[i]);
                same_host(a, b, bare);
                for (size_t k = 0; k < 2; k++)
                        same_address(a, b, w->addresses[i][k].ip);
        }
        same_host(a, b, "self");
        same_address(a, b, w->own[0].ip);
}

/* How many changes were taken one by one. */
static unsigned play(const char *map, bool rich, unsigned rounds)
{
        static struct world w, before;
        struct dns_os_config os, os2;
        unsigned taken = 0;
        world_init(&w, map, rich);
        struct dns_config *c = whole(&w, &os);
        for (unsigned r = 0; r < rounds; r++) {
                size_t i = draw(NODES);
                before = w;   /* its nodes point into w: names are copied first */
                struct dns_node was = w.nodes[i];
                was.name = before.names[i];
                was.addresses = before.addresses[i];
                w.there[i] = draw(3) != 0;
                if (draw(2) == 0)
                        redraw(&w, i, rich);
                struct dns_input in = input(&w);
                bool ok = dns_config_change(c, &in, before.there[i] ? &was : NULL, w.there[i] ? &w.nodes[i] : NULL);
                struct dns_config *fresh = whole(&w, &os2);
                if (ok) {
                        same(&w, c, fresh);
                        same(&before, c, fresh);
                        assert_true(dns_os_config_eq(&os, &os2));
                        dns_config_free(fresh);
                        dns_os_config_free(&os2);
                        taken++;
                } else {
                        dns_config_free(c);
                        dns_os_config_free(&os);
                        c = fresh;
                        os = os2;
                }
        }
        dns_config_free(c);
        dns_os_config_free(&os);
        json_decref(w.map);
        dns_os_config_free(&w.base);
        return taken;
}

static void test_like_all_anew(void **state)
{
        (void)state;
        static const char *const maps[] = {
                "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}]}",
                "{\"Proxied\":true}",
                "{}",
                "{\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}]}",
                ("{\"Proxied\":true,\"ExtraRecords\":[{\"Name\":\"n3.mesh.example\",\"Value\":\"100.64.0.7\"},"
                 "{\"Name\":\"x.y\",\"Value\":\"100.64.0.8\"}]}"),
                "{\"Routes\":{\"other.example\":[{\"Addr\":\"10.0.0.1\"}]}}",
                /* Few names lie outside: what the system is told depends on the last of them. */
                "{\"Routes\":{\"mesh.example\":[{\"Addr\":\"10.0.0.1\"}]}}",
        };
        unsigned rounds = check_rounds(4000);
        for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
                unsigned poor = play(maps[i], false, rounds), rich = play(maps[i], true, rounds);
                assert_true(poor > rounds / 50);
                assert_true(rich > rounds / 2);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_like_all_anew)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
