/* DNS follows the map and the preferences: what our resolver answers, what the host's is told. */
#include "daemon/backend_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/backend_net.h"
#include "daemon/host/resolvers.h"
#include "daemon/sizes.h"

enum { COMPILE_AFTER_MS = 50 };   /* changes of the map come in groups */

static const char cap_aaaa[] = "magicdns-aaaa";
static const char cap_v4_only[] = "force-register-magicdns-ipv4-only";
static const char cap_subdomains[] = "dns-subdomain-resolve";

/* ---- the host's resolver ---- */

static void to_host(void *arg, const uint8_t *pkt, size_t len)
{
        struct backend *b = arg;
        if (b->engine != NULL)
                (void)engine_service_send(b->engine, pkt, len);
}

static void add_names(struct osdns_names *to, char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (osdns_names_add(to, names[i]) != ERR_NONE)
                        log_warn("DNS for the host: the domain %s is left out", names[i]);
}

/* Here what the host's resolver is to use leaves for the host. */
static void tell_host(struct backend *b, const struct dns_os_config *os)
{
        if (b->osdns == NULL)
                return;
        struct osdns_config c = {0};
        for (size_t i = 0; i < os->nameserver_count; i++)
                if (osdns_add_server(&c, os->nameservers[i]) != ERR_NONE)
                        log_warn("DNS for the host: too many nameservers, one is left out");
        add_names(&c.search, os->search, os->search_count);
        add_names(&c.match, os->match, os->match_count);
        osdns_set(b->osdns, &c);
}

/* What the host would use without us, in the words of the compiler. */
static void note_base(struct backend *b)
{
        const struct osdns_config *c = b->osdns != NULL ? osdns_base(b->osdns) : NULL;
        dns_os_config_free(&b->os_base);
        b->have_os_base = c != NULL;
        if (c == NULL)
                return;
        bool ok = true;
        for (size_t i = 0; ok && i < c->server_count; i++)
                ok = dns_os_config_add_server(&b->os_base, c->servers[i]);
        for (const char *at = NULL; ok && (at = osdns_names_next(&c->search, at)) != NULL;)
                ok = dns_os_config_add_search(&b->os_base, at);
        if (!ok)
                log_err("out of memory: the host's own DNS is known in part only");
}

const struct dns_os_config *backend_os_dns_base(const struct backend *b)
{
        return b->have_os_base ? &b->os_base : NULL;
}

void backend_set_osdns(struct backend *b, struct osdns *o)
{
        b->osdns = o;
        backend_os_dns_changed(b);
}

void backend_os_dns_changed(struct backend *b)
{
        note_base(b);
        backend_dns_changed(b);
}

/* ---- compiling ---- */

static struct dns_node node_of(const struct netmap_node *n)
{
        return (struct dns_node){
                .name = n->name,
                .addresses = n->addresses,
                .address_count = n->address_count,
                .subdomains = netmap_node_has_cap(n, cap_subdomains),
        };
}

/* Where an exit node answers DNS for those who go through it; "" = it does not. */
static void exit_proxy(const struct netmap_node *n, char *out, size_t cap)
{
        enum { CAP_DNS_PROXY = 26 };
        out[0] = '\0';
        if (!n->peerapi_dns_proxy && n->cap < CAP_DNS_PROXY)
                return;
        for (uint32_t i = 0; i < n->address_count && out[0] == '\0'; i++) {
                char text[ADDR_STR_MAX];
                struct ip ip = n->addresses[i].ip;
                uint16_t port = ip.family == IP_V4 ? n->peerapi4_port : n->peerapi6_port;
                if (port != 0)
                        snprintf(out, cap, "http://%s/dns-query", addr_str((struct addr){ip, port}, text));
        }
}

/* What one compilation borrows. */
struct compile_room {
        struct dns_node self;
        char proxy[ADDR_STR_MAX + 32];
};

/* Names are answered for whoever asks as long as there is a map; all else takes part only while we run.  Without the
 * peers.  False: there is nobody. */
static bool fill_input(const struct backend *b, struct compile_room *room, struct dns_input *in)
{
        const struct netmap *nm = backend_netmap(b);
        *in = (struct dns_input){.suffix = ""};
        if (nm->self == NULL || nm->self->expired || b->need_login)
                return false;
        room->self = node_of(nm->self);
        *in = (struct dns_input){
                .map = nm->dns,
                .self = &room->self,
                .suffix = nm->magic_dns_suffix != NULL ? nm->magic_dns_suffix : "",
                .peers_aaaa = netmap_node_has_cap(nm->self, cap_aaaa),
                .service4_only = netmap_node_has_cap(nm->self, cap_v4_only),
                .accept_dns = b->prefs.corp_dns && b->configured,
                .os_split = b->osdns != NULL && osdns_can_split(b->osdns),
                .base = backend_os_dns_base(b),
        };
        const struct netmap_node *exit = backend_exit_node(b);
        if (exit != NULL) {
                exit_proxy(exit, room->proxy, sizeof(room->proxy));
                in->exit_node = true;
                in->exit_proxy = room->proxy[0] != '\0' ? room->proxy : NULL;
        }
        return true;
}

