#include "magicsock/derp_client.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#include "base/reader.h"

enum {
        OUT_RESERVE = 512,            /* room that packets leave to control frames */
        OUT_RESERVE_SMALL = 8192,     /* that large packets leave to small ones: acknowledgements, pings, handshakes */
        SMALL = 320,
};

static struct derp_event fail(struct derp_client *c, const char *why)
{
        c->state = DERP_CLIENT_FAILED;
        snprintf(c->detail, sizeof(c->detail), "%s", why);
        return (struct derp_event){.kind = DERP_EV_FAILED};
}

/* A writer over the free tail of out; what it held is committed only if all of it fitted. */
static struct wr out_begin(struct derp_client *c)
{
        return wr_init(c->out + c->out_end, sizeof(c->out) - c->out_end);
}

static void count_frame(struct derp_client *c, size_t len)
{
        if (c->frames_len > DERP_OUT_MAX) {     /* what was long ago counts less */
                c->frames /= 2;
                c->frames_len /= 2;
        }
        c->frames++;
        c->frames_len += len;
}

static bool out_commit(struct derp_client *c, const struct wr *w)
{
        if (!wr_ok(w))
                return false;
        c->out_end += w->len;
        count_frame(c, w->len);
        return true;
}

static void out_puts(struct wr *w, const char *s)
{
        wr_copy(w, s, strlen(s));
}

static void tell_home(struct derp_client *c)
{
        if (c->home == c->told_home || (c->state != DERP_CLIENT_LOGIN && c->state != DERP_CLIENT_UP))
                return;
        struct wr w = out_begin(c);
        derp_put_note_preferred(&w, c->home);
        if (out_commit(c, &w))
                c->told_home = c->home;
}

static bool http_safe(const char *s)
{
        for (; *s != '\0'; s++)
                if (!isgraph((unsigned char)*s))
                        return false;
        return true;
}

static bool put_request(struct derp_client *c, const struct derp_client_opts *o)
{
        char port[8] = "";
        bool literal6 = strchr(o->host, ':') != NULL;
        if (o->port != (o->plain ? 80 : 443))
                snprintf(port, sizeof(port), ":%u", o->port);
        struct wr w = out_begin(c);
        out_puts(&w, "GET /derp HTTP/1.1\r\nHost: ");
        out_puts(&w, literal6 ? "[" : "");
        out_puts(&w, o->host);
        out_puts(&w, literal6 ? "]" : "");
        out_puts(&w, port);
        out_puts(&w, "\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n");
        if (o->server != NULL)
                out_puts(&w, "Derp-Fast-Start: 1\r\n");
        if (o->ideal_node != NULL && http_safe(o->ideal_node)) {
                out_puts(&w, "Ideal-Node: ");
                out_puts(&w, o->ideal_node);
                out_puts(&w, "\r\n");
        }
        out_puts(&w, "Upgrade: DERP\r\n\r\n");
        return out_commit(c, &w);
}

/* The server's key is known: introduce ourselves. */
static bool login(struct derp_client *c, const struct node_public *server)
{
        enum err e = box_precompute(&c->box, server->b, c->priv.b);
        key_wipe(&c->priv);
        struct wr w = out_begin(c);
        if (e != ERR_NONE)
                return false;
        derp_put_client_info(&w, &c->us, &c->box, c->nonce);
        if (!out_commit(c, &w))
                return false;
        c->state = DERP_CLIENT_LOGIN;
        tell_home(c);
        return true;
}

void derp_client_init(struct derp_client *c, const struct derp_client_opts *opts)
{
        c->state = DERP_CLIENT_HTTP;
        c->priv = *opts->node;
        c->us = key_node_public(opts->node);
        memcpy(c->nonce, opts->nonce, sizeof(c->nonce));
        c->home = opts->home;
        c->told_home = false;
        c->limit = (struct derp_server_info){0};
        c->skip = 0;
        c->in_at = c->in_end = c->out_at = c->out_end = c->frames = c->frames_len = 0;
        c->detail[0] = '\0';
        if (!http_safe(opts->host) || !put_request(c, opts))
                (void)fail(c, "the relay map has an unusable host name");
        else if (opts->server != NULL && !login(c, opts->server))
                (void)fail(c, "the relay has an unusable key");
}

