/* A control server of a few hundred lines on the loopback, in the loop of the test: /key, the upgrade, Noise and
 * HTTP/2.  What it answers to register and map is up to the test. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/loop.h"
#include "base/writer.h"
#include "daemon/control/maprequest.h"
#include "tests/unit/control_noise_responder.h"

enum { FAKE_CONNS = 64, FAKE_STREAMS = 64 };

struct fake;

struct fake_stream {
        int32_t id;
        struct fake_conn *conn;
        char path[64];
        struct buf body;
        struct buf out;
        bool answered, hold_open, got_all;
};

struct fake_conn {
        struct fake *fake;
        struct watch watch;
        int fd;
        bool noise, h2_is_mute;
        struct buf in, out;
        struct cnoise_session session;
        nghttp2_session *h2;
        struct fake_stream streams[FAKE_STREAMS];
        size_t stream_count;
};

struct fake {
        struct loop *loop;
        struct watch watch;
        int fd;
        uint16_t port;
        struct key_private key;
        bool no_early, hang_up_on_101;
        const char *key_says, *upgrade_says;   /* raw bytes instead of the right answer, then it hangs up */
        enum fake_fault { FAKE_GOOD, FAKE_BAD_RESPONSE, FAKE_BAD_RECORD, FAKE_LONG_EARLY, FAKE_NO_HTTP2 } noise_fault;
        struct fake_conn *conns[FAKE_CONNS];
        size_t conn_count;
        unsigned dials;
        /* The test's say: answers with fake_answer() now or later, or not at all. */
        void (*on_request)(struct fake *f, struct fake_stream *s, json_t *body);
};

static inline void fake_conn_close(struct fake_conn *c)
{
        if (c->fd < 0)
                return;
        loop_unwatch(&c->watch);
        close(c->fd);
        c->fd = -1;
}

static inline void fake_flush(struct fake_conn *c)
{
        const uint8_t *data;
        ssize_t n;
        if (c->fd < 0)
                return;
        while (c->h2 != NULL && !c->h2_is_mute && (n = nghttp2_session_mem_send(c->h2, &data)) > 0)
                if (cnoise_seal(&c->session, data, (size_t)n, &c->out) != ERR_NONE)
                        abort();
        while (c->out.len > 0) {
                n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
                if (n <= 0)
                        break;
                buf_consume(&c->out, (size_t)n);
        }
}

static inline ssize_t fake_read_out(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap,
                                    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
        (void)session;
        (void)id;
        (void)arg;
        struct fake_stream *s = source->ptr;
        size_t n = s->out.len < cap ? s->out.len : cap;
        if (n == 0 && s->hold_open)
                return NGHTTP2_ERR_DEFERRED;
        if (n > 0)
                memcpy(out, s->out.data, n);
        buf_consume(&s->out, n);
        if (s->out.len == 0 && !s->hold_open)
                *flags |= NGHTTP2_DATA_FLAG_EOF;
        return (ssize_t)n;
}

static inline nghttp2_nv fake_nv(const char *name, const char *value)
{
        union {
                const char *in;
                uint8_t *out;
        } n = {.in = name}, v = {.in = value};
        return (nghttp2_nv){n.out, v.out, strlen(name), strlen(value), 0};
}

/* Sends the head once, then text; hold: more may follow. */
static inline void fake_answer(struct fake_stream *s, const char *status, const void *data, size_t len,
                               bool hold)
{
        s->hold_open = hold;
        buf_add(&s->out, data, len);
        if (!s->answered) {
                nghttp2_nv nv[] = {fake_nv(":status", status)};
                nghttp2_data_provider p = {.source = {.ptr = s}, .read_callback = fake_read_out};
                s->answered = true;
                (void)nghttp2_submit_response(s->conn->h2, s->id, nv, 1, &p);
        } else {
                (void)nghttp2_session_resume_data(s->conn->h2, s->id);
        }
        fake_flush(s->conn);
}

/* One framed map message on a held stream.  Where the client asked for zstd it is a frame of one stored block. */
static inline void fake_map(struct fake_stream *s, const char *json)
{
        struct buf b;
        uint32_t len = (uint32_t)strlen(json);
        bool zstd = map_can_decompress();
        uint8_t head[16];
        struct wr h = wr_init(head, sizeof(head));
        wr_le32(&h, len + (zstd ? 12 : 0));
        if (zstd) {
                wr_le32(&h, 0xfd2fb528); /* magic */
                wr_u8(&h, 0xa0);         /* one segment, four bytes of size, no checksum */
                wr_le32(&h, len);
                uint32_t block = len << 3 | 1; /* stored, the last */
                wr_u8(&h, (uint8_t)block);
                wr_u8(&h, (uint8_t)(block >> 8));
                wr_u8(&h, (uint8_t)(block >> 16));
        }
        buf_init(&b, 1 << 20);
        buf_add(&b, head, h.len);
        buf_add(&b, json, len);
        fake_answer(s, "200", b.data, b.len, true);
        buf_done(&b);
}

