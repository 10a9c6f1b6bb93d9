/* A query of anything: every answer has the id and the question of the query and parses whole; what is cut fits. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/dns/resolver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

static struct dns_config *config(void)
{
        static const char text[] = "{\"Proxied\":true,\"Resolvers\":[{\"Addr\":\"192.0.2.1\"}],"
                "\"Routes\":{\"corp.example\":[{\"Addr\":\"10.0.0.1\"}]}}";
        static const struct prefix address = {{IP_V4, {100, 64, 0, 1}}, 32};
        static const struct dns_node self = {.name = "alpha.mesh.example", .addresses = &address, .address_count = 1,
                .subdomains = true};
        struct dns_os_config os;
        json_t *map = json_parse(text, strlen(text));
        struct dns_input in = {.map = map, .self = &self, .suffix = "mesh.example", .accept_dns = true};
        struct dns_config *c = dns_compile(&in, &os);
        must(c != NULL);
        dns_os_config_free(&os);
        json_decref(map);
        return c;
}

static void cut(const uint8_t *data, size_t size)
{
        uint8_t *copy = malloc(size + 1);
        must(copy != NULL);
        memcpy(copy, data, size);
        dns_limit_edns(copy, size, 1232);
        size_t n = dns_truncate(copy, size, DNS_UDP_MIN);
        must(n <= DNS_UDP_MIN || n == size);
        free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct dns_config *c;
        uint8_t out[DNS_LOCAL_MAX];
        struct dns_query q;
        const struct dns_route *r = NULL;
        size_t len = 0;
        if (c == NULL)
                c = config();
        cut(data, size);
        enum dns_verdict v = dns_resolve(c, data, size, 1, &q, out, &len, &r);
        if (v == DNS_FORWARD)
                must(r != NULL && q.question_len > 0);
        if (v != DNS_ANSWERED)
                return 0;
        struct dns_walk w;
        struct dns_rr rr;
        must(len >= DNS_HEADER && len <= sizeof(out) && memcmp(out, data, 2) == 0 && (out[2] & 0x80));
        must(dns_walk_start(&w, out, len));
        while (dns_walk_next(&w, &rr))
                must(rr.end <= len);
        must(!w.failed && w.at == len);
        if (q.question_len > 0)
                must(dns_answers(out, len, &q, q.id));
        return 0;
}
