/* base/dial.h - a byte stream to a server, TCP or TLS, driven by the loop.
 *
 * libcurl connects (name lookup in its helper thread, happy eyeballs, proxies, TLS) in CONNECT_ONLY mode;
 * afterwards the stream is read and written without blocking.  Everything on the thread of its loop.
 *
 * Proxies come from the environment (never for loopback), the trusted certificates from SSL_CERT_FILE and
 * SSL_CERT_DIR or the system.  No ALPN is offered; TLS 1.2 at least.  If one of connect_ip4 and connect_ip6 is a
 * literal, the host name is not looked up for the other family, unless it is one of IPv4 and no route leads there.  The process ignores SIGPIPE from the first
 * dialer on, unless it handles it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/lastgood.h"
#include "base/loop.h"

struct dialer;

struct dialer *dialer_new(struct loop *l);
void dialer_free(struct dialer *d);   /* all its streams must be closed */
/* From now on connections of requests (fetch.h) are kept for the next one to the same server, a few and not for long;
 * not those with a certificate name of their own.  Several requests share one where both sides speak HTTP/2. */
void dialer_keep(struct dialer *d);
void dialer_flush(struct dialer *d);   /* what is kept is not used again: the network is another one */
/* Mark every socket with SO_MARK so that policy routing lets it past the tunnel; 0 = none. */
void dialer_set_mark(struct dialer *d, uint32_t mark);
/* Where a server was reached lately.  Its name is looked up all the same; these addresses are dialed when the look-up
 * fails or takes longer than DIAL_LOOKUP_MS or half of the connect's time, unless a proxy is set. */
enum { DIAL_LOOKUP_MS = 2500 };
void dialer_remember(struct dialer *d, const char *host, struct ip ip);
size_t dialer_remembered(const struct dialer *d, const char *host, struct ip ret[LASTGOOD_ADDRS]);

/* Somebody else than the kernel makes some of the connections.  Both return -1 with errno, ENOTSUP: the kernel is to. */
enum { DIALER_NAME_LEN = 13 };
struct dialer_ways {
        /* A non-blocking socket of this type, connected to that address or being so. */
        int (*open)(void *arg, struct addr to, int type);
        /* The name in the abstract namespace of a socket that listens for one stream of this process to that address;
         * libcurl, which insists on connecting, is led there. */
        int (*listen)(void *arg, struct addr to, uint8_t ret_name[DIALER_NAME_LEN]);
};
void dialer_set_ways(struct dialer *d, const struct dialer_ways *w, void *arg);
/* A non-blocking socket of the kernel's, without mark, connected to that address or being so; before is told of it before
 * it connects, and may be NULL.  -1: errno. */
int dial_socket(struct addr to, int type, void (*before)(int fd, int family));
/* The same, by another way where the dialer has one; before is told of the kernel's alone. */
int dialer_socket(struct dialer *d, struct addr to, int type, void (*before)(int fd, int family));

enum dial_tls { DIAL_PLAIN, DIAL_TLS };

struct dial_opts {
        const char *host;         /* name or literal; also SNI and certificate name */
        uint16_t port;
        enum dial_tls tls;
        const char *connect_ip4;  /* NULL: resolve; else dial this literal, "none" = family off */
        const char *connect_ip6;
        const char *cert_name;    /* NULL: host; "sha256-raw:HEX" = pin of the leaf's SHA-256, no CA */
        bool insecure;            /* accept any certificate, unless cert_name is given: that still holds */
        unsigned timeout_ms;      /* for the connect, look-up and TLS included; 0 = 10 s */
        bool no_proxy;
        bool restless;            /* who will try again: 3 s for a TCP connect, and a stream whose other end has acknowledged
                                   * nothing for 5 s, or taken nothing, is over.  The kernel's patience is minutes.  An idle
                                   * one sends nothing of its own: who has it watches for silence. */
};

enum stream_event {
        STREAM_CONNECTED,
        STREAM_READABLE,   /* call stream_read until ERR_AGAIN */
        STREAM_WRITABLE,   /* only while wanted */
        STREAM_FAILED,     /* did not connect: stream_error() says why; close it */
};

struct stream;
typedef void (*stream_fn)(struct stream *s, enum stream_event ev, void *arg, mono_t now);

/* Borrows opts only for the call.  NULL: out of memory; all else is reported by fn, which is never called
 * before this returns.  fn may close the stream. */
struct stream *stream_dial(struct dialer *d, const struct dial_opts *opts, stream_fn fn, void *arg);
void stream_close(struct stream *s);   /* any time; NULL is fine; fn is not called again */
/* ERR_AGAIN, ERR_CLOSED, ERR_IO; ERR_STATE before it is connected.  *ret_n > 0 on ERR_NONE.  After ERR_CLOSED or
 * ERR_IO no more events come and every call says the same.  What was not written may be offered again
 * from another place. */
ERR_CHECK enum err stream_read(struct stream *s, void *buf, size_t cap, size_t *ret_n);
ERR_CHECK enum err stream_write(struct stream *s, const void *data, size_t len, size_t *ret_n);
void stream_want_write(struct stream *s, bool on);
void stream_want_read(struct stream *s, bool on);    /* at first it is wanted */
/* One line for a person: "connection refused", "certificate is not trusted: ...". */
const char *stream_error(const struct stream *s);
enum err stream_error_code(const struct stream *s);   /* ERR_AUTH = TLS, ERR_TIMEOUT, ERR_NOT_FOUND = name, ERR_IO */
/* DER of the peer's i-th certificate, TLS only; valid until close.  0 length past the last. */
size_t stream_peer_cert(struct stream *s, unsigned i, const uint8_t **ret_der);
struct addr stream_remote_addr(const struct stream *s);
/* Where a new connection to the same address would begin.  OTHER: the host's network is another one, and what comes back
 * on this stream reaches nobody; NONE: there is no way there now. */
enum stream_way { STREAM_WAY_SAME, STREAM_WAY_OTHER, STREAM_WAY_NONE };
enum stream_way stream_way(const struct stream *s);
/* The other end has proven to be the server we wanted: dialer_remember() it.  Not if a proxy stands in between. */
void stream_remember(const struct stream *s);