static struct dns_config *compile(struct backend *b, struct dns_os_config *ret_os)
{
        const struct netmap *nm = backend_netmap(b);
        struct compile_room room;
        struct dns_input in;
        struct dns_node *peers = NULL;
        if (fill_input(b, &room, &in)) {
                peers = calloc(nm->peer_count + 1, sizeof(*peers));
                if (peers == NULL)
                        return NULL;
                for (size_t i = 0; i < nm->peer_count; i++)
                        peers[i] = node_of(nm->peers[i]);
                in.peers = peers;
                in.peer_count = nm->peer_count;
        }
        struct dns_config *c = dns_compile(&in, ret_os);
        free(peers);
        return c;
}

bool backend_change_names(struct backend *b, const struct netmap_delta *d)
{
        enum { FEW_PEERS = 32 };
        const struct netmap *nm = backend_netmap(b);
        struct compile_room room;
        struct dns_input in;
        if (d->peer_count > FEW_PEERS || timer_is_armed(&b->dns_timer) || !fill_input(b, &room, &in))
                return false;
        for (size_t i = 0; i < d->peer_count; i++) {
                const struct netmap_peer_change *c = &d->peers[i];
                const struct netmap_node *n = netmap_peer(nm, c->id);
                struct dns_node was, is;
                if (!(c->what & BACKEND_PEER_FOR_NAMES))
                        continue;
                if (c->old == NULL && !(c->what & NETMAP_PEER_ADDED))
                        return false;
                if (c->old != NULL)
                        was = node_of(c->old);
                if (n != NULL)
                        is = node_of(n);
                if (!dns_service_change(b->dns, &in, c->old != NULL ? &was : NULL, n != NULL ? &is : NULL))
                        return false;
        }
        return true;
}

/* What a peer gets that goes out through us: the names of the world as this host would find them.  The tailnet's own
 * names are the asker's business: its map may hide from it what ours shows. */
struct dns_config *backend_dns_for_peers(const struct backend *b)
{
        const struct netmap *nm = backend_netmap(b);
        struct dns_os_config unused, from_files = {0};
        struct dns_node self = node_of(nm->self);
        const struct dns_os_config *base = backend_os_dns_base(b);
        if (base == NULL) {
                struct ip ips[RESOLVERS_MAX];
                size_t n = resolvers_read(ips);
                for (size_t i = 0; i < n; i++)
                        (void)dns_os_config_add_server(&from_files, ips[i]);
                base = &from_files;
        }
        struct dns_input in = {
                .map = nm->dns,
                .self = &self,
                .suffix = nm->magic_dns_suffix != NULL ? nm->magic_dns_suffix : "",
                .accept_dns = b->prefs.corp_dns,
                .for_others = true,
                .base = base,
        };
        struct dns_config *c = dns_compile(&in, &unused);
        if (c != NULL)
                dns_os_config_free(&unused);
        dns_os_config_free(&from_files);
        return c;
}

/* ---- who waits for the host ---- */

struct dns_waiter {
        struct dns_waiter *next;
        struct backend *b;
        struct timer timer;
        void (*fn)(void *arg);
        void *arg;
};

static bool is_settled(const struct backend *b)
{
        return !timer_is_armed(&b->dns_timer) && (b->osdns == NULL || osdns_is_settled(b->osdns));
}

static void release(struct dns_waiter *w)
{
        struct dns_waiter **at = &w->b->dns_waiters;
        while (*at != w)
                at = &(*at)->next;
        *at = w->next;
        loop_timer_stop(&w->timer);
        w->fn(w->arg);
        free(w);
}

static void on_patience_over(struct timer *t, mono_t now)
{
        (void)now;
        release(container_of(t, struct dns_waiter, timer));
}

void backend_os_dns_settled(struct backend *b)
{
        while (b->dns_waiters != NULL && is_settled(b))
                release(b->dns_waiters);
}

static void compile_now(struct backend *b);

