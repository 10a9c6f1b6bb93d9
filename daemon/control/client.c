#include "daemon/control/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/log.h"
#include "daemon/control/client_state.h"

enum {
        BACKOFF_FIRST_MS = 250,
        BACKOFF_MAX_MS = 30000,
        KEY_FETCH_MS = 4000,
        KEY_BODY_MAX = 65536,
        CONN_GOOD_MS = 5000, /* a connection that lasted so long counts as a success */
};

/* --- small things shared by all --- */

void control_kick(struct control *c)
{
        loop_timer_at(c->loop, &c->wake, loop_now(c->loop));
}

int64_t backoff_fail(struct backoff *b, mono_t now)
{
        int64_t ms = BACKOFF_FIRST_MS;
        for (unsigned i = 0; i < b->failures && ms < BACKOFF_MAX_MS; i++)
                ms *= 2;
        if (ms > BACKOFF_MAX_MS)
                ms = BACKOFF_MAX_MS;
        ms = ms / 2 + (int64_t)crypto_random_below((uint64_t)ms); /* times 0.5 to 1.5 */
        b->failures++;
        b->next = mono_add_ms(now, ms);
        return ms;
}

void backoff_clear(struct backoff *b)
{
        *b = (struct backoff){0};
}

void control_report(struct control *c, enum control_error_kind kind, const char *detail,
                    const char *server_text, int64_t retry_ms)
{
        char text[FAULT_TEXT_MAX];
        struct control_error e = {
                .kind = kind,
                .message = fault_text(kind, &c->url, detail, server_text, text),
                .server_text = server_text,
                .fatal = retry_ms < 0,
                .retry_ms = retry_ms,
        };
        log_debug(1, "control: %s%s%s", detail, detail[0] != '\0' && server_text[0] != '\0' ? ": " : "",
                  server_text);
        c->cb.on_error(c->arg, &e);
}

bool control_maybe_headscale(const struct control *c)
{
        return conn_had_early(c->conn) && strstr(c->url.host, "tailscale.com") == NULL;
}

json_t *control_hostinfo(const struct control *c)
{
        json_t *h = c->hostinfo != NULL ? json_copy(c->hostinfo) : json_object();
        if (h != NULL && c->netinfo != NULL)
                (void)json_object_set(h, "NetInfo", c->netinfo);
        return h;
}

/* --- requests --- */

void request_drop(struct control *c, struct request *rq)
{
        if (rq->stream != NULL && c->conn != NULL)
                conn_cancel(c->conn, rq->stream);
        rq->stream = NULL;
        rq->status = 0;
        buf_done(&rq->body);
}

void request_on_status(struct request *rq, int status, const char *retry_after)
{
        rq->status = status;
        (void)str_copy(rq->retry_after, sizeof(rq->retry_after), retry_after);
}

/* What is beyond max is dropped: then the body will not parse, or is cut text. */
void request_on_data(struct request *rq, const uint8_t *data, size_t len, size_t max)
{
        if (rq->body.len + len <= max)
                buf_add(&rq->body, data, len);
}

const char *request_error_text(struct request *rq)
{
        if (rq->body.len == 0)
                return "";
        rq->body.data[strcspn(rq->body.data, "\r\n")] = '\0';
        for (char *p = rq->body.data; *p != '\0'; p++)
                if ((unsigned char)*p < ' ' || *p == 127)
                        *p = '?';
        return rq->body.data;
}

bool control_post(struct control *c, struct request *rq, const char *path, char *body,
                  const struct h2_stream_fns *fns, mono_t now)
{
        char lb[KEY_TEXT_MAX];
        struct node_public node = key_node_public(c->registered ? &c->node : &c->candidate);
        struct h2_request r = {
                .method = "POST",
                .authority = c->url.authority,
                .path = path,
                .ts_lb = {node_public_text(&node, lb)},
                .body = body,
                .body_len = body != NULL ? strlen(body) : 0,
        };
        rq->status = 0;
        rq->retry_after[0] = '\0';
        buf_clear(&rq->body);
        rq->stream = body != NULL ? conn_start(c->conn, &r, fns, c) : NULL;
        if (body != NULL)
                crypto_wipe(body, strlen(body));
        free(body);
        if (rq->stream == NULL)
                control_net_failed(c, CONTROL_ERROR_SERVER, "the server ends the connection", now);
        return rq->stream != NULL;
}

/* --- the connection --- */

