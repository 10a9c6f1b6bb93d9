#include "portmap/ssdp.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

const struct ip ssdp_group = {.family = IP_V4, .b = {239, 255, 255, 250}};

#define SEARCH(target) "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nST: " target \
        "\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\r\n"
const char *const ssdp_search_all = SEARCH("ssdp:all");
const char *const ssdp_search_router = SEARCH("urn:schemas-upnp-org:device:InternetGatewayDevice:1");

/* ---- URLs ---- */

struct text {
        const char *s;
        size_t n;
};

static bool skip(struct text *t, const char *prefix)
{
        size_t n = strlen(prefix);
        if (t->n < n || strncasecmp(t->s, prefix, n) != 0)
                return false;
        t->s += n;
        t->n -= n;
        return true;
}

static struct text until(struct text *t, char stop)
{
        const char *at = memchr(t->s, stop, t->n);
        struct text ret = {t->s, at != NULL ? (size_t)(at - t->s) : t->n};
        t->s += ret.n;
        t->n -= ret.n;
        return ret;
}

/* Digits of at most `max`; false: anything else. */
static bool number(struct text t, uint64_t max, uint64_t *ret)
{
        uint64_t v = 0;
        for (size_t i = 0; i < t.n; i++) {
                if (t.s[i] < '0' || t.s[i] > '9')
                        return false;
                v = v * 10 + (uint64_t)(t.s[i] - '0');
                if (v > max)
                        return false;
        }
        *ret = v;
        return t.n > 0;
}

static bool set_path(struct text t, struct upnp_url *ret)
{
        size_t n = 0;
        if (t.n == 0 || t.s[0] != '/')
                ret->path[n++] = '/';
        if (t.n + n >= UPNP_PATH_MAX)
                return false;
        for (size_t i = 0; i < t.n; i++) {
                if (t.s[i] <= ' ' || t.s[i] >= 127 || t.s[i] == '#')
                        return false;
                ret->path[n++] = t.s[i];
        }
        ret->path[n] = '\0';
        return true;
}

/* host none: any literal will do. */
static bool set_authority(struct text t, struct ip host, struct upnp_url *ret)
{
        char name[IP_STR_MAX];
        struct text h = until(&t, ':');
        struct ip ip;
        uint64_t port = 80;
        if (h.n >= sizeof(name))
                return false;
        memcpy(name, h.s, h.n);
        name[h.n] = '\0';
        if (ip_parse(name, &ip) != ERR_NONE || (ip_is_set(host) && !ip_eq(ip, host)))
                return false;
        if (t.n > 0 && (t.n == 1 || !number((struct text){t.s + 1, t.n - 1}, UINT16_MAX, &port) || port == 0))
                return false;
        ret->port = (uint16_t)port;
        return true;
}

enum err upnp_url_parse(const char *s, size_t len, struct ip host, const struct upnp_url *base, struct upnp_url *ret)
{
        struct text t = {s, len};
        struct upnp_url url = {0};
        if (skip(&t, "http://")) {
                if (!set_authority(until(&t, '/'), host, &url))
                        return ERR_FORMAT;
        } else {
                if (base == NULL || len == 0 || memmem(s, len, "://", 3) != NULL)
                        return ERR_FORMAT;
                url.port = base->port;
        }
        if (!set_path(t, &url))
                return ERR_FORMAT;
        *ret = url;
        return ERR_NONE;
}

const char *upnp_url_str(const struct upnp_url *u, struct ip host, char out[UPNP_URL_MAX])
{
        char text[IP_STR_MAX];
        snprintf(out, UPNP_URL_MAX, "http://%.15s:%u%s", ip_str(host, text), u->port, u->path);
        return out;
}

/* ---- answers ---- */

static struct text trimmed(struct text t)
{
        while (t.n > 0 && (t.s[0] == ' ' || t.s[0] == '\t')) {
                t.s++;
                t.n--;
        }
        while (t.n > 0 && (t.s[t.n - 1] == ' ' || t.s[t.n - 1] == '\t' || t.s[t.n - 1] == '\r'))
                t.n--;
        return t;
}

static void read_target(struct text t, struct ssdp_reply *reply)
{
        static const char router[] = ":InternetGatewayDevice:";
        const char *at = memmem(t.s, t.n, router, sizeof(router) - 1);
        if (at == NULL)
                return;
        size_t rest = (size_t)(t.s + t.n - at) - (sizeof(router) - 1);
        reply->version = rest > 0 && at[sizeof(router) - 1] >= '2' ? 2 : 1;
}

enum err ssdp_parse(const void *data, size_t len, struct ssdp_reply *ret)
{
        struct text all = {data, len};
        struct ssdp_reply reply = {0};
        if (!skip(&all, "HTTP/1."))
                return ERR_FORMAT;
        while (all.n > 0) {
                struct text line = until(&all, '\n');
                (void)skip(&all, "\n");
                struct text name = until(&line, ':');
                if (line.n == 0)
                        continue;
                struct text value = trimmed((struct text){line.s + 1, line.n - 1});
                uint64_t boot;
                if (name.n == 8 && strncasecmp(name.s, "LOCATION", 8) == 0) {
                        if (upnp_url_parse(value.s, value.n, (struct ip){0}, NULL, &reply.location) != ERR_NONE)
                                return ERR_FORMAT;
                } else if (name.n == 2 && strncasecmp(name.s, "ST", 2) == 0) {
                        read_target(value, &reply);
                } else if (name.n == 15 && strncasecmp(name.s, "BOOTID.UPNP.ORG", 15) == 0 &&
                           number(value, UINT32_MAX, &boot)) {
                        reply.boot = (uint32_t)boot;
                }
        }
        if (reply.location.port == 0 || reply.version == 0)
                return ERR_FORMAT;
        *ret = reply;
        return ERR_NONE;
}
