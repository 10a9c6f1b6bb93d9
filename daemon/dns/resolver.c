#include "daemon/dns/resolver.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/via6.h"

struct work {
        const struct dns_config *c;
        const struct dns_query *q;
        int64_t wall_s;
        uint8_t *out;
        size_t len;
};

enum step { DONE, PASS };   /* answered, or not ours */

static unsigned own_flags(const struct dns_query *q)
{
        return DNS_AA | ((q->flags & DNS_RD) ? (unsigned)DNS_RA : 0U);
}

static enum step say(struct work *w, unsigned flags, enum dns_rcode rcode)
{
        w->len = dns_reply_error(w->out, DNS_LOCAL_MAX, w->q, flags, rcode);
        return DONE;
}

/* No such name, or no such record: with the zone's SOA, so that it is remembered for as long as that says. */
static enum step say_none(struct work *w, enum dns_rcode rcode)
{
        struct dns_reply r;
        struct dns_name zone;
        dns_reply_begin(&r, w->out, DNS_LOCAL_MAX, w->q, own_flags(w->q), rcode);
        if (dns_config_zone(w->c, &w->q->name, &zone))
                dns_reply_soa(&r, &zone, (uint32_t)w->wall_s, DNS_SOA_TTL, DNS_SOA_TTL);
        w->len = dns_reply_end(&r);
        return DONE;
}

static enum step say_address(struct work *w, struct ip ip)
{
        struct dns_reply r;
        if (!ip_is_set(ip))
                return say_none(w, DNS_NOERROR);
        dns_reply_begin(&r, w->out, DNS_LOCAL_MAX, w->q, own_flags(w->q), DNS_NOERROR);
        dns_reply_address(&r, ip, DNS_LOCAL_TTL);
        w->len = dns_reply_end(&r);
        return DONE;
}

static enum step say_name(struct work *w, const struct dns_name *name)
{
        struct dns_reply r;
        dns_reply_begin(&r, w->out, DNS_LOCAL_MAX, w->q, own_flags(w->q), DNS_NOERROR);
        dns_reply_ptr(&r, name, DNS_LOCAL_TTL);
        w->len = dns_reply_end(&r);
        return DONE;
}

static enum step say_host(struct work *w, const struct dns_host *h)
{
        switch (w->q->type) {
        case DNS_A:
                return say_address(w, h->v4);
        case DNS_AAAA:
                return say_address(w, h->v6);
        case DNS_ANY:
                return say_address(w, h->first);
        case DNS_NS:
        case DNS_SOA:
        case DNS_AXFR:
        case DNS_HINFO:
                return say(w, own_flags(w->q), DNS_NOTIMP);
        default:   /* the name is there, but has no such record; browsers ask for HTTPS again and again */
                return say_none(w, DNS_NOERROR);
        }
}

/* ---- 4via6: A-B-C-D-via-N is the address A.B.C.D of site N ---- */

/* The whole text is a number of at most 32 bits as C writes them: 10, 0xa, 012. */
static bool parse_site(const char *s, uint32_t *ret)
{
        char *end;
        errno = 0;
        if (!isdigit((unsigned char)s[0]))
                return false;
        unsigned long v = strtoul(s, &end, 0);
        *ret = (uint32_t)v;
        return errno == 0 && *end == '\0' && v <= UINT32_MAX;
}

static bool parse_via(const struct dns_name *n, struct ip *ret)
{
        char label[DNS_LABEL_MAX + 1];
        struct ip v4;
        uint32_t site;
        size_t len = n->b[0];
        if (len == 0 || memchr(n->b + 1, '\0', len) != NULL)
                return false;
        memcpy(label, n->b + 1, len);
        label[len] = '\0';
        char *via = strstr(label, "-via-");
        if (via == NULL || strchr(label, '.') != NULL)
                return false;
        *via = '\0';
        for (char *p = label; *p != '\0'; p++)
                if (*p == '-')
                        *p = '.';
        if (ip_parse(label, &v4) != ERR_NONE || v4.family != IP_V4 || !parse_site(via + 5, &site))
                return false;
        *ret = via6_from_v4(site, v4);
        return true;
}

static bool below_text(const struct dns_name *n, const char *suffix)
{
        struct dns_name s;
        return dns_name_parse(suffix, &s) == ERR_NONE && dns_name_within(n, &s);
}

static enum step answer_via(struct work *w)
{
        const struct dns_query *q = w->q;
        struct dns_name parent = q->name;
        struct ip ip;
        if (q->type != DNS_A && q->type != DNS_AAAA && q->type != DNS_ANY)
                return PASS;
        if (!dns_name_to_parent(&parent) ||
                (parent.len > 1 && !below_text(&parent, "ts.net") && !below_text(&parent, "tailscale.net")))
                return PASS;
        if (!parse_via(&q->name, &ip))
                return PASS;
        return say_address(w, q->type == DNS_A ? (struct ip){0} : ip);
}

/* ---- reverse ---- */

static bool parse_reverse4(const struct dns_name *n, struct ip *ret)
{
        uint8_t b[4];
        size_t at = 0;
        for (int i = 3; i >= 0; i--, at += 1u + n->b[at]) {
                unsigned v = 0, len = n->b[at];
                if (len < 1 || len > 3 || (len > 1 && n->b[at + 1] == '0'))
                        return false;
                for (size_t k = 1; k <= len; k++) {
                        if (!isdigit(n->b[at + k]))
                                return false;
                        v = v * 10 + (unsigned)(n->b[at + k] - '0');
                }
                if (v > 255)
                        return false;
                b[i] = (uint8_t)v;
        }
        *ret = ip_from_bytes4(b);
        return memcmp(n->b + at, "\7in-addr\4arpa", 14) == 0;
}

