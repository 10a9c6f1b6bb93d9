/* The answers, held against those recorded from the official resolver with dig. */
#include "daemon/dns/resolver.h"

#include <stdlib.h>

#include "base/json.h"
#include "tests/unit/dns_msg.h"

static const struct prefix addresses[] = {
        {{IP_V4, {100, 64, 0, 1}}, 32},
        {{IP_V6, {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 1}}, 128},
        {{IP_V4, {100, 64, 0, 2}}, 32},
        {{IP_V6, {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 2}}, 128},
        {{IP_V4, {100, 64, 0, 3}}, 32},
};
static const struct dns_node alpha = {.name = "alpha.mesh.example.", .addresses = addresses, .address_count = 2};
static const struct dns_node peers[] = {
        {.name = "beta.mesh.example.", .addresses = addresses + 2, .address_count = 2},
        {.name = "gamma.mesh.example.", .addresses = addresses + 4, .address_count = 1, .subdomains = true},
};
static const char map_text[] = "{\"Proxied\":true,\"Domains\":[\"mesh.example\"],"
        "\"Routes\":{\"corp.example\":[{\"Addr\":\"10.9.9.9\"}]},\"Resolvers\":[{\"Addr\":\"198.51.100.53\"}],"
        "\"ExtraRecords\":[{\"Name\":\"grafana.mesh.example\",\"Type\":\"A\",\"Value\":\"100.64.0.3\"},"
        "{\"Name\":\"wiki.other.example\",\"Type\":\"A\",\"Value\":\"100.64.0.2\"},"
        "{\"Name\":\"Caps.mesh.example\",\"Type\":\"A\",\"Value\":\"100.64.0.9\"}]}";

static struct dns_config *config(bool magic, bool accept)
{
        json_t *map = json_parse(map_text, strlen(map_text));
        struct dns_os_config os;
        if (!magic)
                json_object_del(map, "Proxied");
        struct dns_input in = {.map = map, .self = &alpha, .peers = peers, .peer_count = 2, .suffix = "mesh.example",
                .accept_dns = accept};
        struct dns_config *c = dns_compile(&in, &os);
        assert_non_null(c);
        dns_os_config_free(&os);
        json_decref(map);
        return c;
}

