#include "daemon/control/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "base/addr.h"
#include "base/json.h"
#include "base/reader.h"

static const char HOSTED[] = "https://controlplane.tailscale.com";
static const char PROTOCOL[] = "tailscale-control-protocol";

/* Only what a URL may hold, and nothing that would end a header line. */
static bool url_chars_ok(const char *s)
{
        for (; *s != '\0'; s++)
                if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 127 || strchr("\"<>\\^`{|}", *s) != NULL)
                        return false;
        return true;
}

static bool scheme_parse(const char **at, bool *ret_tls)
{
        *ret_tls = strncasecmp(*at, "https://", 8) == 0;
        if (!*ret_tls && strncasecmp(*at, "http://", 7) != 0)
                return false;
        *at += *ret_tls ? 8 : 7;
        return true;
}

/* From "host:port" or "[v6]:port", n bytes of it. */
static bool authority_parse(const char *s, size_t n, struct server_url *u)
{
        char text[300];
        struct ip ip;
        if (n == 0 || n >= sizeof(text) || memchr(s, '@', n) != NULL)
                return false;
        memcpy(text, s, n);
        text[n] = '\0';

        bool v6 = text[0] == '[';
        char *host = v6 ? text + 1 : text;
        char *host_end = v6 ? strchr(host, ']') : strchr(host, ':');
        const char *port = NULL;
        if (v6 && host_end == NULL)
                return false;
        if (host_end != NULL) {
                port = v6 ? host_end + 1 : host_end;
                if (*port != '\0' && *port != ':')
                        return false;
                port = *port == ':' ? port + 1 : NULL;
                *host_end = '\0';
        }
        if (v6 && (ip_parse(host, &ip) != ERR_NONE || ip.family != IP_V6))
                return false;
        if (host[0] == '\0' || strpbrk(host, "[]%") != NULL || !str_copy(u->host, sizeof(u->host), host))
                return false;
        u->port = u->tls ? 443 : 80;
        if (port != NULL && *port != '\0') {
                if (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 || atol(port) < 1 ||
                    atol(port) > UINT16_MAX)
                        return false;
                u->port = (uint16_t)atol(port);
        }
        (void)snprintf(u->authority, sizeof(u->authority), "%s%s%s:%u", v6 ? "[" : "", u->host, v6 ? "]" : "",
                       u->port);
        return true;
}

enum err server_url_parse(const char *text, struct server_url *ret)
{
        struct server_url u = {0};
        if (text[0] == '\0')
                text = HOSTED;
        const char *at = text;
        size_t len = strlen(text);
        while (len > 0 && text[len - 1] == '/')
                len--;
        if (!url_chars_ok(text) || !scheme_parse(&at, &u.tls) || len >= sizeof(u.base) ||
            strpbrk(at, "?#") != NULL)
                return ERR_FORMAT;
        if (!authority_parse(at, strcspn(at, "/"), &u))
                return ERR_FORMAT;
        memcpy(u.base, text, len);
        *ret = u;
        return ERR_NONE;
}

void server_key_url(const struct server_url *u, unsigned version, struct buf *out)
{
        buf_printf(out, "%s/key?v=%u", u->base, version);
}

enum err server_key_parse(const char *text, size_t len, struct machine_public *ret)
{
        static const struct machine_public ZERO;
        struct machine_public key;
        json_t *o = json_parse(text, len);
        if (!json_is_object(o)) {
                bool legacy = len >= 64 && strspn(text, "0123456789abcdefABCDEF") == 64;
                json_decref(o);
                return legacy || len == 0 ? ERR_UNSUPPORTED : ERR_FORMAT;
        }
        enum err e = machine_public_parse(json_str(o, "publicKey", ""), &key);
        json_decref(o);
        if (e != ERR_NONE)
                return e;
        if (memcmp(key.b, ZERO.b, KEY_LEN) == 0)
                return ERR_UNSUPPORTED;
        *ret = key;
        return ERR_NONE;
}

