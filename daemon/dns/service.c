#include "daemon/dns/service.h"

#include <stdlib.h>

#include "daemon/dns/resolver.h"

struct dns_service {
        struct dialer *dialer;
        struct dns_forwarder *forwarder;
        struct dns_config *config;
        uint64_t local;
};

struct dns_service *dns_service_new(struct loop *l, size_t answers)
{
        struct dns_service *s = calloc(1, sizeof(*s));
        struct dns_os_config os;
        struct dns_input nothing = {0};
        if (s == NULL)
                return NULL;
        s->dialer = dialer_new(l);
        if (s->dialer != NULL) {
                dialer_keep(s->dialer);
                s->forwarder = dns_forwarder_new(l, s->dialer, answers);
        }
        s->config = dns_compile(&nothing, &os);
        if (s->forwarder != NULL && s->config != NULL)
                return s;
        dns_service_free(s);
        return NULL;
}

void dns_service_set_ways(struct dns_service *s, const struct dialer_ways *w, void *arg)
{
        dialer_set_ways(s->dialer, w, arg);
}

void dns_service_free(struct dns_service *s)
{
        if (s == NULL)
                return;
        dns_forwarder_free(s->forwarder);
        dialer_free(s->dialer);
        dns_config_free(s->config);
        free(s);
}

void dns_service_set(struct dns_service *s, struct dns_config *c)
{
        if (!dns_config_same_routes(s->config, c))   /* a peer's news change names, which are never forwarded */
                dns_forwarder_flush(s->forwarder);
        dns_config_free(s->config);
        s->config = c;
}

bool dns_service_change(struct dns_service *s, const struct dns_input *in, const struct dns_node *was,
        const struct dns_node *is)
{
        return dns_config_change(s->config, in, was, is);
}

const struct dns_config *dns_service_config(const struct dns_service *s)
{
        return s->config;
}

void dns_service_network_changed(struct dns_service *s)
{
        dialer_flush(s->dialer);
        dns_forwarder_flush(s->forwarder);
}

struct dns_forward *dns_service_ask(struct dns_service *s, const uint8_t *msg, size_t len, bool tcp_client,
        dns_forward_fn fn, void *arg, mono_t now)
{
        uint8_t out[DNS_LOCAL_MAX];
        struct dns_query q;
        const struct dns_route *route = NULL;
        size_t n = 0;
        switch (dns_resolve(s->config, msg, len, wall_now_ns() / NS_PER_SEC, &q, out, &n, &route)) {
        case DNS_SILENT:
                fn(arg, NULL, 0, now);
                return NULL;
        case DNS_ANSWERED:
                s->local++;
                if (!tcp_client)
                        n = dns_truncate(out, n, q.udp_size);
                fn(arg, out, n, now);
                return NULL;
        case DNS_FORWARD:
                break;
        }
        if (!tcp_client && q.udp_size > DNS_SERVICE_UDP_MAX)
                q.udp_size = DNS_SERVICE_UDP_MAX;
        return dns_forward_start(s->forwarder, &q, route, tcp_client, fn, arg, now);
}

struct dns_service_counters dns_service_counters(const struct dns_service *s)
{
        return (struct dns_service_counters){s->local, dns_forwarder_counters(s->forwarder)};
}
