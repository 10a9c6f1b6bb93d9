#include "daemon/peerapi/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/peerapi/listen.h"

enum { ACCEPTS_A_ROUND = 32, ACCEPT_PAUSE_MS = 200, CONNECTION_BYTES = 16384 };

struct door {
        struct peerapi *p;
        struct watch watch;
};

struct peerapi {
        struct loop *loop;
        const struct peerapi_ops *ops;
        void *arg;
        struct MHD_Daemon *mhd;
        struct watch watch;
        struct timer timer;
        struct door doors[2];      /* IPv4, IPv6 */
        struct timer pause;        /* armed: out of descriptors, nobody is let in for a moment */
        struct peerapi_req *requests;
        bool stopping;             /* no more queries: libmicrohttpd aborts where one waits for its answer at the end */
};

struct peerapi_req {
        struct peerapi *p;
        struct MHD_Connection *conn;
        struct addr self, peer;    /* the two ends */
        struct buf body;
        bool too_big, started, suspended, answered, queued, dead;
        void *query;               /* what resolve() returned */
        struct MHD_Response *response;
        unsigned status;
        struct peerapi_req *next;
};

/* ---- driving libmicrohttpd ---- */

static void run(struct peerapi *p)
{
        MHD_UNSIGNED_LONG_LONG ms;
        MHD_run(p->mhd);
        if (MHD_get_timeout(p->mhd, &ms) == MHD_YES)
                loop_timer_in(p->loop, &p->timer, (int64_t)(ms < 60000 ? ms : 60000));
        else
                loop_timer_stop(&p->timer);
}

static void on_ready(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        run(container_of(w, struct peerapi, watch));
}

static void on_timer(struct timer *t, mono_t now)
{
        (void)now;
        run(container_of(t, struct peerapi, timer));
}

/* ---- answers ---- */

static void answer(struct peerapi_req *r, unsigned status, struct MHD_Response *resp)
{
        if (r->answered || resp == NULL) {
                if (resp != NULL)
                        MHD_destroy_response(resp);
                r->dead |= !r->answered;   /* out of memory: the connection ends */
        } else {
                r->answered = true;
                r->status = status;
                r->response = resp;
        }
        if (!r->suspended)
                return;
        r->suspended = false;
        MHD_resume_connection(r->conn);
        loop_timer_in(r->p->loop, &r->p->timer, 0);
}

static void say(struct peerapi_req *r, unsigned status, const char *type, const char *text)
{
        struct MHD_Response *resp =
                MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
        if (resp != NULL) {
                MHD_add_response_header(resp, "Content-Type", type);
                MHD_add_response_header(resp, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
                MHD_add_response_header(resp, "X-Frame-Options", "DENY");
                MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
        }
        answer(r, status, resp);
}

static void say_text(struct peerapi_req *r, unsigned status, const char *text)
{
        say(r, status, "text/plain; charset=utf-8", text);
}

void peerapi_answer(struct peerapi_req *r, const uint8_t *msg, size_t len)
{
        r->query = NULL;
        if (len == 0) {
                say_text(r, 400, "this is no DNS query\n");
                return;
        }
        struct MHD_Response *resp =
                MHD_create_response_from_buffer(len, (void *)(uintptr_t)msg, MHD_RESPMEM_MUST_COPY);
        if (resp != NULL)
                MHD_add_response_header(resp, "Content-Type", "application/dns-message");
        answer(r, 200, resp);
}

/* ---- who is heard ---- */

struct heads {
        int hosts;
        const char *host;
        bool browser;
};

/* Looks at each header line, as one may be there more than once. */
static enum MHD_Result look(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
        (void)kind;
        struct heads *h = cls;
        if (strcasecmp(name, "Host") == 0) {
                h->hosts++;
                h->host = value != NULL ? value : "";
        } else if (strcasecmp(name, "Origin") == 0 || strcasecmp(name, "Referer") == 0) {
                h->browser = true;
        }
        return MHD_YES;
}

/* A name that leads to us is somebody else's, and may have been somebody else's address a moment ago. */
static bool is_meant_for_us(struct peerapi_req *r)
{
        struct heads h = {0};
        struct addr a;
        (void)MHD_get_connection_values(r->conn, MHD_HEADER_KIND, look, &h);
        return h.hosts == 1 && !h.browser && addr_parse(h.host, &a) == ERR_NONE && addr_eq(a, r->self);
}

/* ---- what is asked ---- */

static bool body_is_query(struct peerapi_req *r)
{
        const char *type = MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, "Content-Type");
        return type != NULL && strcasecmp(type, "application/dns-message") == 0;
}

