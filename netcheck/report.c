#include "netcheck/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The region's place, made if it is new; NULL: more regions than a map can have. */
static struct nc_latency *latency_slot(struct netcheck_report *r, int region)
{
        size_t i = 0;
        while (i < r->latency_count && r->latency[i].region < region)
                i++;
        if (i < r->latency_count && r->latency[i].region == region)
                return &r->latency[i];
        if (r->latency_count == DERPMAP_REGIONS_MAX)
                return NULL;
        memmove(&r->latency[i + 1], &r->latency[i], (r->latency_count - i) * sizeof(r->latency[0]));
        r->latency_count++;
        r->latency[i] = (struct nc_latency){.region = region};
        return &r->latency[i];
}

static void lower(int64_t *best, int64_t ns)
{
        if (*best == 0 || ns < *best)
                *best = ns;
}

static void count(struct nc_counter *c, size_t *n, struct addr seen)
{
        for (size_t i = 0; i < *n; i++) {
                if (!addr_eq(c[i].addr, seen))
                        continue;
                c[i].seen++;
                return;
        }
        if (*n < NC_COUNTERS_MAX)
                c[(*n)++] = (struct nc_counter){.addr = seen, .seen = 1};
}

/* Only IPv4 is rewritten by NATs that matter; a differing port alone counts too.  Once true, always true.  That one server
 * sees the same twice says nothing: any NAT keeps the mapping to it. */
static void compare_mapping(struct netcheck_report *r, struct ip server, struct addr seen)
{
        if (!addr_is_set(r->global_v4)) {
                r->global_v4 = seen;
                r->server_v4 = server;
        } else if (!addr_eq(r->global_v4, seen)) {
                r->mapping_varies = NC_TRUE;
        } else if (r->mapping_varies == NC_UNKNOWN && !ip_eq(r->server_v4, server)) {
                r->mapping_varies = NC_FALSE;
        }
}

void nc_report_stun(struct netcheck_report *r, int region, struct ip server, struct addr seen, int64_t rtt_ns)
{
        struct nc_latency *l = latency_slot(r, region);
        int64_t ns = rtt_ns > 0 ? rtt_ns : 1;
        r->udp = true;
        if (l != NULL) {
                lower(&l->any_ns, ns);
                lower(seen.ip.family == IP_V4 ? &l->v4_ns : &l->v6_ns, ns);
        }
        if (seen.ip.family == IP_V4) {
                r->ipv4 = true;
                count(r->v4, &r->v4_count, seen);
                compare_mapping(r, server, seen);
        } else {
                r->ipv6 = true;
                count(r->v6, &r->v6_count, seen);
                r->global_v6 = seen;
        }
}

void nc_report_https(struct netcheck_report *r, int region, enum ip_family f, int64_t rtt_ns)
{
        struct nc_latency *l = latency_slot(r, region);
        if (l != NULL)
                lower(&l->any_ns, rtt_ns > 0 ? rtt_ns : 1);
        r->https = true;
        if (f == IP_V4)
                r->ipv4 = true;
        else if (f == IP_V6)
                r->ipv6 = true;
}

void nc_report_icmp(struct netcheck_report *r, int region, int64_t rtt_ns)
{
        struct nc_latency *l = latency_slot(r, region);
        if (l != NULL)
                lower(&l->any_ns, rtt_ns);
        r->ipv4 = r->icmp4 = true;
}

const struct nc_latency *nc_report_latency(const struct netcheck_report *r, int region)
{
        for (size_t i = 0; i < r->latency_count; i++)
                if (r->latency[i].region == region)
                        return &r->latency[i];
        return NULL;
}

size_t nc_report_endpoints(const struct netcheck_report *r, enum ip_family f, struct addr ret[NC_COUNTERS_MAX])
{
        const struct nc_counter *c = f == IP_V4 ? r->v4 : r->v6;
        size_t count_max = f == IP_V4 ? r->v4_count : r->v6_count, n = 0;
        struct addr first = f == IP_V4 ? r->global_v4 : r->global_v6;
        if (addr_is_set(first))
                ret[n++] = first;
        for (size_t i = 0; i < count_max && n < NC_COUNTERS_MAX; i++)
                if (c[i].seen > 1 && !addr_eq(c[i].addr, first))
                        ret[n++] = c[i].addr;
        return n;
}

__attribute__((format(printf, 4, 5)))
static void append(char *out, size_t cap, size_t *at, const char *fmt, ...)
{
        va_list ap;
        if (*at >= cap)
                return;
        va_start(ap, fmt);
        int n = vsnprintf(out + *at, cap - *at, fmt, ap);
        va_end(ap);
        *at += n > 0 ? (size_t)n : 0;
}

static const char *tri(enum nc_tri t)
{
        return t == NC_TRUE ? "true" : t == NC_FALSE ? "false" : "";
}

static const char *yes(bool b)
{
        return b ? "true" : "false";
}

const char *nc_report_line(const struct netcheck_report *r, char *out, size_t cap)
{
        char text[ADDR_STR_MAX];
        size_t at = 0;
        append(out, cap, &at, "udp=%s", yes(r->udp));
        if (!r->ipv4)
                append(out, cap, &at, " v4=false");
        append(out, cap, &at, " v6=%s", yes(r->ipv6));
        if (!r->ipv6)
                append(out, cap, &at, " v6os=%s", yes(r->os_has_ipv6));
        if (r->icmp4)
                append(out, cap, &at, " icmpv4=true");
        append(out, cap, &at, " mapvarydest=%s portmap=%s", tri(r->mapping_varies),
                r->upnp == NC_UNKNOWN && r->pmp == NC_UNKNOWN && r->pcp == NC_UNKNOWN ? "?" : "");
        if (r->upnp == NC_TRUE)
                append(out, cap, &at, "U");
        if (r->pmp == NC_TRUE)
                append(out, cap, &at, "M");
        if (r->pcp == NC_TRUE)
                append(out, cap, &at, "C");
        if (addr_is_set(r->global_v4))
                append(out, cap, &at, " v4a=%s", addr_str(r->global_v4, text));
        if (addr_is_set(r->global_v6))
                append(out, cap, &at, " v6a=%s", addr_str(r->global_v6, text));
        if (r->captive != NC_UNKNOWN)
                append(out, cap, &at, " captiveportal=%s", tri(r->captive));
        append(out, cap, &at, " derp=%d", r->preferred);
        for (size_t i = 0; i < r->latency_count; i++) {
                const struct nc_latency *l = &r->latency[i];
                append(out, cap, &at, "%s%d%s:%" PRId64 "ms", i == 0 ? " derpdist=" : ",", l->region,
                        l->v4_ns == l->any_ns ? "v4" : l->v6_ns == l->any_ns ? "v6" : "",
                        l->any_ns / NS_PER_MS);
        }
        return out;
}
