/* base/transfer.h - one libcurl transfer driven by the loop.  The common half of dial and fetch.
 *
 * Each transfer has a multi handle of its own: libcurl looks through the connections of a multi handle whenever
 * another one is made there and closes those that have unread input, which a stream in use always may
 * have; and addresses given by hand would stay in its name cache.  Only requests of a dialer that keeps connections
 * share one.  Loop thread only.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/dial.h"
#include "base/lastgood.h"
#include "base/loop.h"
#include "base/tlscheck.h"

enum { TRANSFER_ERROR_MAX = 320, TRANSFER_TIMEOUT_MS = 10000 /* when the caller gives none */ };

enum {
        DIALER_KEPT_MAX = 8,            /* connections to a server; what is more than they carry waits */
        DIALER_KEPT_MS = 30000,         /* without a request */
};

struct transfer_sock;

/* A multi handle with what it watches. */
struct transfer_multi {
        struct loop *loop;
        CURLM *multi;
        struct timer timer;             /* libcurl's */
        struct timer more;              /* another transfer is finished */
        struct transfer_sock *socks;
        size_t users;                   /* transfers, and the dialer that keeps it */
};

struct dialer {
        struct loop *loop;
        uint32_t mark;                  /* SO_MARK; 0 = none */
        const struct dialer_ways *ways; /* NULL: the kernel connects all */
        void *ways_arg;
        bool keeps;
        struct transfer_multi *kept;    /* NULL: no request since the last flush */
        struct timer idle;
        struct lastgood *known;         /* NULL: no server yet */
};

struct transfer {
        struct loop *loop;
        struct dialer *dialer;
        bool kept;                      /* the multi handle is the dialer's */
        struct transfer_multi *multi;
        CURL *easy;
        struct timer refusal;           /* delivers a failure found before the start */
        struct timer patience;          /* with the look-up of the name */
        char host[LASTGOOD_HOST_MAX];
        uint16_t port;
        bool may_remember;              /* the name is looked up here, and is the server's */
        bool fell_back;                 /* to addresses remembered */
        bool read_ahead;                /* TLS takes what the socket has: who reads has to read until there is no more */
        struct curl_slist *resolve;
        struct curl_slist *connect_to;
        struct tls_check tls;
        uint32_t mark;
        bool restless;
        unsigned timeout_ms;
        char detail[CURL_ERROR_SIZE];   /* libcurl's words */
        enum err err;                   /* of the finished transfer */
        char error[TRANSFER_ERROR_MAX]; /* one line for a person; "" = none */
        /* Finished, well or not.  Last thing that happens: it may end the transfer and free its owner. */
        void (*on_done)(struct transfer *t, mono_t now);
};

struct transfer_target {
        const char *url;
        const char *host;   /* without brackets */
        uint16_t port;
        bool tls;
        bool reuse;         /* a kept connection will do, and this one may be kept */
};

/* Sets all that dial and fetch have in common.  False: out of memory, nothing to end. */
bool transfer_init(struct transfer *t, struct dialer *d, const struct transfer_target *to,
        const struct dial_opts *opts, void (*on_done)(struct transfer *t, mono_t now));
/* Never calls on_done before it returns. */
void transfer_start(struct transfer *t);
/* Fails it, with on_done, on the loop's next round. */
void transfer_refuse(struct transfer *t, enum err err, const char *why);
/* libcurl stops watching; the connection stays. */
void transfer_detach(struct transfer *t);
void transfer_end(struct transfer *t);
