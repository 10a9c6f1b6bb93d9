/* tests/unit/base_dial_client.h - a client of base/dial.h on a loop of its own, whose server is tests/unit/tls_server.h. */
#pragma once

#include <stdatomic.h>

#include "base/dial.h"
#include "tests/unit/tls_server.h"

/* BULK is more than the kernel buffers of both ends hold. */
enum { BULK = 12 << 20, WRITE_CHUNK = 200000, GREETING = 100000 };

struct client {
        struct loop *loop;
        struct dialer *dialer;
        struct stream *stream;
        unsigned connected, failed, readable, writable, writes;
        enum err end;          /* what ended reading */
        size_t received, sent, to_send;
        uint32_t sum;          /* of what was received */
        bool close_on_connect, close_on_read, manual;
};

static atomic_bool buffers_full;   /* the echo server reads only then, so that writing has to wait */

static inline uint8_t pattern(size_t i)
{
        return (uint8_t)(i * 7 + i / 251);
}

static inline void client_read(struct client *c)
{
        uint8_t buf[1500];   /* smaller than a TLS record: the rest waits inside the library */
        for (;;) {
                size_t n = 0;
                enum err err = stream_read(c->stream, buf, sizeof(buf), &n);
                if (err != ERR_NONE) {
                        if (err != ERR_AGAIN)
                                c->end = err;
                        return;
                }
                for (size_t i = 0; i < n; i++)
                        c->sum = c->sum * 31 + buf[i];
                c->received += n;
        }
}

/* Offers what is left each time from another place, as a growing buffer does. */
static inline void client_write(struct client *c)
{
        while (c->sent < c->to_send) {
                size_t len = c->to_send - c->sent < WRITE_CHUNK ? c->to_send - c->sent : WRITE_CHUNK;
                uint8_t *room = malloc(len + 1);
                uint8_t *copy = room + c->writes++ % 2;
                for (size_t i = 0; i < len; i++)
                        copy[i] = pattern(c->sent + i);
                size_t n = 0;
                enum err err = stream_write(c->stream, copy, len, &n);
                free(room);
                if (err != ERR_NONE) {
                        assert_int_equal(err, ERR_AGAIN);
                        break;
                }
                c->sent += n;
        }
        atomic_store(&buffers_full, true);
        stream_want_write(c->stream, c->sent < c->to_send);
}

static inline void on_stream(struct stream *s, enum stream_event ev, void *arg, mono_t now)
{
        struct client *c = arg;
        assert_true(mono_is_set(now));
        assert_ptr_equal(s, c->stream);
        switch (ev) {
        case STREAM_CONNECTED:
                c->connected++;
                if (c->close_on_connect) {
                        stream_close(s);
                        c->stream = NULL;
                } else if (!c->manual) {
                        client_write(c);
                        client_read(c);
                }
                break;
        case STREAM_READABLE:
                c->readable++;
                if (c->close_on_read) {
                        stream_close(s);
                        c->stream = NULL;
                } else if (!c->manual) {
                        client_read(c);
                }
                break;
        case STREAM_WRITABLE:
                c->writable++;
                client_write(c);
                break;
        case STREAM_FAILED:
                c->failed++;
                break;
        }
}

static inline int setup(void **state)
{
        struct client *c = calloc(1, sizeof(*c));
        c->loop = loop_new();
        c->dialer = dialer_new(c->loop);
        *state = c;
        return c->loop == NULL || c->dialer == NULL;
}

static inline int teardown(void **state)
{
        struct client *c = *state;
        stream_close(c->stream);
        dialer_free(c->dialer);
        loop_free(c->loop);
        free(c);
        return 0;
}

static inline void dial(struct client *c, const struct dial_opts *opts)
{
        c->stream = stream_dial(c->dialer, opts, on_stream, c);
        assert_non_null(c->stream);
        assert_int_equal(c->connected + c->failed, 0);   /* never from within */
}

static inline void run_while(struct client *c, bool (*more)(const struct client *c))
{
        mono_t until = mono_add_ms(mono_now(), 60000);
        while (more(c)) {
                assert_false(mono_reached(mono_now(), until));
                loop_once(c->loop, 100);
        }
}

static inline bool connecting(const struct client *c)
{
        return c->connected + c->failed == 0;
}

static inline bool not_ended(const struct client *c)
{
        return c->end == ERR_NONE && c->failed == 0;
}

static char last_sni[256];

static inline void serve_until_close(struct server *s, int fd, SSL *ssl)
{
        (void)s;
        if (ssl != NULL) {
                const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
                snprintf(last_sni, sizeof(last_sni), "%s", sni != NULL ? sni : "");
        }
        char c;
        while (server_read(fd, ssl, &c, 1) > 0)
                ;
}

static inline struct dial_opts loopback(uint16_t port, enum dial_tls tls)
{
        return (struct dial_opts){.host = "127.0.0.1", .port = port, .tls = tls, .timeout_ms = 30000};
}

/* The proxies and certificates of whoever runs the tests are no part of them. */
static inline void forget_environment(void)
{
        static const char *const env[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy",
                "ALL_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"};
        for (size_t i = 0; i < sizeof(env) / sizeof(env[0]); i++)
                unsetenv(env[i]);
}
