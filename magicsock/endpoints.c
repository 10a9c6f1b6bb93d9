#include "magicsock/endpoints.h"

#include <stdlib.h>
#include <string.h>

#define TRACK_NS (310 * NS_PER_SEC)

enum { V6_PER_SUBNET = 2 };

struct list {
        struct ms_endpoint *e;
        size_t n;
};

/* The first type an address is entered with wins. */
static void add(struct list *l, struct addr a, enum ms_endpoint_type type)
{
        if (!addr_is_set(a) || a.port == 0 || l->n == MS_ENDPOINTS_MAX)
                return;
        for (size_t i = 0; i < l->n; i++)
                if (addr_eq(l->e[i].addr, a))
                        return;
        l->e[l->n++] = (struct ms_endpoint){a, type};
}

static void tracker_drop(struct endpoint_tracker *t, size_t i)
{
        t->count--;
        memmove(&t->e[i], &t->e[i + 1], (t->count - i) * sizeof(t->e[0]));
}

/* Oldest first, so the first match is the one to give up. */
static void tracker_make_room(struct endpoint_tracker *t, struct ip ip)
{
        size_t same = 0, oldest = 0;
        for (size_t i = t->count; i-- > 0;) {
                if (ip_eq(t->e[i].ep.addr.ip, ip)) {
                        same++;
                        oldest = i;
                }
        }
        if (same == MS_TRACKED_PER_IP)
                tracker_drop(t, oldest);
        else if (t->count == MS_TRACKED_MAX)
                tracker_drop(t, 0);
}

static void tracker_saw(struct endpoint_tracker *t, struct ms_endpoint ep, mono_t now)
{
        for (size_t i = 0; i < t->count; i++) {
                if (addr_eq(t->e[i].ep.addr, ep.addr)) {
                        tracker_drop(t, i);
                        break;
                }
        }
        tracker_make_room(t, ep.addr.ip);
        t->e[t->count].ep = ep;
        t->e[t->count++].seen = now;
}

static void tracker_expire(struct endpoint_tracker *t, mono_t now)
{
        while (t->count > 0 && mono_diff_ns(now, t->e[0].seen) > TRACK_NS)
                tracker_drop(t, 0);
}

void endpoints_forget(struct endpoint_tracker *t, enum ms_endpoint_type type)
{
        for (size_t i = t->count; i-- > 0;)
                if (t->e[i].ep.type == type)
                        tracker_drop(t, i);
}

bool endpoints_seen_at(const struct endpoint_tracker *t, const struct endpoints_input *in, struct ip ip)
{
        for (size_t i = 0; i < in->stun4_count; i++)
                if (ip_eq(in->stun4[i].ip, ip))
                        return true;
        for (size_t i = 0; i < t->count; i++)
                if (t->e[i].ep.type == MS_ENDPOINT_STUN && ip_eq(t->e[i].ep.addr.ip, ip))
                        return true;
        return false;
}

size_t endpoints_build(struct endpoint_tracker *t, const struct endpoints_input *in, mono_t now,
                       struct ms_endpoint ret[MS_ENDPOINTS_MAX])
{
        struct list l = {.e = ret};
        if (in->portmap)
                add(&l, *in->portmap, MS_ENDPOINT_PORTMAP);
        for (size_t i = 0; i < in->stun4_count; i++)
                add(&l, in->stun4[i], MS_ENDPOINT_STUN);
        for (size_t i = 0; i < in->stun6_count; i++)
                add(&l, in->stun6[i], MS_ENDPOINT_STUN);
        if (in->hard_nat && in->fixed_port && in->stun4_count > 0)
                add(&l, (struct addr){in->stun4[0].ip, in->fixed_port}, MS_ENDPOINT_STUN4_LOCAL_PORT);

        tracker_expire(t, now);
        size_t fresh = l.n < MS_TRACKED_MAX ? l.n : MS_TRACKED_MAX;
        for (size_t i = 0; i < t->count; i++)
                add(&l, t->e[i].ep.addr, t->e[i].ep.type);
        for (size_t i = 0; i < fresh; i++)
                tracker_saw(t, ret[i], now);

