/* base/addr.h - IP addresses, address:port pairs and prefixes, with their text forms.
 *
 * Values, compared with the functions here (never memcmp on the struct from outside).  A zeroed struct
 * is "none".  IPv4-mapped IPv6 is unmapped on every way in.  No zone ids: a link-local address
 * without its interface is of no use here.  Text: RFC 5952 for IPv6, [v6]:port for pairs.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

struct ip {
        uint8_t family;   /* enum ip_family */
        uint8_t b[16];    /* network order; IPv4 uses b[0..3], the rest zero */
};

struct addr {
        struct ip ip;
        uint16_t port;   /* host order */
};

struct prefix {
        struct ip ip;    /* host bits are kept as given; see prefix_masked() */
        uint8_t bits;
};

enum { IP_STR_MAX = 46, ADDR_STR_MAX = 54, PREFIX_STR_MAX = 50 };

struct ip ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
struct ip ip_from_bytes4(const uint8_t b[4]);
struct ip ip_from_bytes16(const uint8_t b[16]);           /* unmaps ::ffff:a.b.c.d */
void ip_to_bytes16(struct ip ip, uint8_t out[16]);        /* IPv4 is written mapped */
bool ip_is_set(struct ip ip);
bool ip_eq(struct ip a, struct ip b);
int ip_cmp(struct ip a, struct ip b);                     /* family, then bytes */
uint8_t ip_bits(struct ip ip);                            /* 32, 128, or 0 for none */
bool ip_is_loopback(struct ip ip);
bool ip_is_link_local(struct ip ip);
bool ip_is_multicast(struct ip ip);
bool ip_is_unspecified(struct ip ip);
bool ip_is_private(struct ip ip);     /* RFC 1918, fc00::/7 */
bool ip_is_public(struct ip ip);      /* unicast that may be routed on the internet; the documentation's too */
bool ip_is_tailnet(struct ip ip);     /* 100.64.0.0/10 or fd7a:115c:a1e0::/48 */
/* Where each node itself answers: 100.100.100.100 and fd7a:115c:a1e0::53. */
extern const struct ip ip_service4, ip_service6;
bool ip_is_service(struct ip ip);
ERR_CHECK enum err ip_parse(const char *s, struct ip *ret);
const char *ip_str(struct ip ip, char out[IP_STR_MAX]);   /* returns out; "" for none */

bool addr_is_set(struct addr a);      /* has an IP; the port may be 0 */
bool addr_eq(struct addr a, struct addr b);
int addr_cmp(struct addr a, struct addr b);
ERR_CHECK enum err addr_parse(const char *s, struct addr *ret);   /* 1.2.3.4:5 or [::1]:5 */
const char *addr_str(struct addr a, char out[ADDR_STR_MAX]);
struct addr addr_from_sockaddr(const struct sockaddr *sa);        /* none if not IP; unmaps */
/* As sockaddr_in or sockaddr_in6; returns its length, 0 for none. */
socklen_t addr_to_sockaddr(struct addr a, struct sockaddr_storage *out);

bool prefix_eq(struct prefix a, struct prefix b);
bool prefix_contains(struct prefix p, struct ip ip);
struct prefix prefix_masked(struct prefix p);
struct prefix prefix_of(struct ip ip);                    /* the host prefix, /32 or /128 */
bool prefix_is_host(struct prefix p);
/* "10.0.0.0/8"; a bare address is its host prefix.  Bits out of range: ERR_FORMAT. */
ERR_CHECK enum err prefix_parse(const char *s, struct prefix *ret);
struct prefix prefix_const(const char *s);   /* of a text that stands in the source: it has to be a prefix */
const char *prefix_str(struct prefix p, char out[PREFIX_STR_MAX]);
