#include "daemon/control/h2.h"

#include <stdlib.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

enum {
        WINDOW_STREAM = 4 * 1024 * 1024,
        WINDOW_CONNECTION = 64 * 1024 * 1024,
        HEADER_LIST_MAX = 64 * 1024,
};

struct h2 {
        nghttp2_session *session;
        struct h2_stream *streams; /* open ones */
        bool going_away;
};

struct h2_stream {
        struct h2 *h2;
        struct h2_stream *next;
        int32_t id;
        struct h2_stream_fns fns;
        void *arg;
        uint8_t *body;
        size_t body_len;
        size_t body_sent;
        int status;
        char retry_after[64];
        bool answered;
        bool cancelled;
        bool ended; /* END_STREAM came */
};

static void stream_unlink(struct h2_stream *s)
{
        for (struct h2_stream **at = &s->h2->streams; *at != NULL; at = &(*at)->next) {
                if (*at == s) {
                        *at = s->next;
                        return;
                }
        }
}

static void stream_free(struct h2_stream *s)
{
        if (s->body != NULL)
                explicit_bzero(s->body, s->body_len); /* may hold an auth key */
        free(s->body);
        free(s);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
        (void)flags;
        (void)arg;
        struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (s == NULL || frame->hd.type != NGHTTP2_HEADERS)
                return 0;
        /* nghttp2 has checked that :status is three digits and that it comes once a block. */
        if (name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3)
                s->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
        if (name_len == 11 && memcmp(name, "retry-after", 11) == 0 && value_len < sizeof(s->retry_after)) {
                memcpy(s->retry_after, value, value_len);
                s->retry_after[value_len] = '\0';
        }
        return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
        struct h2 *h = arg;
        if (frame->hd.type == NGHTTP2_GOAWAY) {
                h->going_away = true;
                return 0;
        }
        struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (s == NULL)
                return 0;
        bool headers = frame->hd.type == NGHTTP2_HEADERS;
        if ((headers || frame->hd.type == NGHTTP2_DATA) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
                s->ended = true;
        /* 1xx blocks are not the answer, and trailers are no second one. */
        if (headers && s->status >= 200 && !s->answered && !s->cancelled) {
                s->answered = true;
                s->fns.on_status(s->arg, s->status, s->retry_after);
        }
        return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                    void *arg)
{
        (void)flags;
        (void)arg;
        struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
        if (s != NULL && !s->cancelled)
                s->fns.on_data(s->arg, data, len);
        return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
        (void)error_code;
        (void)arg;
        struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
        if (s == NULL)
                return 0;
        (void)nghttp2_session_set_stream_user_data(session, id, NULL);
        stream_unlink(s);
        if (!s->cancelled)
                s->fns.on_end(s->arg, s->ended);
        stream_free(s);
        return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t cap, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
        (void)session;
        (void)id;
        (void)arg;
        struct h2_stream *s = source->ptr;
        size_t left = s->body_len - s->body_sent;
        size_t n = left < cap ? left : cap;
        if (n > 0)
                memcpy(out, s->body + s->body_sent, n);
        s->body_sent += n;
        if (s->body_sent == s->body_len)
                *flags |= NGHTTP2_DATA_FLAG_EOF;
        return (ssize_t)n;
}

static int session_open(struct h2 *h)
{
        nghttp2_session_callbacks *cb = NULL;
        nghttp2_settings_entry settings[] = {
                {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_STREAM},
                {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX},
        };
        if (nghttp2_session_callbacks_new(&cb) != 0)
                return -1;
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
        int rc = nghttp2_session_client_new(&h->session, cb, h);
        nghttp2_session_callbacks_del(cb);
        if (rc == 0)
                rc = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
                                             sizeof(settings) / sizeof(settings[0]));
        if (rc == 0)
                rc = nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
                                                           WINDOW_CONNECTION);
        return rc;
}

struct h2 *h2_new(void)
{
        struct h2 *h = calloc(1, sizeof(*h));
        if (h != NULL && session_open(h) != 0) {
                h2_free(h);
                h = NULL;
        }
        return h;
}

void h2_abandon(struct h2 *h)
{
        for (struct h2_stream *s = h->streams; s != NULL; s = s->next)
                s->cancelled = true;
}

void h2_free(struct h2 *h)
{
        if (h == NULL)
                return;
        h2_abandon(h);
        nghttp2_session_del(h->session);
        while (h->streams != NULL) {
                struct h2_stream *s = h->streams;
                h->streams = s->next;
                stream_free(s);
        }
        free(h);
}

static nghttp2_nv header(const char *name, const char *value)
{
        /* nghttp2 copies both; its struct just lacks the const. */
        union {
                const char *in;
                uint8_t *out;
        } n = {.in = name}, v = {.in = value};
        return (nghttp2_nv){
                .name = n.out, .value = v.out, .namelen = strlen(name), .valuelen = strlen(value)};
}

struct h2_stream *h2_start(struct h2 *h, const struct h2_request *rq, const struct h2_stream_fns *fns,
                           void *arg)
{
        nghttp2_nv nv[8];
        size_t n = 0;
        if (h->going_away)
                return NULL;
        struct h2_stream *s = calloc(1, sizeof(*s));
        if (s == NULL)
                return NULL;
        s->h2 = h;
        s->fns = *fns;
        s->arg = arg;
        if (rq->body != NULL && rq->body_len > 0) {
                s->body = malloc(rq->body_len);
                if (s->body == NULL) {
                        free(s);
                        return NULL;
                }
                memcpy(s->body, rq->body, rq->body_len);
                s->body_len = rq->body_len;
        }
        nv[n++] = header(":method", rq->method);
        nv[n++] = header(":scheme", "https"); /* whatever the outer connection is */
        nv[n++] = header(":authority", rq->authority);
        nv[n++] = header(":path", rq->path);
        if (s->body != NULL)
                nv[n++] = header("content-type", "application/json");
        for (size_t i = 0; i < 2; i++)
                if (rq->ts_lb[i] != NULL)
                        nv[n++] = header("ts-lb", rq->ts_lb[i]);

        nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = read_body};
        int32_t id = nghttp2_submit_request(h->session, NULL, nv, n, s->body != NULL ? &body : NULL, s);
        if (id < 0) {
                stream_free(s);
                return NULL;
        }
        s->id = id;
        s->next = h->streams;
        h->streams = s;
        return s;
}

void h2_cancel(struct h2_stream *s)
{
        s->cancelled = true;
        (void)nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
}

enum err h2_feed(struct h2 *h, const void *data, size_t len)
{
        ssize_t n = nghttp2_session_mem_recv(h->session, data, len);
        return n < 0 || (size_t)n != len ? ERR_FORMAT : ERR_NONE;
}

enum err h2_pull(struct h2 *h, struct buf *out)
{
        for (;;) {
                const uint8_t *data;
                ssize_t n = nghttp2_session_mem_send(h->session, &data);
                if (n < 0)
                        return ERR_FORMAT;
                if (n == 0)
                        break;
                buf_add(out, data, (size_t)n);
        }
        /* After a fatal error nghttp2 sends GOAWAY and then wants nothing more. */
        if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
                return ERR_CLOSED;
        return buf_ok(out) ? ERR_NONE : ERR_FULL;
}
