/* Heads of requests to the HTTP proxy: what is sent on is itself a well-formed head with one Host line and one way to tell
 * where the body ends; a body is the same in one piece and byte by byte. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/proxy/httphead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool held)
{
        if (!held)
                abort();
}

static size_t lines_named(const char *head, const char *name)
{
        size_t n = 0;
        for (const char *at = strstr(head, "\r\n"); at != NULL; at = strstr(at, "\r\n")) {
                at += 2;
                n += strncasecmp(at, name, strlen(name)) == 0 && at[strlen(name)] == ':';
        }
        return n;
}

static void check_rewrite(const char *data, const struct httphead *h)
{
        struct buf out;
        buf_init(&out, 4 * HTTPHEAD_MAX);
        httphead_rewrite(data, h, &out);
        must(buf_ok(&out) && out.len > 4);
        must(strlen(out.data) == out.len && memcmp(out.data + out.len - 4, "\r\n\r\n", 4) == 0);
        must(strstr(out.data, "\r\n\r\n") == out.data + out.len - 4);
        must(lines_named(out.data, "Host") == 1 && lines_named(out.data, "Connection") == 1);
        must(lines_named(out.data, "Content-Length") + lines_named(out.data, "Transfer-Encoding") <= 1);
        must(lines_named(out.data, "Proxy-Authorization") == 0);
        buf_done(&out);
}

static void check_body(const struct httphead *h, const uint8_t *data, size_t size)
{
        struct httpbody whole, bytes;
        size_t took = 0;
        httpbody_init(&whole, h);
        httpbody_init(&bytes, h);
        size_t n = httpbody_take(&whole, data, size);
        for (size_t i = 0; i < size; i++)
                took += httpbody_take(&bytes, data + i, 1);
        must(n <= size && took == n && whole.state == bytes.state);
        must(n == size || whole.state == BODY_END || whole.state == BODY_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct httphead h, again;
        const struct httphead chunked = {.chunked = true};
        check_body(&chunked, data, size);
        if (httphead_parse((const char *)data, size, &h) != HTTPHEAD_DONE)
                return 0;
        must(h.len <= size && h.host[0] != '\0' && h.port != 0);
        must(httphead_parse((const char *)data, h.len - 1, &again) == HTTPHEAD_MORE);
        if (!h.connect)
                check_rewrite((const char *)data, &h);
        check_body(&h, data + h.len, size - h.len);
        return 0;
}
