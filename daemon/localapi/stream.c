#include <stdlib.h>
#include <string.h>

#include "daemon/localapi/request.h"

struct lapi_stream {
        struct lapi_req *req;
        struct buf queue;      /* lines not yet sent */
        size_t lines;
        bool closing;          /* hang up when the queue is out */
};

static ssize_t read_stream(void *cls, uint64_t pos, char *out, size_t max)
{
        (void)pos;
        struct lapi_stream *s = cls;
        if (s->req->http.dead)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        if (s->queue.len == 0) {
                if (s->closing)
                        return MHD_CONTENT_READER_END_OF_STREAM;
                httpd_suspend(&s->req->http);
                return 0;
        }
        size_t n = s->queue.len < max ? s->queue.len : max;
        memcpy(out, s->queue.data, n);
        for (size_t i = 0; i < n; i++)
                s->lines -= out[i] == '\n';
        buf_consume(&s->queue, n);
        return (ssize_t)n;
}

struct lapi_stream *lapi_stream_start(struct lapi_req *r, void (*on_gone)(void *arg), void *arg)
{
        struct lapi_stream *s = calloc(1, sizeof(*s));
        struct MHD_Response *resp =
                s != NULL ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, s, NULL) : NULL;
        if (resp == NULL) {
                free(s);
                lapi_reply_text(r, 500, "out of memory");
                return NULL;
        }
        buf_init(&s->queue, 256 << 20);
        s->req = r;
        r->stream = s;
        lapi_answer(r, 200, "application/json", resp);
        lapi_on_gone(r, on_gone, arg);
        lapi_watch_client(r);
        return s;
}

char *lapi_stream_line(const json_t *v)
{
        return json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(15));
}

static void push_line(struct lapi_stream *s, const char *line)
{
        buf_puts(&s->queue, line);
        buf_puts(&s->queue, "\n");
        s->lines++;
}

bool lapi_stream_send(struct lapi_stream *s, const char *line)
{
        bool room = s->lines < LAPI_STREAM_QUEUE && s->queue.len < LAPI_STREAM_BYTES && buf_ok(&s->queue) && !s->closing;
        if (room) {
                push_line(s, line);
        } else if (!s->closing) {
                push_line(s, "{\"ErrMessage\":\"this watcher read too slowly and was cut off\"}");
                s->closing = true;
        }
        httpd_resume(&s->req->http);
        return room;
}

void lapi_stream_free(struct lapi_stream *s)
{
        if (s != NULL)
                buf_done(&s->queue);
        free(s);
}
