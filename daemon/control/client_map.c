/* The map stream, and telling the server what has changed here. */
#include "daemon/control/client_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum {
        WATCHDOG_MS = 120000,
        UPDATE_MS = 30000, /* for the answer to an update */
        GATHER_MS = 100, /* changes that come together go together */
        BESIDE_MS = 50,
        EARLY_GAP_MS = 150,
        EARLY_TRIES = 8,
        STREAM_GOOD_MS = 5000,
        EXPIRY_SLACK_MS = 1000,
};

static void set_online(struct control *c, bool online)
{
        if (c->online == online)
                return;
        c->online = online;
        c->cb.on_online(c->arg, online);
}

void map_stop(struct control *c)
{
        request_drop(c, &c->map);
        request_drop(c, &c->lite);
        c->early = false;
        set_online(c, false);
}

/* Headscale stores a new node up to half a second before it answers the registration, and then needs a second
 * for the first map.  So the map is asked for meanwhile; until the node is stored that is refused at once.
 * Only a login with a key is over so soon that a few tries suffice. */
static bool wants_early(const struct control *c)
{
        return !c->registered && c->goal == GOAL_LOGIN && c->purpose == PURPOSE_LOGIN && c->reg.stream != NULL &&
               c->auth_key[0] != '\0' && control_maybe_headscale(c) &&
               (c->map.stream != NULL || c->early_tries < EARLY_TRIES);
}

void map_plan_early(struct control *c, mono_t now)
{
        c->early_tries = 0;
        if (wants_early(c))
                c->map_backoff.next = mono_add_ms(now, EARLY_GAP_MS);
}

void map_mark_dirty(struct control *c, mono_t now)
{
        if (!c->dirty)
                c->dirty_at = mono_add_ms(now, GATHER_MS);
        c->dirty = true;
        control_kick(c);
}

/* --- what a message brought --- */

static void plan_expiry(struct control *c, mono_t now)
{
        int64_t wall = wall_now_ns();
        int64_t at = mapsession_next_expiry(c->session, wall);
        c->expiry_at = MONO_NEVER;
        if (at != INT64_MAX)
                c->expiry_at = mono_add_ms(mono_add_ns(now, at > wall ? at - wall : 0), EXPIRY_SLACK_MS);
}

static void check_self(struct control *c)
{
        bool expired = mapsession_self_expired(c->session, wall_now_ns());
        if (expired && !c->self_expired)
                c->cb.on_need_login(c->arg, CONTROL_NEED_KEY_EXPIRED);
        c->self_expired = expired;
}

static void give_delta(struct control *c, const struct netmap_delta *d)
{
        if (d->first || d->parts != 0 || d->peer_count > 0)
                c->cb.on_netmap(c->arg, mapsession_map(c->session), d);
        mapsession_told(c->session);
}

void map_expire(struct control *c, mono_t now)
{
        struct netmap_delta d;
        if (mapsession_expire(c->session, wall_now_ns(), &d) == ERR_NONE)
                give_delta(c, &d);
        check_self(c);
        plan_expiry(c, now);
}

static void on_map(struct control *c, const struct map_news *news, mono_t now)
{
        bool first = news->delta.first;
        if (first) {
                log_debug(1, "control: first map: %zu peers", mapsession_map(c->session)->peer_count);
                backoff_clear(&c->map_backoff);
        }
        give_delta(c, &news->delta);
        check_self(c);
        plan_expiry(c, now);
        if (first)
                set_online(c, true);
}

static enum err on_message(void *arg, const char *json, size_t len)
{
        struct control *c = arg;
        struct map_news news;
        mono_t now = loop_now(c->loop);
        if (c->map.stream == NULL)
                return ERR_CLOSED; /* a callback has stopped the stream */
        if (c->early) { /* nobody may hear of a map before the login: it is asked for again then */
                map_stop(c);
                c->early_tries = EARLY_TRIES;
                return ERR_CLOSED;
        }
        enum err e = mapsession_apply(c->session, json, len, wall_now_ns(), &news);
        if (e != ERR_NONE)
                return e;
        c->map_heard = now;
        if (!news.keepalive)
                on_map(c, &news, now);
        control_kick(c);
        if (c->map.stream == NULL)
                return ERR_CLOSED; /* the callbacks did it just now */
        if (news.ping_url[0] != '\0' && strcmp(news.ping_url, c->last_ping) != 0) {
                (void)str_copy(c->last_ping, sizeof(c->last_ping), news.ping_url);
                control_answer_ping(c, &news);
        }
        if (news.browser_url[0] != '\0' && server_auth_url_ok(&c->url, news.browser_url))
                c->cb.on_browser_url(c->arg, news.browser_url);
        return ERR_NONE;
}

