#include "daemon/control/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "daemon/control/fault.h"
#include "daemon/control/noise.h"

enum {
        HANDSHAKE_MS = 10000, /* dial, TLS, upgrade and Noise together */
        OUT_MAX = 4 * 1024 * 1024,
        IN_MAX = 128 * 1024,
};

enum conn_state {
        CONN_DIALLING,
        CONN_UPGRADING,   /* request sent, waiting for 101 */
        CONN_HANDSHAKING, /* waiting for the Noise response */
        CONN_OPEN,
        CONN_DEAD,
};

struct conn {
        struct loop *loop;
        struct stream *stream;
        struct server_url url;
        struct conn_fns fns;
        void *arg;
        enum conn_state state;
        struct timer timer; /* the handshake's deadline; then, something to send; once dead, the report */
        struct cnoise_handshake hs;
        struct cnoise_session noise;
        struct h2 *h2;
        struct buf in;    /* from the socket, not understood yet */
        struct buf plain; /* out of records, not given to HTTP/2 yet */
        struct buf out;   /* for the socket */
        bool early_done;
        bool had_early;
        bool busy; /* inside an event: freeing waits for its end */
        bool doomed;
        enum control_error_kind lost_kind;
        char lost_detail[256];
};

static void conn_destroy(struct conn *c)
{
        loop_timer_stop(&c->timer);
        stream_close(c->stream);
        h2_free(c->h2);
        cnoise_handshake_wipe(&c->hs);
        cnoise_session_wipe(&c->noise);
        buf_done(&c->in);
        buf_done(&c->plain);
        buf_done(&c->out);
        free(c);
}

/* The owner hears of it in a round of the loop of its own. */
static void conn_fail(struct conn *c, enum control_error_kind kind, const char *detail)
{
        if (c->state == CONN_DEAD)
                return;
        c->state = CONN_DEAD;
        c->lost_kind = kind;
        (void)snprintf(c->lost_detail, sizeof(c->lost_detail), "%s", detail);
        if (c->h2 != NULL)
                h2_abandon(c->h2);
        loop_timer_at(c->loop, &c->timer, loop_now(c->loop));
}

static void conn_enter(struct conn *c)
{
        c->busy = true;
}

/* c may be gone afterwards. */
static void conn_leave(struct conn *c)
{
        c->busy = false;
        if (c->doomed)
                conn_destroy(c);
}

/* --- out --- */

static void conn_write(struct conn *c)
{
        while (c->out.len > 0) {
                size_t n;
                enum err e = stream_write(c->stream, c->out.data, c->out.len, &n);
                if (e == ERR_AGAIN)
                        break;
                if (e != ERR_NONE) {
                        conn_fail(c, CONTROL_ERROR_SERVER, "the server closed the connection");
                        return;
                }
                buf_consume(&c->out, n);
        }
        stream_want_write(c->stream, c->out.len > 0);
}

static void conn_flush(struct conn *c)
{
        struct buf raw;
        if (c->state != CONN_OPEN)
                return;
        buf_init(&raw, OUT_MAX);
        enum err e = h2_pull(c->h2, &raw);
        if (e == ERR_NONE)
                e = cnoise_seal(&c->noise, raw.data, raw.len, &c->out);
        buf_done(&raw);
        if (e != ERR_NONE) {
                conn_fail(c, e == ERR_CLOSED ? CONTROL_ERROR_SERVER : CONTROL_ERROR_PROTOCOL,
                          e == ERR_CLOSED ? "the server ended the HTTP/2 session" : "cannot send");
                return;
        }
        conn_write(c);
}

/* Opening took too long; or there is something to send; or it is time to report the end. */
static void on_timer(struct timer *t, mono_t now)
{
        struct conn *c = container_of(t, struct conn, timer);
        conn_enter(c);
        if (c->state == CONN_OPEN) {
                conn_flush(c);
        } else if (c->state != CONN_DEAD) {
                conn_fail(c, CONTROL_ERROR_TIMEOUT, "no answer within 10 seconds");
        } else {
                stream_close(c->stream);
                c->stream = NULL;
                c->fns.on_lost(c->arg, c->lost_kind, c->lost_detail, now);
        }
        conn_leave(c);
}