static void drop_conn(struct control *c)
{
        fetch_cancel(c->fetch);
        c->fetch = NULL;
        map_stop(c);
        request_drop(c, &c->reg);
        conn_free(c->conn);
        c->conn = NULL;
        c->pings_inside = 0;
}

void control_net_failed(struct control *c, enum control_error_kind kind, const char *detail, mono_t now)
{
        bool lasted = conn_is_open(c->conn) && mono_diff_ms(now, c->conn_opened) >= CONN_GOOD_MS;
        drop_conn(c);
        if (lasted)
                backoff_clear(&c->net);
        int64_t retry_ms = backoff_fail(&c->net, now);
        control_kick(c);
        control_report(c, kind, detail, "", retry_ms);
}

static void on_open(void *arg, mono_t now)
{
        struct control *c = arg;
        c->conn_opened = now;
        c->handshake_failed = false;
        log_debug(1, "control: connected to %s", c->url.base);
        control_kick(c);
}

static void on_lost(void *arg, enum control_error_kind kind, const char *detail, mono_t now)
{
        struct control *c = arg;
        char why[256];
        (void)str_copy(why, sizeof(why), detail); /* it goes with the connection */
        if (kind == CONTROL_ERROR_SERVER_KEY) {
                /* The server hangs up alike for a key it does not have and for a version it does not want: with
                 * the key fetched anew only the version is left. */
                if (c->handshake_failed)
                        kind = CONTROL_ERROR_VERSION;
                c->handshake_failed = true;
                c->have_server_key = false;
        }
        bool was_open = mono_is_set(c->conn_opened);
        if (was_open && mono_diff_ms(now, c->conn_opened) >= CONN_GOOD_MS)
                backoff_clear(&c->net);
        c->conn_opened = (mono_t){0};
        control_net_failed(c, kind, why, now);
}

static void start_conn(struct control *c, mono_t now)
{
        static const struct conn_fns FNS = {on_open, on_lost};
        c->conn_opened = (mono_t){0};
        c->conn = conn_new(c->loop, c->dialer, &c->url, &c->machine, &c->server_key, &FNS, c);
        if (c->conn == NULL)
                control_net_failed(c, CONTROL_ERROR_INTERNAL, "no connection could be made", now);
}

/* --- the server's key --- */

static void take_server_key(struct control *c, const struct fetch_result *res, mono_t now)
{
        struct machine_public key;
        char detail[64];
        (void)snprintf(detail, sizeof(detail), "HTTP status %ld for its key", res->status);
        if (res->status != 200) {
                control_net_failed(c, res->status >= 500 ? CONTROL_ERROR_SERVER : CONTROL_ERROR_NOT_CONTROL,
                                   detail, now);
                return;
        }
        enum err e = server_key_parse(res->body, res->body_len, &key);
        if (e != ERR_NONE) {
                control_net_failed(c,
                                   e == ERR_UNSUPPORTED ? CONTROL_ERROR_VERSION : CONTROL_ERROR_NOT_CONTROL,
                                   e == ERR_UNSUPPORTED ? "it has no key for this protocol"
                                                        : "it does not publish a key",
                                   now);
                return;
        }
        static const struct machine_public NONE;
        if (memcmp(c->server_key.b, NONE.b, KEY_LEN) != 0 && memcmp(c->server_key.b, key.b, KEY_LEN) != 0) {
                log_warn("control: the key of %s has changed", c->url.base);
                c->handshake_failed = false; /* it was about the key after all */
        }
        c->server_key = key;
        c->have_server_key = true;
        control_kick(c);
}

static void on_key(struct fetch *f, const struct fetch_result *res, void *arg, mono_t now)
{
        (void)f;
        struct control *c = arg;
        c->fetch = NULL;
        if (res->err != ERR_NONE)
                control_net_failed(c, fault_of_transport(res->err, res->error), res->error, now);
        else
                take_server_key(c, res, now);
}

static void start_key(struct control *c, mono_t now)
{
        struct buf url;
        struct dial_opts opts = {.timeout_ms = KEY_FETCH_MS};
        buf_init(&url, 1024);
        server_key_url(&c->url, CONTROL_CAP_VERSION, &url);
        c->fetch = buf_ok(&url) ? fetch_get(c->dialer, url.data, &opts, KEY_BODY_MAX, on_key, c) : NULL;
        buf_done(&url);
        if (c->fetch == NULL)
                control_net_failed(c, CONTROL_ERROR_INTERNAL, "no memory for a request", now);
}