/* --- the stream --- */

static void stream_failed(struct control *c, enum control_error_kind kind, const char *detail,
                          const char *server_text, mono_t now)
{
        if (c->online && mono_diff_ms(now, c->map_opened) >= STREAM_GOOD_MS)
                backoff_clear(&c->map_backoff);
        set_online(c, false);
        control_report(c, kind, detail, server_text, backoff_fail(&c->map_backoff, now));
        control_kick(c);
}

/* A refusal of either kind of map request.  True: it means more than "not now". */
static bool on_refusal(struct control *c, struct request *rq)
{
        const char *text = request_error_text(rq);
        if (strstr(text, "does not match") != NULL || strstr(text, "doesn't match") != NULL) {
                c->registered = false;
                c->goal = GOAL_NONE;
                c->cb.on_need_login(c->arg, CONTROL_NEED_MIXED_STATE);
                return true;
        }
        if (rq->status == 404 || strstr(text, "node not found") != NULL) {
                log_info("control: the server does not know this node: asking again");
                register_again(c);
                return true;
        }
        return false;
}

static void on_stream_status(void *arg, int status, const char *retry_after)
{
        struct control *c = arg;
        request_on_status(&c->map, status, retry_after);
}

static void on_stream_data(void *arg, const uint8_t *data, size_t len)
{
        struct control *c = arg;
        if (c->map.status != 200) {
                request_on_data(&c->map, data, len, ERROR_BODY_MAX);
                return;
        }
        enum err e = map_frames_feed(&c->frames, data, len, on_message, c);
        if (e == ERR_NONE || c->map.stream == NULL)
                return;
        request_drop(c, &c->map);
        stream_failed(c, CONTROL_ERROR_PROTOCOL,
                      e == ERR_FULL ? "its map is too large" : "its map cannot be read", "",
                      loop_now(c->loop));
}

static void on_stream_end(void *arg, bool clean)
{
        struct control *c = arg;
        mono_t now = loop_now(c->loop);
        int status = c->map.status;
        char detail[64];
        c->map.stream = NULL;
        if (c->early) {
                c->early = false;
                c->map_backoff.next = mono_add_ms(now, EARLY_GAP_MS);
        } else if (!clean || status == 0 || status == 200) {
                stream_failed(c, CONTROL_ERROR_SERVER, "it ended the map stream", "", now);
        } else if (!on_refusal(c, &c->map)) {
                (void)snprintf(detail, sizeof(detail), "HTTP status %d for the map", status);
                stream_failed(c, status >= 500 ? CONTROL_ERROR_SERVER : CONTROL_ERROR_REJECTED, detail,
                              request_error_text(&c->map), now);
        } else {
                set_online(c, false);
                (void)backoff_fail(&c->map_backoff, now);
        }
        if (c->map.stream == NULL)
                buf_done(&c->map.body);
}

static char *map_body(struct control *c, bool stream)
{
        json_t *hostinfo = control_hostinfo(c);
        struct map_request rq = {
                .version = CONTROL_CAP_VERSION,
                .node_key = key_node_public(c->early ? &c->candidate : &c->node),
                .disco = c->disco,
                .hostinfo = hostinfo,
                .endpoints = c->endpoints,
                .endpoint_count = c->endpoint_count,
                .stream = stream,
        };
        char *body = map_request_build(&rq);
        json_decref(hostinfo);
        return body;
}

