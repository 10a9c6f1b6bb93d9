/* Connections that turn into something else.  libmicrohttpd wants to know when such a one is over, and counts it until then
 * among the connections of its user; its socket is duplicated, so that whoever has it may close it. */
#include <fcntl.h>
#include <stdlib.h>

#include "daemon/localapi/request.h"

struct lapi_upgraded {
        struct lapi_server *server;
        struct MHD_UpgradeResponseHandle *urh;   /* NULL: not ready yet */
        const struct lapi_upgrade_ops *ops;
        void *arg;
        struct lapi_upgraded *next, **prev;
};

static void forget(struct lapi_upgraded *u)
{
        *u->prev = u->next;
        if (u->next != NULL)
                u->next->prev = u->prev;
        free(u);
}

void lapi_upgraded_done(struct lapi_upgraded *u)
{
        struct lapi_server *s = u->server;
        (void)MHD_upgrade_action(u->urh, MHD_UPGRADE_ACTION_CLOSE);
        forget(u);
        lapi_run_soon(s);
}

void lapi_upgraded_stop(struct lapi_server *s)
{
        for (struct lapi_upgraded *u; (u = s->upgraded) != NULL;) {
                u->ops->gone(u->arg);
                if (u->urh != NULL)
                        (void)MHD_upgrade_action(u->urh, MHD_UPGRADE_ACTION_CLOSE);
                forget(u);
        }
}

static void on_upgrade(void *cls, struct MHD_Connection *conn, void *req, const char *early, size_t len, MHD_socket sock,
        struct MHD_UpgradeResponseHandle *urh)
{
        (void)conn;
        struct lapi_upgraded *u = cls;
        struct lapi_req *r = req;
        if (r->dead) {   /* and u is gone */
                (void)MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
                return;
        }
        int fd = fcntl(sock, F_DUPFD_CLOEXEC, 0);
        r->on_gone = NULL;   /* from now on the socket says it */
        u->urh = urh;
        if (fd >= 0) {
                u->ops->ready(u->arg, u, fd, early, len);
                return;
        }
        u->ops->gone(u->arg);
        lapi_upgraded_done(u);
}

/* The client left before the answer was out. */
static void on_gone(void *arg)
{
        struct lapi_upgraded *u = arg;
        u->ops->gone(u->arg);
        forget(u);
}

void lapi_reply_upgrade(struct lapi_req *r, const char *protocol, const struct lapi_upgrade_ops *ops, void *arg)
{
        struct lapi_server *s = r->server;
        struct lapi_upgraded *u = calloc(1, sizeof(*u));
        struct MHD_Response *resp = u != NULL ? MHD_create_response_for_upgrade(on_upgrade, u) : NULL;
        if (resp == NULL) {
                free(u);
                ops->gone(arg);
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        *u = (struct lapi_upgraded){.server = s, .ops = ops, .arg = arg, .next = s->upgraded, .prev = &s->upgraded};
        if (u->next != NULL)
                u->next->prev = &u->next;
        s->upgraded = u;
        lapi_add_headers(s, resp, NULL);
        MHD_add_response_header(resp, "Upgrade", protocol);
        lapi_answer(r, 101, resp);
        lapi_on_gone(r, on_gone, u);
}

const char *lapi_header(struct lapi_req *r, const char *name)
{
        return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

void lapi_reply_headers(struct lapi_req *r, int status, const char *const headers[][2], size_t n)
{
        struct MHD_Response *resp = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        for (size_t i = 0; resp != NULL && i < n; i++)
                MHD_add_response_header(resp, headers[i][0], headers[i][1]);
        if (resp != NULL)
                lapi_add_headers(r->server, resp, NULL);
        lapi_answer(r, status, resp);
}
