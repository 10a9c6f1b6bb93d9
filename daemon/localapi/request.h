/* daemon/localapi/request.h - the insides of the server, for the files that make it up alone. */
#pragma once

#include <microhttpd.h>

#include "base/buf.h"
#include "base/log.h"
#include "daemon/localapi/server.h"
#include "daemon/localapi/share.h"
#include "daemon/localapi/socket.h"

struct lapi_stream {
        struct lapi_req *req;
        struct buf queue;      /* lines not yet sent */
        size_t lines;
        bool suspended;
        bool closing;          /* hang up when the queue is out */
};

struct lapi_req {
        struct lapi_server *server;
        struct MHD_Connection *conn;
        const struct lapi_endpoint *endpoint;
        unsigned method;
        const char *rest;              /* of the path, behind a prefix endpoint's name */
        struct lapi_peer peer;
        struct buf body;
        bool too_big;
        bool started;                  /* the endpoint's function was called */
        bool suspended;
        bool answered, queued, dead;
        struct MHD_Response *response; /* until it is queued */
        unsigned status;
        void (*on_gone)(void *arg);
        void *gone_arg;
        struct watch watch;            /* notices a client that leaves while we think */
        struct lapi_stream *stream;
        char path[256];
        char param[1024];
        struct lapi_req *next;         /* all requests of the server */
};

struct lapi_server {
        struct loop *loop;
        struct lapi_ops ops;
        void *arg;
        struct MHD_Daemon *mhd;
        struct watch watch;
        struct timer timer;
        struct lapi_req *requests;
        bool closed_one;       /* during this MHD_run() */
        struct lapi_share share;
        struct log_limit refusals;
        struct lapi_upgraded *upgraded;
        bool stopping;         /* no more questions: libmicrohttpd aborts where one waits for its answer at the end */
        char path[108];
};

/* server.c */
void lapi_answer(struct lapi_req *r, int status, struct MHD_Response *resp);   /* consumes resp; NULL: out of memory */
void lapi_run_soon(struct lapi_server *s);
void lapi_add_headers(const struct lapi_server *s, struct MHD_Response *r, const char *type);

/* upgrade.c */
void lapi_upgraded_stop(struct lapi_server *s);
