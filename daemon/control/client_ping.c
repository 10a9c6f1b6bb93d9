/* Answers to ping requests: HTTP HEAD to a URL of the server's, or a small HTTP request run here. */
#include "daemon/control/client_state.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "daemon/control/c2n.h"

enum { C2N_MAX = 65536 };

static void ignore_status(void *arg, int status, const char *retry_after)
{
        (void)arg;
        (void)retry_after;
        log_debug(2, "control: ping answered with status %d", status);
}

static void ignore_data(void *arg, const uint8_t *data, size_t len)
{
        (void)arg;
        (void)data;
        (void)len;
}

static void on_end(void *arg, bool clean)
{
        struct control *c = arg;
        (void)clean;
        c->pings_inside--;
}

/* Where inside the channel; the URL's host means nothing there. */
static const char *path_of(const char *url)
{
        const char *host = strstr(url, "://");
        const char *path = strchr(host != NULL ? host + 3 : url, '/');
        return path != NULL ? path : "/";
}

static void send_inside(struct control *c, const char *method, const char *url, const struct buf *body)
{
        static const struct h2_stream_fns FNS = {ignore_status, ignore_data, on_end};
        struct h2_request r = {
                .method = method,
                .authority = c->url.authority,
                .path = path_of(url),
                .body = body != NULL ? body->data : NULL,
                .body_len = body != NULL ? body->len : 0,
        };
        if (c->pings_inside < HEADPINGS_MAX && conn_start(c->conn, &r, &FNS, c) != NULL)
                c->pings_inside++;
        else
                log_debug(1, "control: a ping could not be answered");
}

static void run_c2n(struct control *c, const struct map_news *news)
{
        size_t cap = strlen(news->ping_payload);
        unsigned char *request = malloc(cap + 1);
        struct buf out;
        size_t len;
        buf_init(&out, 2 * C2N_MAX);
        if (request != NULL && cap <= C2N_MAX &&
            sodium_base642bin(request, cap + 1, news->ping_payload, cap, NULL, &len, NULL,
                              sodium_base64_VARIANT_ORIGINAL) == 0 &&
            c2n_answer((const char *)request, len, &out) == ERR_NONE)
                send_inside(c, "POST", news->ping_url, &out);
        buf_done(&out);
        free(request);
}

void control_answer_ping(struct control *c, const struct map_news *news)
{
        if (strcmp(news->ping_types, "c2n") == 0)
                run_c2n(c, news);
        else if (news->ping_types[0] != '\0')
                log_debug(1, "control: a ping of another kind was asked for");
        else if (news->ping_noise)
                send_inside(c, "HEAD", news->ping_url, NULL);
        else
                headping_send(&c->pings, c->loop, c->dialer, news->ping_url);
}
