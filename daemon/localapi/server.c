#include "daemon/localapi/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/localapi/request.h"
#include "daemon/localapi/share.h"

#define PREFIX "/localapi/v0/"
enum { IDLE_S = 120 };

struct lapi_server {
        struct loop *loop;
        struct lapi_ops ops;
        void *arg;
        struct httpd *httpd;
        struct lapi_share share;
        struct log_limit refusals;
        struct lapi_upgraded *upgraded;
        char path[108];
};

/* ---- connections ---- */

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

/* A connection is known by the slot of its share. */
static void *on_connect(void *arg, int fd)
{
        struct lapi_server *s = arg;
        struct lapi_peer peer = lapi_socket_peer(fd);
        struct lapi_slot *slot = lapi_share_take(&s->share, peer.known ? peer.uid : LAPI_NOBODY, geteuid());
        if (slot == NULL)
                refuse(s, fd, peer.uid);
        return slot;
}

static void on_disconnect(void *arg, void *slot)
{
        (void)arg;
        lapi_share_give(slot);
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

const char *lapi_header(struct lapi_req *r, const char *name)
{
        return MHD_lookup_connection_value(r->http.conn, MHD_HEADER_KIND, name);
}

const char *lapi_query(struct lapi_req *r, const char *key)
{
        return MHD_lookup_connection_value(r->http.conn, MHD_GET_ARGUMENT_KIND, key);
}

static bool body_is_form(struct lapi_req *r)
{
        const char *type = MHD_lookup_connection_value(r->http.conn, MHD_HEADER_KIND, "Content-Type");
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
        *ret_len = r->http.body.len;
        return r->http.body.data != NULL ? r->http.body.data : "";
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

struct lapi_upgraded **lapi_req_upgraded(struct lapi_req *r)
{
        return &r->server->upgraded;
}

const struct lapi_ops *lapi_req_ops(const struct lapi_req *r)
{
        return &r->server->ops;
}

/* ---- clients that leave ---- */

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
        loop_unwatch(w);
        if (n > 0)   /* it talks ahead: no way to wait for its end any more */
                return;
        tell_gone(r);
        httpd_drop(&r->http);
}

void lapi_watch_client(struct lapi_req *r)
{
        int fd = httpd_fd(&r->http);
        if (fd < 0 || loop_watch(r->server->loop, &r->watch, fd, LOOP_READ) != ERR_NONE)
                log_debug(1, "a client of the local API cannot be watched");
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
        (void)MHD_get_connection_values(r->http.conn, MHD_HEADER_KIND, spot_browser, &found);
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

static void call_endpoint(struct lapi_req *r, const char *method)
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
        const struct lapi_endpoint *e = strncmp(r->path, PREFIX, strlen(PREFIX)) == 0
                ? find_endpoint(r->server, r->path + strlen(PREFIX), &r->rest) : NULL;
        if (e == NULL)
                lapi_reply_text(r, 404, "not found");
        else if (e->methods != 0 && !(e->methods & r->method))
                lapi_reply_text(r, e->method_error, "this method is not allowed here");
        else if (!allowed(r, e))
                lapi_reply_text(r, 403, "access denied: %s needs root or the operator", e->name);
        else if (r->http.too_big)
                lapi_reply_text(r, 413, "the body is larger than %d bytes", LAPI_BODY_MAX);
        else
                e->fn(r->server->arg, r);
}

static void route(void *arg, struct httpd_req *http, const char *url, const char *method)
{
        struct lapi_req *r = container_of(http, struct lapi_req, http);
        r->server = arg;
        r->method = method_bit(method);
        r->rest = "";
        r->peer = lapi_socket_peer(httpd_fd(http));
        watch_init(&r->watch, on_client);
        if (!str_copy(r->path, sizeof(r->path), url))
                r->path[0] = '\0';   /* longer than any we have */
        call_endpoint(r, method);
        if (!http->answered)
                lapi_watch_client(r);
}

static void on_end(void *arg, struct httpd_req *http)
{
        (void)arg;
        struct lapi_req *r = container_of(http, struct lapi_req, http);
        loop_unwatch(&r->watch);
        tell_gone(r);
        lapi_stream_free(r->stream);
}

/* ---- life ---- */

enum err lapi_server_new(struct loop *l, const char *path, const struct lapi_ops *ops, void *arg,
        struct lapi_server **ret, const char **ret_why)
{
        struct httpd_config c = {
                .connections_max = LAPI_CONNECTIONS_MAX,
                .idle_s = IDLE_S,
                .upgrades = true,
                .body_max = LAPI_BODY_MAX,
                .req_size = sizeof(struct lapi_req),
                .on_connect = on_connect,
                .on_disconnect = on_disconnect,
                .route = route,
                .on_end = on_end,
        };
        enum err e = lapi_socket_open(path, &c.listen_fd, ret_why);
        if (e != ERR_NONE)
                return e;
        struct lapi_server *s = calloc(1, sizeof(*s));
        *ret_why = "the local API could not be started: out of memory or descriptors";
        if (s == NULL) {
                close(c.listen_fd);
                return ERR_FULL;
        }
        s->loop = l;
        s->ops = *ops;
        s->arg = arg;
        (void)str_copy(s->path, sizeof(s->path), path);
        s->httpd = httpd_new(l, &c, s);
        if (s->httpd == NULL) {
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
        lapi_upgraded_stop(s->upgraded);
        httpd_free(s->httpd);
        unlink(s->path);
        free(s);
}
