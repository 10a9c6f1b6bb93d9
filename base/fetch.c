#include "base/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/transfer.h"

struct fetch {
        struct transfer t;
        struct buf body;
        struct curl_slist *headers;
        const char *want;   /* NULL: no header of the answer */
        size_t max_body;
        bool too_long;
        bool tls;
        bool reporting;   /* fn runs; the fetch frees itself after it */
        fetch_fn fn;
        void *arg;
};

/* Taking less than was offered ends the transfer. */
static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
        struct fetch *f = arg;
        size_t len = size * n;
        size_t room = f->max_body - f->body.len;
        f->too_long = len > room;
        buf_add(&f->body, data, f->too_long ? room : len);
        return f->too_long || !buf_ok(&f->body) ? 0 : len;
}

static int64_t time_ns(const struct fetch *f, CURLINFO what)
{
        curl_off_t us = 0;
        return curl_easy_getinfo(f->t.easy, what, &us) == CURLE_OK ? (int64_t)us * NS_PER_US : 0;
}

static struct addr remote_of(const struct fetch *f)
{
        struct addr a = {.port = 0};
        const char *ip = NULL;
        long port = 0;
        if (curl_easy_getinfo(f->t.easy, CURLINFO_PRIMARY_IP, &ip) == CURLE_OK && ip != NULL && ip_parse(ip, &a.ip) == ERR_NONE &&
                curl_easy_getinfo(f->t.easy, CURLINFO_PRIMARY_PORT, &port) == CURLE_OK)
                a.port = (uint16_t)port;
        return a;
}

static const char *header_of(const struct fetch *f)
{
        struct curl_header *h;
        return f->want != NULL && curl_easy_header(f->t.easy, f->want, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value : "";
}

static void fetch_done(struct transfer *t, mono_t now)
{
        struct fetch *f = container_of(t, struct fetch, t);
        struct fetch_result res = {
                .err = f->too_long ? ERR_FULL : t->err,
                .body = f->body.data != NULL ? f->body.data : "",
                .body_len = f->body.len,
                .connect_ns = time_ns(f, f->tls ? CURLINFO_APPCONNECT_TIME_T : CURLINFO_CONNECT_TIME_T),
                .first_byte_ns = time_ns(f, CURLINFO_STARTTRANSFER_TIME_T),
                .error = f->too_long ? "the answer is too long" : t->error,
                .remote = remote_of(f),
                .header = header_of(f),
        };
        (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &res.status);
        f->reporting = true;
        f->fn(f, &res, f->arg, now);
        f->reporting = false;
        fetch_cancel(f);
}

static bool set_common(struct fetch *f)
{
        CURL *e = f->t.easy;
        bool kept = f->t.kept;   /* by HTTP/2 all requests to a server go over one connection at once */
        return curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                        (long)(kept ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1)) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_PIPEWAIT, kept ? 1L : 0L) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_FORBID_REUSE, kept ? 0L : 1L) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_WRITEDATA, f) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)f->t.timeout_ms) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_USERAGENT, "tailscale-c/" PRODUCT_VERSION) == CURLE_OK;
}

/* The parts of an http or https URL that the dialer needs. */
struct parts {
        CURLU *u;
        char *scheme, *host, *port;
};

static bool parts_of(struct parts *p, const char *url)
{
        p->u = curl_url();
        if (p->u == NULL || curl_url_set(p->u, CURLUPART_URL, url, 0) != CURLUE_OK ||
                curl_url_get(p->u, CURLUPART_SCHEME, &p->scheme, 0) != CURLUE_OK ||
                curl_url_get(p->u, CURLUPART_HOST, &p->host, 0) != CURLUE_OK ||
                curl_url_get(p->u, CURLUPART_PORT, &p->port, CURLU_DEFAULT_PORT) != CURLUE_OK)
                return false;
        return strcmp(p->scheme, "http") == 0 || strcmp(p->scheme, "https") == 0;
}

static void parts_free(struct parts *p)
{
        curl_free(p->scheme);
        curl_free(p->host);
        curl_free(p->port);
        curl_url_cleanup(p->u);
}

