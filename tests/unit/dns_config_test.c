/* What the network map becomes: the shapes, one row each, and the recorded map of a server. */
#include "daemon/dns/config.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "tests/unit/fixture.h"

enum { SPLIT = 1, BASE = 2, MAGIC_OFF_NODES = 4, NOT_ACCEPTED = 8, EXIT = 16, EXIT_PROXY = 32, NO_NODES = 64, V6_ONLY = 128,
        FOR_OTHERS = 256 };

struct row {
        const char *name, *map;
        unsigned how;
        const char *os;       /* nameservers | search | match, the reverse zones left out */
        const char *asked;    /* for public.example: resolvers, "-" = none, "local" */
        const char *corp;     /* for x.corp.example */
        const char *own;      /* for nosuch.mesh.example */
        unsigned faults;
};

#define Q "100.100.100.100 fd7a:115c:a1e0::53"

static const struct row rows[] = {
        {"nothing sent", "{}", 0, "||", "-", "-", "-", 0},
        {"only search domains, a file", "{\"Domains\":[\"mesh.example\"]}", BASE, "192.0.2.53|mesh.example|", "-", "-",
                "-", 0},
        {"only search domains, no base", "{\"Domains\":[\"mesh.example\"]}", 0, "||", "-", "-", "-", 0},
        {"only search domains, a system that splits", "{\"Domains\":[\"mesh.example\"]}", SPLIT, "|mesh.example|", "-",
                "-", "-", 0},
        {"plain resolvers and nothing else", "{\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}],\"Domains\":[\"m.example\"]}",
                NO_NODES, "9.9.9.9|m.example|", "9.9.9.9", "9.9.9.9", "9.9.9.9", 0},
        {"resolvers that are only sensible by HTTPS",
                "{\"Resolvers\":[{\"Addr\":\"2a07:a8c0::ab:cdef\"}]}", NO_NODES, Q "||", "2a07:a8c0::ab:cdef",
                "2a07:a8c0::ab:cdef", "2a07:a8c0::ab:cdef", 0},
        {"plain resolvers, and nodes to answer for", "{\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}]}", BASE, Q "||",
                "9.9.9.9", "9.9.9.9", "9.9.9.9", 0},
        {"MagicDNS with resolvers", "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}]}", BASE | SPLIT, Q "||",
                "9.9.9.9", "9.9.9.9", "local", 0},
        {"split only, magic off, a system that splits", "{\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\"}]}}",
                SPLIT, "10.0.0.1||corp.example", "-", "10.0.0.1", "-", 0},
        {"split only, odd port", "{\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1:5353\"}]}}", SPLIT,
                Q "||corp.example", "-", "10.0.0.1:5353", "-", 0},
        {"two splits, two sets", "{\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\"}],"
                "\"lab.example\":[{\"Addr\":\"10.0.0.2\"}]}}", SPLIT, Q "||corp.example lab.example", "-", "10.0.0.1",
                "-", 0},
        {"MagicDNS, a system that splits", "{\"Proxied\":true,\"Domains\":[\"mesh.example\"]}", SPLIT,
                Q "|mesh.example|mesh.example", "-", "-", "local", 0},
        {"MagicDNS, a file", "{\"Proxied\":true,\"Domains\":[\"mesh.example\"]}", BASE,
                Q "|mesh.example base.example|", "192.0.2.53", "192.0.2.53", "local", 0},
        {"MagicDNS, a file, nothing known of before", "{\"Proxied\":true}", 0, Q "||", "-", "-", "local",
                DNS_FAULT_NO_BASE},
        {"magic off with splits, a file", "{\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\"}]}}", BASE,
                Q "|base.example|", "192.0.2.53", "10.0.0.1", "192.0.2.53", 0},
        {"an authority without resolvers", "{\"Routes\":{\"corp.example\":[]}}", BASE, Q "|base.example|",
                "192.0.2.53", "local", "192.0.2.53", 0},
        {"IPv6 alone", "{\"Proxied\":true}", BASE | V6_ONLY, "fd7a:115c:a1e0::53|base.example|", "192.0.2.53",
                "192.0.2.53", "local", 0},
        {"not accepted", "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}],\"Domains\":[\"mesh.example\"]}",
                BASE | NOT_ACCEPTED, "||", "-", "-", "-", 0},
        {"for others, not accepted by us",
                "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}],\"Domains\":[\"mesh.example\"]}",
                BASE | NOT_ACCEPTED | FOR_OTHERS, "||", "192.0.2.53", "192.0.2.53", "192.0.2.53", 0},
        {"for others, resolvers in the map", "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}]}",
                BASE | FOR_OTHERS, Q "||", "9.9.9.9", "9.9.9.9", "local", 0},
        {"for others, nothing sent", "{}", BASE | FOR_OTHERS, "||", "192.0.2.53", "192.0.2.53", "192.0.2.53", 0},
        {"for others, and nobody to ask", "{}", FOR_OTHERS, "||", "-", "-", "-", DNS_FAULT_NO_BASE},
        {"fallbacks mean nothing here", "{\"FallbackResolvers\":[{\"Addr\":\"9.9.9.9\"}],\"Proxied\":true}", BASE,
                Q "|base.example|", "192.0.2.53", "192.0.2.53", "local", 0},
        {"fallbacks with an exit node that answers no DNS",
                "{\"FallbackResolvers\":[{\"Addr\":\"9.9.9.9\"}],\"Proxied\":true}", BASE | EXIT, Q "||", "9.9.9.9",
                "9.9.9.9", "local", 0},
        {"an exit node that answers", "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"9.9.9.9\"}],"
                "\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\"}]}}", BASE | EXIT | EXIT_PROXY, Q "||",
                "http://100.64.0.9:1234/dns-query", "http://100.64.0.9:1234/dns-query", "local", 0},
        {"resolvers to be asked through the exit node",
                "{\"Resolvers\":[{\"Addr\":\"9.9.9.9\"},{\"Addr\":\"10.0.0.7\",\"UseWithExitNode\":true}],"
                "\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\",\"UseWithExitNode\":true}]}}",
                BASE | EXIT | EXIT_PROXY, Q "||", "10.0.0.7", "10.0.0.1", "10.0.0.7", 0},
        {"this node is the resolver of all", "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"100.64.0.1\"}]}", BASE,
                Q "|base.example|", "192.0.2.53", "192.0.2.53", "local", DNS_FAULT_LOOP},
        {"the service names itself", "{\"Resolvers\":[{\"Addr\":\"100.100.100.100\"},{\"Addr\":\"9.9.9.9\"}]}", BASE,
                Q "||", "9.9.9.9", "9.9.9.9", "9.9.9.9", DNS_FAULT_LOOP},
        {"what cannot be asked", "{\"Resolvers\":[{\"Addr\":\"tls://1.1.1.1\"},{\"Addr\":\"https://dns.example/q\"},"
                "{\"Addr\":\"http://192.0.2.1/q\"},{\"Addr\":\"\"},{\"Addr\":\"9.9.9.9\"}]}", BASE, Q "||", "9.9.9.9",
                "9.9.9.9", "9.9.9.9", DNS_FAULT_RESOLVER},
        {"impossible names", "{\"Proxied\":true,\"Domains\":[\"a..b\",\"good.example\"],\"Routes\":{\"x..y\":[]}}", BASE,
                Q "|good.example base.example|", "192.0.2.53", "192.0.2.53", "local", DNS_FAULT_NAME},
        {"members of the wrong type", "{\"Proxied\":1,\"Domains\":{},\"Routes\":[],\"Resolvers\":[7,null],"
                "\"ExtraRecords\":[1]}", BASE, "||", "-", "-", "-", DNS_FAULT_RESOLVER | DNS_FAULT_NAME},
};