/* --- in --- */

static void upgrade_refused(struct conn *c, int status)
{
        char detail[96];
        (void)snprintf(detail, sizeof(detail), "the upgrade was answered with HTTP status %d", status);
        conn_fail(c, status >= 500 ? CONTROL_ERROR_SERVER : CONTROL_ERROR_NOT_CONTROL, detail);
}

static void step_upgrade(struct conn *c)
{
        struct upgrade_answer a;
        enum err e = server_upgrade_parse(c->in.data, c->in.len, &a);
        if (e == ERR_SHORT)
                return;
        if (e != ERR_NONE) {
                conn_fail(c, CONTROL_ERROR_NOT_CONTROL, "the answer to the upgrade is not HTTP");
                return;
        }
        if (!a.upgraded) {
                upgrade_refused(c, a.status);
                return;
        }
        buf_consume(&c->in, a.head_len); /* what follows is Noise already */
        c->state = CONN_HANDSHAKING;
}

static void step_handshake(struct conn *c, mono_t now)
{
        enum err e = cnoise_finish(&c->hs, c->in.data, c->in.len, &c->noise);
        if (e == ERR_SHORT)
                return;
        if (e != ERR_NONE) {
                conn_fail(c, CONTROL_ERROR_SERVER_KEY, "the Noise handshake failed");
                return;
        }
        buf_consume(&c->in, CNOISE_RESPONSE_LEN);
        c->h2 = h2_new();
        if (c->h2 == NULL) {
                conn_fail(c, CONTROL_ERROR_INTERNAL, "out of memory");
                return;
        }
        c->state = CONN_OPEN;
        stream_remember(c->stream);
        loop_timer_stop(&c->timer);
        c->fns.on_open(c->arg, now);
}

/* True: the early payload, or its absence, is behind us. */
static bool step_early(struct conn *c)
{
        size_t n;
        enum err e = server_early_parse(c->plain.data, c->plain.len, &n);
        if (e == ERR_FULL)
                conn_fail(c, CONTROL_ERROR_PROTOCOL, "the early payload is too long");
        if (e != ERR_NONE)
                return false;
        buf_consume(&c->plain, n); /* a challenge that no client answers */
        c->had_early = n > 0;
        return true;
}

static void step_records(struct conn *c)
{
        enum err e = cnoise_open(&c->noise, &c->in, &c->plain);
        if (e != ERR_NONE) {
                conn_fail(c, CONTROL_ERROR_PROTOCOL, "a record from the server is damaged");
                return;
        }
        if (!c->early_done)
                c->early_done = step_early(c);
        if (!c->early_done || c->plain.len == 0)
                return;
        e = h2_feed(c->h2, c->plain.data, c->plain.len);
        buf_clear(&c->plain);
        if (e != ERR_NONE)
                conn_fail(c, CONTROL_ERROR_PROTOCOL, "the server does not speak HTTP/2");
}

static void conn_digest(struct conn *c, mono_t now)
{
        if (c->state == CONN_UPGRADING)
                step_upgrade(c);
        if (c->state == CONN_HANDSHAKING)
                step_handshake(c, now);
        if (c->state == CONN_OPEN && !c->doomed)
                step_records(c);
}

static void conn_hung_up(struct conn *c)
{
        if (c->state == CONN_HANDSHAKING)
                /* The server says nothing when it does not know the key or the version. */
                conn_fail(c, CONTROL_ERROR_SERVER_KEY, "the server hung up during the Noise handshake");
        else
                conn_fail(c, CONTROL_ERROR_SERVER, "the server closed the connection");
}

static void conn_read(struct conn *c, mono_t now)
{
        while (c->state != CONN_DEAD && !c->doomed) {
                uint8_t chunk[CNOISE_FRAME_MAX];   /* a record; more would only deepen the stack */
                size_t n;
                enum err e = stream_read(c->stream, chunk, sizeof(chunk), &n);
                if (e == ERR_AGAIN)
                        return;
                if (e != ERR_NONE) {
                        conn_hung_up(c);
                        return;
                }
                buf_add(&c->in, chunk, n);
                conn_digest(c, now);
        }
}

