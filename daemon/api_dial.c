#include "daemon/api_dial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "daemon/api.h"
#include "daemon/backend_net.h"
#include "daemon/proxy/dialout.h"

/* Resolving, then dialling, then the answer on its way, then a relay. */
struct session {
        struct loop *loop;
        struct dialout *dialout;
        struct lapi_req *req;            /* until it is answered */
        uint16_t port;
        struct dialout_call *call;
        struct relay_end far;
        struct relay *relay;
        struct lapi_upgraded *upgraded;
        char host[DIALOUT_HOST_MAX];
};

static void session_free(struct session *s)
{
        dialout_cancel(s->call);
        relay_free(s->relay);
        relay_close_end(s->far);
        free(s);
}

static void on_gone(void *arg)
{
        session_free(arg);
}

/* ---- once it is connected ---- */

static void on_over(void *arg)
{
        struct session *s = arg;
        s->relay = NULL;
        lapi_upgraded_done(s->upgraded);
        session_free(s);
}

static void on_ready(void *arg, struct lapi_upgraded *u, int fd, const void *early, size_t len)
{
        struct session *s = arg;
        struct relay_end far = s->far;
        s->far = (struct relay_end){.fd = -1};
        s->upgraded = u;
        s->relay = relay_new(s->loop, (struct relay_end){.fd = fd}, far, early, len, on_over, s);
        if (s->relay == NULL)
                on_over(s);
}

static const struct lapi_upgrade_ops upgrade_ops = {on_ready, on_gone};

static void on_dialled(void *arg, const struct dialout_result *r)
{
        struct session *s = arg;
        struct lapi_req *req = s->req;
        s->call = NULL;
        s->req = NULL;
        s->far = r->end;
        if (r->error == DIALOUT_OK) {
                lapi_reply_upgrade(req, "ts-dial", &upgrade_ops, s);
                return;
        }
        lapi_reply_text(req, 502, "dial failure: %s", r->why);
        session_free(s);
}

/* ---- what is not reached through the tailnet, the client dials itself, with its own rights ---- */

static void on_resolved(void *arg, enum dialout_error error, const struct ip *ips, size_t n)
{
        struct session *s = arg;
        s->call = NULL;
        if (error != DIALOUT_OK || n == 0) {
                lapi_reply_text(s->req, 502, "resolve failure: no address is known for the name %s", s->host);
                session_free(s);
                return;
        }
        if (dialout_is_outside(s->dialout, ips[0])) {
                char text[ADDR_STR_MAX];
                const char *const headers[][2] = {
                        {"Dial-Self", "true"}, {"Dial-Addr", addr_str((struct addr){ips[0], s->port}, text)}};
                lapi_reply_headers(s->req, 200, headers, 2);
                session_free(s);
                return;
        }
        s->call = dialout_start_inside(s->dialout, s->host, s->port, on_dialled, s);
        if (s->call != NULL)
                return;
        lapi_reply_text(s->req, 502, "dial failure: too many connections are being made");
        session_free(s);
}

/* ---- what is asked ---- */

static bool has_token(const char *list, const char *word)
{
        return list != NULL && strcasestr(list, word) != NULL;
}

static bool parse_port(const char *text, uint16_t *ret)
{
        char *end;
        errno = 0;
        unsigned long v = strtoul(text, &end, 10);
        *ret = (uint16_t)v;
        return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && v > 0 && v <= UINT16_MAX;
}

void api_dial(void *arg, struct lapi_req *r)
{
        struct api *a = arg;
        const char *upgrade = lapi_header(r, "Upgrade"), *host = lapi_header(r, "Dial-Host");
        const char *port_text = lapi_header(r, "Dial-Port"), *network = lapi_header(r, "Dial-Network");
        uint16_t port;
        if (!has_token(lapi_header(r, "Connection"), "upgrade") || upgrade == NULL || strcmp(upgrade, "ts-dial") != 0) {
                lapi_reply_text(r, 400, "bad ts-dial upgrade: want Connection: upgrade and Upgrade: ts-dial");
                return;
        }
        if (host == NULL || host[0] == '\0' || port_text == NULL || port_text[0] == '\0') {
                lapi_reply_text(r, 400, "missing Dial-Host or Dial-Port header");
                return;
        }
        if (network != NULL && strcmp(network, "tcp") != 0 && strcmp(network, "tcp4") != 0 && strcmp(network, "tcp6") != 0) {
                lapi_reply_text(r, 400, "Dial-Network %s is not known: want tcp", network);
                return;
        }
        struct session *s = parse_port(port_text, &port) && strlen(host) < DIALOUT_HOST_MAX ? calloc(1, sizeof(*s)) : NULL;
        if (s == NULL) {
                lapi_reply_text(r, 400, "Dial-Port must be 1 to 65535, and Dial-Host shorter than %d characters", DIALOUT_HOST_MAX);
                return;
        }
        s->loop = backend_loop(a->backend);
        s->dialout = backend_dialout(a->backend);
        s->req = r;
        s->port = port;
        s->far = (struct relay_end){.fd = -1};
        (void)str_copy(s->host, sizeof(s->host), host);
        lapi_on_gone(r, on_gone, s);
        s->call = dialout_resolve(s->dialout, host, on_resolved, s);
        if (s->call != NULL)
                return;
        lapi_reply_text(r, 502, "dial failure: too many connections are being made");
        session_free(s);
}