/* --- what is due --- */

static bool needs_server(const struct control *c)
{
        return c->goal == GOAL_LOGIN || c->goal == GOAL_LOGOUT || (c->registered && c->want_poll);
}

static void connect_if_due(struct control *c, mono_t now)
{
        if (c->fetch != NULL || c->conn != NULL || !mono_reached(now, c->net.next))
                return;
        if (c->have_server_key)
                start_conn(c, now);
        else
                start_key(c, now);
}

static void arm(struct control *c)
{
        mono_t at = c->expiry_at;
        if (c->goal == GOAL_LOGOUT)
                at = mono_min(at, c->logout_by);
        if (c->have_url && needs_server(c) && c->conn == NULL && c->fetch == NULL)
                at = mono_min(at, c->net.next);
        if (conn_is_open(c->conn))
                at = mono_min(at, mono_min(register_next(c), map_next(c)));
        if (timer_is_armed(&c->wake))
                at = mono_min(at, c->wake.at);
        loop_timer_at(c->loop, &c->wake, at);
}

static void control_advance(struct control *c, mono_t now)
{
        if (mono_reached(now, c->expiry_at))
                map_expire(c, now);
        if (c->goal == GOAL_LOGOUT && mono_reached(now, c->logout_by))
                register_logout_over(c, CONTROL_ERROR_TIMEOUT, "no answer to the logout", true);
        if (c->have_url && needs_server(c)) {
                if (!conn_is_open(c->conn))
                        connect_if_due(c, now);
                if (conn_is_open(c->conn))
                        register_advance(c, now);
                if (conn_is_open(c->conn))
                        map_advance(c, now);
        } else if (c->conn != NULL || c->fetch != NULL) {
                drop_conn(c);
        }
        arm(c);
}

static void on_wake(struct timer *t, mono_t now)
{
        control_advance(container_of(t, struct control, wake), now);
}

/* --- the outside --- */

struct control *control_new(struct loop *l, struct dialer *d, const struct control_callbacks *cb, void *arg)
{
        struct control *c = calloc(1, sizeof(*c));
        if (c == NULL)
                return NULL;
        c->loop = l;
        c->dialer = d;
        c->cb = *cb;
        c->arg = arg;
        c->expiry_at = MONO_NEVER;
        c->session = mapsession_new();
        if (c->session == NULL) {
                free(c);
                return NULL;
        }
        timer_init(&c->wake, on_wake);
        buf_init(&c->reg.body, REGISTER_BODY_MAX);
        buf_init(&c->map.body, ERROR_BODY_MAX);
        buf_init(&c->lite.body, ERROR_BODY_MAX);
        map_frames_init(&c->frames);
        return c;
}

void control_free(struct control *c)
{
        if (c == NULL)
                return;
        c->online = false; /* nobody is to be told any more */
        drop_conn(c);
        headpings_stop(&c->pings);
        loop_timer_stop(&c->wake);
        map_frames_done(&c->frames);
        mapsession_free(c->session);
        json_decref(c->hostinfo);
        json_decref(c->netinfo);
        crypto_wipe(c, sizeof(*c));
        free(c);
}

enum err control_set_server(struct control *c, const char *url)
{
        struct server_url u;
        enum err e = server_url_parse(url, &u);
        if (e != ERR_NONE)
                return e;
        if (c->have_url && strcmp(u.base, c->url.base) == 0)
                return ERR_NONE;
        drop_conn(c);
        c->url = u;
        c->have_url = true;
        c->have_server_key = false;
        c->server_key = (struct machine_public){0};
        c->registered = false;
        c->followup[0] = '\0';
        backoff_clear(&c->net);
        control_kick(c);
        return ERR_NONE;
}

void control_set_keys(struct control *c, const struct key_private *machine, const struct key_private *node,
                      const struct key_private *old_node, const struct disco_public *disco)
{
        static const struct key_private NONE;
        const struct key_private *next = node != NULL ? node : &NONE;
        if (!crypto_eq(c->machine.b, machine->b, KEY_LEN))
                drop_conn(c); /* the connection speaks for the machine */
        if (!crypto_eq(c->node.b, next->b, KEY_LEN))
                c->registered = false;
        c->machine = *machine;
        c->node = *next;
        c->candidate = *next;
        c->candidate_fresh = false;
        c->old_node = old_node != NULL ? *old_node : NONE;
        control_set_disco(c, disco);
        control_kick(c);
}