static bool query_from_url(struct peerapi_req *r, uint8_t out[PEERAPI_QUERY_MAX], size_t *ret_len)
{
        const char *text = MHD_lookup_connection_value(r->conn, MHD_GET_ARGUMENT_KIND, "dns");
        return text != NULL && text[0] != '\0' &&
                sodium_base642bin(out, PEERAPI_QUERY_MAX, text, strlen(text), NULL, ret_len, NULL,
                        sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0;
}

static void resolve(struct peerapi_req *r, bool post)
{
        struct peerapi *p = r->p;
        uint8_t from_url[PEERAPI_QUERY_MAX];
        const uint8_t *msg = from_url;
        size_t len = 0;
        if (!p->ops->may_resolve(p->arg, r->peer.ip)) {
                log_debug(1, "PeerAPI: a peer without access asked for a name");
                say_text(r, 403, "DNS access denied\n");
                return;
        }
        if (r->too_big) {
                say_text(r, 413, "the query is too long\n");
                return;
        }
        if (post) {
                msg = (const uint8_t *)r->body.data;
                len = r->body.len;
        }
        if (post ? !body_is_query(r) || len == 0 : !query_from_url(r, from_url, &len)) {
                say_text(r, 400, "a query comes in 'dns', as base64url, or is posted as application/dns-message\n");
                return;
        }
        void *query = p->ops->resolve(p->arg, r, msg, len);
        if (!r->answered)
                r->query = query;
}

static void route(struct peerapi_req *r, const char *url, const char *method)
{
        bool get = strcmp(method, "GET") == 0, head = strcmp(method, "HEAD") == 0, post = strcmp(method, "POST") == 0;
        if (!is_meant_for_us(r) || !r->p->ops->is_peer(r->p->arg, r->peer.ip)) {
                log_debug(1, "PeerAPI: a request is refused for its headers or its source");
                say_text(r, 403, "invalid peerapi request\n");
        } else if (strcmp(url, "/dns-query") == 0 && (get || post)) {
                resolve(r, post);
        } else if (strcmp(url, "/") == 0 && (get || head)) {
                say(r, 200, "text/html; charset=utf-8",
                        "<html><body><h1>tailscaled</h1>This is a node of your tailnet.</body></html>\n");
        } else {
                say_text(r, 404, "not found\n");
        }
}

/* ---- requests ---- */

static struct addr end_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        return get(fd, (struct sockaddr *)&sa, &len) == 0 ? addr_from_sockaddr((struct sockaddr *)&sa) : (struct addr){0};
}

static struct peerapi_req *request_new(struct peerapi *p, struct MHD_Connection *conn)
{
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct peerapi_req *r = ci != NULL ? calloc(1, sizeof(*r)) : NULL;
        if (r == NULL)
                return NULL;
        r->p = p;
        r->conn = conn;
        r->self = end_of(ci->connect_fd, getsockname);
        r->peer = end_of(ci->connect_fd, getpeername);
        buf_init(&r->body, PEERAPI_QUERY_MAX);
        r->next = p->requests;
        p->requests = r;
        return r;
}

static enum MHD_Result queue_answer(struct peerapi_req *r)
{
        struct MHD_Response *resp = r->response;
        r->response = NULL;
        r->queued = true;
        enum MHD_Result ok = MHD_queue_response(r->conn, r->status, resp);
        MHD_destroy_response(resp);
        return ok;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
        const char *version, const char *data, size_t *len, void **state)
{
        (void)version;
        struct peerapi_req *r = *state;
        if (r == NULL) {
                *state = request_new(cls, conn);
                return *state != NULL ? MHD_YES : MHD_NO;
        }
        if (*len > 0) {
                r->too_big |= r->body.len + *len > PEERAPI_QUERY_MAX;
                if (!r->too_big)
                        buf_add(&r->body, data, *len);
                *len = 0;
                return buf_ok(&r->body) ? MHD_YES : MHD_NO;
        }
        r->dead |= !r->started && r->p->stopping;
        if (!r->started && !r->dead) {
                r->started = true;
                route(r, url, method);
        }
        if (r->dead)
                return MHD_NO;
        if (r->response != NULL)
                return queue_answer(r);
        if (r->queued)
                return MHD_YES;
        r->suspended = true;
        MHD_suspend_connection(conn);
        return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
        (void)conn;
        (void)why;
        struct peerapi *p = cls;
        struct peerapi_req *r = *state;
        if (r == NULL)
                return;
        *state = NULL;
        if (r->query != NULL)
                p->ops->cancel(p->arg, r->query);
        struct peerapi_req **at = &p->requests;
        while (*at != r)
                at = &(*at)->next;
        *at = r->next;
        if (r->response != NULL)
                MHD_destroy_response(r->response);
        buf_done(&r->body);
        free(r);
}

