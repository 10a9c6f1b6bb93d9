#include "base/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/transfer.h"

enum { UNSENT_MAX = 32 * 1024 };   /* a kernel takes megabytes else, and what is written next is seconds late */

struct stream {
        struct transfer t;
        struct watch watch;   /* once connected */
        bool connected;
        bool over;            /* end or error was read: nothing more comes */
        bool *gone;           /* set if the stream is closed in a callback */
        enum err end;         /* what reading says once it is over */
        stream_fn fn;
        void *arg;
};

/* Calls the owner; false: it closed the stream. */
static bool tell(struct stream *s, enum stream_event ev, mono_t now)
{
        bool gone = false;
        s->gone = &gone;
        s->fn(s, ev, s->arg, now);
        if (gone)
                return false;
        s->gone = NULL;
        return true;
}

static void stream_ready(struct watch *w, unsigned events, mono_t now)
{
        struct stream *s = container_of(w, struct stream, watch);
        if ((events & LOOP_READ) && !tell(s, STREAM_READABLE, now))
                return;
        if ((events & LOOP_WRITE) && (s->watch.events & LOOP_WRITE))
                (void)tell(s, STREAM_WRITABLE, now);
}

static void stream_done(struct transfer *t, mono_t now)
{
        struct stream *s = container_of(t, struct stream, t);
        curl_socket_t fd = CURL_SOCKET_BAD;
        transfer_detach(t);
        if (t->err == ERR_NONE && (curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
                                          fd == CURL_SOCKET_BAD)) {
                t->err = ERR_CLOSED;
                snprintf(t->error, sizeof(t->error), "the other side hung up");
        }
        if (t->err == ERR_NONE && loop_watch(t->loop, &s->watch, fd, LOOP_READ) != ERR_NONE) {
                t->err = ERR_IO;
                snprintf(t->error, sizeof(t->error), "cannot watch the connection: %s", strerror(errno));
        }
        s->connected = t->err == ERR_NONE;
        int unsent = UNSENT_MAX;
        if (s->connected)
                (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
        (void)tell(s, s->connected ? STREAM_CONNECTED : STREAM_FAILED, now);
}

static bool make_url(char *url, size_t cap, const struct dial_opts *opts)
{
        bool v6 = strchr(opts->host, ':') != NULL;
        int n = snprintf(url, cap, "%s://%s%s%s:%u", opts->tls == DIAL_TLS ? "https" : "http", v6 ? "[" : "",
                opts->host, v6 ? "]" : "", opts->port);
        return n > 0 && (size_t)n < cap;
}

static bool host_is_sane(const char *host)
{
        for (const char *p = host; *p != '\0'; p++)
                if ((unsigned char)*p <= ' ' || strchr("/?#@\\[]%", *p) != NULL)
                        return false;
        return host[0] != '\0' && strlen(host) < 256;
}

static bool set_connect_only(struct transfer *t)
{
        /* The upgrade that follows exists in HTTP/1.1 only, so no protocol is offered. */
        return curl_easy_setopt(t->easy, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK &&
                curl_easy_setopt(t->easy, CURLOPT_SSL_ENABLE_ALPN, 0L) == CURLE_OK &&
                curl_easy_setopt(t->easy, CURLOPT_HTTPPROXYTUNNEL, 1L) == CURLE_OK;
}

struct stream *stream_dial(struct dialer *d, const struct dial_opts *opts, stream_fn fn, void *arg)
{
        struct stream *s = calloc(1, sizeof(*s));
        if (s == NULL)
                return NULL;
        char url[320];
        bool sane = host_is_sane(opts->host) && make_url(url, sizeof(url), opts);
        struct transfer_target to = {
                .url = sane ? url : "http://invalid/",
                .host = sane ? opts->host : "invalid",
                .port = opts->port,
                .tls = opts->tls == DIAL_TLS,
        };
        watch_init(&s->watch, stream_ready);
        s->fn = fn;
        s->arg = arg;
        if (!transfer_init(&s->t, d, &to, opts, stream_done)) {
                free(s);
                return NULL;
        }
        s->t.read_ahead = true;
        if (!set_connect_only(&s->t)) {
                stream_close(s);
                return NULL;
        }
        if (!sane)
                transfer_refuse(&s->t, ERR_FORMAT, "not a host name");
        transfer_start(&s->t);
        return s;
}

void stream_close(struct stream *s)
{
        if (s == NULL)
                return;
        if (s->gone != NULL)
                *s->gone = true;
        loop_unwatch(&s->watch);   /* before libcurl closes the descriptor */
        transfer_end(&s->t);
        free(s);
}

/* A descriptor at its end is readable for ever; the owner has been told once by the result. */
static enum err end_stream(struct stream *s, enum err end, const char *why)
{
        s->over = true;
        s->end = end;
        s->t.err = end;
        snprintf(s->t.error, sizeof(s->t.error), "%s", why);
        loop_unwatch(&s->watch);
        return end;
}

static enum err end_with(struct stream *s, CURLcode code)
{
        return end_stream(s, ERR_IO, s->t.detail[0] != '\0' ? s->t.detail : curl_easy_strerror(code));
}

enum err stream_read(struct stream *s, void *buf, size_t cap, size_t *ret_n)
{
        if (!s->connected)
                return ERR_STATE;
        if (s->over)
                return s->end;
        size_t n = 0;
        s->t.detail[0] = '\0';
        CURLcode code = curl_easy_recv(s->t.easy, buf, cap, &n);
        if (code == CURLE_AGAIN)
                return ERR_AGAIN;
        if (code != CURLE_OK)
                return end_with(s, code);
        if (n == 0)
                return cap == 0 ? ERR_AGAIN : end_stream(s, ERR_CLOSED, "the other side hung up");
        *ret_n = n;
        return ERR_NONE;
}

enum err stream_write(struct stream *s, const void *data, size_t len, size_t *ret_n)
{
        if (!s->connected)
                return ERR_STATE;
        if (s->over)
                return s->end;
        size_t n = 0;
        s->t.detail[0] = '\0';
        CURLcode code = curl_easy_send(s->t.easy, data, len, &n);
        if (code == CURLE_AGAIN || (code == CURLE_OK && n == 0))
                return ERR_AGAIN;
        if (code != CURLE_OK)
                return end_with(s, code);
        *ret_n = n;
        return ERR_NONE;
}

void stream_want_write(struct stream *s, bool on)
{
        if (s->connected && !s->over)
                loop_change(&s->watch, (s->watch.events & LOOP_READ) | (on ? LOOP_WRITE : 0U));
}

void stream_want_read(struct stream *s, bool on)
{
        if (s->connected && !s->over)
                loop_change(&s->watch, (s->watch.events & LOOP_WRITE) | (on ? LOOP_READ : 0U));
}

const char *stream_error(const struct stream *s)
{
        return s->t.error;
}

enum err stream_error_code(const struct stream *s)
{
        return s->t.err;
}

size_t stream_peer_cert(struct stream *s, unsigned i, const uint8_t **ret_der)
{
        const struct tls_check *c = &s->t.tls;
        if (i >= c->der_count)
                return 0;
        *ret_der = c->der[i];
        return c->der_len[i];
}

typedef int (*name_fn)(int fd, struct sockaddr *sa, socklen_t *len);

static struct addr socket_name(const struct stream *s, name_fn name)
{
        struct sockaddr_storage ss = {0};
        socklen_t len = sizeof(ss);
        if (s->watch.fd < 0 || name(s->watch.fd, (struct sockaddr *)&ss, &len) < 0)
                return (struct addr){0};
        return addr_from_sockaddr((const struct sockaddr *)&ss);
}

struct addr stream_remote_addr(const struct stream *s)
{
        return socket_name(s, getpeername);
}

enum stream_way stream_way(const struct stream *s)
{
        struct addr here = socket_name(s, getsockname), there = stream_remote_addr(s);
        struct sockaddr_storage ss;
        socklen_t len;
        if (!addr_is_set(here) || !addr_is_set(there))
                return STREAM_WAY_SAME;
        /* Connecting a datagram socket asks for the route, and sends nothing. */
        int fd = socket(there.ip.family == IP_V6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return STREAM_WAY_SAME;
        if (s->t.mark != 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_MARK, &s->t.mark, sizeof(s->t.mark));
        enum stream_way way = STREAM_WAY_NONE;
        len = addr_to_sockaddr(there, &ss);
        if (connect(fd, (const struct sockaddr *)&ss, len) == 0) {
                len = sizeof(ss);
                bool same = getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
                        ip_eq(addr_from_sockaddr((const struct sockaddr *)&ss).ip, here.ip);
                way = same ? STREAM_WAY_SAME : STREAM_WAY_OTHER;
        }
        close(fd);
        return way;
}

void stream_remember(const struct stream *s)
{
        if (s->t.may_remember)
                dialer_remember(s->t.dialer, s->t.host, stream_remote_addr(s).ip);
}
