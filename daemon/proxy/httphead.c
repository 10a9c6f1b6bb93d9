#include "daemon/proxy/httphead.h"

#include <string.h>
#include <strings.h>

#include "base/addr.h"

struct span {
        const char *at;
        size_t len;
};

static bool bad(struct httphead *h, int status, const char *why)
{
        h->status = status;
        h->why = why;
        return false;
}

static bool span_is(struct span s, const char *text)
{
        return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

static bool is_token(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if (strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", s.at[i]) == NULL ||
                        s.at[i] == '\0')
                        return false;
        return s.len > 0;
}

static bool parse_u64(struct span s, uint64_t *ret)
{
        *ret = 0;
        for (size_t i = 0; i < s.len; i++) {
                if (s.at[i] < '0' || s.at[i] > '9' || *ret > (UINT64_MAX - 9) / 10)
                        return false;
                *ret = *ret * 10 + (uint64_t)(s.at[i] - '0');
        }
        return s.len > 0;
}

/* The line at *at, without its end; false: the end of the head. */
static bool next_line(const char **at, const char *end, struct span *ret)
{
        const char *nl = memchr(*at, '\n', (size_t)(end - *at));
        if (nl == NULL)
                return false;
        *ret = (struct span){*at, (size_t)(nl - *at)};
        if (ret->len > 0 && ret->at[ret->len - 1] == '\r')
                ret->len--;
        *at = nl + 1;
        return ret->len > 0;
}

static struct span trim(struct span s)
{
        while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t')) {
                s.at++;
                s.len--;
        }
        while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
                s.len--;
        return s;
}

/* Where the head ends, 0: not yet. */
static size_t head_length(const char *data, size_t len)
{
        for (size_t i = 0; i + 1 < len; i++)
                if (data[i] == '\n' && (data[i + 1] == '\n' || (i + 2 < len && data[i + 1] == '\r' && data[i + 2] == '\n')))
                        return data[i + 1] == '\n' ? i + 2 : i + 3;
        return 0;
}

/* ---- the first line ---- */

/* "host", "host:80", "[::1]:80".  fallback 0: the port must be there. */
static bool parse_authority(struct span s, uint16_t fallback, struct httphead *h)
{
        struct span host = s, port = {0};
        uint64_t n = fallback;
        if (s.len > 0 && s.at[0] == '[') {
                const char *close = memchr(s.at, ']', s.len);
                if (close == NULL)
                        return bad(h, 400, "the host has no ]");
                host = (struct span){s.at + 1, (size_t)(close - s.at - 1)};
                port = (struct span){close + 1, s.len - host.len - 2};
        } else {
                const char *colon = memchr(s.at, ':', s.len);
                if (colon != NULL) {
                        host.len = (size_t)(colon - s.at);
                        port = (struct span){colon, s.len - host.len};
                }
        }
        if (port.len > 0 && (port.at[0] != ':' || !parse_u64((struct span){port.at + 1, port.len - 1}, &n)))
                return bad(h, 400, "the port is no number");
        if (n == 0 || n > UINT16_MAX)
                return bad(h, 400, port.len == 0 ? "the port is missing" : "the port is not 1 to 65535");
        if (host.len == 0 || host.len >= sizeof(h->host))
                return bad(h, 400, "the host is missing or too long");
        memcpy(h->host, host.at, host.len);
        h->host[host.len] = '\0';
        h->port = (uint16_t)n;
        return true;
}

/* method SP target SP version */
static bool split_first(struct span line, struct span *method, struct span *target, struct span *version)
{
        const char *a = memchr(line.at, ' ', line.len);
        if (a == NULL)
                return false;
        size_t left = line.len - (size_t)(a - line.at) - 1;
        const char *b = memchr(a + 1, ' ', left);
        if (b == NULL)
                return false;
        *method = (struct span){line.at, (size_t)(a - line.at)};
        *target = (struct span){a + 1, (size_t)(b - a - 1)};
        *version = (struct span){b + 1, left - target->len - 1};
        return true;
}