void backend_when_dns_set(struct backend *b, void (*fn)(void *arg), void *arg)
{
        if (timer_is_armed(&b->dns_timer))
                compile_now(b);
        struct dns_waiter *w = is_settled(b) ? NULL : calloc(1, sizeof(*w));
        if (w == NULL) {
                fn(arg);
                return;
        }
        *w = (struct dns_waiter){.next = b->dns_waiters, .b = b, .fn = fn, .arg = arg};
        b->dns_waiters = w;
        timer_init(&w->timer, on_patience_over);
        loop_timer_in(b->o.loop, &w->timer, BACKEND_DNS_PATIENCE_MS);
}

/* ---- compiling, and telling ---- */

static void compile_and_tell(struct backend *b)
{
        struct dns_os_config os;
        loop_timer_stop(&b->dns_timer);
        struct dns_config *c = compile(b, &os);
        if (c == NULL) {
                log_err("out of memory: DNS is as before");
                return;
        }
        dns_service_set(b->dns, c);
        /* A mode that sends us every name is not entered before it is known who answered them until now. */
        bool unknown = b->osdns != NULL && !osdns_can_split(b->osdns) && osdns_base(b->osdns) == NULL &&
                !dns_os_config_is_empty(&os);
        if (unknown || dns_os_config_eq(&os, &b->os_dns)) {
                dns_os_config_free(&os);
                return;
        }
        dns_os_config_free(&b->os_dns);
        b->os_dns = os;
        tell_host(b, &b->os_dns);
}

static void compile_now(struct backend *b)
{
        compile_and_tell(b);
        backend_os_dns_settled(b);   /* there was nothing to tell */
}

static void on_timer(struct timer *t, mono_t now)
{
        (void)now;
        compile_now(container_of(t, struct backend, dns_timer));
}

void backend_dns_changed(struct backend *b)
{
        b->proxy_dns_stale = true;
        if (!timer_is_armed(&b->dns_timer))
                loop_timer_in(b->o.loop, &b->dns_timer, COMPILE_AFTER_MS);
}

void backend_dns_network_changed(struct backend *b)
{
        dns_service_network_changed(b->dns);
        if (b->osdns != NULL)
                osdns_recheck(b->osdns);
        backend_dns_changed(b);
}

/* ---- asked ---- */

struct dns_service *backend_dns(struct backend *b)
{
        if (timer_is_armed(&b->dns_timer))   /* never an answer from before the last change */
                compile_now(b);
        return b->dns;
}

void backend_on_service_packet(void *arg, const uint8_t *pkt, size_t len)
{
        struct backend *b = arg;
        if (b->o.userspace) {
                backend_net_packet(b, pkt, len);
                return;
        }
        (void)backend_dns(b);
        quad100_in(b->quad100, pkt, len, loop_now(b->o.loop));
}

void backend_dns_health(const struct backend *b, json_t *list)
{
        unsigned faults = dns_config_faults(dns_service_config(b->dns));
        const char *trouble = b->osdns != NULL ? osdns_trouble(b->osdns) : "";
        if (trouble[0] != '\0')
                json_array_append_new(list, json_string(trouble));
        if (b->osdns != NULL && (faults & DNS_FAULT_NO_BASE))
                json_array_append_new(list, json_string("Names outside the tailnet cannot be resolved: neither the tailnet "
                        "nor this host has a DNS server for them."));
        if (faults & DNS_FAULT_LOOP)
                json_array_append_new(list, json_string("The tailnet's DNS server is this node itself, which cannot ask "
                        "itself: use --accept-dns=false on the DNS server."));
        if (faults & DNS_FAULT_RESOLVER)
                json_array_append_new(list, json_string("A DNS server of the tailnet cannot be used: it is neither an "
                        "address nor an https URL with a known address."));
        if (faults & DNS_FAULT_NAME)
                json_array_append_new(list, json_string("The tailnet's DNS configuration has impossible names or "
                        "addresses; they are left out."));
}

/* ---- life ---- */

bool backend_dns_open(struct backend *b)
{
        timer_init(&b->dns_timer, on_timer);
        b->dns = dns_service_new(b->o.loop, b->o.sizes->dns_answers);
        if (b->dns == NULL || b->o.userspace)
                return b->dns != NULL;
        b->quad100 = quad100_new(b->o.loop, b->dns, to_host, b);
        return b->quad100 != NULL;
}

void backend_dns_close(struct backend *b)
{
        while (b->dns_waiters != NULL)
                release(b->dns_waiters);
        loop_timer_stop(&b->dns_timer);
        quad100_free(b->quad100);
        dns_service_free(b->dns);
        dns_os_config_free(&b->os_dns);
        dns_os_config_free(&b->os_base);
}
