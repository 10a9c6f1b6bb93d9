#include "daemon/http/httpd.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAUSE_MAX_MS = 60000 };

struct httpd {
        struct loop *loop;
        struct httpd_config c;
        void *arg;
        struct MHD_Daemon *mhd;
        struct watch watch;
        struct timer timer;
        struct httpd_req *requests;
        bool closed_one;       /* during this MHD_run() */
        bool stopping;         /* no more questions: libmicrohttpd aborts where one waits for its answer at the end */
};

/* ---- driving libmicrohttpd ---- */

void httpd_run(struct httpd *h)
{
        MHD_UNSIGNED_LONG_LONG ms;
        h->closed_one = false;
        MHD_run(h->mhd);
        if (h->closed_one)
                loop_timer_in(h->loop, &h->timer, 0);
        else if (MHD_get_timeout(h->mhd, &ms) == MHD_YES)
                loop_timer_in(h->loop, &h->timer, (int64_t)(ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS));
        else
                loop_timer_stop(&h->timer);
}

void httpd_run_soon(struct httpd *h)
{
        loop_timer_in(h->loop, &h->timer, 0);
}

static void on_ready(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        httpd_run(container_of(w, struct httpd, watch));
}

static void on_timer(struct timer *t, mono_t now)
{
        (void)now;
        httpd_run(container_of(t, struct httpd, timer));
}

/* ---- connections ---- */

static int fd_of(struct MHD_Connection *conn)
{
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
        return ci != NULL ? ci->connect_fd : -1;
}

/* The context of a connection is what on_connect() returned. */
static void on_connection(void *cls, struct MHD_Connection *conn, void **what, enum MHD_ConnectionNotificationCode code)
{
        struct httpd *h = cls;
        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                int fd = fd_of(conn);
                *what = h->c.on_connect == NULL ? h : fd >= 0 ? h->c.on_connect(h->arg, fd) : NULL;
                return;
        }
        /* At its limit libmicrohttpd listens no more, and only looks whether it may again when it is next run: with the
         * last client gone nothing else would run it. */
        h->closed_one = true;
        if (*what != NULL && h->c.on_disconnect != NULL)
                h->c.on_disconnect(h->arg, *what);
}

/* What it sent before it was hung up on may still be there to read. */
static bool is_refused(struct MHD_Connection *conn)
{
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        return ci == NULL || ci->socket_context == NULL;
}

void httpd_add(struct httpd *h, int fd, const struct sockaddr *sa, socklen_t len)
{
        (void)MHD_add_connection(h->mhd, fd, sa, len);   /* closes fd if it has no room */
}

/* ---- answers ---- */

int httpd_fd(const struct httpd_req *r)
{
        return fd_of(r->conn);
}

void httpd_suspend(struct httpd_req *r)
{
        assert(!r->suspended);
        r->suspended = true;
        MHD_suspend_connection(r->conn);
}

void httpd_resume(struct httpd_req *r)
{
        if (!r->suspended)
                return;
        r->suspended = false;
        MHD_resume_connection(r->conn);
        httpd_run_soon(r->server);
}

void httpd_drop(struct httpd_req *r)
{
        r->dead = true;
        httpd_resume(r);
}

void httpd_answer(struct httpd_req *r, unsigned status, struct MHD_Response *resp)
{
        if (r->answered) {
                if (resp != NULL)
                        MHD_destroy_response(resp);
                return;
        }
        r->answered = true;
        r->status = status;
        r->response = resp;
        if (resp == NULL)
                r->dead = true;
        httpd_resume(r);
}

