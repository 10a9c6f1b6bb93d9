#include "daemon/proxy/proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/proxy/associate.h"
#include "daemon/proxy/httphead.h"
#include "daemon/proxy/socks5.h"

enum { LISTENERS_MAX = 2, ACCEPTS_A_ROUND = 32, ACCEPT_PAUSE_MS = 200 };

struct listener {
        struct proxy *p;
        struct watch watch;
        struct timer pause;      /* armed: out of descriptors */
        bool socks5, http;
};

enum phase { PHASE_FIRST, PHASE_GREETING, PHASE_REQUEST, PHASE_HTTP, PHASE_DIALING, PHASE_RELAY, PHASE_ASSOCIATED };

struct client {
        struct proxy *p;
        const struct listener *listener;
        enum phase phase;
        struct watch watch;
        struct timer timer;
        bool socks5;
        struct dialout_call *call;
        struct relay *relay;
        struct associate *associate;
        struct httphead head;
        struct httpbody body;
        size_t len;
        char in[HTTPHEAD_MAX];   /* what was read, but not understood yet */
        struct client *next, **prev;
};

struct proxy {
        struct loop *loop;
        struct dialout *dialout;
        struct listener listeners[LISTENERS_MAX];
        size_t listener_count, client_count;
        struct client *clients;
};

/* ---- a client ---- */

static void client_free(struct client *c)
{
        int fd = c->watch.fd;
        loop_unwatch(&c->watch);
        if (fd >= 0)
                close(fd);
        loop_timer_stop(&c->timer);
        dialout_cancel(c->call);
        relay_free(c->relay);
        associate_free(c->associate);
        *c->prev = c->next;
        if (c->next != NULL)
                c->next->prev = c->prev;
        c->p->client_count--;
        free(c);
}

