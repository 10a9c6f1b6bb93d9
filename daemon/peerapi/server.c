#include "daemon/peerapi/server.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/http/httpd.h"
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
        struct httpd *httpd;
        struct door doors[2];      /* IPv4, IPv6 */
        struct addr at[2];         /* where they lead */
        struct timer pause;        /* armed: out of descriptors, nobody is let in for a moment */
};

struct peerapi_req {
        struct httpd_req http;     /* first */
        struct peerapi *p;
        struct addr self, peer;    /* the two ends */
        void *query;               /* what resolve() returned */
};

/* ---- answers ---- */

static void say(struct peerapi_req *r, unsigned status, const char *type, const char *text)
{
        struct MHD_Response *resp =
                MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
        if (resp != NULL) {
                MHD_add_response_header(resp, "Content-Type", type);
                httpd_add_guards(resp);
        }
        httpd_answer(&r->http, status, resp);
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
        httpd_answer(&r->http, 200, resp);
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
        (void)MHD_get_connection_values(r->http.conn, MHD_HEADER_KIND, look, &h);
        return h.hosts == 1 && !h.browser && addr_parse(h.host, &a) == ERR_NONE && addr_eq(a, r->self);
}

/* ---- what is asked ---- */

static bool body_is_query(struct peerapi_req *r)
{
        const char *type = MHD_lookup_connection_value(r->http.conn, MHD_HEADER_KIND, "Content-Type");
        return type != NULL && strcasecmp(type, "application/dns-message") == 0;
}

static bool query_from_url(struct peerapi_req *r, uint8_t out[PEERAPI_QUERY_MAX], size_t *ret_len)
{
        const char *text = MHD_lookup_connection_value(r->http.conn, MHD_GET_ARGUMENT_KIND, "dns");
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
        if (r->http.too_big) {
                say_text(r, 413, "the query is too long\n");
                return;
        }
        if (post) {
                msg = (const uint8_t *)r->http.body.data;
                len = r->http.body.len;
        }
        if (post ? !body_is_query(r) || len == 0 : !query_from_url(r, from_url, &len)) {
                say_text(r, 400, "a query comes in 'dns', as base64url, or is posted as application/dns-message\n");
                return;
        }
        void *query = p->ops->resolve(p->arg, r, msg, len);
        if (!r->http.answered)
                r->query = query;
}

static void serve(struct peerapi_req *r, const char *url, const char *method)
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

/* As whoever accepted it saw it: a connection through the stack has a socket without addresses. */
static struct addr peer_of(const struct httpd_req *http)
{
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(http->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        return ci != NULL && ci->client_addr != NULL ? addr_from_sockaddr(ci->client_addr) : (struct addr){0};
}

static void route(void *arg, struct httpd_req *http, const char *url, const char *method)
{
        struct peerapi_req *r = container_of(http, struct peerapi_req, http);
        r->p = arg;
        r->peer = peer_of(http);
        r->self = r->p->at[r->peer.ip.family == IP_V6];
        serve(r, url, method);
}

static void on_end(void *arg, struct httpd_req *http)
{
        struct peerapi *p = arg;
        struct peerapi_req *r = container_of(http, struct peerapi_req, http);
        if (r->query != NULL)
                p->ops->cancel(p->arg, r->query);
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

/* Who is no peer is not even read from. */
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
                        httpd_add(p->httpd, fd, (struct sockaddr *)&sa, len);
                else
                        close(fd);
        }
        httpd_run(p->httpd);
}

void peerapi_serve_at(struct peerapi *p, struct addr at)
{
        p->at[at.ip.family == IP_V6] = at;
}

void peerapi_add(struct peerapi *p, int fd, struct addr from)
{
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(from, &sa);
        if (!p->ops->is_peer(p->arg, from.ip)) {
                close(fd);
                return;
        }
        httpd_add(p->httpd, fd, (struct sockaddr *)&sa, len);
        httpd_run_soon(p->httpd);
}

enum err peerapi_listen(struct peerapi *p, struct ip ip, const char *ifname, uint16_t *ret_port)
{
        struct door *d = &p->doors[ip.family == IP_V6];
        int fd;
        if (d->watch.fd >= 0)
                return ERR_FULL;
        enum err e = peerapi_socket(ip, ifname, &fd, ret_port);
        if (e == ERR_NONE)
                peerapi_serve_at(p, (struct addr){ip, *ret_port});
        if (e == ERR_NONE && (e = loop_watch(p->loop, &d->watch, fd, LOOP_READ)) != ERR_NONE)
                close(fd);
        return e;
}

/* ---- life ---- */

struct peerapi *peerapi_new(struct loop *l, const struct peerapi_ops *ops, void *arg)
{
        static const struct httpd_config config = {
                .listen_fd = -1,
                .connections_max = PEERAPI_CONNECTIONS_MAX,
                .connections_each = PEERAPI_CONNECTIONS_EACH,
                .connection_bytes = CONNECTION_BYTES,
                .idle_s = PEERAPI_IDLE_S,
                .body_max = PEERAPI_QUERY_MAX,
                .req_size = sizeof(struct peerapi_req),
                .route = route,
                .on_end = on_end,
        };
        struct peerapi *p = calloc(1, sizeof(*p));
        if (p == NULL)
                return NULL;
        p->loop = l;
        p->ops = ops;
        p->arg = arg;
        timer_init(&p->pause, on_pause_over);
        for (size_t i = 0; i < 2; i++) {
                p->doors[i].p = p;
                watch_init(&p->doors[i].watch, on_knock);
        }
        p->httpd = httpd_new(l, &config, p);
        if (p->httpd == NULL) {
                free(p);
                return NULL;
        }
        return p;
}

void peerapi_free(struct peerapi *p)
{
        if (p == NULL)
                return;
        loop_timer_stop(&p->pause);
        for (size_t i = 0; i < 2; i++) {
                int fd = p->doors[i].watch.fd;
                loop_unwatch(&p->doors[i].watch);
                if (fd >= 0)
                        close(fd);
        }
        httpd_free(p->httpd);
        free(p);
}
