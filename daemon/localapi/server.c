#include "daemon/localapi/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/localapi/socket.h"

#define PREFIX "/localapi/v0/"

/* ---- driving libmicrohttpd ---- */

static void run(struct lapi_server *s)
{
        MHD_UNSIGNED_LONG_LONG ms;
        s->closed_one = false;
        MHD_run(s->mhd);
        if (s->closed_one)
                loop_timer_in(s->loop, &s->timer, 0);
        else if (MHD_get_timeout(s->mhd, &ms) == MHD_YES)
                loop_timer_in(s->loop, &s->timer, (int64_t)(ms < 60000 ? ms : 60000));
        else
                loop_timer_stop(&s->timer);
}

void lapi_run_soon(struct lapi_server *s)
{
        loop_timer_in(s->loop, &s->timer, 0);
}

static void on_ready(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        run(container_of(w, struct lapi_server, watch));
}

static void on_timer(struct timer *t, mono_t now)
{
        (void)now;
        run(container_of(t, struct lapi_server, timer));
}

/* Nothing is waited for: who has too many connections would hold them all the same. */
static void refuse(struct lapi_server *s, int fd, uid_t uid)
{
        static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                                   "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 30\r\n\r\n"
                                   "too many connections are open\n";
        (void)send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        shutdown(fd, SHUT_RDWR);
        if (!log_limited(&s->refusals, loop_now(s->loop)))
                log_warn("local API: a connection of uid %lld is refused: too many are open", (long long)uid);
}

/* The context of a connection is the slot of its share; NULL: refused. */
static void on_connection(void *cls, struct MHD_Connection *conn, void **slot, enum MHD_ConnectionNotificationCode what)
{
        struct lapi_server *s = cls;
        if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
                /* At its limit libmicrohttpd listens no more, and only looks whether it may again when it is next run:
                 * with the last client gone nothing else would run it. */
                s->closed_one = true;
                lapi_share_give(*slot);
                return;
        }
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
        *slot = NULL;
        if (ci == NULL)
                return;
        struct lapi_peer peer = lapi_socket_peer(ci->connect_fd);
        *slot = lapi_share_take(&s->share, peer.known ? peer.uid : LAPI_NOBODY, geteuid());
        if (*slot == NULL)
                refuse(s, ci->connect_fd, peer.uid);
}

/* What it sent before it was hung up on may still be there to read. */
static bool is_refused(struct MHD_Connection *conn)
{
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        return ci == NULL || ci->socket_context == NULL;
}

/* ---- answers ---- */