/* Answers are short: a client whose socket has no room for one gets none. */
static bool say(struct client *c, const void *data, size_t len)
{
        return send(c->watch.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

static void say_http(struct client *c, int status, const char *why)
{
        static const struct {
                int status;
                const char *name;
        } names[] = {{400, "Bad Request"}, {431, "Request Header Fields Too Large"}, {501, "Not Implemented"},
                {502, "Bad Gateway"}, {504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"}};
        char text[1024];
        const char *name = "Error";
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (names[i].status == status)
                        name = names[i].name;
        int n = snprintf(text, sizeof(text), "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                "Connection: close\r\nContent-Length: %zu\r\n\r\n%s\n", status, name, strlen(why) + 1, why);
        if (n > 0 && (size_t)n < sizeof(text))
                (void)say(c, text, (size_t)n);
}

static void say_socks5(struct client *c, enum socks5_code code, struct addr bound)
{
        uint8_t out[SOCKS5_REPLY_MAX];
        (void)say(c, out, socks5_reply(code, bound, out));
}

/* What a client has sent beyond what was read would turn the close into a reset, and take the answer with it.  One that
 * goes on and on has itself to blame. */
static void hang_up(struct client *c)
{
        enum { ROUNDS = 64 };
        char rest[4096];
        shutdown(c->watch.fd, SHUT_WR);
        for (int i = 0; i < ROUNDS && recv(c->watch.fd, rest, sizeof(rest), MSG_DONTWAIT) == (ssize_t)sizeof(rest); i++)
                ;
        client_free(c);
}

static void take(struct client *c, size_t n)
{
        c->len -= n;
        memmove(c->in, c->in + n, c->len);
}

/* ---- what was dialled ---- */

static enum socks5_code code_of(enum dialout_error e)
{
        switch (e) {
        case DIALOUT_OK:
                return SOCKS5_SUCCEEDED;
        case DIALOUT_NO_NAME:
        case DIALOUT_TIMED_OUT:
                return SOCKS5_HOST_UNREACHABLE;
        case DIALOUT_NO_ROUTE:
                return SOCKS5_NET_UNREACHABLE;
        case DIALOUT_REFUSED:
                return SOCKS5_REFUSED;
        case DIALOUT_FAILED:
                break;
        }
        return SOCKS5_FAILURE;
}

static void on_over(void *arg)
{
        struct client *c = arg;
        c->relay = NULL;
        client_free(c);
}

static bool body_limit(void *arg, const uint8_t *data, size_t *n)
{
        struct client *c = arg;
        *n = httpbody_take(&c->body, data, *n);
        return c->body.state == BODY_END || c->body.state == BODY_BAD;
}

/* The head as the server gets it, and what of the body is there; false: it does not fit. */
static bool first_bytes(struct client *c, struct buf *out)
{
        buf_init(out, RELAY_PIECE);
        if (c->socks5 || c->head.connect) {
                buf_add(out, c->in, c->len);
                return buf_ok(out);
        }
        httphead_rewrite(c->in, &c->head, out);
        httpbody_init(&c->body, &c->head);
        size_t rest = c->len - c->head.len;
        buf_add(out, c->in + c->head.len, httpbody_take(&c->body, (const uint8_t *)c->in + c->head.len, rest));
        return buf_ok(out);
}

static void start_relay(struct client *c, struct relay_end to)
{
        struct buf first;
        int fd = c->watch.fd;
        bool plain = !c->socks5 && !c->head.connect;
        loop_timer_stop(&c->timer);
        if (!first_bytes(c, &first)) {
                buf_done(&first);
                relay_close_end(to);
                client_free(c);
                return;
        }
        loop_unwatch(&c->watch);
        c->phase = PHASE_RELAY;
        c->relay = relay_new(c->p->loop, (struct relay_end){.fd = fd}, to, first.data, first.len, on_over, c);
        buf_done(&first);
        if (c->relay == NULL)
                client_free(c);
        else if (plain)
                relay_limit(c->relay, body_limit, c);
}

static void on_dialled(void *arg, const struct dialout_result *r)
{
        struct client *c = arg;
        c->call = NULL;
        if (r->error != DIALOUT_OK)
                log_debug(1, "proxy: %s", r->why);
        if (c->socks5)
                say_socks5(c, code_of(r->error), r->error == DIALOUT_OK ? r->local : (struct addr){0});
        else if (r->error != DIALOUT_OK)
                say_http(c, r->error == DIALOUT_TIMED_OUT ? 504 : 502, r->why);
        else if (c->head.connect)
                (void)say(c, "HTTP/1.1 200 OK\r\n\r\n", 19);
        if (r->error == DIALOUT_OK)
                start_relay(c, r->end);
        else
                hang_up(c);
}

/* Until it is known, only the end of the client is looked for. */
static void dial(struct client *c, const char *host, uint16_t port)
{
        c->phase = PHASE_DIALING;
        c->call = dialout_start(c->p->dialout, host, port, on_dialled, c);
        loop_timer_stop(&c->timer);
        if (c->call != NULL)
                return;
        if (c->socks5)
                say_socks5(c, SOCKS5_FAILURE, (struct addr){0});
        else
                say_http(c, 502, "too many connections are being made");
        hang_up(c);
}

/* ---- what is asked for ---- */

/* Each of these returns true if there may be more to understand; false: more bytes are needed, or c is gone. */

static bool greeting(struct client *c)
{
        uint8_t out[2];
        size_t used = 0;
        enum socks5_parsed p = socks5_greeting((const uint8_t *)c->in, c->len, &used);
        if (p == SOCKS5_MORE)
                return false;
        if (!say(c, out, socks5_choice(p == SOCKS5_DONE, out)) || p == SOCKS5_BAD) {
                hang_up(c);
                return false;
        }
        take(c, used);
        c->phase = PHASE_REQUEST;
        return true;
}

/* From now on the connection only says for how long. */
static void associate(struct client *c)
{
        struct addr at;
        c->phase = PHASE_ASSOCIATED;
        c->len = 0;
        loop_timer_stop(&c->timer);
        c->associate = associate_new(c->p->loop, c->p->dialout, c->watch.fd, &at);
        if (c->associate != NULL) {
                say_socks5(c, SOCKS5_SUCCEEDED, at);
                return;
        }
        say_socks5(c, SOCKS5_FAILURE, (struct addr){0});
        hang_up(c);
}

static bool request(struct client *c)
{
        struct socks5_request r;
        enum socks5_code code;
        size_t used = 0;
        enum socks5_parsed p = socks5_request((const uint8_t *)c->in, c->len, &used, &r, &code);
        if (p == SOCKS5_MORE)
                return false;
        if (p == SOCKS5_BAD) {
                say_socks5(c, code, (struct addr){0});
                hang_up(c);
                return false;
        }
        take(c, used);
        if (r.command == SOCKS5_ASSOCIATE)
                associate(c);
        else
                dial(c, r.host, r.port);
        return false;
}

static bool http(struct client *c)
{
        switch (httphead_parse(c->in, c->len, &c->head)) {
        case HTTPHEAD_MORE:
                return false;
        case HTTPHEAD_BAD:
                say_http(c, c->head.status, c->head.why);
                hang_up(c);
                return false;
        case HTTPHEAD_DONE:
                break;
        }
        if (c->head.connect)
                take(c, c->head.len);
        dial(c, c->head.host, c->head.port);
        return false;
}

static bool first_byte(struct client *c)
{
        if (c->len == 0)
                return false;
        c->socks5 = c->listener->socks5 && (!c->listener->http || c->in[0] == SOCKS5_VERSION);
        c->phase = c->socks5 ? PHASE_GREETING : PHASE_HTTP;
        return true;
}

static void understand(struct client *c)
{
        for (bool more = true; more;) {
                switch (c->phase) {
                case PHASE_FIRST:
                        more = first_byte(c);
                        break;
                case PHASE_GREETING:
                        more = greeting(c);
                        break;
                case PHASE_REQUEST:
                        more = request(c);
                        break;
                case PHASE_HTTP:
                        more = http(c);
                        break;
                case PHASE_DIALING:
                case PHASE_RELAY:
                case PHASE_ASSOCIATED:
                        more = false;
                        break;
                }
        }
}

static void on_client(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct client *c = container_of(w, struct client, watch);
        ssize_t n = c->len < sizeof(c->in) ? read(w->fd, c->in + c->len, sizeof(c->in) - c->len) : -1;
        if (n < 0 && c->len < sizeof(c->in) && (errno == EAGAIN || errno == EINTR))
                return;
        if (n < 0 && c->phase == PHASE_DIALING && c->len == sizeof(c->in)) {
                loop_change(w, 0);   /* it talks ahead, and goes on when there is somebody to talk to */
                return;
        }
        if (n == 0 && c->phase == PHASE_DIALING && c->len > 0) {
                loop_change(w, 0);   /* it has said all it wants to say: the relay will see that */
                return;
        }
        if (n <= 0) {
                client_free(c);
                return;
        }
        if (c->phase != PHASE_ASSOCIATED)
                c->len += (size_t)n;
        understand(c);
}

static void on_silence(struct timer *t, mono_t now)
{
        (void)now;
        client_free(container_of(t, struct client, timer));
}

/* ---- listeners ---- */

static void client_new(struct listener *l, int fd)
{
        struct proxy *p = l->p;
        struct client *c = p->client_count < PROXY_CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
        if (c == NULL) {
                static struct log_limit limit;
                if (!log_limited(&limit, loop_now(p->loop)))
                        log_warn("proxy: a connection is refused: %d are open", PROXY_CONNECTIONS_MAX);
                close(fd);
                return;
        }
        c->p = p;
        c->listener = l;
        watch_init(&c->watch, on_client);
        timer_init(&c->timer, on_silence);
        c->next = p->clients;
        c->prev = &p->clients;
        if (c->next != NULL)
                c->next->prev = &c->next;
        p->clients = c;
        p->client_count++;
        loop_timer_in(p->loop, &c->timer, PROXY_HEAD_MS);
        if (loop_watch(p->loop, &c->watch, fd, LOOP_READ) != ERR_NONE) {
                close(fd);
                client_free(c);
        }
}

static void on_knock(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct listener *l = container_of(w, struct listener, watch);
        for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
                int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd >= 0) {
                        client_new(l, fd);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                        loop_change(w, 0);
                        loop_timer_in(l->p->loop, &l->pause, ACCEPT_PAUSE_MS);
                }
                return;
        }
}

static void on_pause_over(struct timer *t, mono_t now)
{
        (void)now;
        loop_change(&container_of(t, struct listener, pause)->watch, LOOP_READ);
}

static int open_listener(struct addr at)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(at, &sa);
        int one = 1, both = ip_is_unspecified(at.ip) ? 0 : 1;
        int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 && errno == EAFNOSUPPORT && ip_is_unspecified(at.ip) && at.ip.family == IP_V6)   /* a host without IPv6 */
                return open_listener((struct addr){ip_v4(0, 0, 0, 0), at.port});
        if (fd < 0)
                return -1;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (sa.ss_family == AF_INET6)
                (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof(both));
        if (bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 128) == 0)
                return fd;
        int e = errno;
        close(fd);
        errno = e;
        return -1;
}