static bool parse_reverse6(const struct dns_name *n, struct ip *ret)
{
        uint8_t b[16] = {0};
        if (n->len != 64 + 10 || memcmp(n->b + 64, "\3ip6\4arpa", 10) != 0)
                return false;
        for (size_t i = 0; i < 32; i++) {
                uint8_t c = n->b[2 * i + 1];
                if (n->b[2 * i] != 1 || !isxdigit(c))
                        return false;
                unsigned v = c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
                b[15 - i / 2] = (uint8_t)(b[15 - i / 2] | v << (4 * (i % 2)));
        }
        *ret = ip_from_bytes16(b);
        return true;
}

/* An IPv4 address of the mesh as some programs dress it for IPv6: fd7a:115c:a1e0:ab12:4843:cd96:62xx:xxxx. */
static struct ip unwrap4(struct ip ip)
{
        static const uint8_t wrap[13] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 0xab, 0x12, 0x48, 0x43, 0xcd, 0x96, 0x62};
        if (ip.family != IP_V6 || memcmp(ip.b, wrap, sizeof(wrap)) != 0)
                return ip;
        return ip_v4(100, ip.b[13], ip.b[14], ip.b[15]);
}

static enum step answer_reverse(struct work *w)
{
        const struct dns_query *q = w->q;
        struct dns_name name, zone;
        struct ip ip = {0};
        if (parse_reverse4(&q->name, &ip) || parse_reverse6(&q->name, &ip)) {
                ip = unwrap4(ip);
                if (ip_is_service(ip) && dns_name_parse(DNS_SERVICE_NAME, &name) == ERR_NONE)
                        return say_name(w, &name);
                if (dns_config_name_of(w->c, ip, &name))
                        return say_name(w, &name);
        }
        return dns_config_zone(w->c, &q->name, &zone) ? say_none(w, DNS_NXDOMAIN) : PASS;
}

/* ---- forward ---- */

static const struct dns_host *find_host(const struct dns_config *c, const struct dns_name *name)
{
        const struct dns_host *h = dns_config_host(c, name);
        struct dns_name parent = *name;
        while (h == NULL && dns_name_to_parent(&parent)) {
                const struct dns_host *above = dns_config_host(c, &parent);
                if (above != NULL && above->subdomains)
                        h = above;
        }
        return h;
}

static enum step answer_name(struct work *w)
{
        const struct dns_query *q = w->q;
        struct dns_host service = {.first = ip_service4, .v4 = ip_service4, .v6 = ip_service6};
        struct dns_name known;
        if (below_text(&q->name, "onion"))
                return say(w, own_flags(q), DNS_NXDOMAIN);
        if (dns_name_parse(DNS_SERVICE_NAME, &known) == ERR_NONE && dns_name_eq(&q->name, &known))
                return say_host(w, &service);
        if (answer_via(w) == DONE)
                return DONE;
        const struct dns_host *h = find_host(w->c, &q->name);
        if (h != NULL)
                return say_host(w, h);
        return dns_config_zone(w->c, &q->name, &known) ? say_none(w, DNS_NXDOMAIN) : PASS;
}

/* Browsing domains of DNS-SD are looked for by every desktop and known to no upstream. */
static bool is_browsing(const struct dns_name *n)
{
        static const char *const first[] = {"b", "db", "r", "dr", "lb"};
        struct dns_name rest = *n;
        bool found = false;
        for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
                found = found || dns_name_first_is(n, first[i]);
        return found && dns_name_to_parent(&rest) && dns_name_first_is(&rest, "_dns-sd") &&
                dns_name_to_parent(&rest) && dns_name_first_is(&rest, "_udp");
}

static enum step answer(struct work *w)
{
        const struct dns_query *q = w->q;
        struct dns_name zone;
        if (q->flags & DNS_OPCODE)
                return say(w, 0, DNS_NOTIMP);
        if (q->class != DNS_IN && q->class != DNS_ANY)   /* never asks upstream for names of our own */
                return dns_config_zone(w->c, &q->name, &zone) ? say(w, own_flags(q), DNS_REFUSED) : PASS;
        if (q->type != DNS_PTR)
                return answer_name(w);
        return is_browsing(&q->name) ? PASS : answer_reverse(w);
}

enum dns_verdict dns_resolve(const struct dns_config *c, const uint8_t *msg, size_t len, int64_t wall_s,
        struct dns_query *q, uint8_t out[DNS_LOCAL_MAX], size_t *ret_len, const struct dns_route **ret_route)
{
        struct work w = {.c = c, .q = q, .wall_s = wall_s, .out = out};
        switch (dns_query_parse(msg, len, q)) {
        case DNS_PARSED_NOTHING:
                return DNS_SILENT;
        case DNS_PARSED_MALFORMED:
                (void)say(&w, 0, DNS_FORMERR);
                break;
        case DNS_PARSED:
                if (answer(&w) == DONE)
                        break;
                if (is_browsing(&q->name)) {
                        (void)say(&w, own_flags(q) & ~(unsigned)DNS_AA, DNS_NXDOMAIN);
                        break;
                }
                *ret_route = dns_config_route(c, &q->name);
                if (*ret_route != NULL)
                        return DNS_FORWARD;
                (void)say(&w, DNS_AA, DNS_SERVFAIL);
                break;
        }
        *ret_len = w.len;
        return w.len > 0 ? DNS_ANSWERED : DNS_SILENT;
}