void httpd_add_guards(struct MHD_Response *resp)
{
        MHD_add_response_header(resp, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
        MHD_add_response_header(resp, "X-Frame-Options", "DENY");
        MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
}

/* ---- requests ---- */

static struct httpd_req *request_new(struct httpd *h, struct MHD_Connection *conn)
{
        struct httpd_req *r = calloc(1, h->c.req_size);
        if (r == NULL)
                return NULL;
        r->server = h;
        r->conn = conn;
        buf_init(&r->body, h->c.body_max);
        r->next = h->requests;
        h->requests = r;
        return r;
}

static enum MHD_Result queue_answer(struct httpd_req *r)
{
        struct MHD_Response *resp = r->response;
        r->response = NULL;
        r->queued = true;
        enum MHD_Result ok = MHD_queue_response(r->conn, r->status, resp);
        MHD_destroy_response(resp);
        return ok;
}

static enum MHD_Result take_body(struct httpd_req *r, const char *data, size_t *len)
{
        r->too_big |= *len > r->body.max - r->body.len;
        if (!r->too_big)
                buf_add(&r->body, data, *len);
        *len = 0;
        return buf_ok(&r->body) ? MHD_YES : MHD_NO;
}

/* Called for the head, for each piece of the body, when all is there, and after each resumption. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
        const char *version, const char *data, size_t *len, void **state)
{
        (void)version;
        struct httpd *h = cls;
        struct httpd_req *r = *state;
        if (r == NULL) {
                *state = is_refused(conn) ? NULL : request_new(h, conn);
                return *state != NULL ? MHD_YES : MHD_NO;
        }
        if (*len > 0)
                return take_body(r, data, len);
        if (!r->routed && !h->stopping && !r->dead) {
                r->routed = true;
                h->c.route(h->arg, r, url, method);
        }
        if (r->dead || !r->routed)
                return MHD_NO;
        if (r->response != NULL)
                return queue_answer(r);
        if (!r->queued)
                httpd_suspend(r);
        return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
        (void)conn;
        (void)why;
        struct httpd *h = cls;
        struct httpd_req *r = *state;
        if (r == NULL)
                return;
        *state = NULL;
        if (r->routed && h->c.on_end != NULL)
                h->c.on_end(h->arg, r);
        struct httpd_req **at = &h->requests;
        while (*at != r)
                at = &(*at)->next;
        *at = r->next;
        if (r->response != NULL)
                MHD_destroy_response(r->response);
        buf_done(&r->body);
        free(r);
}

/* ---- life ---- */

static struct MHD_Daemon *start(struct httpd *h)
{
        const struct httpd_config *c = &h->c;
        struct MHD_OptionItem more[4];
        unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
        size_t n = 0;
        if (c->upgrades)
                flags |= MHD_ALLOW_UPGRADE;
        if (c->listen_fd >= 0)
                more[n++] = (struct MHD_OptionItem){MHD_OPTION_LISTEN_SOCKET, c->listen_fd, NULL};
        else
                flags |= MHD_USE_NO_LISTEN_SOCKET;
        if (c->connections_each > 0)
                more[n++] = (struct MHD_OptionItem){MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)c->connections_each, NULL};
        if (c->connection_bytes > 0)
                more[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)c->connection_bytes, NULL};
        more[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
        return MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                MHD_OPTION_CONNECTION_LIMIT, c->connections_max, MHD_OPTION_CONNECTION_TIMEOUT, c->idle_s,
                MHD_OPTION_ARRAY, more, MHD_OPTION_END);
}

struct httpd *httpd_new(struct loop *l, const struct httpd_config *c, void *arg)
{
        assert(c->req_size >= sizeof(struct httpd_req));
        struct httpd *h = calloc(1, sizeof(*h));
        if (h == NULL) {
                if (c->listen_fd >= 0)
                        close(c->listen_fd);
                return NULL;
        }
        h->loop = l;
        h->c = *c;
        h->arg = arg;
        watch_init(&h->watch, on_ready);
        timer_init(&h->timer, on_timer);
        h->mhd = start(h);
        const union MHD_DaemonInfo *info =
                h->mhd != NULL ? MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
        if (info != NULL && loop_watch(l, &h->watch, info->epoll_fd, LOOP_READ) == ERR_NONE)
                return h;
        if (h->mhd != NULL)
                MHD_stop_daemon(h->mhd);
        else if (c->listen_fd >= 0)
                close(c->listen_fd);
        free(h);
        return NULL;
}

void httpd_free(struct httpd *h)
{
        if (h == NULL)
                return;
        h->stopping = true;
        /* Nobody may stay suspended when libmicrohttpd stops. */
        for (struct httpd_req *r = h->requests; r != NULL; r = r->next)
                httpd_drop(r);
        loop_unwatch(&h->watch);
        MHD_run(h->mhd);
        loop_timer_stop(&h->timer);
        MHD_stop_daemon(h->mhd);
        free(h);
}
