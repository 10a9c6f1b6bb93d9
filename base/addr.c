#include "base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/reader.h"

static const uint8_t mapped_head[12] = {[10] = 0xff, [11] = 0xff};

struct ip ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
        return (struct ip){.family = IP_V4, .b = {a, b, c, d}};
}

struct ip ip_from_bytes4(const uint8_t b[4])
{
        return ip_v4(b[0], b[1], b[2], b[3]);
}

struct ip ip_from_bytes16(const uint8_t b[16])
{
        if (memcmp(b, mapped_head, sizeof(mapped_head)) == 0)
                return ip_from_bytes4(b + sizeof(mapped_head));
        struct ip ip = {.family = IP_V6};
        memcpy(ip.b, b, 16);
        return ip;
}

void ip_to_bytes16(struct ip ip, uint8_t out[16])
{
        if (ip.family != IP_V4) {
                memcpy(out, ip.b, 16);
                return;
        }
        memcpy(out, mapped_head, sizeof(mapped_head));
        memcpy(out + sizeof(mapped_head), ip.b, 4);
}

bool ip_is_set(struct ip ip)
{
        return ip.family != IP_NONE;
}

int ip_cmp(struct ip a, struct ip b)
{
        if (a.family != b.family)
                return a.family < b.family ? -1 : 1;
        return memcmp(a.b, b.b, sizeof(a.b));
}

bool ip_eq(struct ip a, struct ip b)
{
        return a.family == b.family && memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

uint8_t ip_bits(struct ip ip)
{
        if (ip.family == IP_NONE)
                return 0;
        return ip.family == IP_V4 ? 32 : 128;
}

bool ip_is_loopback(struct ip ip)
{
        static const struct ip one = {.family = IP_V6, .b = {[15] = 1}};
        return ip.family == IP_V4 ? ip.b[0] == 127 : ip_eq(ip, one);
}

bool ip_is_link_local(struct ip ip)
{
        if (ip.family == IP_V4)
                return ip.b[0] == 169 && ip.b[1] == 254;
        return ip.family == IP_V6 && ip.b[0] == 0xfe && (ip.b[1] & 0xc0) == 0x80;
}

bool ip_is_multicast(struct ip ip)
{
        return ip.family == IP_V4 ? ip.b[0] >> 4 == 0xe : ip.b[0] == 0xff;
}

bool ip_is_unspecified(struct ip ip)
{
        static const uint8_t zero[16];
        return ip_is_set(ip) && memcmp(ip.b, zero, sizeof(zero)) == 0;
}

bool ip_is_private(struct ip ip)
{
        if (ip.family == IP_V6)
                return (ip.b[0] & 0xfe) == 0xfc;
        return ip.family == IP_V4 && (ip.b[0] == 10 || (ip.b[0] == 172 && ip.b[1] >> 4 == 1) ||
                                      (ip.b[0] == 192 && ip.b[1] == 168));
}

bool ip_is_public(struct ip ip)
{
        if (ip.family == IP_V6)
                return (ip.b[0] & 0xe0) == 0x20;
        bool is_special = ip.b[0] == 0 || ip.b[0] >= 224 || (ip.b[0] == 100 && ip.b[1] >> 6 == 1) ||
                          (ip.b[0] == 192 && ip.b[1] == 0 && ip.b[2] == 0) || (ip.b[0] == 198 && ip.b[1] >> 1 == 9);
        return ip.family == IP_V4 && !is_special && !ip_is_private(ip) && !ip_is_loopback(ip) && !ip_is_link_local(ip);
}

const struct ip ip_service4 = {.family = IP_V4, .b = {100, 100, 100, 100}};
const struct ip ip_service6 = {.family = IP_V6, .b = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 0x53}};

bool ip_is_service(struct ip ip)
{
        return ip_eq(ip, ip_service4) || ip_eq(ip, ip_service6);
}

bool ip_is_tailnet(struct ip ip)
{
        static const uint8_t ula[6] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
        if (ip.family == IP_V4)
                return ip.b[0] == 100 && ip.b[1] >> 6 == 1;
        return ip.family == IP_V6 && memcmp(ip.b, ula, sizeof(ula)) == 0;
}

