#include "tests/sim/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/trace.h"

enum { OWNERS_MAX = 8192, CUTS_MAX = 64 };

/* Who has an address of the core. */
struct owner {
        struct site *site;
        struct host *host;
        void *server;
};

struct packet {
        struct timer timer;
        struct packet *prev, *next;
        struct host *from;      /* NULL: a server */
        struct site *local;     /* stays within this site */
        struct addr src, dst;
        size_t len;
        uint8_t data[];
};

static struct {
        struct rng rng;
        struct owner owner[OWNERS_MAX];
        unsigned owners;
        struct site *site[OWNERS_MAX];
        struct host *host[OWNERS_MAX];
        int sites, hosts;
        struct net_pair cut[CUTS_MAX];
        int cuts;
        struct packet *flying;  /* newest first */
} n;

void (*net_to_server)(void *owner, struct addr src, struct addr dst, const uint8_t *data, size_t len);
void (*net_seen)(struct host *from, struct host *to, enum wire_class c, size_t len);

uint64_t net_count[WIRE_CLASSES];
mono_t net_last_wg;

struct rng *net_rng(void)
{
        return &n.rng;
}

/* ---- what is there ---- */

void net_reset(struct rng rng)
{
        n.rng = rng;
        n.owners = 1;
        memset(net_count, 0, sizeof(net_count));
        net_last_wg = (mono_t){0};
        n.sites = n.hosts = n.cuts = 0;
        n.flying = NULL;
}

static void forget(struct packet *p)
{
        *(p->prev != NULL ? &p->prev->next : &n.flying) = p->next;
        if (p->next != NULL)
                p->next->prev = p->prev;
        loop_timer_stop(&p->timer);
        free(p);
}

void net_done(void)
{
        while (n.flying != NULL)
                forget(n.flying);
        for (int i = 0; i < n.sites; i++) {
                nat_done(&n.site[i]->nat);
                nat_done(&n.site[i]->nat6);
                free(n.site[i]);
        }
        for (int i = 0; i < n.hosts; i++) {
                nat_done(&n.host[i]->fw);
                free(n.host[i]);
        }
        n.sites = n.hosts = 0;
}

static unsigned new_owner(struct owner o)
{
        if (n.owners == OWNERS_MAX)
                abort();
        n.owner[n.owners] = o;
        return n.owners++;
}

static struct ip ip4_of(unsigned i)
{
        return ip_v4(5, 0, (uint8_t)(i >> 8), (uint8_t)i);
}

static struct ip ip6_of(unsigned i)
{
        uint8_t b[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, (uint8_t)(i >> 8), (uint8_t)i, [15] = 1};
        return ip_from_bytes16(b);
}

static const struct owner *owner_of(struct ip ip)
{
        unsigned i = 0;
        if (ip.family == IP_V4 && ip.b[0] == 5 && ip.b[1] == 0)
                i = (unsigned)ip.b[2] << 8 | ip.b[3];
        else if (ip.family == IP_V6 && ip.b[0] == 0x20 && ip.b[1] == 0x01)
                i = (unsigned)ip.b[6] << 8 | ip.b[7];
        return i > 0 && i < n.owners ? &n.owner[i] : NULL;
}

static void give_site_address(struct site *s)
{
        if (!s->nat.conf.translates)
                return;
        if (s->up != NULL)   /* within the carrier's network */
                s->wan = ip_v4(100, 64, (uint8_t)s->id, s->up->lan_next++);
        else
                s->wan = ip4_of(new_owner((struct owner){.site = s}));
}

struct site *net_site(struct site *up, const struct link *l, const struct nat_conf *nat, const struct nat_conf *nat6)
{
        struct site *s = calloc(1, sizeof(*s));
        if (s == NULL || n.sites == OWNERS_MAX)
                abort();
        s->id = n.sites;
        s->up = up;
        s->link = *l;
        s->lan = (uint8_t)(1 + s->id % 4);   /* many networks have the same addresses */
        s->lan_next = 2;
        nat_init(&s->nat, nat, rng_of(rng_next(&n.rng), 10));
        nat_init(&s->nat6, nat6, rng_of(rng_next(&n.rng), 11));
        n.site[n.sites++] = s;
        give_site_address(s);
        return s;
}

static void disown(struct ip ip)
{
        struct owner *o = (struct owner *)(uintptr_t)owner_of(ip);
        if (o != NULL)
                *o = (struct owner){.site = NULL};
}

