/* base/fetch.h - one HTTP(S) request through libcurl on the loop (server key, DERP latency, DNS over HTTPS, UPnP). */
#pragma once

#include <stddef.h>

#include "base/dial.h"

struct fetch;

struct fetch_result {
        enum err err;            /* ERR_NONE: an answer with any status came */
        long status;
        const char *body;        /* borrowed for the call, NUL-terminated */
        size_t body_len;
        int64_t connect_ns;      /* time to connected, TLS included */
        int64_t first_byte_ns;   /* time to the first byte of the answer */
        const char *error;       /* one line for a person when err != ERR_NONE */
        struct addr remote;      /* who answered, or the proxy to it; none = nobody */
        const char *header;      /* borrowed for the call: the one of the answer that was asked for; "" = not there */
};
typedef void (*fetch_fn)(struct fetch *f, const struct fetch_result *res, void *arg, mono_t now);

/* Body is cut off with ERR_FULL beyond max_body bytes.  Redirects are not followed.  opts gives connect_ip*,
 * cert_name, insecure, no_proxy and timeout_ms (for the whole; 0 = 10 s); host, port and TLS come from url.
 * fn is called once, never before this returns, and the fetch frees itself after it.  A url that is none is
 * reported so too, as ERR_FORMAT.  NULL: out of memory. */
struct fetch *fetch_get(struct dialer *d, const char *url, const struct dial_opts *opts, size_t max_body,
        fetch_fn fn, void *arg);
/* The same as a POST of a body, copied; an answer of the same type is asked for. */
struct fetch *fetch_post(struct dialer *d, const char *url, const struct dial_opts *opts, const char *content_type,
        const void *body, size_t len, size_t max_body, fetch_fn fn, void *arg);
/* GET with more lines in its head, and one of the answer's in the result; all copied but want, which stays. */
struct fetch_head {
        const char *const *names;
        const char *const *values;
        size_t count;
        const char *want;
};
struct fetch *fetch_get_with(struct dialer *d, const char *url, const struct dial_opts *opts, const struct fetch_head *head,
        size_t max_body, fetch_fn fn, void *arg);
/* The same with a SOAPAction, which is cut off at 100 bytes; NULL: none. */
struct fetch *fetch_soap(struct dialer *d, const char *url, const struct dial_opts *opts, const char *action,
        const char *content_type, const void *body, size_t len, size_t max_body, fetch_fn fn, void *arg);
void fetch_cancel(struct fetch *f);   /* fn is not called; NULL is fine, and so is a call from within fn */