void server_upgrade_request(const struct server_url *u, const uint8_t initiation[CNOISE_INITIATION_LEN],
                            struct buf *out)
{
        char b64[sodium_base64_ENCODED_LEN(CNOISE_INITIATION_LEN, sodium_base64_VARIANT_ORIGINAL)];
        sodium_bin2base64(b64, sizeof(b64), initiation, CNOISE_INITIATION_LEN,
                          sodium_base64_VARIANT_ORIGINAL);
        buf_printf(out,
                   "POST /ts2021 HTTP/1.1\r\n"
                   "Host: %s\r\n"
                   "User-Agent: tailscale-c/" PRODUCT_VERSION "\r\n"
                   "Upgrade: %s\r\n"
                   "Connection: upgrade\r\n"
                   "X-Tailscale-Handshake: %s\r\n"
                   "Content-Length: 0\r\n"
                   "\r\n",
                   u->authority, PROTOCOL, b64);
}

/* Is there a line "name: value" in the head?  Names are compared without case, the value as it is. */
static bool has_header(const char *head, size_t len, const char *name, const char *value)
{
        const char *end = head + len;
        size_t name_len = strlen(name);
        size_t value_len = strlen(value);
        const char *line = memchr(head, '\n', len);
        while (line != NULL && ++line < end) {
                const char *eol = memchr(line, '\n', (size_t)(end - line));
                const char *stop = eol != NULL ? eol : end;
                if ((size_t)(stop - line) > name_len && strncasecmp(line, name, name_len) == 0 &&
                    line[name_len] == ':') {
                        const char *v = line + name_len + 1;
                        while (v < stop && (*v == ' ' || *v == '\t'))
                                v++;
                        while (stop > v && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
                                stop--;
                        if ((size_t)(stop - v) == value_len && strncasecmp(v, value, value_len) == 0)
                                return true;
                }
                line = eol;
        }
        return false;
}

enum err server_upgrade_parse(const void *data, size_t len, struct upgrade_answer *ret)
{
        static const char MAGIC[] = "HTTP/1.";
        const char *head = data;
        size_t known = len < sizeof(MAGIC) - 1 ? len : sizeof(MAGIC) - 1;
        if (memcmp(head, MAGIC, known) != 0)
                return ERR_FORMAT;
        const char *end = memmem(head, len, "\r\n\r\n", 4);
        if (end == NULL)
                return len >= SERVER_HEAD_MAX ? ERR_FULL : ERR_SHORT;
        size_t head_len = (size_t)(end - head) + 4;
        /* "HTTP/1.x NNN" */
        if (head_len < 16 || head[8] != ' ')
                return ERR_FORMAT;
        int status = 0;
        for (size_t i = 9; i < 12; i++) {
                if (head[i] < '0' || head[i] > '9')
                        return ERR_FORMAT;
                status = status * 10 + (head[i] - '0');
        }
        *ret = (struct upgrade_answer){
                .status = status,
                .upgraded = status == 101 && has_header(head, head_len, "Upgrade", PROTOCOL),
                .head_len = head_len,
        };
        return ERR_NONE;
}

enum err server_early_parse(const void *data, size_t len, size_t *ret_len)
{
        static const char EARLY[] = "\xff\xff\xffTS";
        size_t known = len < sizeof(EARLY) - 1 ? len : sizeof(EARLY) - 1;
        if (known == 0)
                return ERR_SHORT;
        *ret_len = 0;
        if (memcmp(data, EARLY, known) != 0)
                return ERR_NONE;
        struct rd r = rd_init(data, len);
        (void)rd_take(&r, sizeof(EARLY) - 1);
        uint32_t n = rd_be32(&r);
        if (rd_ok(&r) && n > SERVER_EARLY_MAX)
                return ERR_FULL;
        (void)rd_take(&r, n);
        *ret_len = len - r.left;
        return rd_ok(&r) ? ERR_NONE : ERR_SHORT;
}

bool server_auth_url_ok(const struct server_url *u, const char *url)
{
        bool tls;
        const char *at = url;
        return url_chars_ok(url) && scheme_parse(&at, &tls) && *at != '\0' && (tls || !u->tls);
}