bool net_is_behind(const struct host *h, const struct site *s)
{
        for (const struct site *at = h->site; at != NULL; at = at->up)
                if (at == s)
                        return true;
        return false;
}

void net_restart_nat(struct site *s, bool renumber)
{
        bool breaks = renumber || s->nat.conf.ports != NAT_PRESERVE;
        nat_flush(&s->nat);
        for (int i = 0; i < n.hosts; i++)   /* connections use IPv4 where there is any */
                n.host[i]->nat_generation += breaks && ip_is_set(n.host[i]->v4) && net_is_behind(n.host[i], s);
        if (renumber && s->up == NULL && ip_is_set(s->wan)) {
                disown(s->wan);
                give_site_address(s);
        }
}

void net_move_host(struct host *h, struct site *s, bool v4, bool v6)
{
        disown(h->v4);
        disown(h->v6);
        nat_flush(&h->fw);
        h->generation++;
        h->site = s;
        h->v4 = h->v6 = (struct ip){.family = IP_NONE};
        if (v4 && s->nat.conf.translates)
                h->v4 = ip_v4(192, 168, s->lan, s->lan_next++);
        else if (v4)
                h->v4 = ip4_of(new_owner((struct owner){.host = h}));
        if (v6)
                h->v6 = ip6_of(new_owner((struct owner){.host = h}));
}

struct host *net_host(const char *name, struct site *s, bool v4, bool v6, const struct nat_conf *fw, const struct link *l)
{
        struct host *h = calloc(1, sizeof(*h));
        if (h == NULL || n.hosts == OWNERS_MAX)
                abort();
        h->id = n.hosts;
        snprintf(h->name, sizeof(h->name), "%s", name);
        h->link = *l;
        nat_init(&h->fw, fw, rng_of(rng_next(&n.rng), 12));
        n.host[n.hosts++] = h;
        net_move_host(h, s, v4, v6);
        return h;
}

void net_server(struct ip *ret_v4, struct ip *ret_v6, void *owner)
{
        unsigned i = new_owner((struct owner){.server = owner});
        *ret_v4 = ip4_of(i);
        *ret_v6 = ip6_of(i);
}

void *net_server_owner(struct ip ip)
{
        const struct owner *o = owner_of(ip);
        return o != NULL ? o->server : NULL;
}

bool net_host_online(const struct host *h)
{
        if (h->unplugged || h->asleep)
                return false;
        for (const struct site *s = h->site; s != NULL; s = s->up)
                if (s->offline)
                        return false;
        return true;
}

bool net_is_lossless(const struct host *h)
{
        bool loses = h->link.loss > 0;
        for (const struct site *s = h->site; s != NULL; s = s->up)
                loses |= s->link.loss > 0;
        return !loses;
}

bool net_is_udp_blocked(const struct host *h)
{
        for (const struct site *s = h->site; s != NULL; s = s->up)
                if (s->udp_blocked)
                        return true;
        return false;
}

bool net_is_starved(const struct host *h, mono_t since)
{
        for (const struct site *s = h->site; s != NULL; s = s->up)
                if (s->starved.ns > since.ns)
                        return true;
        return false;
}

struct site *site_top(struct site *s)
{
        while (s->up != NULL)
                s = s->up;
        return s;
}

bool net_is_cut(const struct site *a, const struct site *b)
{
        for (int i = 0; i < n.cuts; i++)
                if ((n.cut[i].a == a && n.cut[i].b == b) || (n.cut[i].a == b && n.cut[i].b == a))
                        return true;
        return false;
}

void net_cut(struct site *a, struct site *b, bool cut)
{
        if (cut && !net_is_cut(a, b) && n.cuts < CUTS_MAX)
                n.cut[n.cuts++] = (struct net_pair){a, b};
        for (int i = 0; !cut && i < n.cuts; i++)
                if ((n.cut[i].a == a && n.cut[i].b == b) || (n.cut[i].a == b && n.cut[i].b == a))
                        n.cut[i--] = n.cut[--n.cuts];
}

/* ---- a datagram's way ---- */

enum wire_class wire_class_of(const uint8_t *data, size_t len)
{
        if (len >= 20 && memcmp(data + 4, "\x21\x12\xa4\x42", 4) == 0)
                return WIRE_STUN;
        if (len >= 6 && memcmp(data, "TS\xf0\x9f\x92\xac", 6) == 0)
                return WIRE_DISCO;
        if (len >= 32 && data[0] >= 1 && data[0] <= 3)
                return WIRE_HANDSHAKE;
        return len >= 32 && data[0] == 4 ? WIRE_DATA : WIRE_OTHER;
}