void lapi_add_headers(const struct lapi_server *s, struct MHD_Response *r, const char *type)
{
        char cap[16];
        snprintf(cap, sizeof(cap), "%d", s->ops.cap_version);
        if (type != NULL)
                MHD_add_response_header(r, "Content-Type", type);
        MHD_add_response_header(r, "Tailscale-Version", s->ops.version);
        MHD_add_response_header(r, "Tailscale-Cap", cap);
        MHD_add_response_header(r, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
        MHD_add_response_header(r, "X-Frame-Options", "DENY");
        MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
}

static void resume(struct lapi_req *r)
{
        loop_unwatch(&r->watch);
        if (!r->suspended)
                return;
        r->suspended = false;
        MHD_resume_connection(r->conn);
        lapi_run_soon(r->server);
}

void lapi_answer(struct lapi_req *r, int status, struct MHD_Response *resp)
{
        if (r->answered || resp == NULL) {
                if (resp != NULL)
                        MHD_destroy_response(resp);
                return;
        }
        r->answered = true;
        r->on_gone = NULL;
        r->status = (unsigned)status;
        r->response = resp;
        resume(r);
}

void lapi_reply_body(struct lapi_req *r, int status, const char *content_type, const char *text)
{
        struct MHD_Response *resp =
                MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
        if (resp != NULL)
                lapi_add_headers(r->server, resp, content_type);
        lapi_answer(r, status, resp);
}

void lapi_reply_text(struct lapi_req *r, int status, const char *fmt, ...)
{
        struct buf b;
        va_list ap;
        buf_init(&b, 8192);
        va_start(ap, fmt);
        buf_vprintf(&b, fmt, ap);
        va_end(ap);
        buf_puts(&b, "\n");
        lapi_reply_body(r, status, "text/plain; charset=utf-8", b.data != NULL ? b.data : "\n");
        buf_done(&b);
}

void lapi_reply_empty(struct lapi_req *r, int status)
{
        lapi_reply_body(r, status, NULL, "");
}

/* jansson indents with blanks; the reference with tabs.  A line's leading blanks are never inside a string. */
static void to_tabs(struct buf *out, const char *text)
{
        bool start = true;
        for (; *text != '\0'; text++) {
                buf_add(out, start && *text == ' ' ? "\t" : text, 1);
                start = *text == '\n' || (start && *text == ' ');
        }
}

void lapi_reply_json(struct lapi_req *r, int status, json_t *v, enum lapi_json style)
{
        json_t *j = v != NULL ? v : json_null();
        size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(15);   /* 0.1 is 0.1 */
        char *text = json_dumps(j, flags | (style == LAPI_COMPACT ? JSON_COMPACT : JSON_INDENT(1)));
        json_decref(j);
        if (text == NULL) {
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        struct buf b;
        buf_init(&b, 512 << 20);
        if (style == LAPI_COMPACT)
                buf_puts(&b, text);
        else
                to_tabs(&b, text);
        if (style != LAPI_TABS_NO_NEWLINE)
                buf_puts(&b, "\n");
        free(text);
        if (buf_ok(&b))
                lapi_reply_body(r, status, "application/json", b.data);
        else
                lapi_reply_text(r, 500, "out of memory");
        buf_done(&b);
}

void lapi_reply_error(struct lapi_req *r, const char *text)
{
        lapi_reply_json(r, 500, json_pack("{s:s}", "error", text), LAPI_COMPACT);
}

/* ---- what a request says ---- */

unsigned lapi_method(const struct lapi_req *r)
{
        return r->method;
}

const char *lapi_path(const struct lapi_req *r)
{
        return r->rest;
}

const char *lapi_query(struct lapi_req *r, const char *key)
{
        return MHD_lookup_connection_value(r->conn, MHD_GET_ARGUMENT_KIND, key);
}

static bool body_is_form(struct lapi_req *r)
{
        const char *type = MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, "Content-Type");
        return type != NULL && strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0;
}

const char *lapi_param(struct lapi_req *r, const char *key)
{
        const char *q = lapi_query(r, key);
        size_t len, klen = strlen(key);
        if (q != NULL || !body_is_form(r))
                return q;
        for (const char *at = lapi_body(r, &len); *at != '\0';) {
                size_t n = strcspn(at, "&");
                if (n > klen && strncmp(at, key, klen) == 0 && at[klen] == '=' && n - klen - 1 < sizeof(r->param)) {
                        memcpy(r->param, at + klen + 1, n - klen - 1);
                        r->param[n - klen - 1] = '\0';
                        for (char *plus = r->param; (plus = strchr(plus, '+')) != NULL;)
                                *plus = ' ';
                        MHD_http_unescape(r->param);
                        return r->param;
                }
                at += n + (at[n] == '&');
        }
        return NULL;
}

const char *lapi_body(const struct lapi_req *r, size_t *ret_len)
{
        *ret_len = r->body.len;
        return r->body.data != NULL ? r->body.data : "";
}

uid_t lapi_uid(const struct lapi_req *r)
{
        return r->peer.uid;
}

pid_t lapi_pid(const struct lapi_req *r)
{
        return r->peer.pid;
}

bool lapi_may_write(const struct lapi_req *r)
{
        return lapi_peer_may_write(&r->peer, r->server->ops.operator_user(r->server->arg));
}

void lapi_on_gone(struct lapi_req *r, void (*fn)(void *arg), void *arg)
{
        r->on_gone = fn;
        r->gone_arg = arg;
}

static void tell_gone(struct lapi_req *r)
{
        void (*fn)(void *) = r->on_gone;
        r->on_gone = NULL;
        if (fn != NULL)
                fn(r->gone_arg);
}

/* libmicrohttpd does not look at a suspended connection, so we do. */
static void on_client(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct lapi_req *r = container_of(w, struct lapi_req, watch);
        char c;
        ssize_t n = recv(w->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n > 0) {   /* it talks ahead: no way to wait for its end any more */
                loop_unwatch(w);
                return;
        }
        loop_unwatch(w);
        r->dead = true;
        tell_gone(r);
        if (r->stream != NULL && r->stream->suspended) {
                r->stream->suspended = false;
                MHD_resume_connection(r->conn);
                lapi_run_soon(r->server);
        }
        resume(r);
}

static void watch_client(struct lapi_req *r)
{
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (ci == NULL || loop_watch(r->server->loop, &r->watch, ci->connect_fd, LOOP_READ) != ERR_NONE)
                log_debug(1, "a client of the local API cannot be watched");
}

/* ---- streams ---- */

static ssize_t read_stream(void *cls, uint64_t pos, char *out, size_t max)
{
        (void)pos;
        struct lapi_stream *s = cls;
        if (s->req->dead)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        if (s->queue.len == 0) {
                if (s->closing)
                        return MHD_CONTENT_READER_END_OF_STREAM;
                s->suspended = true;
                MHD_suspend_connection(s->req->conn);
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
        lapi_add_headers(r->server, resp, "application/json");
        lapi_answer(r, 200, resp);
        lapi_on_gone(r, on_gone, arg);
        watch_client(r);
        return s;
}

static void push_line(struct lapi_stream *s, const json_t *v)
{
        char *text = json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(15));
        if (text != NULL) {
                buf_puts(&s->queue, text);
                buf_puts(&s->queue, "\n");
                s->lines++;
        }
        free(text);
}

bool lapi_stream_send(struct lapi_stream *s, const json_t *v)
{
        bool room = s->lines < LAPI_STREAM_QUEUE && s->queue.len < LAPI_STREAM_BYTES && buf_ok(&s->queue) && !s->closing;
        if (room) {
                push_line(s, v);
        } else if (!s->closing) {
                json_t *last = json_pack("{s:s}", "ErrMessage", "this watcher read too slowly and was cut off");
                push_line(s, last);
                json_decref(last);
                s->closing = true;
        }
        if (s->suspended) {
                s->suspended = false;
                MHD_resume_connection(s->req->conn);
                lapi_run_soon(s->req->server);
        }
        return room;
}

/* ---- routing ---- */

static unsigned method_bit(const char *m)
{
        static const struct {
                const char *name;
                unsigned bit;
        } all[] = {{"GET", LAPI_GET}, {"HEAD", LAPI_HEAD}, {"POST", LAPI_POST}, {"PUT", LAPI_PUT},
                {"PATCH", LAPI_PATCH}, {"DELETE", LAPI_DELETE}};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                if (strcmp(m, all[i].name) == 0)
                        return all[i].bit;
        return 0;
}

/* Looks at each header line, as one may be there more than once. */
static enum MHD_Result spot_browser(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
        (void)kind;
        bool *found = cls;
        const char *v = value != NULL ? value : "";
        if (strcasecmp(name, "Host") == 0)
                *found |= v[0] != '\0' && strcmp(v, "local-tailscaled.sock") != 0;
        else if (strcasecmp(name, "Origin") == 0 || strcasecmp(name, "Referer") == 0)
                *found |= v[0] != '\0';
        return MHD_YES;
}

/* A browser can be made to talk to us; it cannot help saying who sent it, or whom it thinks we are. */
static bool from_a_browser(struct lapi_req *r)
{
        bool found = false;
        (void)MHD_get_connection_values(r->conn, MHD_HEADER_KIND, spot_browser, &found);
        return found;
}

static const struct lapi_endpoint *find_endpoint(const struct lapi_server *s, const char *name, const char **ret_rest)
{
        for (const struct lapi_endpoint *e = s->ops.endpoints; e->name != NULL; e++) {
                size_t n = strlen(e->name);
                if (strcmp(e->name, name) == 0 || (e->name[n - 1] == '/' && strncmp(e->name, name, n) == 0)) {
                        *ret_rest = name + n;
                        return e;
                }
        }
        return NULL;
}

static bool allowed(struct lapi_req *r, const struct lapi_endpoint *e)
{
        enum lapi_right need = e->right;
        if (e->write_methods & r->method)
                need = LAPI_WRITE;
        return need != LAPI_WRITE || lapi_may_write(r);
}

static void route(struct lapi_req *r, const char *method)
{
        if (from_a_browser(r)) {
                lapi_reply_text(r, 403, "invalid localapi request");
                return;
        }
        if (strcmp(method, "CONNECT") == 0) {
                lapi_reply_text(r, 405, "bad method");
                return;
        }
        if (strcmp(r->path, "/") == 0) {
                lapi_reply_body(r, 200, "text/html; charset=utf-8",
                        "<html><body><h1>tailscaled</h1>This is the local API of the daemon.</body></html>\n");
                return;
        }
        r->endpoint = strncmp(r->path, PREFIX, strlen(PREFIX)) == 0
                ? find_endpoint(r->server, r->path + strlen(PREFIX), &r->rest) : NULL;
        if (r->endpoint == NULL)
                lapi_reply_text(r, 404, "not found");
        else if (r->endpoint->methods != 0 && !(r->endpoint->methods & r->method))
                lapi_reply_text(r, r->endpoint->method_error, "this method is not allowed here");
        else if (!allowed(r, r->endpoint))
                lapi_reply_text(r, 403, "access denied: %s needs root or the operator", r->endpoint->name);
        else if (r->too_big)
                lapi_reply_text(r, 413, "the body is larger than %d bytes", LAPI_BODY_MAX);
        else
                r->endpoint->fn(r->server->arg, r);
}

static enum MHD_Result queue_answer(struct lapi_req *r)
{
        struct MHD_Response *resp = r->response;
        r->response = NULL;
        r->queued = true;
        enum MHD_Result ok = MHD_queue_response(r->conn, r->status, resp);
        MHD_destroy_response(resp);
        return ok;
}

static struct lapi_req *request_new(struct lapi_server *s, struct MHD_Connection *conn, const char *url,
        const char *method)
{
        struct lapi_req *r = calloc(1, sizeof(*r));
        if (r == NULL)
                return NULL;
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
        r->server = s;
        r->conn = conn;
        r->method = method_bit(method);
        r->rest = "";
        watch_init(&r->watch, on_client);
        buf_init(&r->body, LAPI_BODY_MAX);
        if (ci != NULL)
                r->peer = lapi_socket_peer(ci->connect_fd);
        if (!str_copy(r->path, sizeof(r->path), url))
                r->path[0] = '\0';   /* longer than any we have */
        r->next = s->requests;
        s->requests = r;
        return r;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
        const char *version, const char *data, size_t *len, void **state)
{
        (void)version;
        struct lapi_req *r = *state;
        if (r == NULL) {
                if (is_refused(conn))
                        return MHD_NO;
                *state = request_new(cls, conn, url, method);
                return *state != NULL ? MHD_YES : MHD_NO;
        }
        if (*len > 0) {
                if (r->body.len + *len > LAPI_BODY_MAX)
                        r->too_big = true;
                else
                        buf_add(&r->body, data, *len);
                *len = 0;
                return MHD_YES;
        }
        if (r->dead || (!r->started && r->server->stopping))
                return MHD_NO;
        if (!r->started) {
                r->started = true;
                route(r, method);
        }
        if (r->response != NULL)
                return queue_answer(r);
        if (r->queued)
                return MHD_YES;
        r->suspended = true;
        MHD_suspend_connection(conn);
        watch_client(r);
        return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
        (void)conn;
        (void)why;
        struct lapi_server *s = cls;
        struct lapi_req *r = *state;
        if (r == NULL)
                return;
        *state = NULL;
        loop_unwatch(&r->watch);
        tell_gone(r);
        struct lapi_req **at = &s->requests;
        while (*at != r)
                at = &(*at)->next;
        *at = r->next;
        if (r->response != NULL)
                MHD_destroy_response(r->response);
        if (r->stream != NULL)
                buf_done(&r->stream->queue);
        free(r->stream);
        buf_done(&r->body);
        free(r);
}

/* ---- life ---- */

enum err lapi_server_new(struct loop *l, const char *path, const struct lapi_ops *ops, void *arg,
        struct lapi_server **ret, const char **ret_why)
{
        int fd;
        enum err e = lapi_socket_open(path, &fd, ret_why);
        if (e != ERR_NONE)
                return e;
        struct lapi_server *s = calloc(1, sizeof(*s));
        *ret_why = "the local API could not be started: out of memory or descriptors";
        if (s == NULL) {
                close(fd);
                return ERR_FULL;
        }
        s->loop = l;
        s->ops = *ops;
        s->arg = arg;
        (void)str_copy(s->path, sizeof(s->path), path);
        watch_init(&s->watch, on_ready);
        timer_init(&s->timer, on_timer);
        s->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE, 0, NULL, NULL, on_request, s,
                MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                MHD_OPTION_CONNECTION_LIMIT, (unsigned)LAPI_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, 120u,
                MHD_OPTION_END);
        const union MHD_DaemonInfo *info =
                s->mhd != NULL ? MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (info == NULL || loop_watch(l, &s->watch, info->epoll_fd, LOOP_READ) != ERR_NONE) {
                if (s->mhd != NULL)
                        MHD_stop_daemon(s->mhd);
                else
                        close(fd);
                free(s);
                return ERR_IO;
        }
        *ret = s;
        return ERR_NONE;
}

void lapi_server_free(struct lapi_server *s)
{
        if (s == NULL)
                return;
        s->stopping = true;
        /* Nobody may stay suspended when the daemon stops. */
        for (struct lapi_req *r = s->requests; r != NULL; r = r->next) {
                r->dead = true;
                tell_gone(r);
                if (r->stream != NULL && r->stream->suspended) {
                        r->stream->suspended = false;
                        MHD_resume_connection(r->conn);
                }
                resume(r);
        }
        lapi_upgraded_stop(s);
        loop_unwatch(&s->watch);
        loop_timer_stop(&s->timer);
        MHD_run(s->mhd);
        loop_timer_stop(&s->timer);
        MHD_stop_daemon(s->mhd);
        unlink(s->path);
        free(s);
}
