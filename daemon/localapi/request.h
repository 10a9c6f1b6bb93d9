/* daemon/localapi/request.h - a request of the local API, as server.c, reply.c, stream.c and upgrade.c share it. */
#pragma once

#include "daemon/http/httpd.h"
#include "daemon/localapi/server.h"
#include "daemon/localapi/socket.h"

struct lapi_req {
        struct httpd_req http;         /* first */
        struct lapi_server *server;
        unsigned method;
        const char *rest;              /* of the path, behind a prefix endpoint's name */
        struct lapi_peer peer;
        void (*on_gone)(void *arg);
        void *gone_arg;
        struct watch watch;            /* notices a client that leaves while we think */
        struct lapi_stream *stream;
        char path[256];
        char param[1024];
};

struct lapi_upgraded **lapi_req_upgraded(struct lapi_req *r);   /* those of the server, newest first */
const struct lapi_ops *lapi_req_ops(const struct lapi_req *r);
/* server.c: hears of a client that leaves before it has all of its answer. */
void lapi_watch_client(struct lapi_req *r);
/* reply.c: consumes resp; NULL: out of memory.  type NULL: no Content-Type. */
void lapi_answer(struct lapi_req *r, int status, const char *type, struct MHD_Response *resp);
void lapi_stream_free(struct lapi_stream *s);   /* NULL is well */
void lapi_upgraded_stop(struct lapi_upgraded *first);   /* before the server ends */