static void tell(const struct packet *p, const char *fate)
{
        static const char *const word[] = {"stun", "disco", "handshake", "data", "other"};
        char a[ADDR_STR_MAX], b[ADDR_STR_MAX];
        trace_num((uint64_t)p->len << 32 | p->dst.port | (uint64_t)p->src.port << 16);
        if (!trace_verbose())
                return;
        trace_line("%-4s %s > %s %s %zu: %s", p->from != NULL ? p->from->name : "srv", addr_str(p->src, a),
                addr_str(p->dst, b), word[wire_class_of(p->data, p->len)], p->len, fate);
}

static struct host *host_in(const struct site *s, struct ip ip)
{
        for (int i = 0; i < n.hosts; i++)
                if (n.host[i]->site == s && ip_eq(n.host[i]->v4, ip))
                        return n.host[i];
        return NULL;
}

static struct site *site_in(const struct site *up, struct ip wan)
{
        for (int i = 0; i < n.sites; i++)
                if (n.site[i]->up == up && ip_eq(n.site[i]->wan, wan))
                        return n.site[i];
        return NULL;
}

static const char *into_host(struct packet *p, struct host *h, struct addr dst)
{
        struct addr to;
        if (h == NULL)
                return "nobody there";
        if (!net_host_online(h))
                return "host is off";
        if (!nat_in(&h->fw, p->src, dst, clock_now(), &to))
                return "host's firewall";
        enum wire_class c = wire_class_of(p->data, p->len);
        if (net_seen != NULL)
                net_seen(p->from, h, c, p->len);
        return vsock_deliver(h, p->src, dst, p->data, p->len) ? h->name : "no socket";
}

/* From above: through the site's NAT, or the ones below it, to the host. */
static const char *into_site(struct packet *p, struct site *s, struct addr dst)
{
        while (s != NULL) {
                if (s->udp_blocked)
                        return "UDP is blocked";
                if (!nat_in(&s->nat, p->src, dst, clock_now(), &dst))
                        return "NAT";
                struct host *h = host_in(s, dst.ip);
                if (h != NULL)
                        return into_host(p, h, dst);
                s = site_in(s, dst.ip);
        }
        return "nobody there";
}

static const char *arrive(struct packet *p)
{
        if (p->local != NULL)
                return into_host(p, host_in(p->local, p->dst.ip), p->dst);
        const struct owner *o = owner_of(p->dst.ip);
        if (o == NULL)
                return "no route";
        if (o->server != NULL) {
                net_to_server(o->server, p->src, p->dst, p->data, p->len);
                return "server";
        }
        if (o->site != NULL)
                return into_site(p, o->site, p->dst);
        struct addr to;
        if (o->host == NULL)
                return "nobody there";
        struct site *s = o->host->site;
        if (s->udp_blocked)
                return "UDP is blocked";
        if (!nat_in(p->dst.ip.family == IP_V6 ? &s->nat6 : &s->nat, p->src, p->dst, clock_now(), &to))
                return "site's firewall";
        return into_host(p, o->host, p->dst);
}

static void on_arrival(struct timer *t, mono_t now)
{
        (void)now;
        struct packet *p = container_of(t, struct packet, timer);
        tell(p, arrive(p));
        forget(p);
}

static void fly(struct host *from, struct site *local, struct addr src, struct addr dst, const void *data, size_t len,
        int64_t delay_ns)
{
        struct packet *p = malloc(sizeof(*p) + len);
        if (p == NULL)
                abort();
        p->from = from;
        p->local = local;
        p->src = src;
        p->dst = dst;
        p->len = len;
        memcpy(p->data, data, len);
        p->prev = NULL;
        p->next = n.flying;
        if (p->next != NULL)
                p->next->prev = p;
        n.flying = p;
        timer_init(&p->timer, on_arrival);
        loop_timer_at(clock_world(), &p->timer, mono_add_ns(clock_now(), delay_ns));
}

/* What a link does to a packet: adds to the delay; false: lost. */
static bool cross(const struct link *l, size_t wire_len, int64_t *delay, int *copies)
{
        if (wire_len > l->mtu || (l->loss > 0 && rng_chance(&n.rng, l->loss)))
                return false;
        *delay += l->delay_ns + (l->jitter_ns > 0 ? rng_in(&n.rng, 0, l->jitter_ns) : 0);
        if (l->reorder > 0 && rng_chance(&n.rng, l->reorder))
                *delay += rng_in(&n.rng, 0, 2 * l->delay_ns);
        *copies += l->duplicate > 0 && rng_chance(&n.rng, l->duplicate);
        return true;
}

