#include "daemon/localapi/source.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/localapi/request.h"

void lapi_source_done(struct lapi_source *s)
{
        if (s->arg != NULL)
                s->done(s->arg);
        s->arg = NULL;
}

/* ---- a text ---- */

static bool next_text(void *arg, struct buf *out)
{
        buf_puts(out, arg);
        return false;
}

struct lapi_source lapi_source_text(char *text)
{
        return (struct lapi_source){next_text, free, text};
}

/* ---- several ---- */

struct join {
        size_t count, at;
        struct lapi_source parts[];
};

static bool next_join(void *arg, struct buf *out)
{
        struct join *j = arg;
        if (!j->parts[j->at].next(j->parts[j->at].arg, out))
                lapi_source_done(&j->parts[j->at++]);
        return j->at < j->count;
}

static void done_join(void *arg)
{
        struct join *j = arg;
        for (size_t i = 0; i < j->count; i++)
                lapi_source_done(&j->parts[i]);
        free(j);
}

struct lapi_source lapi_source_join(const struct lapi_source *parts, size_t n)
{
        struct join *j = malloc(sizeof(*j) + n * sizeof(j->parts[0]));
        struct lapi_source one;
        bool whole = j != NULL;
        if (j != NULL)
                *j = (struct join){.count = n};
        for (size_t i = 0; i < n; i++) {
                one = parts[i];
                whole &= one.arg != NULL;
                if (j != NULL)
                        j->parts[i] = one;
                else
                        lapi_source_done(&one);
        }
        if (!whole && j != NULL)
                done_join(j);
        return (struct lapi_source){next_join, done_join, whole ? j : NULL};
}

/* ---- an answer ---- */

struct answer {
        struct lapi_req *req;
        struct lapi_source source;
        struct buf piece;
        size_t sent;   /* of piece */
        bool last;
};

static ssize_t read_answer(void *cls, uint64_t pos, char *out, size_t max)
{
        (void)pos;
        struct answer *a = cls;
        if (a->req->http.dead)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        if (a->sent == a->piece.len) {
                buf_clear(&a->piece);
                a->sent = 0;
        }
        while (a->piece.len < max && !a->last)
                a->last = !a->source.next(a->source.arg, &a->piece);
        if (!buf_ok(&a->piece))
                return MHD_CONTENT_READER_END_WITH_ERROR;
        size_t n = a->piece.len - a->sent;
        if (n == 0)
                return MHD_CONTENT_READER_END_OF_STREAM;
        if (n > max)
                n = max;
        memcpy(out, a->piece.data + a->sent, n);
        a->sent += n;
        return (ssize_t)n;
}

static void free_answer(void *cls)
{
        struct answer *a = cls;
        lapi_source_done(&a->source);
        buf_done(&a->piece);
        free(a);
}

void lapi_reply_source(struct lapi_req *r, int status, const char *type, struct lapi_source s)
{
        struct answer *a = s.arg != NULL ? malloc(sizeof(*a)) : NULL;
        if (a == NULL) {
                lapi_source_done(&s);
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        *a = (struct answer){.req = r, .source = s};
        buf_init(&a->piece, LAPI_PIECE_MAX);
        struct MHD_Response *resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_answer, a, free_answer);
        if (resp == NULL)
                free_answer(a);
        lapi_answer(r, status, type, resp);
}
