#include "daemon/control/headping.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/control/server.h"

enum { HEADPING_MS = 15000, REQUEST_MAX = 4096 };

struct headping {
        struct headpings *all;
        struct headping *next, **prev;
        struct stream *stream;
        struct timer deadline;
        struct buf out;
};

static void headping_end(struct headping *h)
{
        loop_timer_stop(&h->deadline);
        stream_close(h->stream);
        buf_done(&h->out);
        *h->prev = h->next;
        if (h->next != NULL)
                h->next->prev = h->prev;
        h->all->count--;
        free(h);
}

void headpings_stop(struct headpings *all)
{
        while (all->first != NULL)
                headping_end(all->first);
}

static void on_deadline(struct timer *t, mono_t now)
{
        (void)now;
        headping_end(container_of(t, struct headping, deadline));
}

/* False: it is over. */
static bool push(struct headping *h)
{
        while (h->out.len > 0) {
                size_t n;
                enum err e = stream_write(h->stream, h->out.data, h->out.len, &n);
                if (e != ERR_NONE) {
                        stream_want_write(h->stream, e == ERR_AGAIN);
                        return e == ERR_AGAIN;
                }
                buf_consume(&h->out, n);
        }
        stream_want_write(h->stream, false);
        return true;
}

/* The answer is drained until the server hangs up, as it was asked to. */
static bool drain(struct headping *h)
{
        uint8_t sink[1024];
        size_t n;
        enum err e;
        do
                e = stream_read(h->stream, sink, sizeof(sink), &n);
        while (e == ERR_NONE);
        return e == ERR_AGAIN;
}

static void on_stream(struct stream *s, enum stream_event ev, void *arg, mono_t now)
{
        struct headping *h = arg;
        bool more = false;
        (void)now;
        switch (ev) {
        case STREAM_CONNECTED:
        case STREAM_WRITABLE:
                more = push(h);
                break;
        case STREAM_READABLE:
                more = drain(h);
                break;
        case STREAM_FAILED:
                log_debug(1, "control: ping of the server not answered: %s", stream_error(s));
                break;
        }
        if (!more)
                headping_end(h);
}

static struct headping *headping_new(struct headpings *all)
{
        struct headping *h = all->count < HEADPINGS_MAX ? calloc(1, sizeof(*h)) : NULL;
        if (h == NULL)
                return NULL;
        h->all = all;
        h->next = all->first;
        h->prev = &all->first;
        if (h->next != NULL)
                h->next->prev = &h->next;
        all->first = h;
        all->count++;
        timer_init(&h->deadline, on_deadline);
        buf_init(&h->out, REQUEST_MAX);
        return h;
}

void headping_send(struct headpings *all, struct loop *l, struct dialer *d, const char *url)
{
        struct server_url u;
        char bare[512];
        /* The query is the point of such a URL, but no part of a login server's. */
        size_t base = strcspn(url, "?#");
        if (base >= sizeof(bare))
                return;
        memcpy(bare, url, base);
        bare[base] = '\0';
        const char *scheme_end = strstr(bare, "://");
        /* A login server may be named without a scheme; nothing may that a server sends. */
        if (scheme_end == NULL || server_url_parse(bare, &u) != ERR_NONE || strpbrk(url, " \r\n\t") != NULL)
                return;
        const char *host = url + (scheme_end - bare) + strlen("://");
        const char *path = host + strcspn(host, "/?#");
        struct headping *h = headping_new(all);
        if (h == NULL)
                return;
        buf_printf(&h->out, "HEAD %s%.*s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                   *path == '/' ? "" : "/", (int)strcspn(path, "#"), path, u.authority);
        struct dial_opts opts = {
                .host = u.host,
                .port = u.port,
                .tls = u.tls ? DIAL_TLS : DIAL_PLAIN,
                .timeout_ms = HEADPING_MS,
        };
        h->stream = buf_ok(&h->out) ? stream_dial(d, &opts, on_stream, h) : NULL;
        if (h->stream == NULL) {
                headping_end(h);
                return;
        }
        loop_timer_in(l, &h->deadline, HEADPING_MS);
}