enum err ip_parse(const char *s, struct ip *ret)
{
        uint8_t b[16];
        if (inet_pton(AF_INET, s, b) == 1)
                *ret = ip_from_bytes4(b);
        else if (inet_pton(AF_INET6, s, b) == 1)
                *ret = ip_from_bytes16(b);
        else
                return ERR_FORMAT;
        return ERR_NONE;
}

/* The longest run of two or more zero groups, the first among equals (RFC 5952 4.2).  Length 0: none. */
static unsigned longest_zero_run(const uint16_t group[8], unsigned *ret_len)
{
        unsigned best = 8, best_len = 1;
        for (unsigned i = 0; i < 8; i++) {
                unsigned n = 0;
                while (i + n < 8 && group[i + n] == 0)
                        n++;
                if (n > best_len) {
                        best = i;
                        best_len = n;
                }
        }
        *ret_len = best < 8 ? best_len : 0;
        return best;
}

/* Not inet_ntop(): that one writes ::/96 with a dotted tail, which nobody else in the mesh does. */
static void ip6_str(const uint8_t b[16], char out[IP_STR_MAX])
{
        uint16_t group[8];
        for (unsigned i = 0; i < 8; i++)
                group[i] = load_be16(b + 2 * (size_t)i);
        unsigned run_len, run = longest_zero_run(group, &run_len);
        size_t at = 0;
        for (unsigned i = 0; i < 8;) {
                if (i == run) {
                        at += (size_t)snprintf(out + at, IP_STR_MAX - at, "::");
                        i += run_len;
                        continue;
                }
                bool colon = i > 0 && i != run + run_len;
                at += (size_t)snprintf(out + at, IP_STR_MAX - at, "%s%x", colon ? ":" : "", group[i]);
                i++;
        }
}

const char *ip_str(struct ip ip, char out[IP_STR_MAX])
{
        out[0] = '\0';
        if (ip.family == IP_V4)
                snprintf(out, IP_STR_MAX, "%u.%u.%u.%u", ip.b[0], ip.b[1], ip.b[2], ip.b[3]);
        else if (ip.family == IP_V6)
                ip6_str(ip.b, out);
        return out;
}

bool addr_is_set(struct addr a)
{
        return ip_is_set(a.ip);
}

int addr_cmp(struct addr a, struct addr b)
{
        int c = ip_cmp(a.ip, b.ip);
        if (c != 0)
                return c;
        return (a.port > b.port) - (a.port < b.port);
}

bool addr_eq(struct addr a, struct addr b)
{
        return a.port == b.port && ip_eq(a.ip, b.ip);   /* most of those that differ differ in the port */
}

/* Decimal digits only, no sign, no leading zero, at most max. */
static bool number_parse(const char *s, unsigned max, unsigned *ret)
{
        if (s[0] == '\0' || (s[0] == '0' && s[1] != '\0'))
                return false;
        unsigned v = 0;
        for (; *s != '\0'; s++) {
                if (*s < '0' || *s > '9')
                        return false;
                v = v * 10 + (unsigned)(*s - '0');
                if (v > max)
                        return false;
        }
        *ret = v;
        return true;
}

enum err addr_parse(const char *s, struct addr *ret)
{
        const char *colon = strrchr(s, ':');
        char host[IP_STR_MAX + 2];
        struct ip ip;
        unsigned port;
        if (colon == NULL || (size_t)(colon - s) >= sizeof(host))
                return ERR_FORMAT;
        size_t len = (size_t)(colon - s);
        memcpy(host, s, len);
        host[len] = '\0';
        /* Brackets go with IPv6 and only with it: ::1:5 would be ambiguous. */
        bool six = strchr(host, ':') != NULL;
        bool bracketed = len >= 2 && host[0] == '[' && host[len - 1] == ']';
        if (six != bracketed)
                return ERR_FORMAT;
        if (bracketed)
                host[len - 1] = '\0';
        if (ip_parse(host + bracketed, &ip) != ERR_NONE || !number_parse(colon + 1, UINT16_MAX, &port))
                return ERR_FORMAT;
        *ret = (struct addr){.ip = ip, .port = (uint16_t)port};
        return ERR_NONE;
}