enum err proxy_listen(struct proxy *p, struct addr at, bool socks5, bool http_too, struct addr *ret_at)
{
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        int fd = p->listener_count < LISTENERS_MAX ? open_listener(at) : -1;
        if (fd < 0)
                return ERR_IO;
        struct listener *l = &p->listeners[p->listener_count];
        l->p = p;
        l->socks5 = socks5;
        l->http = http_too;
        watch_init(&l->watch, on_knock);
        timer_init(&l->pause, on_pause_over);
        if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 || loop_watch(p->loop, &l->watch, fd, LOOP_READ) != ERR_NONE) {
                close(fd);
                return ERR_IO;
        }
        p->listener_count++;
        *ret_at = addr_from_sockaddr((struct sockaddr *)&sa);
        return ERR_NONE;
}

struct proxy *proxy_new(struct loop *l, struct dialout *d)
{
        struct proxy *p = calloc(1, sizeof(*p));
        if (p == NULL)
                return NULL;
        p->loop = l;
        p->dialout = d;
        return p;
}

void proxy_free(struct proxy *p)
{
        if (p == NULL)
                return;
        while (p->clients != NULL)
                client_free(p->clients);
        for (size_t i = 0; i < p->listener_count; i++) {
                int fd = p->listeners[i].watch.fd;
                loop_unwatch(&p->listeners[i].watch);
                loop_timer_stop(&p->listeners[i].pause);
                close(fd);
        }
        free(p);
}
