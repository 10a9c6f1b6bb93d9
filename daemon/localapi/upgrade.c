/* Connections that turn into something else.  libmicrohttpd wants to know when such a one is over, and counts it until then
 * among the connections of its user; its socket is duplicated, so that whoever has it may close it. */
#include <fcntl.h>
#include <stdlib.h>

#include "daemon/localapi/request.h"

struct lapi_upgraded {
        struct httpd *httpd;
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
        (void)MHD_upgrade_action(u->urh, MHD_UPGRADE_ACTION_CLOSE);
        httpd_run_soon(u->httpd);
        forget(u);
}

/* Those that are not ready yet are told by the end of their requests. */
void lapi_upgraded_stop(struct lapi_upgraded *first)
{
        for (struct lapi_upgraded *u = first, *next; u != NULL; u = next) {
                next = u->next;
                if (u->urh == NULL)
                        continue;
                u->ops->gone(u->arg);
                (void)MHD_upgrade_action(u->urh, MHD_UPGRADE_ACTION_CLOSE);
                forget(u);
        }
}

static void on_upgrade(void *cls, struct MHD_Connection *conn, void *req, const char *early, size_t len, MHD_socket sock,
        struct MHD_UpgradeResponseHandle *urh)
{
        (void)conn;
        struct lapi_req *r = container_of((struct httpd_req *)req, struct lapi_req, http);
        if (r->http.dead) {   /* and the rest is gone, or will be with the request */
                (void)MHD_upgrade_action(urh, MHD_UPGRADE_ACTION_CLOSE);
                return;
        }
        struct lapi_upgraded *u = cls;
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
        struct lapi_upgraded **all = lapi_req_upgraded(r);
        struct lapi_upgraded *u = calloc(1, sizeof(*u));
        struct MHD_Response *resp = u != NULL ? MHD_create_response_for_upgrade(on_upgrade, u) : NULL;
        if (resp == NULL) {
                free(u);
                ops->gone(arg);
                lapi_reply_text(r, 500, "out of memory");
                return;
        }
        *u = (struct lapi_upgraded){.httpd = r->http.server, .ops = ops, .arg = arg, .next = *all, .prev = all};
        if (u->next != NULL)
                u->next->prev = &u->next;
        *all = u;
        MHD_add_response_header(resp, "Upgrade", protocol);
        lapi_answer(r, 101, NULL, resp);
        lapi_on_gone(r, on_gone, u);
}