void derp_client_done(struct derp_client *c)
{
        key_wipe(&c->priv);
        crypto_wipe(&c->box, sizeof(c->box));
}

uint8_t *derp_client_in(struct derp_client *c, size_t *ret_cap)
{
        if (c->in_at == c->in_end) {
                c->in_at = c->in_end = 0;
        } else if (c->in_at > 0) {
                memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
                c->in_end -= c->in_at;
                c->in_at = 0;
        }
        *ret_cap = sizeof(c->in) - c->in_end;
        return c->in + c->in_end;
}

void derp_client_fed(struct derp_client *c, size_t n)
{
        c->in_end += n;
        c->stretched |= c->in_end > DERP_STRETCHED;
}

/* Consumes the head of the HTTP answer; false: not whole yet, or failed. */
static bool take_http(struct derp_client *c)
{
        const uint8_t *head = c->in + c->in_at;
        size_t have = c->in_end - c->in_at;
        const uint8_t *end = memmem(head, have, "\r\n\r\n", 4);
        if (end == NULL) {
                if (have > DERP_HTTP_MAX)
                        (void)fail(c, "the relay's HTTP answer is too long");
                return false;
        }
        struct rd r = rd_init(head, (size_t)(end - head));
        const uint8_t *version = rd_take(&r, 9);   /* "HTTP/1.1 " */
        const uint8_t *code = rd_take(&r, 3);
        if (!rd_ok(&r) || memcmp(version, "HTTP/1.", 7) != 0 || version[8] != ' ') {
                (void)fail(c, "the server does not speak HTTP");
                return false;
        }
        if (memcmp(code, "101", 3) != 0) {
                char why[DERP_DETAIL_MAX];
                bool digits = isdigit(code[0]) && isdigit(code[1]) && isdigit(code[2]);
                snprintf(why, sizeof(why), "the server is no relay: HTTP status %.3s",
                        digits ? (const char *)code : "???");
                (void)fail(c, why);
                return false;
        }
        c->in_at += (size_t)(end - head) + 4;
        c->state = DERP_CLIENT_KEY;
        return true;
}

static struct derp_event on_server_info(struct derp_client *c, const struct derp_msg *m, mono_t now)
{
        if (c->state != DERP_CLIENT_LOGIN)
                return (struct derp_event){.kind = DERP_EV_OTHER};
        enum err e = derp_server_info_open(&c->box, m->data, m->len, &c->limit);
        crypto_wipe(&c->box, sizeof(c->box));
        if (e != ERR_NONE)
                return fail(c, e == ERR_AUTH ? "the relay could not prove its key"
                                             : "the relay's greeting is damaged");
        c->state = DERP_CLIENT_UP;
        c->tokens = c->limit.burst;
        c->refilled = now;
        return (struct derp_event){.kind = DERP_EV_UP};
}

static struct derp_event on_msg(struct derp_client *c, const struct derp_msg *m, mono_t now)
{
        struct derp_event other = {.kind = DERP_EV_OTHER};
        if (m->type == DERP_SERVER_INFO)
                return on_server_info(c, m, now);
        if (c->state != DERP_CLIENT_UP)
                return other;   /* also the ServerKey that follows a fast start */
        struct wr w = out_begin(c);
        switch (m->type) {
        case DERP_RECV_PACKET:
                return (struct derp_event){.kind = DERP_EV_RECV, .msg = *m};
        case DERP_PEER_GONE:
                return (struct derp_event){.kind = DERP_EV_GONE, .msg = *m};
        case DERP_HEALTH:
                return (struct derp_event){.kind = DERP_EV_HEALTH, .msg = *m};
        case DERP_RESTARTING:
                return (struct derp_event){.kind = DERP_EV_RESTARTING, .msg = *m};
        case DERP_PING:
                derp_put_ping(&w, DERP_PONG, m->ping);
                (void)out_commit(c, &w);   /* no room: it will ask again */
                return other;
        case DERP_SERVER_KEY:
        case DERP_CLIENT_INFO:
        case DERP_SERVER_INFO:
        case DERP_SEND_PACKET:
        case DERP_KEEP_ALIVE:
        case DERP_NOTE_PREFERRED:
        case DERP_PEER_PRESENT:
        case DERP_PONG:
                return other;
        }
        return other;
}