        for (size_t i = 0; i < in->static_count; i++)
                add(&l, in->statics[i], MS_ENDPOINT_CONFIG);

        bool have_public = l.n > 0;
        for (size_t i = 0; i < in->local_count; i++) {
                struct ip ip = in->local[i];
                if (ip_is_loopback(ip) && have_public)
                        continue;
                add(&l, (struct addr){ip, ip.family == IP_V6 ? in->port6 : in->port4}, MS_ENDPOINT_LOCAL);
        }
        return l.n;
}

static bool has_endpoint(const struct ms_endpoint *l, size_t n, struct ms_endpoint e)
{
        for (size_t i = 0; i < n; i++)
                if (l[i].type == e.type && addr_eq(l[i].addr, e.addr))
                        return true;
        return false;
}

bool endpoints_same(const struct ms_endpoint *a, size_t an, const struct ms_endpoint *b, size_t bn)
{
        if (an != bn)
                return false;
        for (size_t i = 0; i < an; i++)
                if (!has_endpoint(b, bn, a[i]))
                        return false;
        return true;
}

/* ---- interface addresses ---- */

enum rank { RANK_DROP, RANK_LOOPBACK, RANK_LAST_RESORT, RANK_REGULAR };

/* Other overlays would carry us and we them, without end. */
static bool is_overlay(const char *ifname, const char *tun_name)
{
        return strncmp(ifname, "zt", 2) == 0 || strcmp(ifname, "wt0") == 0 ||
               (tun_name && strcmp(ifname, tun_name) == 0);
}

/* ChromeOS uses a corner of the tailnet range for its own containers. */
static bool is_tailnet(struct ip ip)
{
        bool is_chromeos = ip.family == IP_V4 && ip.b[0] == 100 && ip.b[1] == 115 && (ip.b[2] & 0xfe) == 92;
        return ip_is_tailnet(ip) && !is_chromeos;
}

static enum rank rank_of(const struct local_addr *a, const char *tun_name)
{
        struct ip ip = a->ip;
        if (!ip_is_set(ip) || ip_is_unspecified(ip) || ip_is_multicast(ip) || is_tailnet(ip) ||
            is_overlay(a->ifname, tun_name))
                return RANK_DROP;
        if (ip_is_loopback(ip))
                return RANK_LOOPBACK;
        if (ip_is_link_local(ip))
                return ip.family == IP_V4 ? RANK_LAST_RESORT : RANK_DROP;
        return ip.family == IP_V6 && ip_is_private(ip) ? RANK_LAST_RESORT : RANK_REGULAR;
}

/* Temporary and stable addresses of one subnet pile up: two are plenty. */
static bool subnet_is_full(const struct local_addr *in, size_t i, const char *tun_name)
{
        struct prefix net = prefix_masked((struct prefix){in[i].ip, in[i].bits});
        size_t before = 0;
        for (size_t k = 0; k < i; k++)
                if (in[k].ip.family == IP_V6 && rank_of(&in[k], tun_name) != RANK_DROP &&
                    strcmp(in[k].ifname, in[i].ifname) == 0 && prefix_contains(net, in[k].ip))
                        before++;
        return in[i].ip.family == IP_V6 && before >= V6_PER_SUBNET;
}

static int cmp_ip(const void *a, const void *b)
{
        const struct ip *x = a, *y = b;
        return ip_cmp(*x, *y);
}

size_t endpoints_filter_local(const struct local_addr *in, size_t n, const char *tun_name,
                              struct ip ret[MS_LOCAL_MAX])
{
        enum rank best = RANK_DROP;
        for (size_t i = 0; i < n; i++) {
                enum rank r = rank_of(&in[i], tun_name);
                if (r > best)
                        best = r;
        }

        size_t count = 0;
        for (size_t i = 0; i < n && count < MS_LOCAL_MAX; i++) {
                enum rank r = rank_of(&in[i], tun_name);
                if (r == RANK_DROP || r < best || subnet_is_full(in, i, tun_name))
                        continue;
                ret[count++] = in[i].ip;
        }
        qsort(ret, count, sizeof(ret[0]), cmp_ip);
        return count;
}