static const struct prefix self_both[] = {
        {{IP_V4, {100, 64, 0, 1}}, 32},
        {{IP_V6, {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 1}}, 128},
};
static const struct prefix peer_both[] = {
        {{IP_V4, {100, 64, 0, 2}}, 32},
        {{IP_V6, {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 2}}, 128},
};
static const struct dns_node self_node = {.name = "alpha.mesh.example.", .addresses = self_both, .address_count = 2};
static const struct dns_node peer_node = {.name = "Beta.mesh.example.", .addresses = peer_both, .address_count = 2};

static void describe_os(const struct dns_os_config *os, char *out, size_t cap)
{
        struct buf b;
        char text[IP_STR_MAX];
        const char *sep = "";
        buf_init(&b, 8192);
        for (size_t i = 0; i < os->nameserver_count; i++, sep = " ")
                buf_printf(&b, "%s%s", sep, ip_str(os->nameservers[i], text));
        buf_puts(&b, "|");
        sep = "";
        for (size_t i = 0; i < os->search_count; i++, sep = " ")
                buf_printf(&b, "%s%s", sep, os->search[i]);
        buf_puts(&b, "|");
        sep = "";
        for (size_t i = 0; i < os->match_count; i++) {
                if (strstr(os->match[i], ".arpa") != NULL)
                        continue;
                buf_printf(&b, "%s%s", sep, os->match[i]);
                sep = " ";
        }
        snprintf(out, cap, "%s", b.data);
        buf_done(&b);
}