/* The frame does not fit into `in`: let its bytes run through. */
static struct derp_event start_skip(struct derp_client *c, struct derp_head h)
{
        if (c->state == DERP_CLIENT_KEY || (c->state == DERP_CLIENT_LOGIN && h.type == DERP_SERVER_INFO))
                return fail(c, "the relay's greeting is too long");
        c->in_at += DERP_HEAD_LEN;
        c->skip = h.len;
        return (struct derp_event){.kind = h.type == DERP_RECV_PACKET ? DERP_EV_LARGE : DERP_EV_OTHER};
}

static struct derp_event on_frame(struct derp_client *c, struct derp_head h, const uint8_t *payload, mono_t now)
{
        struct derp_msg m;
        enum err e = derp_msg_parse(h.type, payload, h.len, &m);
        if (c->state == DERP_CLIENT_KEY) {
                if (e != ERR_NONE || m.type != DERP_SERVER_KEY)
                        return fail(c, "the server does not greet as a relay");
                if (!login(c, &m.key))
                        return fail(c, "the relay has an unusable key");
                return (struct derp_event){.kind = DERP_EV_OTHER};
        }
        if (e != ERR_NONE && h.type == DERP_SERVER_INFO && c->state == DERP_CLIENT_LOGIN)
                return fail(c, "the relay's greeting is damaged");
        if (e != ERR_NONE)
                return (struct derp_event){.kind = DERP_EV_OTHER};   /* unknown or damaged: skipped */
        return on_msg(c, &m, now);
}

struct derp_event derp_client_next(struct derp_client *c, mono_t now)
{
        struct derp_event none = {.kind = DERP_EV_NONE};
        struct derp_head h;
        if (c->state == DERP_CLIENT_HTTP && !take_http(c) && c->state != DERP_CLIENT_FAILED)
                return none;
        if (c->state == DERP_CLIENT_FAILED)
                return (struct derp_event){.kind = DERP_EV_FAILED};
        size_t have = c->in_end - c->in_at;
        if (c->skip > 0) {
                size_t n = c->skip < have ? c->skip : have;
                c->skip -= (uint32_t)n;
                c->in_at += n;
                have -= n;
        }
        enum err e = derp_head_parse(c->in + c->in_at, have, &h);
        if (e == ERR_SHORT)
                return none;
        if (e != ERR_NONE)
                return fail(c, memcmp(c->in + c->in_at, "HTTP/", DERP_HEAD_LEN) == 0
                                ? "the server is no relay: it answers in HTTP"
                                : "the relay sent a frame larger than allowed");
        if (h.len > sizeof(c->in) - DERP_HEAD_LEN)
                return start_skip(c, h);
        if (have - DERP_HEAD_LEN < h.len)
                return none;
        const uint8_t *payload = c->in + c->in_at + DERP_HEAD_LEN;
        c->in_at += DERP_HEAD_LEN + h.len;
        return on_frame(c, h, payload, now);
}

const uint8_t *derp_client_out(const struct derp_client *c, size_t *ret_len)
{
        *ret_len = c->out_end - c->out_at;
        return c->out + c->out_at;
}

void derp_client_sent(struct derp_client *c, size_t n)
{
        c->out_at += n;
        if (c->out_at == c->out_end) {
                c->out_at = c->out_end = c->frames = c->frames_len = 0;
                tell_home(c);
        }
}

