#include <stdlib.h>
#include <string.h>

#include "daemon/localapi/request.h"
#include "daemon/localapi/source.h"

struct event {
        struct event *next;
        struct lapi_source source;
        size_t weight;
        const char *kind;      /* NULL: none that a later one could stand for */
        bool begun;
};

struct lapi_stream {
        struct lapi_req *req;
        struct event *first, **last;
        size_t count, weight;  /* of what waits */
        struct buf piece;      /* on its way */
        size_t sent;           /* of piece */
        bool closing;          /* hang up when all is out */
};

static void drop_first(struct lapi_stream *s)
{
        struct event *e = s->first;
        s->first = e->next;
        if (s->first == NULL)
                s->last = &s->first;
        s->count--;
        s->weight -= e->weight;
        lapi_source_done(&e->source);
        free(e);
}

static ssize_t read_stream(void *cls, uint64_t pos, char *out, size_t max)
{
        (void)pos;
        struct lapi_stream *s = cls;
        if (s->req->http.dead)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        if (s->sent == s->piece.len) {
                buf_clear(&s->piece);
                s->sent = 0;
        }
        while (s->piece.len < max && s->first != NULL) {
                s->first->begun = true;
                if (s->first->source.next(s->first->source.arg, &s->piece))
                        continue;
                buf_puts(&s->piece, "\n");
                drop_first(s);
        }
        if (!buf_ok(&s->piece))
                return MHD_CONTENT_READER_END_WITH_ERROR;
        size_t n = s->piece.len - s->sent;
        if (n == 0) {
                if (s->closing)
                        return MHD_CONTENT_READER_END_OF_STREAM;
                httpd_suspend(&s->req->http);
                return 0;
        }
        if (n > max)
                n = max;
        memcpy(out, s->piece.data + s->sent, n);
        s->sent += n;
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
        buf_init(&s->piece, LAPI_PIECE_MAX);
        s->last = &s->first;
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

/* False: out of memory. */
static bool push(struct lapi_stream *s, struct lapi_source source, size_t weight, const char *kind)
{
        struct event *e = source.arg != NULL ? malloc(sizeof(*e)) : NULL;
        if (e == NULL) {
                lapi_source_done(&source);
                return false;
        }
        *e = (struct event){.source = source, .weight = weight, .kind = kind};
        *s->last = e;
        s->last = &e->next;
        s->count++;
        s->weight += weight;
        return true;
}

bool lapi_stream_send_source(struct lapi_stream *s, struct lapi_source source, size_t weight, const char *kind)
{
        static const char cut_off[] = "{\"ErrMessage\":\"this watcher read too slowly and was cut off\"}";
        bool room = s->count < LAPI_STREAM_QUEUE && s->weight < LAPI_STREAM_BYTES && !s->closing;
        if (room) {
                room = push(s, source, weight, kind);
                s->closing = !room;
        } else {
                lapi_source_done(&source);
                if (!s->closing)
                        (void)push(s, lapi_source_text(strdup(cut_off)), 0, NULL);
                s->closing = true;
        }
        httpd_resume(&s->req->http);
        return room;
}

bool lapi_stream_send(struct lapi_stream *s, const char *line)
{
        return lapi_stream_send_source(s, lapi_source_text(strdup(line)), strlen(line) + 1, NULL);
}

bool lapi_stream_waits(const struct lapi_stream *s, const char *kind)
{
        for (const struct event *e = s->first; e != NULL; e = e->next)
                if (!e->begun && e->kind != NULL && strcmp(e->kind, kind) == 0)
                        return true;
        return false;
}

void lapi_stream_free(struct lapi_stream *s)
{
        if (s == NULL)
                return;
        while (s->first != NULL)
                drop_first(s);
        buf_done(&s->piece);
        free(s);
}
