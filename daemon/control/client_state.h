/* daemon/control/client_state.h - inside of the control client: its state, and what its files share.
 *
 * client.c has the outside, the connection and advance(), which starts whatever is due; client_register.c logs in and
 * out; client_map.c streams the map and tells the server what changed here.  Events only note what happened
 * and call control_kick(), so that every decision is made in control_advance(), from the loop.
 */
#pragma once

#include "base/fetch.h"
#include "daemon/control/client.h"
#include "daemon/control/conn.h"
#include "daemon/control/fault.h"
#include "daemon/control/headping.h"
#include "daemon/control/maprequest.h"
#include "daemon/control/mapsession.h"
#include "daemon/control/register.h"
#include "daemon/control/server.h"

struct backoff {
        unsigned failures;
        mono_t next; /* not before */
};

/* One kind of request inside the channel; at most one of each at a time. */
struct request {
        struct h2_stream *stream; /* NULL: none is under way */
        int status;               /* 0: no answer yet */
        char retry_after[64];
        struct buf body;
};

enum goal {
        GOAL_NONE,  /* nothing wanted, or nothing to be had */
        GOAL_LOGIN, /* register until it works */
        GOAL_RUN,   /* registered: keep the map */
        GOAL_LOGOUT,
};

enum register_purpose {
        PURPOSE_LOGIN,
        PURPOSE_FOLLOWUP, /* wait for the user's approval */
        PURPOSE_PROBE,    /* are we still known? changes nothing */
        PURPOSE_LOGOUT,
};

struct control {
        struct loop *loop;
        struct dialer *dialer;
        struct control_callbacks cb;
        void *arg;

        struct timer wake; /* runs control_advance() */
        enum goal goal;
        bool want_poll;
        bool registered; /* the server accepted node_key in this life of ours */

        /* The server and the way to it. */
        struct server_url url;
        bool have_url;
        struct machine_public server_key;
        bool have_server_key;
        bool handshake_failed; /* since the key was fetched: the next failure is not about the key */
        struct fetch *fetch;
        struct conn *conn;
        mono_t conn_opened;
        struct backoff net;

        /* Who we are. */
        struct key_private machine;
        struct key_private node;      /* zero = none */
        struct key_private old_node;  /* zero = none */
        struct key_private candidate; /* being registered; equals node for the quiet form */
        bool candidate_fresh;         /* made by this login, so "expired" cannot be its fault */
        struct disco_public disco;
        json_t *hostinfo; /* without NetInfo */
        json_t *netinfo;  /* NULL = not known yet */
        struct control_endpoint endpoints[CONTROL_ENDPOINTS_MAX];
        size_t endpoint_count;

        /* Logging in and out. */
        struct request reg;
        enum register_purpose purpose;
        mono_t reg_sent; /* the one that is under way */
        struct backoff reg_backoff;
        char auth_key[AUTH_KEY_MAX + 1];
        bool ephemeral;
        int64_t expiry_ns;
        char followup[1024]; /* the URL that waits for the user; "" = none */
        bool recheck;        /* the URL has changed: are we registered perhaps? */
        mono_t probe_at;
        mono_t logout_by;

        /* The map. */
        struct request map;
        struct map_frames frames;
        struct mapsession *session;
        struct backoff map_backoff;
        mono_t map_heard; /* last message, or start of the stream */
        mono_t map_opened;
        bool online; /* a first map has come on this stream */
        bool early;  /* the stream was opened for the candidate, before the registration was answered */
        unsigned early_tries;
        bool self_expired;
        mono_t expiry_at; /* when a key expires next */
        char last_ping[512];
        struct headpings pings;
        unsigned pings_inside; /* whose answers the server has not taken yet, on this connection */

        /* Telling the server. */
        struct request lite;
        bool dirty;
        mono_t dirty_at; /* send not before: gathers what comes together */
        struct backoff lite_backoff;
        mono_t lite_sent; /* the one that is under way */
};

enum {
        REGISTER_BODY_MAX = 1 << 20,
        ERROR_BODY_MAX = 4096,
};

/* client.c */
void control_kick(struct control *c);
/* Notes a failure; *b says when to try again, the return value in how many milliseconds. */
int64_t backoff_fail(struct backoff *b, mono_t now);
void backoff_clear(struct backoff *b);
/* Tells the user side.  retry_ms < 0: no further attempt. */
void control_report(struct control *c, enum control_error_kind kind, const char *detail,
                    const char *server_text, int64_t retry_ms);
/* The connection is of no use any more: hang up, pause, and tell why. */
void control_net_failed(struct control *c, enum control_error_kind kind, const char *detail, mono_t now);
/* Starts a POST; takes body (wiped and freed).  False: the connection is unusable and has been dropped. */
bool control_post(struct control *c, struct request *rq, const char *path, char *body,
                  const struct h2_stream_fns *fns, mono_t now);
void request_drop(struct control *c, struct request *rq);
void request_on_status(struct request *rq, int status, const char *retry_after);
void request_on_data(struct request *rq, const uint8_t *data, size_t len, size_t max);
/* The text of an error answer, printable, cut to its first line. */
const char *request_error_text(struct request *rq);
/* It greets as Headscale does, and is not one of Tailscale's own. */
bool control_maybe_headscale(const struct control *c);
/* NULL: out of memory. */
json_t *control_hostinfo(const struct control *c);

/* client_register.c */
void register_advance(struct control *c, mono_t now);
mono_t register_next(const struct control *c); /* when register_advance() may have something to do */
/* The server said it does not know our node: find out what it thinks of us. */
void register_again(struct control *c);
void register_logout_over(struct control *c, enum control_error_kind kind, const char *detail, bool failed);

/* client_map.c */
void map_advance(struct control *c, mono_t now);
void map_plan_early(struct control *c, mono_t now); /* a registration was sent */
mono_t map_next(const struct control *c);
void map_stop(struct control *c); /* no stream, no update */
void map_mark_dirty(struct control *c, mono_t now);
void map_expire(struct control *c, mono_t now);

/* client_ping.c: answers a ping request of the server. */
void control_answer_ping(struct control *c, const struct map_news *news);