/* "RCODE flags answer soa", or "forward UPSTREAM", or "silence". */
static void ask(const struct dns_config *c, const char *name, uint16_t type, char out[400])
{
        static const char *const rcodes[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
        uint8_t m[400], a[DNS_LOCAL_MAX];
        struct dns_query q;
        const struct dns_route *r = NULL;
        size_t len = 0, n = msg_query(m, sizeof(m), 0x1234, name, type, 1232);
        enum dns_verdict v = dns_resolve(c, m, n, 1795418203, &q, a, &len, &r);
        if (v == DNS_FORWARD) {
                snprintf(out, 400, "forward %s", r->resolvers[0]);
                return;
        }
        if (v == DNS_SILENT) {
                snprintf(out, 400, "silence");
                return;
        }
        assert_int_equal(load_be16(a), 0x1234);
        assert_memory_equal(a + DNS_HEADER, m + DNS_HEADER, q.question_len);   /* as asked, case kept */
        unsigned flags = load_be16(a + 2);
        size_t at = (size_t)snprintf(out, 400, "%s%s%s%s%s", rcodes[flags & 15], flags & DNS_AA ? " aa" : "",
                flags & DNS_RD ? " rd" : "", flags & DNS_RA ? " ra" : "", flags & DNS_AD ? " ad" : "");
        struct dns_walk w;
        struct dns_rr rr;
        assert_true(dns_walk_start(&w, a, len));
        while (dns_walk_next(&w, &rr)) {
                char text[DNS_NAME_STR_MAX];
                struct dns_name target;
                struct rd rd = rd_init(a + rr.data_at, rr.data_len), owner = rd_init(a + rr.at, len - rr.at);
                if (rr.type == DNS_SOA) {
                        assert_true(dns_name_read(&owner, &target));
                        assert_int_equal(rr.ttl, 10);
                        at += (size_t)snprintf(out + at, 400 - at, " SOA %s", dns_name_str(&target, text));
                        static const uint8_t timers[] = "\x6b\x03\xe8\x5b\0\0\0\x0a\0\0\0\x0a\0\0\0\x0a\0\0\0\x0a";
                        assert_memory_equal(a + rr.end - 20, timers, 20);
                        continue;
                }
                assert_int_equal(rr.ttl, 5);
                if (rr.type == DNS_PTR)
                        assert_true(dns_name_read(&rd, &target));
                const char *value = rr.type == DNS_A ? ip_str(ip_from_bytes4(a + rr.data_at), text) :
                        rr.type == DNS_AAAA ? ip_str(ip_from_bytes16(a + rr.data_at), text) :
                        dns_name_str(&target, text);
                at += (size_t)snprintf(out + at, 400 - at, " %s", value);
        }
        assert_false(w.failed);
        assert_int_equal(w.at, len);
}

struct row {
        const char *name;
        uint16_t type;
        const char *want;
};

#define FLAGS " aa rd ra ad"

static const struct row rows[] = {
        {"beta.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.2"},
        {"BETA.Mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.2"},
        {"beta.mesh.example", DNS_AAAA, "NOERROR" FLAGS " SOA mesh.example"},
        {"alpha.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.1"},
        {"alpha.mesh.example", DNS_AAAA, "NOERROR" FLAGS " SOA mesh.example"},
        {"beta", DNS_A, "NOERROR" FLAGS " 100.64.0.2"},
        {"nosuch.mesh.example", DNS_A, "NXDOMAIN" FLAGS " SOA mesh.example"},
        {"nosuch.mesh.example", DNS_AAAA, "NXDOMAIN" FLAGS " SOA mesh.example"},
        {"nosuch", DNS_A, "forward 198.51.100.53"},
        {"mesh.example", DNS_A, "NXDOMAIN" FLAGS " SOA mesh.example"},
        {"mesh.example", DNS_SOA, "NXDOMAIN" FLAGS " SOA mesh.example"},
        {"beta.mesh.example", DNS_TXT, "NOERROR" FLAGS " SOA mesh.example"},
        {"beta.mesh.example", DNS_MX, "NOERROR" FLAGS " SOA mesh.example"},
        {"beta.mesh.example", 65 /* HTTPS */, "NOERROR" FLAGS " SOA mesh.example"},
        {"beta.mesh.example", DNS_ANY, "NOERROR" FLAGS " 100.64.0.2"},
        {"beta.mesh.example", DNS_SOA, "NOTIMP" FLAGS},
        {"beta.mesh.example", DNS_NS, "NOTIMP" FLAGS},
        {"beta.mesh.example", DNS_AXFR, "NOTIMP" FLAGS},
        {"beta.mesh.example", DNS_HINFO, "NOTIMP" FLAGS},
        {"2.0.64.100.in-addr.arpa", DNS_PTR, "NOERROR" FLAGS " wiki.other.example"},
        {"1.0.64.100.in-addr.arpa", DNS_PTR, "NOERROR" FLAGS " alpha.mesh.example"},
        {"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.E.1.A.C.5.1.1.A.7.D.F.ip6.arpa", DNS_PTR,
                "NOERROR" FLAGS " beta.mesh.example"},
        {"1.0.0.0.0.4.2.6.6.9.d.c.3.4.8.4.2.1.b.a.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa", DNS_PTR,
                "NOERROR" FLAGS " alpha.mesh.example"},
        {"1.0.0.0.0.4.2.6.6.9.d.c.3.4.8.4.2.1.b.a.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa", DNS_A,
                "NXDOMAIN" FLAGS " SOA 0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa"},
        {"77.77.64.100.in-addr.arpa", DNS_PTR, "NXDOMAIN" FLAGS " SOA 64.100.in-addr.arpa"},
        {"02.0.64.100.in-addr.arpa", DNS_PTR, "NXDOMAIN" FLAGS " SOA 64.100.in-addr.arpa"},
        {"3.2.1.10.in-addr.arpa", DNS_PTR, "forward 198.51.100.53"},
        {"256.2.1.10.in-addr.arpa", DNS_PTR, "forward 198.51.100.53"},
        {"100.100.100.100.in-addr.arpa", DNS_PTR, "NOERROR" FLAGS " magicdns.localhost-tailscale-daemon"},
        {"magicdns.localhost-tailscale-daemon", DNS_A, "NOERROR" FLAGS " 100.100.100.100"},
        {"magicdns.localhost-tailscale-daemon", DNS_AAAA, "NOERROR" FLAGS " fd7a:115c:a1e0::53"},
        {"grafana.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.3"},
        {"grafana.mesh.example", DNS_AAAA, "NOERROR" FLAGS " SOA mesh.example"},
        {"grafana.mesh.example", DNS_TXT, "NOERROR" FLAGS " SOA mesh.example"},
        {"wiki.other.example", DNS_A, "NOERROR" FLAGS " 100.64.0.2"},
        {"wiki.other.example", DNS_AAAA, "NOERROR" FLAGS " SOA wiki.other.example"},
        {"wiki.other.example", 65 /* HTTPS */, "NOERROR" FLAGS " SOA wiki.other.example"},
        {"beta", DNS_AAAA, "NOERROR" FLAGS},
        {"nosuch.other.example", DNS_A, "forward 198.51.100.53"},
        {"below.wiki.other.example", DNS_A, "NXDOMAIN" FLAGS " SOA wiki.other.example"},
        {"caps.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.9"},
        {"Caps.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.9"},
        {"h.corp.example", DNS_A, "forward 10.9.9.9"},
        {"corp.example", DNS_A, "forward 10.9.9.9"},
        {"xcorp.example", DNS_A, "forward 198.51.100.53"},
        {"public.example", DNS_TXT, "forward 198.51.100.53"},
        {"x.gamma.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.3"},
        {"y.x.gamma.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.3"},
        {"x.beta.mesh.example", DNS_A, "NXDOMAIN" FLAGS " SOA mesh.example"},
        {"facebook.onion", DNS_A, "NXDOMAIN" FLAGS},
        {"b._dns-sd._udp.public.example", DNS_PTR, "NXDOMAIN rd ra ad"},
        {"lb._dns-sd._udp.public.example", DNS_TXT, "NXDOMAIN rd ra ad"},
        {"b._dns-sd._udp.0.0.64.100.in-addr.arpa", DNS_PTR, "NXDOMAIN rd ra ad"},
        {"x._dns-sd._udp.public.example", DNS_PTR, "forward 198.51.100.53"},
        {"192-168-1-2-via-7", DNS_AAAA, "NOERROR" FLAGS " fd7a:115c:a1e0:b1a:0:7:c0a8:102"},
        {"192-168-1-2-via-0x10", DNS_ANY, "NOERROR" FLAGS " fd7a:115c:a1e0:b1a:0:10:c0a8:102"},
        {"10-0-0-1-via-4294967295.foo.ts.net", DNS_AAAA, "NOERROR" FLAGS " fd7a:115c:a1e0:b1a:ffff:ffff:a00:1"},
        {"10-0-0-1-via-4294967296.foo.ts.net", DNS_AAAA, "forward 198.51.100.53"},
        {"10-0-0-1-via-7.tailscale.net", DNS_A, "NOERROR" FLAGS},
        {"10-0-0-1-via-7.public.example", DNS_AAAA, "forward 198.51.100.53"},
        {"10-0-0-1-via-7", DNS_TXT, "forward 198.51.100.53"},
        {"10-0-0-via-7", DNS_AAAA, "forward 198.51.100.53"},
        {".", DNS_NS, "forward 198.51.100.53"},
};

static void check_rows(const struct dns_config *c, const struct row *list, size_t n)
{
        char got[400];
        for (size_t i = 0; i < n; i++) {
                ask(c, list[i].name, list[i].type, got);
                if (strcmp(got, list[i].want) != 0)
                        fail_msg("%s type %u: %s, wanted %s", list[i].name, list[i].type, got, list[i].want);
        }
}

static void magic_on(void **state)
{
        (void)state;
        struct dns_config *c = config(true, true);
        check_rows(c, rows, sizeof(rows) / sizeof(rows[0]));
        dns_config_free(c);
}

static void magic_off(void **state)
{
        (void)state;
        static const struct row off[] = {
                {"beta.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.2"},
                {"beta", DNS_A, "forward 198.51.100.53"},
                {"nosuch.mesh.example", DNS_A, "forward 198.51.100.53"},
                {"beta.mesh.example", DNS_AAAA, "NOERROR" FLAGS},
                {"2.0.64.100.in-addr.arpa", DNS_PTR, "NOERROR" FLAGS " wiki.other.example"},
        };
        struct dns_config *c = config(false, true);
        check_rows(c, off, sizeof(off) / sizeof(off[0]));
        dns_config_free(c);
}

static void not_accepted(void **state)
{
        (void)state;
        static const struct row off[] = {
                {"beta.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.2"},
                {"nosuch.mesh.example", DNS_A, "SERVFAIL aa rd ad"},
                {"public.example", DNS_A, "SERVFAIL aa rd ad"},
                {"h.corp.example", DNS_A, "SERVFAIL aa rd ad"},
                {"grafana.mesh.example", DNS_A, "NOERROR" FLAGS " 100.64.0.3"},
                {"2.0.64.100.in-addr.arpa", DNS_PTR, "NOERROR" FLAGS " wiki.other.example"},
        };
        struct dns_config *c = config(true, false);
        check_rows(c, off, sizeof(off) / sizeof(off[0]));
        dns_config_free(c);
}

static void odd_queries(void **state)
{
        (void)state;
        struct dns_config *c = config(true, true);
        uint8_t m[400], a[DNS_LOCAL_MAX];
        struct dns_query q;
        const struct dns_route *r = NULL;
        size_t len, n = msg_query(m, sizeof(m), 5, "beta.mesh.example", DNS_A, 0);
        for (size_t cut = 0; cut < n; cut++) {
                enum dns_verdict v = dns_resolve(c, m, cut, 0, &q, a, &len, &r);
                assert_int_equal(v, cut < 4 ? DNS_SILENT : DNS_ANSWERED);
                if (v == DNS_ANSWERED) {
                        assert_int_equal(len, 12);
                        assert_int_equal(load_be16(a), 5);
                        assert_int_equal(dns_rcode(a), DNS_FORMERR);
                }
        }
        m[2] |= 0x28;   /* opcode 5: an update */
        assert_int_equal(dns_resolve(c, m, n, 0, &q, a, &len, &r), DNS_ANSWERED);
        assert_int_equal(dns_rcode(a), DNS_NOTIMP);
        m[2] &= 0x07;
        m[n - 1] = 3;   /* class CHAOS, below our own suffix: never sent upstream */
        assert_int_equal(dns_resolve(c, m, n, 0, &q, a, &len, &r), DNS_ANSWERED);
        assert_int_equal(dns_rcode(a), DNS_REFUSED);
        n = msg_query(m, sizeof(m), 5, "version.bind", DNS_TXT, 0);
        m[n - 1] = 3;
        assert_int_equal(dns_resolve(c, m, n, 0, &q, a, &len, &r), DNS_FORWARD);
        /* A dot inside a label is no suffix of ours. */
        n = msg_query(m, sizeof(m), 5, "beta.mesh.example", DNS_A, 0);
        memcpy(m + 12, "\xf" "beta.mesh.examp\1x", 18);
        assert_int_equal(dns_resolve(c, m, n, 0, &q, a, &len, &r), DNS_FORWARD);
        dns_config_free(c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(magic_on),
                cmocka_unit_test(magic_off),
                cmocka_unit_test(not_accepted),
                cmocka_unit_test(odd_queries),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