static inline struct fake_stream *fake_stream_of(struct fake_conn *c, int32_t id)
{
        for (size_t i = 0; i < c->stream_count; i++)
                if (c->streams[i].id == id)
                        return &c->streams[i];
        return NULL;
}

static inline int fake_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
        struct fake_conn *c = arg;
        (void)session;
        if (frame->hd.type != NGHTTP2_HEADERS || c->stream_count == FAKE_STREAMS)
                return 0;
        struct fake_stream *s = &c->streams[c->stream_count++];
        *s = (struct fake_stream){.id = frame->hd.stream_id, .conn = c};
        buf_init(&s->body, 1 << 20);
        buf_init(&s->out, 1 << 20);
        return 0;
}

static inline int fake_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                              size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                              void *arg)
{
        struct fake_stream *s = fake_stream_of(arg, frame->hd.stream_id);
        (void)session;
        (void)flags;
        if (s != NULL && name_len == 5 && memcmp(name, ":path", 5) == 0)
                (void)snprintf(s->path, sizeof(s->path), "%.*s", (int)value_len, (const char *)value);
        return 0;
}

static inline int fake_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                             size_t len, void *arg)
{
        struct fake_stream *s = fake_stream_of(arg, id);
        (void)session;
        (void)flags;
        if (s != NULL)
                buf_add(&s->body, data, len);
        return 0;
}

static inline int fake_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
        struct fake_conn *c = arg;
        struct fake_stream *s = fake_stream_of(c, frame->hd.stream_id);
        (void)session;
        if (s == NULL || s->got_all || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
                return 0;
        s->got_all = true;
        json_t *body = json_parse(s->body.data, s->body.len);
        c->fake->on_request(c->fake, s, body);
        json_decref(body);
        return 0;
}

static inline void fake_start_h2(struct fake_conn *c)
{
        nghttp2_session_callbacks *cb;
        nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 250}};
        if (nghttp2_session_callbacks_new(&cb) != 0)
                abort();
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, fake_begin);
        nghttp2_session_callbacks_set_on_header_callback(cb, fake_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, fake_chunk);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, fake_frame);
        if (nghttp2_session_server_new(&c->h2, cb, c) != 0)
                abort();
        nghttp2_session_callbacks_del(cb);
        (void)nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, 1);
}

static inline void fake_seal(struct fake_conn *c, const void *data, size_t len)
{
        if (cnoise_seal(&c->session, data, len, &c->out) != ERR_NONE)
                abort();
}

