#include "daemon/dns/doh.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

struct provider {
        const char *base;
        const char *addresses;   /* IPv4 first, separated by blanks */
        bool odd_plain;          /* plain DNS there is not what its users asked for */
};

static const struct provider providers[] = {
        {"https://cloudflare-dns.com/dns-query", "1.1.1.1 1.0.0.1 2606:4700:4700::1111 2606:4700:4700::1001", false},
        {"https://security.cloudflare-dns.com/dns-query",
                "1.1.1.2 1.0.0.2 2606:4700:4700::1112 2606:4700:4700::1002", false},
        {"https://family.cloudflare-dns.com/dns-query",
                "1.1.1.3 1.0.0.3 2606:4700:4700::1113 2606:4700:4700::1003", false},
        {"https://dns.google/dns-query", "8.8.8.8 8.8.4.4 2001:4860:4860::8888 2001:4860:4860::8844", false},
        {"https://dns.quad9.net/dns-query", "9.9.9.9 149.112.112.112 2620:fe::fe 2620:fe::9", false},
        {"https://dns11.quad9.net/dns-query", "9.9.9.11 149.112.112.11 2620:fe::11 2620:fe::fe:11", false},
        {"https://dns10.quad9.net/dns-query", "9.9.9.10 149.112.112.10 2620:fe::10 2620:fe::fe:10", false},
        {"https://dns.mullvad.net/dns-query", "194.242.2.2 2a07:e340::2", false},
        {"https://adblock.dns.mullvad.net/dns-query", "194.242.2.3 2a07:e340::3", false},
        {"https://base.dns.mullvad.net/dns-query", "194.242.2.4 2a07:e340::4", false},
        {"https://extended.dns.mullvad.net/dns-query", "194.242.2.5 2a07:e340::5", false},
        {"https://family.dns.mullvad.net/dns-query", "194.242.2.6 2a07:e340::6", false},
        {"https://all.dns.mullvad.net/dns-query", "194.242.2.9 2a07:e340::9", false},
        {"https://wikimedia-dns.org/dns-query", "185.71.138.138 2001:67c:930::1", true},
        {"https://freedns.controld.com/p0", "76.76.2.0 76.76.10.0 2606:1a40:: 2606:1a40:1::", true},
        {"https://freedns.controld.com/p1", "76.76.2.1 76.76.10.1 2606:1a40::1 2606:1a40:1::1", true},
        {"https://freedns.controld.com/p2", "76.76.2.2 76.76.10.2 2606:1a40::2 2606:1a40:1::2", true},
        {"https://freedns.controld.com/p3", "76.76.2.3 76.76.10.3 2606:1a40::3 2606:1a40:1::3", true},
        {"https://freedns.controld.com/family", "76.76.2.4 76.76.10.4 2606:1a40::4 2606:1a40:1::4", true},
        {"https://private.canadianshield.cira.ca/dns-query",
                "149.112.121.10 149.112.122.10 2620:10a:80bb::10 2620:10a:80bc::10", false},
        {"https://protected.canadianshield.cira.ca/dns-query",
                "149.112.121.20 149.112.122.20 2620:10a:80bb::20 2620:10a:80bc::20", false},
        {"https://family.canadianshield.cira.ca/dns-query",
                "149.112.121.30 149.112.122.30 2620:10a:80bb::30 2620:10a:80bc::30", false},
};

/* Customers' URLs below these; where their hosts are. */
#define NEXTDNS  "https://dns.nextdns.io/"
#define CONTROLD "https://dns.controld.com/"
#define NEXTDNS_ADDRESSES  "45.90.28.0 45.90.30.0 2a07:a8c0:: 2a07:a8c1::"
#define CONTROLD_ADDRESSES "76.76.2.22 76.76.10.22 2606:1a40::22 2606:1a40:1::22"

/* The next address of a list; false at its end. */
static bool next_address(const char **list, struct ip *ret)
{
        char text[IP_STR_MAX];
        *list += strspn(*list, " ");
        size_t n = strcspn(*list, " ");
        if (n == 0 || n >= sizeof(text))
                return false;
        memcpy(text, *list, n);
        text[n] = '\0';
        *list += n;
        return ip_parse(text, ret) == ERR_NONE;
}

static bool list_has(const char *list, struct ip ip)
{
        for (struct ip a; next_address(&list, &a);)
                if (ip_eq(a, ip))
                        return true;
        return false;
}

static void first_of_each(const char *list, struct dns_try *t)
{
        for (struct ip a; next_address(&list, &a);) {
                struct ip *to = a.family == IP_V4 ? &t->url4 : &t->url6;
                if (!ip_is_set(*to))
                        *to = a;
        }
}

static const struct provider *provider_of(struct ip ip)
{
        for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
                if (list_has(providers[i].addresses, ip))
                        return &providers[i];
        return NULL;
}

