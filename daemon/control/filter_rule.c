/* One packet-filter rule: JSON in, one compact block out. */
#include "daemon/control/netmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const uint8_t DEFAULT_PROTOS[] = {6, 17, 1, 58}; /* TCP, UDP, ICMP, ICMPv6 */

enum { RANGES_MAX = 65536 };

static struct ip ip_last(struct prefix p)
{
        struct ip last = prefix_masked(p).ip;
        size_t bits = ip_bits(last);
        for (size_t i = p.bits; i < bits; i++)
                last.b[i / 8] |= (uint8_t)(0x80 >> (i % 8));
        return last;
}

static const struct ip_range *all_ips(size_t *ret_n)
{
        static const struct ip_range ALL[2] = {
                {{.family = IP_V4}, {.family = IP_V4, .b = {255, 255, 255, 255}}},
                {{.family = IP_V6},
                 {.family = IP_V6,
                  .b = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}}},
        };
        *ret_n = 2;
        return ALL;
}

/* "first-last" */
static enum err range_parse(const char *s, const char *dash, struct ip_range *ret)
{
        char first[IP_STR_MAX];
        size_t n = (size_t)(dash - s);
        if (n >= sizeof(first))
                return ERR_FORMAT;
        memcpy(first, s, n);
        first[n] = '\0';
        struct ip_range r;
        if (ip_parse(first, &r.first) != ERR_NONE || ip_parse(dash + 1, &r.last) != ERR_NONE ||
            r.first.family != r.last.family || ip_cmp(r.first, r.last) > 0)
                return ERR_FORMAT;
        *ret = r;
        return ERR_NONE;
}

/* IPv4 written as IPv6 (::ffff:...) is no permission for IPv4; base/addr.h would make it one. */
static size_t unless_mapped(const char *s, struct ip_range r)
{
        return r.first.family == IP_V4 && strchr(s, ':') != NULL ? 0 : 1;
}

/* "*" gives two ranges, any other form one; 0 = not understood, the entry is skipped. */
static size_t ranges_parse(const char *s, struct ip_range out[2])
{
        struct prefix p;
        size_t n;
        if (s == NULL)
                return 0;
        if (strcmp(s, "*") == 0) {
                memcpy(out, all_ips(&n), 2 * sizeof(*out));
                return n;
        }
        const char *dash = strchr(s, '-');
        if (dash != NULL)
                return range_parse(s, dash, &out[0]) == ERR_NONE ? unless_mapped(s, out[0]) : 0;
        if (prefix_parse(s, &p) != ERR_NONE || !prefix_eq(p, prefix_masked(p)))
                return 0;
        out[0] = (struct ip_range){p.ip, ip_last(p)};
        return unless_mapped(s, out[0]);
}

/* Upper bounds of what the rule holds, and where the parts of its block lie. */
struct layout {
        size_t srcs, caps, cap_bytes, dsts, protos;
};

static size_t layout_size(const struct layout *l)
{
        return sizeof(struct filter_rule) + l->caps * sizeof(char *) + l->dsts * sizeof(struct filter_dst) +
               l->srcs * sizeof(struct ip_range) + l->protos + l->cap_bytes;
}

static bool is_cap(const json_t *v)
{
        const char *s = json_string_value(v);
        return s != NULL && strncmp(s, "cap:", 4) == 0;
}

static struct layout layout_of(const json_t *obj)
{
        struct layout l = {0};
        size_t i;
        json_t *v;
        json_array_foreach(json_arr(obj, "SrcIPs"), i, v)
        {
                l.srcs += 2;
                if (is_cap(v)) {
                        l.caps++;
                        l.cap_bytes += json_string_length(v) + 1;
                }
        }
        l.dsts = 2 * json_array_size(json_arr(obj, "DstPorts"));
        l.protos = json_array_size(json_arr(obj, "IPProto"));
        if (l.protos < sizeof(DEFAULT_PROTOS))
                l.protos = sizeof(DEFAULT_PROTOS);
        return l;
}

static void fill_srcs(const json_t *obj, struct filter_rule *r, const char **caps, struct ip_range *srcs,
                      char *text)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_arr(obj, "SrcIPs"), i, v)
        {
                if (is_cap(v)) {
                        size_t n = json_string_length(v) - 4 + 1;
                        memcpy(text, json_string_value(v) + 4, n);
                        caps[r->src_cap_count++] = text;
                        text += n;
                } else {
                        r->src_count += (uint32_t)ranges_parse(json_string_value(v), srcs + r->src_count);
                }
        }
        r->src_caps = caps;
        r->srcs = srcs;
}

static void fill_dsts(const json_t *obj, struct filter_rule *r, struct filter_dst *dsts)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_arr(obj, "DstPorts"), i, v)
        {
                struct ip_range ips[2];
                const json_t *ports = json_obj(v, "Ports");
                int64_t first = json_int(ports, "First", 0);
                int64_t last = json_int(ports, "Last", 0);
                if (first < 0 || last > UINT16_MAX || first > last)
                        continue;
                size_t n = ranges_parse(json_str(v, "IP", NULL), ips);
                for (size_t k = 0; k < n; k++)
                        dsts[r->dst_count++] = (struct filter_dst){ips[k], (uint16_t)first, (uint16_t)last};
        }
        r->dsts = dsts;
}

/* A list with nothing usable in it matches nothing; only a missing or empty one means the default. */
static void fill_protos(const json_t *obj, struct filter_rule *r, uint8_t *protos)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_arr(obj, "IPProto"), i, v)
        {
                int64_t p = json_is_integer(v) ? json_integer_value(v) : -1;
                if (p >= 0 && p <= 255)
                        protos[r->proto_count++] = (uint8_t)p;
        }
        if (json_array_size(json_arr(obj, "IPProto")) == 0) {
                memcpy(protos, DEFAULT_PROTOS, sizeof(DEFAULT_PROTOS));
                r->proto_count = sizeof(DEFAULT_PROTOS);
        }
        r->protos = protos;
}

enum err filter_rule_from_json(const json_t *obj, struct filter_rule **ret)
{
        struct layout l = layout_of(obj);
        if (!json_is_object(obj))
                return ERR_FORMAT;
        if (l.srcs > RANGES_MAX || l.dsts > RANGES_MAX || l.protos > RANGES_MAX)
                return ERR_FULL;
        char *block = calloc(1, layout_size(&l));
        if (block == NULL)
                return ERR_FULL;
        struct filter_rule *r = (struct filter_rule *)(void *)block;
        char *caps = block + sizeof(*r); /* pointers, then ports (2), then bytes: no padding needed */
        char *dsts = caps + l.caps * sizeof(char *);
        char *srcs = dsts + l.dsts * sizeof(struct filter_dst);
        char *protos = srcs + l.srcs * sizeof(struct ip_range);
        fill_srcs(obj, r, (const char **)(void *)caps, (struct ip_range *)(void *)srcs, protos + l.protos);
        fill_dsts(obj, r, (struct filter_dst *)(void *)dsts);
        fill_protos(obj, r, (uint8_t *)protos);
        r->grants = json_arr(obj, "CapGrant");
        *ret = r;
        return ERR_NONE;
}