static inline void fake_upgrade(struct fake_conn *c)
{
        static const char HEAD[] =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n"
                "Connection: upgrade\r\n\r\n";
        uint8_t init[CNOISE_INITIATION_LEN + 3], response[CNOISE_RESPONSE_LEN];
        struct machine_public who;
        struct key_private eph;
        size_t n = 0;
        const char *b64 = strstr(c->in.data, "X-Tailscale-Handshake: ") + 23;
        if (sodium_base642bin(init, sizeof(init), b64, strcspn(b64, "\r"), NULL, &n, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0 ||
            n != CNOISE_INITIATION_LEN)
                abort();
        key_generate(&eph);
        bool good = responder_answer(init, &c->fake->key, &eph, response, &c->session, &who);
        buf_add(&c->out, HEAD, sizeof(HEAD) - 1);
        if (!good || c->fake->hang_up_on_101) {
                fake_flush(c);
                fake_conn_close(c);
                return;
        }
        buf_clear(&c->in);
        response[CNOISE_RESPONSE_LEN - 1] ^= c->fake->noise_fault == FAKE_BAD_RESPONSE;
        buf_add(&c->out, response, sizeof(response));
        if (c->fake->noise_fault != FAKE_GOOD) {
                size_t at = c->out.len;
                if (c->fake->noise_fault == FAKE_LONG_EARLY)
                        fake_seal(c, "\xff\xff\xffTS\x7f\xff\xff\xff", 9);
                else
                        fake_seal(c, "GET / HTTP/1.1\r\n\r\n", 18);
                c->out.data[c->out.len - 1] ^= c->fake->noise_fault == FAKE_BAD_RECORD;
                assert_true(c->out.len > at);
                c->noise = true;
                fake_start_h2(c);
                c->h2_is_mute = true;
                fake_flush(c);
                return;
        }
        if (!c->fake->no_early) { /* in three records */
                fake_seal(c, "\xff\xff\xffTS", 5);
                fake_seal(c, "\0\0\0\x17", 4);
                fake_seal(c, "{\"nodeKeyChallenge\":\"\"}", 23);
        }
        c->noise = true;
        fake_start_h2(c);
        fake_flush(c);
}

static inline void fake_http(struct fake_conn *c)
{
        if (c->in.len == 0 || strstr(c->in.data, "\r\n\r\n") == NULL)
                return;
        const char *says = c->in.data[0] == 'G' ? c->fake->key_says : c->fake->upgrade_says;
        if (says != NULL) {
                buf_puts(&c->out, says);
                fake_flush(c);
                fake_conn_close(c);
                return;
        }
        if (strncmp(c->in.data, "GET /key?v=", 11) == 0) {
                struct machine_public pub = key_machine_public(&c->fake->key);
                char text[KEY_TEXT_MAX];
                char body[200];
                int n = snprintf(body, sizeof(body), "{\"publicKey\":\"%s\"}",
                                 machine_public_text(&pub, text));
                buf_printf(&c->out, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", n,
                           body);
                fake_flush(c);
                fake_conn_close(c);
        } else if (strncmp(c->in.data, "POST /ts2021 ", 13) == 0) {
                fake_upgrade(c);
        } else {
                abort(); /* nothing else is to be asked for out here */
        }
}

static inline void fake_ready(struct watch *w, unsigned events, mono_t now)
{
        struct fake_conn *c = container_of(w, struct fake_conn, watch);
        uint8_t chunk[8192];
        (void)events;
        (void)now;
        ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);
        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0) {
                fake_conn_close(c);
                return;
        }
        buf_add(&c->in, chunk, (size_t)n);
        if (!c->noise)
                fake_http(c);
        if (c->fd < 0 || !c->noise)
                return;
        struct buf plain;
        buf_init(&plain, 1 << 20);
        if (cnoise_open(&c->session, &c->in, &plain) != ERR_NONE)
                abort();
        if (plain.len > 0 && nghttp2_session_mem_recv(c->h2, (uint8_t *)plain.data, plain.len) < 0)
                abort();
        buf_done(&plain);
        fake_flush(c);
}

static inline void fake_accept(struct watch *w, unsigned events, mono_t now)
{
        struct fake *f = container_of(w, struct fake, watch);
        (void)events;
        (void)now;
        int fd = accept4(f->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 || f->conn_count == FAKE_CONNS) {
                if (fd >= 0)
                        close(fd);
                return;
        }
        struct fake_conn *c = calloc(1, sizeof(*c));
        if (c == NULL)
                abort();
        f->conns[f->conn_count++] = c;
        f->dials++;
        c->fake = f;
        c->fd = fd;
        buf_init(&c->in, 1 << 20);
        buf_init(&c->out, 1 << 22);
        watch_init(&c->watch, fake_ready);
        if (loop_watch(f->loop, &c->watch, fd, LOOP_READ) != ERR_NONE)
                abort();
}

static inline void fake_listen(struct fake *f)
{
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(f->port)};
        socklen_t len = sizeof(sa);
        int on = 1;
        sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(f->fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 || listen(f->fd, 64) != 0 ||
            getsockname(f->fd, (struct sockaddr *)&sa, &len) != 0)
                abort();
        f->port = ntohs(sa.sin_port);
        watch_init(&f->watch, fake_accept);
        if (loop_watch(f->loop, &f->watch, f->fd, LOOP_READ) != ERR_NONE)
                abort();
}

static inline void fake_start(struct fake *f, struct loop *l)
{
        memset(f, 0, sizeof(*f));
        f->loop = l;
        key_generate(&f->key);
        fake_listen(f);
}

/* Hangs up on everybody; fake_listen() again for new ones. */
static inline void fake_stop(struct fake *f)
{
        loop_unwatch(&f->watch);
        if (f->fd >= 0)
                close(f->fd);
        f->fd = -1;
        for (size_t i = 0; i < f->conn_count; i++) {
                struct fake_conn *c = f->conns[i];
                fake_conn_close(c);
                nghttp2_session_del(c->h2);
                for (size_t k = 0; k < c->stream_count; k++) {
                        buf_done(&c->streams[k].body);
                        buf_done(&c->streams[k].out);
                }
                buf_done(&c->in);
                buf_done(&c->out);
                free(c);
        }
        f->conn_count = 0;
}