void control_set_disco(struct control *c, const struct disco_public *disco)
{
        if (disco_public_eq(&c->disco, disco))
                return;
        c->disco = *disco;
        map_mark_dirty(c, loop_now(c->loop));
}

void control_set_hostinfo(struct control *c, const struct hostinfo *h)
{
        json_t *next = hostinfo_to_json(h);
        if (next == NULL)
                return;
        bool same = c->hostinfo != NULL && json_equal(c->hostinfo, next);
        json_decref(c->hostinfo);
        c->hostinfo = next;
        if (!same)
                map_mark_dirty(c, loop_now(c->loop));
}

void control_set_netinfo(struct control *c, const struct netinfo *ni)
{
        json_t *next = netinfo_to_json(ni);
        if (next == NULL)
                return;
        bool same = c->netinfo != NULL && netinfo_json_same(c->netinfo, next);
        json_decref(c->netinfo);
        c->netinfo = next;
        if (!same)
                map_mark_dirty(c, loop_now(c->loop));
}

static bool has_endpoint(const struct control *c, const struct control_endpoint *e)
{
        for (size_t i = 0; i < c->endpoint_count; i++)
                if (addr_eq(c->endpoints[i].addr, e->addr) && c->endpoints[i].type == e->type)
                        return true;
        return false;
}

/* The order means nothing: only a different set is news. */
void control_set_endpoints(struct control *c, const struct control_endpoint *eps, size_t n)
{
        if (n > CONTROL_ENDPOINTS_MAX)
                n = CONTROL_ENDPOINTS_MAX;
        bool same = n == c->endpoint_count;
        for (size_t i = 0; i < n && same; i++)
                same = has_endpoint(c, &eps[i]);
        if (same)
                return;
        if (n > 0)
                memcpy(c->endpoints, eps, n * sizeof(*eps));
        c->endpoint_count = n;
        map_mark_dirty(c, loop_now(c->loop));
}

void control_login(struct control *c, const struct control_login *opts)
{
        bool none = key_private_is_zero(&c->node);
        request_drop(c, &c->reg);
        if (c->early)
                map_stop(c);
        c->followup[0] = '\0';
        c->recheck = false;
        c->auth_key[0] = '\0';
        if (opts->auth_key != NULL &&
            register_trim_key(opts->auth_key, c->auth_key, sizeof(c->auth_key)) != ERR_NONE)
                c->auth_key[0] = '\0';
        c->ephemeral = opts->ephemeral;
        c->expiry_ns = opts->expiry_ns;
        c->candidate = c->node;
        c->candidate_fresh = false;
        if (opts->force || none)
                key_wipe(&c->candidate); /* registering makes one */
        c->goal = GOAL_LOGIN;
        backoff_clear(&c->net);
        backoff_clear(&c->reg_backoff);
        control_kick(c);
}

void control_set_poll(struct control *c, bool on)
{
        c->want_poll = on;
        if (!on)
                map_stop(c);
        control_kick(c);
}

void control_logout(struct control *c, int64_t timeout_ms)
{
        request_drop(c, &c->reg);
        map_stop(c);
        c->goal = GOAL_LOGOUT;
        c->logout_by = mono_add_ms(loop_now(c->loop), timeout_ms);
        backoff_clear(&c->net);
        backoff_clear(&c->reg_backoff);
        control_kick(c);
}

void control_stop(struct control *c)
{
        c->goal = GOAL_NONE;
        c->registered = false;
        c->want_poll = false;
        c->followup[0] = '\0';
        crypto_wipe(c->auth_key, sizeof(c->auth_key));
        drop_conn(c);
        control_kick(c);
}

void control_network_changed(struct control *c)
{
        drop_conn(c);
        backoff_clear(&c->net);
        backoff_clear(&c->map_backoff);
        backoff_clear(&c->reg_backoff);
        control_kick(c);
}

void control_clock_stepped(struct control *c, int64_t step_ns)
{
        mapsession_clock_stepped(c->session, step_ns);
        backoff_clear(&c->net);   /* a certificate may be valid now */
        map_expire(c, loop_now(c->loop));
        control_kick(c);
}

const char *control_server_host(const struct control *c)
{
        return c->url.host;
}

const struct netmap *control_netmap(const struct control *c)
{
        return mapsession_map(c->session);
}
