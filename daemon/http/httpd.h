/* daemon/http/httpd.h - libmicrohttpd on our loop: a request is collected, handed to its owner, and answered now or later.
 *
 * Knows connections, bodies and their bounds; who may ask what, and the answers, are the owner's.  It never waits, and
 * comes to rest when there is nothing to do.  Control thread.
 */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/loop.h"

struct httpd;

/* The first member of the owner's own struct for a request, which is zeroed but for this. */
struct httpd_req {
        struct httpd *server;
        struct MHD_Connection *conn;
        struct buf body;
        bool too_big;                  /* the body is larger than body_max, and not all here */
        bool answered;
        bool dead;                     /* hung up on, as soon as libmicrohttpd runs */
        /* The rest is httpd.c's alone. */
        bool routed, suspended, queued;
        struct MHD_Response *response; /* until it is queued */
        unsigned status;
        struct httpd_req *next;
};

struct httpd_config {
        int listen_fd;               /* taken over in any case; -1: connections come by httpd_add() */
        unsigned connections_max;
        unsigned connections_each;   /* of one address; 0: no bound but the one above */
        size_t connection_bytes;     /* for a request's head; 0: libmicrohttpd's default, 32 KiB */
        unsigned idle_s;             /* a connection is closed after so long a silence */
        bool upgrades;               /* an answer may turn its connection into something else (101) */
        size_t body_max;
        size_t req_size;             /* of the owner's struct */
        /* A connection came.  What is returned goes to on_disconnect(); NULL: refused, nothing of it is routed.  May both
         * be NULL. */
        void *(*on_connect)(void *arg, int fd);
        void (*on_disconnect)(void *arg, void *what);
        /* A whole request, once: httpd_answer() now or later.  url without the query. */
        void (*route)(void *arg, struct httpd_req *r, const char *url, const char *method);
        /* What was routed is over, answered or not, and r is freed on return.  May be NULL. */
        void (*on_end)(void *arg, struct httpd_req *r);
};

/* NULL: out of memory or descriptors.  c is copied. */
struct httpd *httpd_new(struct loop *l, const struct httpd_config *c, void *arg);
/* Hangs up on everybody: on_end() for each request, nothing more is routed. */
void httpd_free(struct httpd *h);
/* A connection that somebody else accepted, non-blocking; closed if there is no room.  httpd_run() afterwards. */
void httpd_add(struct httpd *h, int fd, const struct sockaddr *sa, socklen_t len);
void httpd_run(struct httpd *h);
void httpd_run_soon(struct httpd *h);   /* not from here */

int httpd_fd(const struct httpd_req *r);   /* of the connection; -1: unknown */
/* Consumes resp; NULL, as libmicrohttpd says when out of memory, hangs up.  Only the first answer counts. */
void httpd_answer(struct httpd_req *r, unsigned status, struct MHD_Response *resp);
void httpd_drop(struct httpd_req *r);      /* hangs up; on_end() follows, later */
/* For an answer that is read from a callback: what there was is read; there is more. */
void httpd_suspend(struct httpd_req *r);
void httpd_resume(struct httpd_req *r);
/* Whatever a browser was led to show, it may neither run it, nor frame it, nor guess its type. */
void httpd_add_guards(struct MHD_Response *resp);