/* ---- the doors ---- */

static void watch_doors(struct peerapi *p, unsigned events)
{
        for (size_t i = 0; i < 2; i++)
                if (p->doors[i].watch.fd >= 0)
                        loop_change(&p->doors[i].watch, events);
}

static void on_pause_over(struct timer *t, mono_t now)
{
        (void)now;
        watch_doors(container_of(t, struct peerapi, pause), LOOP_READ);
}

/* Who is no peer is not even read from.  libmicrohttpd closes what it has no room for. */
static void on_knock(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct peerapi *p = container_of(w, struct door, watch)->p;
        for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
                struct sockaddr_storage sa;
                socklen_t len = sizeof(sa);
                int fd = accept4(w->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
                        watch_doors(p, 0);
                        loop_timer_in(p->loop, &p->pause, ACCEPT_PAUSE_MS);
                }
                if (fd < 0)
                        break;
                if (p->ops->is_peer(p->arg, addr_from_sockaddr((struct sockaddr *)&sa).ip))
                        (void)MHD_add_connection(p->mhd, fd, (struct sockaddr *)&sa, len);
                else
                        close(fd);
        }
        run(p);
}

enum err peerapi_listen(struct peerapi *p, struct ip ip, const char *ifname, uint16_t *ret_port)
{
        struct door *d = &p->doors[ip.family == IP_V6];
        int fd;
        if (d->watch.fd >= 0)
                return ERR_FULL;
        enum err e = peerapi_socket(ip, ifname, &fd, ret_port);
        if (e == ERR_NONE && (e = loop_watch(p->loop, &d->watch, fd, LOOP_READ)) != ERR_NONE)
                close(fd);
        return e;
}

/* ---- life ---- */

struct peerapi *peerapi_new(struct loop *l, const struct peerapi_ops *ops, void *arg)
{
        struct peerapi *p = calloc(1, sizeof(*p));
        if (p == NULL)
                return NULL;
        p->loop = l;
        p->ops = ops;
        p->arg = arg;
        watch_init(&p->watch, on_ready);
        timer_init(&p->timer, on_timer);
        timer_init(&p->pause, on_pause_over);
        for (size_t i = 0; i < 2; i++) {
                p->doors[i].p = p;
                watch_init(&p->doors[i].watch, on_knock);
        }
        p->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                on_request, p, MHD_OPTION_NOTIFY_COMPLETED, on_completed, p, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                MHD_OPTION_CONNECTION_LIMIT, (unsigned)PEERAPI_CONNECTIONS_MAX,
                MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)PEERAPI_CONNECTIONS_EACH,
                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)PEERAPI_IDLE_S, MHD_OPTION_END);
        const union MHD_DaemonInfo *info =
                p->mhd != NULL ? MHD_get_daemon_info(p->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (info != NULL && loop_watch(l, &p->watch, info->epoll_fd, LOOP_READ) == ERR_NONE)
                return p;
        if (p->mhd != NULL)
                MHD_stop_daemon(p->mhd);
        free(p);
        return NULL;
}

void peerapi_free(struct peerapi *p)
{
        if (p == NULL)
                return;
        p->stopping = true;
        loop_timer_stop(&p->pause);
        for (size_t i = 0; i < 2; i++) {
                int fd = p->doors[i].watch.fd;
                loop_unwatch(&p->doors[i].watch);
                if (fd >= 0)
                        close(fd);
        }
        /* Nobody may stay suspended when libmicrohttpd stops. */
        for (struct peerapi_req *r = p->requests; r != NULL; r = r->next) {
                r->dead = true;
                if (r->suspended)
                        MHD_resume_connection(r->conn);
                r->suspended = false;
        }
        loop_unwatch(&p->watch);
        MHD_run(p->mhd);
        loop_timer_stop(&p->timer);
        MHD_stop_daemon(p->mhd);
        free(p);
}