/* The pages that lie wholly inside; they are zero when they are touched next.  Kernels before 5.18 know the plain way alone,
 * and do not give back what is locked. */
static void give_back(uint8_t *at, size_t len)
{
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)at + page - 1) & ~(page - 1);
        uintptr_t to = ((uintptr_t)at + len) & ~(page - 1);
        if (from < to)
                (void)(madvise(at + (from - (uintptr_t)at), to - from, MADV_DONTNEED_LOCKED) == 0 ||
                       madvise(at + (from - (uintptr_t)at), to - from, MADV_DONTNEED) == 0);
}

void derp_client_tidy(struct derp_client *c)
{
        if (c->in_at != c->in_end || c->out_at != c->out_end)
                return;
        c->in_at = c->in_end = 0;
        give_back(c->in, sizeof(c->in));
        give_back(c->out, sizeof(c->out));
        c->stretched = false;
}

size_t derp_client_mean(const struct derp_client *c)
{
        return c->frames > 0 ? c->frames_len / c->frames : 1;
}

/* A token bucket over whole frames; the server named the rate. */
static bool within_rate(struct derp_client *c, size_t len, mono_t now)
{
        if (c->limit.bytes_per_sec == 0)
                return true;
        int64_t us = mono_diff_ns(now, c->refilled) / NS_PER_US;
        int64_t us_to_full = (c->limit.burst - c->tokens) / c->limit.bytes_per_sec * 1000000 + 1000000;
        if (us >= us_to_full) {
                c->tokens = c->limit.burst;
                c->refilled = now;
        } else if (us * c->limit.bytes_per_sec >= 1000000) {
                int64_t more = us * c->limit.bytes_per_sec / 1000000;
                c->tokens = c->tokens + more < c->limit.burst ? c->tokens + more : c->limit.burst;
                c->refilled = now;
        }
        if (c->tokens < (int64_t)len)
                return false;
        c->tokens -= (int64_t)len;
        return true;
}

/* Once for half a buffer of what was sent, not for each frame. */
static void close_gap(struct derp_client *c)
{
        if (c->out_at < sizeof(c->out) / 2)
                return;
        memmove(c->out, c->out + c->out_at, c->out_end - c->out_at);
        c->out_end -= c->out_at;
        c->out_at = 0;
}

bool derp_client_takes(const struct derp_client *c)
{
        return c->state == DERP_CLIENT_LOGIN || c->state == DERP_CLIENT_UP;
}

enum derp_put derp_client_put(struct derp_client *c, const uint8_t head[DERP_SEND_HEAD_LEN], const void *packet,
        size_t len, mono_t now)
{
        size_t size = DERP_SEND_HEAD_LEN + len;
        if (!derp_client_takes(c))
                return DERP_PUT_FULL;
        size_t room = sizeof(c->out) - OUT_RESERVE - (len > SMALL ? OUT_RESERVE_SMALL : 0U);
        if (size > room)
                return DERP_PUT_FULL;
        if (c->out_end > room - size)
                close_gap(c);
        if (c->out_end > room - size)
                return DERP_PUT_FULL;
        if (!within_rate(c, size, now))
                return DERP_PUT_RATE;
        memcpy(c->out + c->out_end, head, DERP_SEND_HEAD_LEN);
        if (len > 0)
                memcpy(c->out + c->out_end + DERP_SEND_HEAD_LEN, packet, len);
        c->out_end += size;
        c->stretched |= c->out_end > DERP_STRETCHED;
        count_frame(c, size);
        return DERP_PUT_OK;
}

void derp_client_set_home(struct derp_client *c, bool home)
{
        c->home = home;
        tell_home(c);
}

void derp_client_ping(struct derp_client *c, const uint8_t data[DERP_PING_LEN])
{
        if (c->state != DERP_CLIENT_UP)
                return;
        struct wr w = out_begin(c);
        derp_put_ping(&w, DERP_PING, data);
        (void)out_commit(c, &w);
}