static void conn_connected(struct conn *c)
{
        c->state = CONN_UPGRADING;
        conn_write(c); /* the request was put there by conn_new() */
}

static void conn_unreachable(struct conn *c)
{
        const char *why = stream_error(c->stream);
        conn_fail(c, fault_of_transport(stream_error_code(c->stream), why), why);
}

static void on_stream(struct stream *s, enum stream_event ev, void *arg, mono_t now)
{
        struct conn *c = arg;
        (void)s;
        if (c->state == CONN_DEAD)
                return;
        conn_enter(c);
        switch (ev) {
        case STREAM_CONNECTED:
                conn_connected(c);
                break;
        case STREAM_READABLE:
                conn_read(c, now);
                break;
        case STREAM_WRITABLE:
                conn_write(c);
                break;
        case STREAM_FAILED:
                conn_unreachable(c);
                break;
        }
        if (!c->doomed)
                conn_flush(c);
        conn_leave(c);
}

/* --- the outside --- */

static enum err conn_dial(struct conn *c, struct dialer *d, const struct key_private *machine,
                          const struct machine_public *server)
{
        struct key_private ephemeral;
        uint8_t initiation[CNOISE_INITIATION_LEN];
        struct dial_opts opts = {
                .host = c->url.host,
                .port = c->url.port,
                .tls = c->url.tls ? DIAL_TLS : DIAL_PLAIN,
                .timeout_ms = HANDSHAKE_MS,
        };
        key_generate(&ephemeral);
        enum err e = cnoise_initiate(&c->hs, CONTROL_CAP_VERSION, machine, server, &ephemeral, initiation);
        key_wipe(&ephemeral);
        if (e != ERR_NONE)
                return e;
        server_upgrade_request(&c->url, initiation, &c->out);
        c->stream = stream_dial(d, &opts, on_stream, c);
        if (c->stream == NULL)
                return ERR_FULL;
        loop_timer_in(c->loop, &c->timer, HANDSHAKE_MS);
        return ERR_NONE;
}

struct conn *conn_new(struct loop *l, struct dialer *d, const struct server_url *url,
                      const struct key_private *machine, const struct machine_public *server,
                      const struct conn_fns *fns, void *arg)
{
        struct conn *c = calloc(1, sizeof(*c));
        if (c == NULL)
                return NULL;
        c->loop = l;
        c->url = *url;
        c->fns = *fns;
        c->arg = arg;
        timer_init(&c->timer, on_timer);
        buf_init(&c->in, IN_MAX);
        buf_init(&c->plain, IN_MAX);
        buf_init(&c->out, OUT_MAX);
        if (conn_dial(c, d, machine, server) != ERR_NONE) {
                conn_destroy(c);
                return NULL;
        }
        return c;
}

void conn_free(struct conn *c)
{
        if (c == NULL)
                return;
        if (!c->busy) {
                conn_destroy(c);
                return;
        }
        c->doomed = true;
        c->state = CONN_DEAD;
        loop_timer_stop(&c->timer);
        if (c->h2 != NULL)
                h2_abandon(c->h2);
}

bool conn_is_open(const struct conn *c)
{
        return c != NULL && c->state == CONN_OPEN;
}

bool conn_had_early(const struct conn *c)
{
        return c != NULL && c->had_early;
}

struct h2_stream *conn_start(struct conn *c, const struct h2_request *rq, const struct h2_stream_fns *fns,
                             void *arg)
{
        if (c->state != CONN_OPEN)
                return NULL;
        loop_timer_at(c->loop, &c->timer, loop_now(c->loop)); /* what is to be sent goes out soon */
        return h2_start(c->h2, rq, fns, arg);
}

void conn_cancel(struct conn *c, struct h2_stream *s)
{
        h2_cancel(s);
        if (c->state == CONN_OPEN)
                loop_timer_at(c->loop, &c->timer, loop_now(c->loop));
}