static void check_route(const struct row *row, const struct dns_config *c, const char *name, const char *want)
{
        struct dns_name n, zone;
        char got[300] = "-";
        assert_int_equal(dns_name_parse(name, &n), ERR_NONE);
        const struct dns_route *r = dns_config_route(c, &n);
        if (dns_config_zone(c, &n, &zone))
                snprintf(got, sizeof(got), "local");
        else if (r != NULL)
                snprintf(got, sizeof(got), "%s", r->resolvers[0]);
        if (strcmp(got, want) != 0)
                fail_msg("%s: %s goes to %s, wanted %s", row->name, name, got, want);
}

static void the_shapes(void **state)
{
        (void)state;
        static struct ip base_servers[] = {{IP_V4, {100, 100, 100, 100}}, {IP_V4, {192, 0, 2, 53}}};
        static char base_domain[] = "base.example", *base_search[] = {base_domain};
        static const struct dns_os_config base = {.nameservers = base_servers, .nameserver_count = 2,
                .search = base_search, .search_count = 1};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const struct row *row = &rows[i];
                json_t *map = json_parse(row->map, strlen(row->map));
                assert_non_null(map);
                struct dns_node self = self_node;
                if (row->how & V6_ONLY) {
                        self.addresses = self_both + 1;
                        self.address_count = 1;
                }
                if (row->how & NO_NODES)
                        self.name = "";
                struct dns_input in = {
                        .map = map,
                        .self = &self,
                        .peers = &peer_node,
                        .peer_count = (row->how & NO_NODES) ? 0 : 1,
                        .suffix = "mesh.example",
                        .accept_dns = !(row->how & NOT_ACCEPTED),
                        .exit_node = (row->how & EXIT) != 0,
                        .exit_proxy = (row->how & EXIT_PROXY) ? "http://100.64.0.9:1234/dns-query" : NULL,
                        .os_split = (row->how & SPLIT) != 0,
                        .for_others = (row->how & FOR_OTHERS) != 0,
                        .base = (row->how & BASE) ? &base : NULL,
                };
                struct dns_os_config os;
                char text[4096];
                struct dns_config *c = dns_compile(&in, &os);
                assert_non_null(c);
                describe_os(&os, text, sizeof(text));
                if (strcmp(text, row->os) != 0)
                        fail_msg("%s: the system gets %s, wanted %s", row->name, text, row->os);
                check_route(row, c, "public.example", row->asked);
                check_route(row, c, "x.corp.example", row->corp);
                check_route(row, c, "nosuch.mesh.example", row->own);
                if (dns_config_faults(c) != row->faults)
                        fail_msg("%s: faults %u, wanted %u", row->name, dns_config_faults(c), row->faults);
                dns_os_config_free(&os);
                dns_config_free(c);
                json_decref(map);
        }
}

static struct dns_config *compiled(const char *text, const struct dns_node *peer)
{
        json_t *map = json_parse(text, strlen(text));
        assert_non_null(map);
        struct dns_input in = {.map = map, .self = &self_node, .peers = peer, .peer_count = peer != NULL,
                .suffix = "mesh.example", .accept_dns = true, .os_split = true};
        struct dns_os_config os;
        struct dns_config *c = dns_compile(&in, &os);
        assert_non_null(c);
        dns_os_config_free(&os);
        json_decref(map);
        return c;
}