/* Without the brackets of an IPv6 literal, in place. */
static const char *bare_host(char *host)
{
        size_t n = strlen(host);
        if (n < 2 || host[0] != '[' || host[n - 1] != ']')
                return host;
        host[n - 1] = '\0';
        return host + 1;
}

/* All that GET and POST have in common; a bad URL is reported by fn. */
static struct fetch *fetch_new(struct dialer *d, const char *url, const struct dial_opts *opts, size_t max_body,
        fetch_fn fn, void *arg)
{
        struct fetch *f = calloc(1, sizeof(*f));
        if (f == NULL)
                return NULL;
        struct parts p = {0};
        bool good = parts_of(&p, url);
        struct transfer_target to = {.url = "http://invalid/", .host = "invalid", .port = 80};
        if (good)
                to = (struct transfer_target){.url = url, .host = bare_host(p.host),
                        .port = (uint16_t)strtoul(p.port, NULL, 10), .tls = strcmp(p.scheme, "https") == 0, .reuse = true};
        f->fn = fn;
        f->arg = arg;
        f->tls = to.tls;
        f->max_body = max_body;
        buf_init(&f->body, max_body);
        bool made = transfer_init(&f->t, d, &to, opts, fetch_done);
        parts_free(&p);
        if (!made) {
                free(f);
                return NULL;
        }
        if (!set_common(f)) {
                fetch_cancel(f);
                return NULL;
        }
        if (!good)
                transfer_refuse(&f->t, ERR_FORMAT, "not an http or https URL");
        return f;
}

struct fetch *fetch_get(struct dialer *d, const char *url, const struct dial_opts *opts, size_t max_body,
        fetch_fn fn, void *arg)
{
        struct fetch *f = fetch_new(d, url, opts, max_body, fn, arg);
        if (f != NULL)
                transfer_start(&f->t);
        return f;
}

static bool add_header(struct fetch *f, const char *name, const char *value)
{
        char line[128];
        snprintf(line, sizeof(line), "%s: %s", name, value);
        struct curl_slist *longer = curl_slist_append(f->headers, line);
        if (longer == NULL)
                return false;
        f->headers = longer;
        return true;
}

struct fetch *fetch_get_with(struct dialer *d, const char *url, const struct dial_opts *opts, const struct fetch_head *head,
        size_t max_body, fetch_fn fn, void *arg)
{
        struct fetch *f = fetch_new(d, url, opts, max_body, fn, arg);
        if (f == NULL)
                return NULL;
        bool ok = true;
        f->want = head->want;
        for (size_t i = 0; i < head->count; i++)
                ok = ok && add_header(f, head->names[i], head->values[i]);
        if (!ok || curl_easy_setopt(f->t.easy, CURLOPT_HTTPHEADER, f->headers) != CURLE_OK) {
                fetch_cancel(f);
                return NULL;
        }
        transfer_start(&f->t);
        return f;
}

static bool set_post(struct fetch *f, const char *content_type, const void *body, size_t len)
{
        CURL *e = f->t.easy;
        return add_header(f, "Content-Type", content_type) && add_header(f, "Accept", content_type) &&
                curl_easy_setopt(e, CURLOPT_HTTPHEADER, f->headers) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len) == CURLE_OK &&
                curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK;
}

struct fetch *fetch_post(struct dialer *d, const char *url, const struct dial_opts *opts, const char *content_type,
        const void *body, size_t len, size_t max_body, fetch_fn fn, void *arg)
{
        return fetch_soap(d, url, opts, NULL, content_type, body, len, max_body, fn, arg);
}

struct fetch *fetch_soap(struct dialer *d, const char *url, const struct dial_opts *opts, const char *action,
        const char *content_type, const void *body, size_t len, size_t max_body, fetch_fn fn, void *arg)
{
        struct fetch *f = fetch_new(d, url, opts, max_body, fn, arg);
        if (f == NULL)
                return NULL;
        if ((action != NULL && !add_header(f, "SOAPAction", action)) || !set_post(f, content_type, body, len)) {
                fetch_cancel(f);
                return NULL;
        }
        transfer_start(&f->t);
        return f;
}

void fetch_cancel(struct fetch *f)
{
        if (f == NULL || f->reporting)
                return;
        transfer_end(&f->t);
        curl_slist_free_all(f->headers);
        buf_done(&f->body);
        free(f);
}