const char *addr_str(struct addr a, char out[ADDR_STR_MAX])
{
        char ip[IP_STR_MAX];
        out[0] = '\0';
        if (!addr_is_set(a))
                return out;
        snprintf(out, ADDR_STR_MAX, a.ip.family == IP_V6 ? "[%s]:%u" : "%s:%u", ip_str(a.ip, ip), a.port);
        return out;
}

struct addr addr_from_sockaddr(const struct sockaddr *sa)
{
        struct addr a = {0};
        if (sa->sa_family == AF_INET) {
                struct sockaddr_in in;
                memcpy(&in, sa, sizeof(in));
                uint8_t b[4];
                memcpy(b, &in.sin_addr, sizeof(b));
                a = (struct addr){.ip = ip_from_bytes4(b), .port = ntohs(in.sin_port)};
        } else if (sa->sa_family == AF_INET6) {
                struct sockaddr_in6 in6;
                memcpy(&in6, sa, sizeof(in6));
                a = (struct addr){.ip = ip_from_bytes16(in6.sin6_addr.s6_addr), .port = ntohs(in6.sin6_port)};
        }
        return a;
}

socklen_t addr_to_sockaddr(struct addr a, struct sockaddr_storage *out)
{
        memset(out, 0, sizeof(*out));
        if (a.ip.family == IP_V4) {
                struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a.port)};
                memcpy(&in.sin_addr, a.ip.b, 4);
                memcpy(out, &in, sizeof(in));
                return sizeof(in);
        }
        if (a.ip.family == IP_V6) {
                struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a.port)};
                memcpy(&in6.sin6_addr, a.ip.b, 16);
                memcpy(out, &in6, sizeof(in6));
                return sizeof(in6);
        }
        return 0;
}

bool prefix_eq(struct prefix a, struct prefix b)
{
        return a.bits == b.bits && ip_eq(a.ip, b.ip);
}

struct prefix prefix_masked(struct prefix p)
{
        unsigned whole = p.bits / 8, rest = p.bits % 8;
        if (p.bits >= 128)
                return p;
        p.ip.b[whole] &= (uint8_t)(0xff00 >> rest);
        memset(p.ip.b + whole + 1, 0, sizeof(p.ip.b) - whole - 1);
        return p;
}

bool prefix_contains(struct prefix p, struct ip ip)
{
        if (p.ip.family != ip.family || !ip_is_set(ip))
                return false;
        struct prefix other = {.ip = ip, .bits = p.bits};
        return ip_eq(prefix_masked(p).ip, prefix_masked(other).ip);
}

struct prefix prefix_of(struct ip ip)
{
        return (struct prefix){.ip = ip, .bits = ip_bits(ip)};
}

bool prefix_is_host(struct prefix p)
{
        return ip_is_set(p.ip) && p.bits == ip_bits(p.ip);
}

enum err prefix_parse(const char *s, struct prefix *ret)
{
        char host[IP_STR_MAX + 1];
        struct ip ip;
        const char *slash = strchr(s, '/');
        size_t len = slash != NULL ? (size_t)(slash - s) : strlen(s);
        if (len >= sizeof(host))
                return ERR_FORMAT;
        memcpy(host, s, len);
        host[len] = '\0';
        if (ip_parse(host, &ip) != ERR_NONE)
                return ERR_FORMAT;
        if (slash == NULL) {
                *ret = prefix_of(ip);
                return ERR_NONE;
        }
        /* The length of a mapped address counts the 96 bits that go when it is unmapped. */
        unsigned skip = ip.family == IP_V4 && strchr(host, ':') != NULL ? 96 : 0, bits;
        if (!number_parse(slash + 1, ip_bits(ip) + skip, &bits) || bits < skip)
                return ERR_FORMAT;
        *ret = (struct prefix){.ip = ip, .bits = (uint8_t)(bits - skip)};
        return ERR_NONE;
}

struct prefix prefix_const(const char *s)
{
        struct prefix p = {0};
        enum err e = prefix_parse(s, &p);
        assert(e == ERR_NONE);
        return p;
}

const char *prefix_str(struct prefix p, char out[PREFIX_STR_MAX])
{
        char ip[IP_STR_MAX];
        out[0] = '\0';
        if (ip_is_set(p.ip))
                snprintf(out, PREFIX_STR_MAX, "%s/%u", ip_str(p.ip, ip), p.bits);
        return out;
}
