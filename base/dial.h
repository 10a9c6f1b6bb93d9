/* base/dial.h - a byte stream to a server, TCP or TLS, driven by the loop.
 *
 * libcurl connects (name lookup in its helper thread, happy eyeballs, proxies, TLS) in CONNECT_ONLY mode;
 * afterwards the stream is read and written without blocking.  Everything on the thread of its loop.
 * One dialer per thread owns the libcurl multi handle.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"

struct dialer;

struct dialer *dialer_new(struct loop *l);
void dialer_free(struct dialer *d);   /* all its streams must be closed */
/* Mark every socket with SO_MARK so that policy routing lets it past the tunnel; 0 = none. */
void dialer_set_mark(struct dialer *d, uint32_t mark);

enum dial_tls { DIAL_PLAIN, DIAL_TLS };

struct dial_opts {
        const char *host;         /* name or literal; also SNI and certificate name */
        uint16_t port;
        enum dial_tls tls;
        const char *connect_ip4;  /* NULL: resolve; else dial this literal, "none" = family off */
        const char *connect_ip6;
        const char *cert_name;    /* NULL: host; "sha256-raw:HEX" = pin of the leaf's SHA-256, no CA */
        bool insecure;            /* accept any certificate (tests only, when the map says so) */
        unsigned timeout_ms;      /* for the connect, TLS included */
        bool no_proxy;
};

enum stream_event {
        STREAM_CONNECTED,
        STREAM_READABLE,   /* call stream_read until ERR_AGAIN */
        STREAM_WRITABLE,   /* only while wanted */
        STREAM_FAILED,     /* did not connect: stream_error() says why; close it */
};

struct stream;
typedef void (*stream_fn)(struct stream *s, enum stream_event ev, void *arg, mono_t now);

/* Borrows opts only for the call.  NULL: out of memory.  fn may close the stream. */
struct stream *stream_dial(struct dialer *d, const struct dial_opts *opts, stream_fn fn, void *arg);
void stream_close(struct stream *s);   /* any time; NULL is fine; fn is not called again */
void stream_set_fn(struct stream *s, stream_fn fn, void *arg);   /* hand the stream to another owner */
/* ERR_AGAIN, ERR_CLOSED, ERR_IO.  *ret_n > 0 on ERR_NONE. */
ERR_CHECK enum err stream_read(struct stream *s, void *buf, size_t cap, size_t *ret_n);
ERR_CHECK enum err stream_write(struct stream *s, const void *data, size_t len, size_t *ret_n);
void stream_want_write(struct stream *s, bool on);
/* One line for a person: "connection refused", "certificate is not trusted: ...". */
const char *stream_error(const struct stream *s);
enum err stream_error_code(const struct stream *s);   /* ERR_AUTH = TLS, ERR_TIMEOUT, ERR_NOT_FOUND = name, ERR_IO */
/* DER of the peer's i-th certificate, TLS only; valid until close.  0 length past the last. */
size_t stream_peer_cert(struct stream *s, unsigned i, const uint8_t **ret_der);
struct addr stream_local_addr(const struct stream *s);
struct addr stream_remote_addr(const struct stream *s);