/* What was forwarded stays remembered when only names of our own change. */
static void routes_are_compared(void **state)
{
        (void)state;
        static const struct {
                const char *map;
                bool peer, same;
        } others[] = {
                {"{\"Proxied\":true,\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\"}]}}", true, true},
                {"{\"Proxied\":true,\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\"}]}}", false, true},
                {"{\"Proxied\":true,\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.2\"}]}}", false, false},
                {"{\"Proxied\":true,\"Routes\":{\"core.example\":[{\"Addr\":\"10.0.0.1\"}]}}", false, false},
                {"{\"Proxied\":true,\"Routes\":{\"corp.example\":[]}}", false, false},
                {"{\"Proxied\":true}", false, false},
        };
        struct dns_config *c = compiled(others[0].map, NULL);
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                struct dns_config *o = compiled(others[i].map, others[i].peer ? &peer_node : NULL);
                assert_int_equal(dns_config_same_routes(c, o), others[i].same);
                dns_config_free(o);
        }
        dns_config_free(c);
}

static const struct dns_host *host(const struct dns_config *c, const char *name)
{
        struct dns_name n;
        assert_int_equal(dns_name_parse(name, &n), ERR_NONE);
        return dns_config_host(c, &n);
}

static void the_recorded_map(void **state)
{
        (void)state;
        size_t len;
        char *text = fixture_read("fixtures/dns/headscale.json", &len);
        json_t *map = json_parse(text, len);
        assert_non_null(map);
        struct dns_input in = {.map = map, .self = &self_node, .peers = &peer_node, .peer_count = 1,
                .suffix = "mesh.example", .accept_dns = true, .os_split = true};
        struct dns_os_config os;
        struct dns_config *c = dns_compile(&in, &os);
        assert_non_null(c);
        char desc[4096], ip[IP_STR_MAX];
        describe_os(&os, desc, sizeof(desc));
        assert_string_equal(desc, Q "|mesh.example corp.example|");
        struct dns_name n;
        assert_int_equal(dns_name_parse("host.corp.example", &n), ERR_NONE);
        assert_string_equal(dns_config_route(c, &n)->resolvers[0], "10.33.0.53");
        assert_int_equal(dns_name_parse("public.example", &n), ERR_NONE);
        const struct dns_route *r = dns_config_route(c, &n);
        assert_int_equal(r->resolver_count, 2);
        /* 1.1.1.1: HTTPS first, plain after the head start; NextDNS by its own fixed addresses. */
        assert_int_equal(r->try_count, 3);
        assert_string_equal(r->tries[0].url, "https://cloudflare-dns.com/dns-query");
        assert_string_equal(ip_str(r->tries[0].url4, ip), "1.1.1.1");
        assert_int_equal(r->tries[0].delay_ms, 0);
        assert_int_equal(r->tries[1].delay_ms, 500);
        assert_string_equal(ip_str(r->tries[1].addr.ip, ip), "1.1.1.1");
        assert_int_equal(strncmp(r->tries[2].url, "https://dns.nextdns.io/abc?", 27), 0);
        assert_string_equal(ip_str(r->tries[2].url4, ip), "45.90.28.0");
        assert_int_equal(dns_config_faults(c), 0);
        dns_os_config_free(&os);
        dns_config_free(c);
        json_decref(map);
        free(text);
}