/* The site whose link a packet for this address comes down. */
static struct site *site_of(struct addr dst)
{
        const struct owner *o = owner_of(dst.ip);
        return o == NULL ? NULL : o->site != NULL ? o->site : o->host != NULL ? o->host->site : NULL;
}

static void launch(struct host *h, struct site *local, struct addr src, struct addr dst, const void *data, size_t len,
        int64_t delay)
{
        int copies = 1;
        size_t wire = len + (dst.ip.family == IP_V6 ? 48 : 28);
        bool lost = h != NULL && !cross(&h->link, wire, &delay, &copies);
        for (struct site *s = h != NULL && local == NULL ? h->site : NULL; s != NULL && !lost; s = s->up)
                lost = !cross(&s->link, wire, &delay, &copies);
        for (struct site *s = local == NULL ? site_of(dst) : NULL; s != NULL && !lost; s = s->up)
                lost = !cross(&s->link, wire, &delay, &copies);
        if (lost) {
                enum wire_class c = wire_class_of(data, len);
                if (h != NULL && c == WIRE_DATA)
                        h->lost_data[len / 16 % NET_DATA_LENGTHS]++;
                else if (h != NULL)
                        h->lost_handshakes += c == WIRE_HANDSHAKE;
                trace_line("%-4s a link loses %zu bytes", h != NULL ? h->name : "srv", len);
                return;
        }
        for (int i = 0; i < copies; i++)
                fly(h, local, src, dst, data, len, delay + i * NS_PER_MS);
}

/* Out through NATs; the address it arrives from above.  NULL: that is fine, else what stops it. */
static const char *way_out(struct host *h, struct addr *src, struct addr dst)
{
        for (struct site *s = h->site; s != NULL; s = s->up) {
                if (s->udp_blocked)
                        return "UDP is blocked";
                if (dst.ip.family == IP_V6) {
                        (void)nat_out(&s->nat6, *src, dst, clock_now());
                        continue;
                }
                uint16_t port = nat_out(&s->nat, *src, dst, clock_now());
                if (port == 0) {
                        s->starved = clock_now();
                        return "NAT has no port left";
                }
                if (!s->nat.conf.translates)
                        continue;
                *src = (struct addr){s->wan, port};
                if (ip_eq(dst.ip, s->wan))
                        return s->nat.conf.hairpin ? NULL : "no hairpin";
        }
        return NULL;
}

int net_send(struct host *h, uint16_t port, struct addr dst, const void *data, size_t len)
{
        bool v6 = dst.ip.family == IP_V6;
        struct addr src = {v6 ? h->v6 : h->v4, port};
        if (!ip_is_set(src.ip) || h->unplugged)
                return ENETUNREACH;
        enum wire_class class = wire_class_of(data, len);
        net_count[class]++;
        if (class == WIRE_DATA || class == WIRE_HANDSHAKE)
                net_last_wg = clock_now();
        (void)nat_out(&h->fw, src, dst, clock_now());
        if (!v6 && h->site->nat.conf.translates && dst.ip.b[0] == 192 && dst.ip.b[1] == 168 && dst.ip.b[2] == h->site->lan) {
                if (!h->site->isolates)
                        launch(h, h->site, src, dst, data, len, 0);
                return 0;
        }
        struct addr seen = src;
        const char *stopped = net_host_online(h) ? way_out(h, &seen, dst) : "offline";
        struct site *far = site_of(dst);
        if (stopped == NULL && far != NULL && net_is_cut(site_top(h->site), site_top(far)))
                stopped = "cut";
        if (stopped != NULL)
                trace_line("%-4s %zu bytes do not leave: %s", h->name, len, stopped);
        else
                launch(h, NULL, seen, dst, data, len, 0);
        return 0;
}

void net_send_from_server(struct addr src, struct addr dst, const void *data, size_t len, int64_t far_ns)
{
        launch(NULL, NULL, src, dst, data, len, far_ns);
}

int64_t net_delay_to_core(const struct host *h)
{
        int64_t d = h->link.delay_ns;
        for (const struct site *s = h->site; s != NULL; s = s->up)
                d += s->link.delay_ns;
        return d;
}
