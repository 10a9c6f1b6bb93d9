/* What peers may ask of us by the PeerAPI: DNS, of those who may go out through this node. */
#include "daemon/backend_state.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "daemon/backend_net.h"
#include "daemon/peerapi/listen.h"
#include "daemon/sizes.h"
#include "tun/filter.h"

uint16_t backend_peerapi_port(const struct backend *b, enum ip_family family)
{
        return b->peerapi_at[family == IP_V6].port;
}

size_t backend_peerapi_services(const struct backend *b, struct hostinfo_service out[3])
{
        static const char *const names[] = {"peerapi4", "peerapi6"};
        size_t n = 0;
        for (size_t i = 0; i < 2; i++)
                if (b->peerapi_at[i].port != 0)
                        out[n++] = (struct hostinfo_service){names[i], b->peerapi_at[i].port};
        if (n > 0)   /* whether it answers is asked anew with each query */
                out[n++] = (struct hostinfo_service){"peerapi-dns-proxy", 1};
        return n;
}

/* ---- who may ask ---- */

/* The tunnel lets a peer send from its own addresses only, so the address says who it is. */
static bool is_peer(void *arg, struct ip src)
{
        const struct netmap *nm = backend_netmap(arg);
        const struct netmap_node *n = netmap_by_ip(nm, src);
        return n != NULL && n != nm->self && !n->expired;
}

/* Offered, approved, and open to this peer: the filter would let it connect to "the internet", for which the lowest
 * address of each family stands. */
static bool may_resolve(void *arg, struct ip src)
{
        struct backend *b = arg;
        const struct netmap *nm = backend_netmap(b);
        struct ip internet = {.family = src.family};
        if (src.family == IP_V6)
                internet.b[0] = 0x20;
        return nm->self != NULL && netsync_offers_exit(nm->self) &&
                filter_would_open(b->exit_filter, src, (struct addr){internet, 53});
}

/* ---- what is answered ---- */

/* A resolver of their own, so that peers take neither place nor cache from this host. */
static struct dns_service *proxy_dns(struct backend *b)
{
        if (b->proxy_dns == NULL) {
                b->proxy_dns = dns_service_new(b->o.loop, b->o.sizes->dns_answers);
                b->proxy_dns_stale = true;
                if (b->proxy_dns != NULL)
                        backend_net_reach(b, b->proxy_dns);
        }
        if (b->proxy_dns != NULL && b->proxy_dns_stale) {
                struct dns_config *c = backend_dns_for_peers(b);
                if (c == NULL)
                        return NULL;
                dns_service_set(b->proxy_dns, c);
                b->proxy_dns_stale = false;
        }
        return b->proxy_dns;
}

static void on_answer(void *arg, const uint8_t *msg, size_t len, mono_t now)
{
        (void)now;
        peerapi_answer(arg, msg, len);
}

static void *resolve(void *arg, struct peerapi_req *r, const uint8_t *msg, size_t len)
{
        struct backend *b = arg;
        struct dns_service *s = proxy_dns(b);
        if (s != NULL)
                return dns_service_ask(s, msg, len, true, on_answer, r, loop_now(b->o.loop));
        log_err("out of memory: a peer's DNS query is not answered");
        peerapi_answer(r, NULL, 0);
        return NULL;
}

static void cancel(void *arg, void *query)
{
        (void)arg;
        dns_forward_cancel(query);
}

static const struct peerapi_ops ops = {is_peer, may_resolve, resolve, cancel};

/* ---- where it is open ---- */

static bool is_open_at(const struct backend *b, const struct ip want[2])
{
        return ip_eq(b->peerapi_at[0].ip, want[0]) && ip_eq(b->peerapi_at[1].ip, want[1]);
}

static void close_all(struct backend *b)
{
        peerapi_free(b->peerapi);
        b->peerapi = NULL;
        memset(b->peerapi_at, 0, sizeof(b->peerapi_at));
}

static void open_at(struct backend *b, const struct ip want[2])
{
        char text[ADDR_STR_MAX];
        b->peerapi = peerapi_new(b->o.loop, &ops, b);
        if (b->peerapi == NULL) {
                log_err("the PeerAPI could not be started: out of memory or descriptors");
                return;
        }
        for (size_t i = 0; i < 2; i++) {
                struct addr *at = &b->peerapi_at[i];
                at->ip = want[i];
                if (!ip_is_set(want[i]))
                        continue;
                if (b->o.userspace) {
                        at->port = peerapi_port(want[i], 0);
                        peerapi_serve_at(b->peerapi, *at);
                        log_info("PeerAPI at %s", addr_str(*at, text));
                } else if (peerapi_listen(b->peerapi, want[i], b->o.tun_name, &at->port) != ERR_NONE)
                        log_warn("no PeerAPI at %s: %s", ip_str(want[i], text), strerror(errno));
                else
                        log_info("PeerAPI at %s", addr_str(*at, text));
        }
}

void backend_apply_peerapi(struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        struct ip want[2] = {0};
        if (b->o.tun_name == NULL && !b->o.userspace)
                return;
        for (uint32_t i = 0; b->configured && nm->self != NULL && i < nm->self->address_count; i++) {
                struct ip ip = nm->self->addresses[i].ip;
                if (!ip_is_set(want[ip.family == IP_V6]))
                        want[ip.family == IP_V6] = ip;
        }
        if (is_open_at(b, want))
                return;
        close_all(b);
        if (ip_is_set(want[0]) || ip_is_set(want[1]))
                open_at(b, want);
        backend_push_hostinfo(b);
        backend_apply_filter(b);   /* which lets in connections to these ports */
}

void backend_peerapi_close(struct backend *b)
{
        close_all(b);
        dns_service_free(b->proxy_dns);
        filter_free(b->exit_filter);
}
