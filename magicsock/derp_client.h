/* magicsock/derp_client.h - one connection to a relay as a state machine: bytes in, events and bytes out.
 *
 * Pure: the owner (derp_manager.c) moves bytes between a stream and the two buffers in here, and gives the
 * time where it matters.  Goes through HTTP upgrade, ServerKey, ClientInfo, ServerInfo; or, with fast start,
 * sends everything at once.  Answers pings by itself.  Nothing allocates once the server has accepted us.
 *
 *      on connect:  derp_client_init(), write derp_client_out()
 *      on bytes:    read into derp_client_in(), derp_client_fed(); derp_client_next() until DERP_EV_NONE
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"
#include "base/key.h"
#include "base/mono.h"
#include "magicsock/derp_frame.h"

enum {
        DERP_IN_MAX = 64 * 1024,      /* frames of one burst */
        DERP_OUT_MAX = 128 * 1024,    /* a TCP window of full packets, waiting for the pace or for a slow way out */
        DERP_HTTP_MAX = 8 * 1024,     /* of the answer's head */
        DERP_DETAIL_MAX = 160,
        DERP_STRETCHED = 8 * 1024,
};

struct derp_client_opts {
        const char *host;                  /* of the Host header; borrowed for the call, as is ideal_node */
        uint16_t port;
        bool plain;                        /* no TLS: the default port is 80 */
        const char *ideal_node;            /* name of the region's first node, if this is another; else NULL */
        const struct node_public *server;  /* its key, known from TLS: fast start; else NULL */
        const struct key_private *node;    /* ours */
        const uint8_t *nonce;              /* 24 random bytes, for this connection alone */
        bool home;
};

enum derp_client_state {
        DERP_CLIENT_HTTP,     /* waiting for 101 */
        DERP_CLIENT_KEY,      /* waiting for ServerKey */
        DERP_CLIENT_LOGIN,    /* ClientInfo is on its way: packets may be sent */
        DERP_CLIENT_UP,       /* ServerInfo came: accepted */
        DERP_CLIENT_FAILED,
};

struct derp_client {
        enum derp_client_state state;
        struct node_public us;
        struct key_private priv;           /* until the server's key is known */
        struct box_key box;                /* until ServerInfo is open */
        uint8_t nonce[BOX_NONCE_LEN];
        bool home, told_home;
        struct derp_server_info limit;
        int64_t tokens;                    /* bytes we may send now, under limit */
        mono_t refilled;
        uint32_t skip;                     /* bytes left of a frame too large for `in` */
        size_t in_at, in_end, out_at, out_end;
        size_t frames, frames_len;         /* put into `out` of late */
        bool stretched;                    /* more was in `in` or `out` than one packet or two, since the last tidying */
        char detail[DERP_DETAIL_MAX];      /* DERP_CLIENT_FAILED: one line for a person */
        uint8_t in[DERP_IN_MAX];
        uint8_t out[DERP_OUT_MAX];
};

enum derp_event_kind {
        DERP_EV_NONE,         /* more bytes are needed */
        DERP_EV_UP,
        DERP_EV_RECV,         /* msg.key, msg.data; valid until the next call */
        DERP_EV_LARGE,        /* a packet that does not fit was skipped */
        DERP_EV_GONE,         /* msg.key, msg.reason */
        DERP_EV_HEALTH,       /* msg.data: text, empty = well again */
        DERP_EV_RESTARTING,   /* msg.reconnect_in_ms, msg.try_for_ms */
        DERP_EV_OTHER,        /* a frame that asks nothing of the owner: a sign of life */
        DERP_EV_FAILED,       /* detail says why; close the stream */
};

struct derp_event {
        enum derp_event_kind kind;
        struct derp_msg msg;
};

/* host must be a name or IP literal: a byte that HTTP could trip over makes the client fail at once.  c is zeros, or was in use:
 * what the connection before has stretched is tidied in this one. */
void derp_client_init(struct derp_client *c, const struct derp_client_opts *opts);
void derp_client_done(struct derp_client *c);   /* wipes keys */

/* Where the next bytes from the server go; *ret_cap > 0 once derp_client_next() returned DERP_EV_NONE. */
uint8_t *derp_client_in(struct derp_client *c, size_t *ret_cap);
void derp_client_fed(struct derp_client *c, size_t n);
struct derp_event derp_client_next(struct derp_client *c, mono_t now);

/* What is to be written; derp_client_sent() when n bytes of it were. */
const uint8_t *derp_client_out(const struct derp_client *c, size_t *ret_len);
void derp_client_sent(struct derp_client *c, size_t n);
/* With nothing in them the buffers' memory goes back to the kernel, until it is needed again. */
void derp_client_tidy(struct derp_client *c);
/* The mean length of the frames put of late, 1 at least. */
size_t derp_client_mean(const struct derp_client *c);

enum derp_put { DERP_PUT_OK, DERP_PUT_FULL /* try again after sent() */, DERP_PUT_RATE /* drop it */ };
/* The relay has said who it is: from LOGIN on. */
bool derp_client_takes(const struct derp_client *c);
/* A frame of derp_send_head() and the len bytes it was made for.  Copied.  FULL before LOGIN. */
enum derp_put derp_client_put(struct derp_client *c, const uint8_t head[DERP_SEND_HEAD_LEN], const void *packet,
        size_t len, mono_t now);
void derp_client_set_home(struct derp_client *c, bool home);
/* Any frame back is the answer.  Does nothing before UP. */
void derp_client_ping(struct derp_client *c, const uint8_t data[DERP_PING_LEN]);
