#include "daemon/api_dns.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "daemon/api.h"
#include "daemon/dns/race.h"
#include "daemon/dns/service.h"
#include "daemon/dns/wire.h"

void api_dns_config(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const struct netmap *nm = backend_netmap(a->backend);
        if (nm->self == NULL)
                lapi_reply_text(r, 503, "no network map yet");
        else
                lapi_reply_json(r, 200, nm->dns != NULL ? json_incref(nm->dns) : json_object(), LAPI_TABS);
}

static json_t *strings(char *const *list, size_t n)
{
        json_t *a = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(a, json_string(list[i]));
        return a;
}

/* What the host itself uses, without us. */
void api_dns_osconfig(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        struct dns_os_config none = {0};
        const struct dns_os_config *base = backend_os_dns_base(a->backend);
        if (base == NULL)
                base = &none;
        json_t *servers = json_array();
        for (size_t i = 0; i < base->nameserver_count; i++) {
                char text[IP_STR_MAX];
                json_array_append_new(servers, json_string(ip_str(base->nameservers[i], text)));
        }
        json_t *o = json_object();
        json_object_set_new(o, "Nameservers", servers);
        json_object_set_new(o, "SearchDomains", strings(base->search, base->search_count));
        json_object_set_new(o, "MatchDomains", strings(base->match, base->match_count));
        lapi_reply_json(r, 200, o, LAPI_COMPACT);
}

/* ---- query ---- */

static const struct {
        const char *name;
        uint16_t type;
} types[] = {
        {"A", DNS_A}, {"AAAA", DNS_AAAA}, {"ALL", DNS_ANY}, {"ANY", DNS_ANY}, {"CNAME", DNS_CNAME},
        {"HINFO", DNS_HINFO}, {"MX", DNS_MX}, {"NS", DNS_NS}, {"PTR", DNS_PTR}, {"SOA", DNS_SOA}, {"SRV", DNS_SRV},
        {"TXT", DNS_TXT},
};

static bool parse_type(const char *text, uint16_t *ret)
{
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                if (strcasecmp(types[i].name, text) == 0) {
                        *ret = types[i].type;
                        return true;
                }
        }
        return false;
}

struct asked {
        struct lapi_req *req;    /* NULL: the client went away */
        struct dns_forward *forward;
        json_t *resolvers;
        mono_t began;
};

static void on_gone(void *arg)
{
        struct asked *q = arg;
        dns_forward_cancel(q->forward);
        json_decref(q->resolvers);
        free(q);
}

/* Nobody has answered at all: that is an error of this call and no answer about the name. */
static bool timed_out(const struct asked *q, const uint8_t *msg, mono_t now)
{
        return dns_rcode(msg) == DNS_SERVFAIL && mono_diff_ms(now, q->began) >= RACE_TCP_CLIENT_MS;
}

static void on_answer(void *arg, const uint8_t *msg, size_t len, mono_t now)
{
        struct asked *q = arg;
        char *text = malloc(sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL));
        if (text == NULL || len == 0) {
                lapi_reply_text(q->req, 500, text == NULL ? "out of memory" : "the query cannot be answered");
                json_decref(q->resolvers);
        } else if (timed_out(q, msg, now)) {
                char *list = json_dumps(q->resolvers, JSON_COMPACT);
                lapi_reply_text(q->req, 500, "no answer within %d s from any of %s", RACE_TCP_CLIENT_MS / 1000,
                        list != NULL ? list : "the resolvers");
                free(list);
                json_decref(q->resolvers);
        } else {
                sodium_bin2base64(text, sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL), msg, len,
                        sodium_base64_VARIANT_ORIGINAL);
                json_t *o = json_object();
                json_object_set_new(o, "Bytes", json_string(text));
                json_object_set_new(o, "Resolvers", q->resolvers);
                lapi_reply_json(q->req, 200, o, LAPI_COMPACT);
        }
        free(text);
        free(q);
}

static json_t *resolvers_of(const struct dns_config *c, const struct dns_name *name)
{
        const struct dns_route *route = dns_config_route(c, name);
        if (route == NULL)
                return json_null();
        json_t *list = json_array();
        for (size_t i = 0; i < route->resolver_count; i++)
                json_array_append_new(list, json_pack("{s:s}", "Addr", route->resolvers[i]));
        return list;
}

void api_dns_query(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *name_text = lapi_query(r, "name"), *type_text = lapi_query(r, "type");
        uint8_t msg[DNS_HEADER + DNS_NAME_MAX + 4];
        struct dns_name name;
        uint16_t type;
        if (name_text == NULL || dns_name_parse(name_text, &name) != ERR_NONE) {
                lapi_reply_text(r, 400, "missing or impossible 'name' parameter: want a domain name, up to 63 characters between dots and 253 in all");
                return;
        }
        if (!parse_type(type_text != NULL ? type_text : "", &type)) {
                lapi_reply_text(r, 400, "unknown DNS message type: %.40s; want a name such as A, AAAA, TXT or PTR", type_text != NULL ? type_text : "");
                return;
        }
        struct asked *q = calloc(1, sizeof(*q));
        if (q == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        struct dns_service *s = backend_dns(a->backend);
        q->req = r;
        q->began = mono_now();
        q->resolvers = resolvers_of(dns_service_config(s), &name);
        lapi_on_gone(r, on_gone, q);
        struct dns_forward *w = dns_service_ask(s, msg, dns_query_make(msg, sizeof(msg), &name, type), true, on_answer, q,
                q->began);
        if (w != NULL)   /* else q is gone */
                q->forward = w;
}
