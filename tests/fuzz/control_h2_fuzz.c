/* HTTP/2 from a hostile server: frames after our preface and two requests.  The first byte says in pieces of how many
 * bytes they arrive and whether the second request is given up half way.  Each stream must end at most once, say its
 * status before its data, and never after it was given up. */
#include <stdlib.h>
#include <string.h>

#include "daemon/control/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
        bool status, ended, given_up;
};

static void must(bool held)
{
        if (!held)
                abort();
}

static void on_status(void *arg, int status, const char *retry_after)
{
        struct seen *s = arg;
        must(!s->status && !s->ended && !s->given_up);
        must(status >= 200 && status <= 999 && strlen(retry_after) < 64);
        s->status = true;
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
        const struct seen *s = arg;
        must(s->status && !s->ended && !s->given_up && (len == 0 || data != NULL));
}

static void on_end(void *arg, bool clean)
{
        struct seen *s = arg;
        (void)clean;
        must(!s->ended && !s->given_up);
        s->ended = true;
}

static bool pull(struct h2 *h)
{
        struct buf out;
        buf_init(&out, 8 << 20);
        enum err e = h2_pull(h, &out);
        buf_done(&out);
        return e == ERR_NONE;
}

static void converse(struct h2 *h, uint8_t how, const uint8_t *data, size_t size)
{
        static const struct h2_stream_fns fns = {on_status, on_data, on_end};
        struct h2_request rq = {.method = "POST", .authority = "h", .path = "/machine/map", .body = "{}", .body_len = 2};
        struct seen seen[2] = {{0}};
        struct h2_stream *first = h2_start(h, &rq, &fns, &seen[0]);
        struct h2_stream *second = h2_start(h, &rq, &fns, &seen[1]);
        must(first != NULL && second != NULL);
        size_t piece = (size_t)(how & 0x7f) + 1;
        for (size_t at = 0; at < size; at += piece) {
                if (!pull(h) || h2_feed(h, data + at, size - at < piece ? size - at : piece) != ERR_NONE)
                        break;
                if ((how & 0x80) != 0 && at >= size / 2 && !seen[1].ended && !seen[1].given_up) {
                        seen[1].given_up = true;
                        h2_cancel(second);
                }
        }
        (void)pull(h);
        h2_abandon(h);
        seen[0].given_up = seen[1].given_up = true;
        h2_free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct h2 *h = h2_new();
        if (h != NULL && size > 0)
                converse(h, data[0], data + 1, size - 1);
        else
                h2_free(h);
        return 0;
}
