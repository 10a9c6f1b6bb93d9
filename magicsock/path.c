#include "magicsock/path.h"

#include <stdlib.h>
#include <string.h>

#include "magicsock/disco.h"

void path_set_done(struct path_set *s)
{
        free(s->p);
        memset(s, 0, sizeof(*s));
}

bool path_addr_usable(struct addr a)
{
        if (!addr_is_set(a) || a.port == 0 || ip_is_unspecified(a.ip) || ip_is_multicast(a.ip))
                return false;
        /* Without its interface an IPv6 link-local address says nothing. */
        if (a.ip.family == IP_V6 && ip_is_link_local(a.ip))
                return false;
        return !disco_is_relay_addr(a) && !ip_eq(a.ip, ip_v4(255, 255, 255, 255));
}

struct path *path_find(struct path_set *s, struct addr a)
{
        for (size_t i = 0; i < s->count; i++)
                if (addr_eq(s->p[i].addr, a))
                        return &s->p[i];
        return NULL;
}

static bool is_stale(const struct path *p, mono_t now)
{
        return mono_diff_ns(now, p->proven) > PATH_LEARNED_NS;
}

/* A full set gives up the ping-learned candidate that has been silent longest. */
static struct path *make_room(struct path_set *s, struct addr keep)
{
        struct path *oldest = NULL;
        for (size_t i = 0; i < s->count; i++) {
                struct path *p = &s->p[i];
                if ((p->origin & (PATH_FROM_MAP | PATH_FROM_CALL)) || addr_eq(p->addr, keep))
                        continue;
                if (!oldest || p->proven.ns < oldest->proven.ns)
                        oldest = p;
        }
        return oldest;
}

static struct path *new_place(struct path_set *s, struct addr keep)
{
        if (s->count == PATH_CANDIDATES_MAX)
                return make_room(s, keep);
        if (s->count == s->cap) {
                size_t cap = s->cap ? s->cap * 2 : 4;
                struct path *p = realloc(s->p, cap * sizeof(*p));
                if (!p)
                        return NULL;
                s->p = p;
                s->cap = cap;
        }
        return &s->p[s->count++];
}

struct path *path_add(struct path_set *s, struct addr a, enum path_origin from, struct addr keep, mono_t now)
{
        if (!path_addr_usable(a))
                return NULL;
        struct path *p = path_find(s, a);
        if (!p) {
                p = new_place(s, keep);
                if (!p)
                        return NULL;
                *p = (struct path){.addr = a};
        }
        p->origin = (uint8_t)(p->origin | from);
        if (from == PATH_FROM_PING)
                p->proven = now;
        return p;
}

void path_forget_origin(struct path_set *s, enum path_origin from)
{
        for (size_t i = 0; i < s->count; i++)
                s->p[i].origin = (uint8_t)(s->p[i].origin & ~(unsigned)from);
}

void path_prune(struct path_set *s, struct addr keep, mono_t now)
{
        size_t kept = 0;
        for (size_t i = 0; i < s->count; i++) {
                struct path *p = &s->p[i];
                if ((p->origin & PATH_FROM_PING) && is_stale(p, now))
                        p->origin = (uint8_t)(p->origin & ~(unsigned)PATH_FROM_PING);
                if (p->origin == 0 && !addr_eq(p->addr, keep))
                        continue;
                s->p[kept++] = *p;
        }
        s->count = kept;
}

void path_reset_gates(struct path_set *s)
{
        for (size_t i = 0; i < s->count; i++) {
                s->p[i].pinged = (mono_t){0};
                s->p[i].ping_back = (mono_t){0};
        }
}

static int64_t kind_points(struct ip ip)
{
        int64_t points = ip.family == IP_V6 ? 10 : 0;
        if (ip_is_loopback(ip))
                return points + 50;
        if (ip_is_link_local(ip))
                return points + 30;
        return ip_is_private(ip) ? points + 20 : points;
}

bool path_better(const struct path_best *a, const struct path_best *b)
{
        if (addr_eq(a->addr, b->addr))
                return false;
        if (!addr_is_set(b->addr))
                return true;
        if (!addr_is_set(a->addr))
                return false;

        /* The slower one's latency is 100 %; the faster one gets the percentage it saves. */
        int64_t ap = 0, bp = 0;
        if (a->latency_ns > b->latency_ns)
                bp = 100 - 100 * b->latency_ns / a->latency_ns;
        else if (b->latency_ns > 0)
                ap = 100 - 100 * a->latency_ns / b->latency_ns;
        ap += kind_points(a->addr.ip);
        bp += kind_points(b->addr.ip);
        if (ap <= 1 && bp == 0) /* 1 % is noise */
                return false;
        return ap > bp;
}

bool path_worth_a_move(const struct path_best *a, const struct path_best *b)
{
        struct path_best slower = {a->addr, a->latency_ns + a->latency_ns / 20 + 200 * NS_PER_US};
        return path_better(a, b) && path_better(&slower, b);
}