/* NextDNS gives each customer IPv6 addresses that carry the profile in their low bytes. */
static bool nextdns_url(struct ip ip, char out[DNS_URL_MAX])
{
        static const uint8_t a[4] = {0x2a, 0x07, 0xa8, 0xc0}, b[4] = {0x2a, 0x07, 0xa8, 0xc1};
        if (ip.family != IP_V6 || (memcmp(ip.b, a, 4) != 0 && memcmp(ip.b, b, 4) != 0) || (ip.b[4] & 0x80))
                return false;
        size_t n = (size_t)snprintf(out, DNS_URL_MAX, NEXTDNS), at = 4;
        while (at < 16 && ip.b[at] == 0)
                at++;
        for (; at < 16; at++)
                n += (size_t)snprintf(out + n, DNS_URL_MAX - n, "%02x", ip.b[at]);
        return true;
}

bool doh_is_not_plain(struct ip ip)
{
        char url[DNS_URL_MAX];
        const struct provider *p = provider_of(ip);
        return (p != NULL && p->odd_plain) || nextdns_url(ip, url);
}

/* ---- ---- */

static void add(struct dns_try *tries, size_t *n, const struct dns_try *t)
{
        for (size_t i = 0; i < *n; i++)
                if (strcmp(tries[i].url, t->url) == 0 && addr_eq(tries[i].addr, t->addr))
                        return;
        if (*n < DNS_TRIES_MAX)
                tries[(*n)++] = *t;
}

/* How many addresses of that provider and family are in the race by plain DNS. */
static uint32_t siblings(const struct dns_try *tries, size_t n, const struct provider *p, struct ip ip)
{
        uint32_t count = 0;
        for (size_t i = 0; i < n; i++)
                count += tries[i].url[0] == '\0' && tries[i].addr.ip.family == ip.family &&
                        !ip_eq(tries[i].addr.ip, ip) && list_has(p->addresses, tries[i].addr.ip);
        return count;
}

static enum doh_use add_address(struct addr a, struct dns_try *tries, size_t *n)
{
        struct dns_try plain = {.addr = a}, doh = {0};
        const struct provider *p = a.port == 53 ? provider_of(a.ip) : NULL;
        if (a.port == 53 && nextdns_url(a.ip, doh.url)) {
                first_of_each(NEXTDNS_ADDRESSES, &doh);
                add(tries, n, &doh);
                return DOH_URL;
        }
        if (p != NULL) {
                (void)str_copy(doh.url, sizeof(doh.url), p->base);
                first_of_each(p->addresses, &doh);
                add(tries, n, &doh);
                plain.delay_ms = DNS_DOH_HEAD_START_MS + DNS_NEXT_ADDRESS_MS * siblings(tries, *n, p, a.ip);
        }
        add(tries, n, &plain);
        return DOH_PLAIN;
}

/* The host of a URL, if it is an address. */
static bool literal_host(const char *url, struct ip *ret)
{
        char host[IP_STR_MAX];
        const char *at = strstr(url, "://") + 3;
        size_t n = at[0] == '[' ? strcspn(++at, "]") : strcspn(at, ":/?");
        if (n == 0 || n >= sizeof(host))
                return false;
        memcpy(host, at, n);
        host[n] = '\0';
        return ip_parse(host, ret) == ERR_NONE;
}

/* http is for the proxies of other nodes, inside the tunnel.  The host of an https URL must be known to us, for
 * a look-up of it could come back to ourselves. */
static enum doh_use add_url(const struct dns_upstream *u, struct dns_try *tries, size_t *n)
{
        struct dns_try t = {.url4 = u->boot4, .url6 = u->boot6};
        struct ip host;
        if (!str_copy(t.url, sizeof(t.url), u->text))
                return DOH_UNUSABLE;
        bool literal = literal_host(t.url, &host);
        if (strncmp(t.url, "http://", 7) == 0) {
                if (!literal || !ip_is_tailnet(host))
                        return DOH_UNUSABLE;
        } else if (!literal && !ip_is_set(t.url4) && !ip_is_set(t.url6)) {
                if (strncmp(t.url, NEXTDNS, strlen(NEXTDNS)) == 0)
                        first_of_each(NEXTDNS_ADDRESSES, &t);
                else if (strncmp(t.url, CONTROLD, strlen(CONTROLD)) == 0)
                        first_of_each(CONTROLD_ADDRESSES, &t);
                for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
                        if (strcmp(t.url, providers[i].base) == 0)
                                first_of_each(providers[i].addresses, &t);
                if (!ip_is_set(t.url4) && !ip_is_set(t.url6))
                        return DOH_UNUSABLE;
        }
        add(tries, n, &t);
        return DOH_URL;
}

enum doh_use doh_add(const struct dns_upstream *u, struct dns_try tries[DNS_TRIES_MAX], size_t *n)
{
        struct addr a = {.port = 53};
        if (strncmp(u->text, "https://", 8) == 0 || strncmp(u->text, "http://", 7) == 0)
                return add_url(u, tries, n);
        if (ip_parse(u->text, &a.ip) != ERR_NONE && addr_parse(u->text, &a) != ERR_NONE)
                return DOH_UNUSABLE;
        return add_address(a, tries, n);
}