static void hosts_and_their_addresses(void **state)
{
        (void)state;
        static const char text[] = "{\"Proxied\":true,\"ExtraRecords\":["
                "{\"Name\":\"Caps.mesh.example\",\"Value\":\"100.64.0.9\"},"
                "{\"Name\":\"wiki.other.example\",\"Type\":\"A\",\"Value\":\"100.64.0.2\"},"
                "{\"Name\":\"wiki.other.example\",\"Type\":\"AAAA\",\"Value\":\"fd7a:115c:a1e0::2\"},"
                "{\"Name\":\"text.mesh.example\",\"Type\":\"TXT\",\"Value\":\"100.64.0.9\"}]}";
        json_t *map = json_parse(text, strlen(text));
        struct dns_input in = {.map = map, .self = &self_node, .peers = &peer_node, .peer_count = 1,
                .suffix = "mesh.example", .accept_dns = true, .os_split = true};
        struct dns_os_config os;
        struct dns_config *c = dns_compile(&in, &os);
        struct dns_name n;
        char name[DNS_NAME_STR_MAX];
        assert_non_null(host(c, "caps.mesh.example"));   /* a record with capitals is found all the same */
        assert_null(host(c, "text.mesh.example"));
        assert_true(ip_is_set(host(c, "wiki.other.example")->v4) && ip_is_set(host(c, "wiki.other.example")->v6));
        assert_true(ip_is_set(host(c, "beta.mesh.example")->v4));
        assert_false(ip_is_set(host(c, "beta.mesh.example")->v6));
        assert_non_null(host(c, "beta"));
        assert_true(dns_config_name_of(c, ip_v4(100, 64, 0, 2), &n));
        assert_string_equal(dns_name_str(&n, name), "wiki.other.example");   /* the record's name comes first */
        assert_true(dns_config_name_of(c, ip_v4(100, 64, 0, 1), &n));
        assert_string_equal(dns_name_str(&n, name), "alpha.mesh.example");
        assert_string_equal(os.match[os.match_count - 1], "wiki.other.example");
        dns_os_config_free(&os);
        dns_config_free(c);

        in.peers_aaaa = true;
        c = dns_compile(&in, &os);
        assert_true(ip_is_set(host(c, "beta.mesh.example")->v6));
        dns_os_config_free(&os);
        dns_config_free(c);
        json_decref(map);
}

/* Ten thousand peers: each is found, and all of it is given back. */
static void many_peers(void **state)
{
        (void)state;
        enum { COUNT = 10000 };
        struct dns_node *peers = calloc(COUNT, sizeof(*peers));
        struct prefix *addresses = calloc(COUNT, sizeof(*addresses));
        char (*names)[40] = calloc(COUNT, sizeof(*names));
        for (size_t i = 0; i < COUNT; i++) {
                snprintf(names[i], sizeof(names[i]), "n%zu.mesh.example.", i);
                addresses[i] = prefix_of(ip_v4(100, 70, (uint8_t)(i >> 8), (uint8_t)i));
                peers[i] = (struct dns_node){.name = names[i], .addresses = &addresses[i], .address_count = 1};
        }
        json_t *map = json_parse("{\"Proxied\":true}", 16);
        struct dns_input in = {.map = map, .self = &self_node, .peers = peers, .peer_count = COUNT,
                .suffix = "mesh.example", .accept_dns = true, .os_split = true};
        struct dns_os_config os;
        struct dns_config *c = dns_compile(&in, &os);
        for (size_t i = 0; i < COUNT; i++) {
                char bare[20];
                snprintf(bare, sizeof(bare), "n%zu", i);
                assert_true(ip_eq(host(c, names[i])->v4, addresses[i].ip) && ip_eq(host(c, bare)->v4, addresses[i].ip));
        }
        dns_os_config_free(&os);
        dns_config_free(c);
        json_decref(map);
        free(names);
        free(addresses);
        free(peers);
}

/* A server that names suffixes without end costs no more than the host's resolver could take. */
static void too_many_suffixes(void **state)
{
        (void)state;
        json_t *records = json_array();
        for (int i = 0; i < 3 * DNS_OS_DOMAINS_MAX; i++) {
                char name[40];
                snprintf(name, sizeof(name), "n%d.example", i);
                json_array_append_new(records, json_pack("{s:s, s:s}", "Name", name, "Value", "192.0.2.1"));
        }
        json_t *map = json_pack("{s:o}", "ExtraRecords", records);
        struct dns_input in = {.map = map, .self = &self_node, .suffix = "mesh.example", .accept_dns = true, .os_split = true};
        struct dns_os_config os;
        struct dns_config *c = dns_compile(&in, &os);
        assert_int_equal(os.match_count, DNS_OS_DOMAINS_MAX);
        assert_true(dns_config_faults(c) & DNS_FAULT_NAME);
        assert_true(ip_is_set(host(c, "n3071.example")->v4));   /* who asks is answered all the same */
        dns_os_config_free(&os);
        dns_config_free(c);
        json_decref(map);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_shapes),
                cmocka_unit_test(the_recorded_map),
                cmocka_unit_test(routes_are_compared),
                cmocka_unit_test(hosts_and_their_addresses),
                cmocka_unit_test(too_many_suffixes),
                cmocka_unit_test(many_peers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