static void open_stream(struct control *c, mono_t now)
{
        static const struct h2_stream_fns FNS = {on_stream_status, on_stream_data, on_stream_end};
        map_frames_done(&c->frames);
        map_frames_init(&c->frames);
        mapsession_restart(c->session);
        c->last_ping[0] = '\0';
        c->map_heard = now;
        c->map_opened = now;
        c->early = !c->registered;
        c->early_tries += c->early;
        if (!control_post(c, &c->map, "/machine/map", map_body(c, true), &FNS, now))
                return;
        /* The same once more as an update, beside the stream if that is not refused: some servers show a node to
         * others only once it has said this itself, and Headscale tells them of an update half a second before
         * it answers the stream.  So the others mostly know us by the time we know them. */
        c->dirty = true;
        c->dirty_at = mono_add_ms(now, BESIDE_MS);
}

/* --- updates --- */

static void on_lite_status(void *arg, int status, const char *retry_after)
{
        struct control *c = arg;
        request_on_status(&c->lite, status, retry_after);
}

static void on_lite_data(void *arg, const uint8_t *data, size_t len)
{
        struct control *c = arg;
        if (c->lite.status != 200) /* a map nobody asked for may come with 200 */
                request_on_data(&c->lite, data, len, ERROR_BODY_MAX);
}

static void on_lite_end(void *arg, bool clean)
{
        struct control *c = arg;
        mono_t now = loop_now(c->loop);
        c->lite.stream = NULL;
        if (clean && c->lite.status == 200) {
                backoff_clear(&c->lite_backoff);
        } else {
                c->dirty = true;
                c->dirty_at = now;
                (void)backoff_fail(&c->lite_backoff, now);
                if (!c->early && clean && c->lite.status != 0 && on_refusal(c, &c->lite))
                        map_stop(c);
                else
                        log_debug(1, "control: an update was not accepted (status %d)", c->lite.status);
        }
        if (c->lite.stream == NULL)
                buf_done(&c->lite.body);
        control_kick(c);
}

static void send_lite(struct control *c, mono_t now)
{
        static const struct h2_stream_fns FNS = {on_lite_status, on_lite_data, on_lite_end};
        c->dirty = false; /* what changes from here on goes with the next one */
        c->lite_sent = now;
        (void)control_post(c, &c->lite, "/machine/map", map_body(c, false), &FNS, now);
}

/* The server took the update and says nothing, while the stream beside it lives: it is sent again. */
static void give_up_lite(struct control *c, mono_t now)
{
        log_debug(1, "control: an update was not answered");
        request_drop(c, &c->lite);
        c->dirty = true;
        c->dirty_at = now;
        (void)backoff_fail(&c->lite_backoff, now);
}

static bool wants_map(const struct control *c)
{
        return c->want_poll && ((c->registered && c->goal != GOAL_LOGOUT) || wants_early(c));
}

static bool wants_lite(const struct control *c)
{
        return c->dirty && c->map.stream != NULL && c->lite.stream == NULL;
}

void map_advance(struct control *c, mono_t now)
{
        if (!wants_map(c))
                return;
        if (c->map.stream == NULL && mono_reached(now, c->map_backoff.next)) {
                open_stream(c, now);
        } else if (c->map.stream != NULL && mono_diff_ms(now, c->map_heard) >= WATCHDOG_MS) {
                control_net_failed(c, CONTROL_ERROR_TIMEOUT, "nothing was heard for two minutes", now);
                return;
        }
        if (c->lite.stream != NULL && mono_diff_ms(now, c->lite_sent) >= UPDATE_MS)
                give_up_lite(c, now);
        if (conn_is_open(c->conn) && wants_lite(c) && mono_reached(now, c->dirty_at) &&
            mono_reached(now, c->lite_backoff.next))
                send_lite(c, now);
}

mono_t map_next(const struct control *c)
{
        mono_t next = MONO_NEVER;
        if (!wants_map(c))
                return next;
        if (c->map.stream == NULL)
                next = mono_min(next, c->map_backoff.next);
        else
                next = mono_min(next, mono_add_ms(c->map_heard, WATCHDOG_MS));
        if (c->lite.stream != NULL)
                next = mono_min(next, mono_add_ms(c->lite_sent, UPDATE_MS));
        if (wants_lite(c))
                next = mono_min(next, mono_reached(c->dirty_at, c->lite_backoff.next) ? c->dirty_at
                                                                                      : c->lite_backoff.next);
        return next;
}