/* http://authority/path -> authority and the path with its slash, which may be empty. */
static bool split_url(struct span url, struct span *authority, struct span *path)
{
        static const char scheme[] = "http://";
        size_t n = sizeof(scheme) - 1;
        if (url.len <= n || strncasecmp(url.at, scheme, n) != 0)
                return false;
        url = (struct span){url.at + n, url.len - n};
        authority->at = url.at;
        authority->len = 0;
        while (authority->len < url.len && strchr("/?#", url.at[authority->len]) == NULL)
                authority->len++;
        *path = (struct span){url.at + authority->len, url.len - authority->len};
        return true;
}

static bool parse_first(struct span line, struct httphead *h)
{
        struct span method, target, version, authority, path;
        if (!split_first(line, &method, &target, &version) || !is_token(method))
                return bad(h, 400, "this is no HTTP request");
        if (!span_is(version, "HTTP/1.1") && !span_is(version, "HTTP/1.0"))
                return bad(h, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
        for (size_t i = 0; i < target.len; i++)
                if (target.at[i] <= ' ' || target.at[i] == 0x7f)
                        return bad(h, 400, "the URL has characters that none may have");
        h->connect = method.len == 7 && memcmp(method.at, "CONNECT", 7) == 0;
        if (h->connect)
                return parse_authority(target, 0, h);
        if (!split_url(target, &authority, &path))
                return bad(h, 400, "this is a proxy: want CONNECT, or a URL that begins with http://");
        if (memchr(authority.at, '@', authority.len) != NULL)
                return bad(h, 400, "the URL has a user in it");
        return parse_authority(authority, 80, h);
}

/* ---- the other lines ---- */

static bool parse_field(struct span line, struct httphead *h, bool *have_length)
{
        const char *colon = memchr(line.at, ':', line.len);
        struct span name = {line.at, colon != NULL ? (size_t)(colon - line.at) : 0};
        if (colon == NULL || !is_token(name))   /* a folded line begins with a blank, which is no token */
                return bad(h, 400, "a header line is malformed");
        struct span value = trim((struct span){colon + 1, line.len - name.len - 1});
        if (span_is(name, "Transfer-Encoding")) {
                if (h->chunked || !span_is(value, "chunked"))
                        return bad(h, 501, "no transfer coding but chunked is known");
                h->chunked = true;
        } else if (span_is(name, "Content-Length")) {
                if (*have_length || !parse_u64(value, &h->body))
                        return bad(h, 400, "the length of the body is no number, or there twice");
                *have_length = true;
        }
        return true;
}

static bool parse_head(const char *data, struct httphead *h)
{
        const char *at = data, *end = data + h->len;
        struct span line;
        bool have_length = false;
        size_t lines = 0;
        for (size_t i = 0; i < h->len; i++)
                if (data[i] == '\0' || (data[i] == '\r' && data[i + 1] != '\n'))
                        return bad(h, 400, "a line ends in the middle of it");
        if (!next_line(&at, end, &line) || !parse_first(line, h))
                return h->status != 0 ? false : bad(h, 400, "this is no HTTP request");
        while (next_line(&at, end, &line)) {
                if (++lines > HTTPHEAD_LINES_MAX)
                        return bad(h, 431, "too many header lines");
                if (!parse_field(line, h, &have_length))
                        return false;
        }
        if (h->chunked && have_length)
                return bad(h, 400, "the body has both a length and chunks");
        return true;
}

enum httphead_parsed httphead_parse(const char *data, size_t len, struct httphead *ret)
{
        *ret = (struct httphead){.len = head_length(data, len < HTTPHEAD_MAX ? len : HTTPHEAD_MAX)};
        if (ret->len == 0 && len < HTTPHEAD_MAX)
                return HTTPHEAD_MORE;
        if (ret->len == 0) {
                (void)bad(ret, 431, "the header lines are too long");
                return HTTPHEAD_BAD;
        }
        return parse_head(data, ret) ? HTTPHEAD_DONE : HTTPHEAD_BAD;
}

/* ---- for the server ---- */

/* Between client and proxy alone; those that Connection names go as well. */
static bool is_hop_by_hop(struct span name, const char *data, const struct httphead *h)
{
        static const char *const fixed[] = {"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authorization",
                "Proxy-Authenticate", "TE", "Upgrade"};
        for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
                if (span_is(name, fixed[i]))
                        return true;
        static const char *const kept[] = {"Host", "Transfer-Encoding", "Content-Length"};
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
                if (span_is(name, kept[i]))
                        return false;
        const char *at = data;
        struct span line;
        (void)next_line(&at, data + h->len, &line);
        while (next_line(&at, data + h->len, &line)) {
                const char *colon = memchr(line.at, ':', line.len);
                if (colon == NULL || !span_is((struct span){line.at, (size_t)(colon - line.at)}, "Connection"))
                        continue;
                for (const char *p = colon + 1, *end = line.at + line.len; p < end;) {
                        const char *comma = memchr(p, ',', (size_t)(end - p));
                        const char *stop = comma != NULL ? comma : end;
                        struct span word = trim((struct span){p, (size_t)(stop - p)});
                        if (word.len == name.len && strncasecmp(word.at, name.at, name.len) == 0)
                                return true;
                        p = stop + 1;
                }
        }
        return false;
}

void httphead_rewrite(const char *data, const struct httphead *h, struct buf *out)
{
        const char *at = data, *end = data + h->len;
        struct span line, method, target, version, authority, path;
        if (!next_line(&at, end, &line) || !split_first(line, &method, &target, &version) ||
                !split_url(target, &authority, &path))
                return;
        const char *hash = memchr(path.at, '#', path.len);
        if (hash != NULL)
                path.len = (size_t)(hash - path.at);
        buf_add(out, method.at, method.len);
        buf_puts(out, path.len > 0 && path.at[0] == '/' ? " " : " /");
        buf_add(out, path.at, path.len);
        buf_puts(out, " HTTP/1.1\r\nHost: ");   /* the URL decides, whatever a Host line says */
        buf_add(out, authority.at, authority.len);
        buf_puts(out, "\r\nConnection: close\r\n");
        while (next_line(&at, end, &line)) {
                const char *colon = memchr(line.at, ':', line.len);
                struct span name = {line.at, colon != NULL ? (size_t)(colon - line.at) : 0};
                if (span_is(name, "Host") || is_hop_by_hop(name, data, h))
                        continue;
                buf_add(out, line.at, line.len);
                buf_puts(out, "\r\n");
        }
        buf_puts(out, "\r\n");
}

/* ---- bodies ---- */

void httpbody_init(struct httpbody *b, const struct httphead *h)
{
        *b = (struct httpbody){.state = h->chunked ? BODY_SIZE : BODY_BYTES, .left = h->chunked ? 0 : h->body};
        if (!h->chunked && h->body == 0)
                b->state = BODY_END;
}

static int hex(uint8_t c)
{
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One byte of what frames the chunks. */
static void step(struct httpbody *b, uint8_t c)
{
        switch (b->state) {
        case BODY_SIZE:
                if (hex(c) >= 0 && b->digits < 15) {
                        b->left = b->left << 4 | (uint64_t)hex(c);
                        b->digits++;
                } else if (b->digits > 0 && (c == '\r' || c == ';' || c == ' ' || c == '\t')) {
                        b->state = BODY_EXTENSION;
                } else {
                        b->state = BODY_BAD;
                }
                break;
        case BODY_EXTENSION:
                if (c != '\n')
                        break;
                b->state = b->left > 0 ? BODY_DATA : BODY_TRAILER;
                b->empty = true;
                break;
        case BODY_CRLF:
                if (c == '\n') {
                        b->state = BODY_SIZE;
                        b->left = b->digits = 0;
                } else if (c != '\r') {
                        b->state = BODY_BAD;
                }
                break;
        case BODY_TRAILER:
                if (c == '\n' && b->empty)
                        b->state = BODY_END;
                else if (c == '\n')
                        b->empty = true;
                else if (c != '\r')
                        b->empty = false;
                break;
        case BODY_BYTES:
        case BODY_DATA:
        case BODY_END:
        case BODY_BAD:
                break;
        }
}

size_t httpbody_take(struct httpbody *b, const uint8_t *data, size_t len)
{
        size_t at = 0;
        while (at < len && b->state != BODY_END && b->state != BODY_BAD) {
                if (b->state != BODY_BYTES && b->state != BODY_DATA) {
                        step(b, data[at]);
                        at += b->state != BODY_BAD;
                        continue;
                }
                size_t n = b->left < len - at ? (size_t)b->left : len - at;
                b->left -= n;
                at += n;
                if (b->left == 0)
                        b->state = b->state == BODY_BYTES ? BODY_END : BODY_CRLF;
        }
        return at;
}
