/* Logging in, following up, asking whether we are still known, logging out. */
#include "daemon/control/client_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/log.h"

enum {
        ANSWER_MS = 30000,        /* for the answer to all but a follow-up, which waits for the user */
        PROBE_MS = 60000,         /* plus up to as much again */
        FOLLOWUP_PAUSE_MS = 1000, /* the least time between two polls of one URL */
        VERSION_PAUSE_MS = 60000, /* a server that wants another version will not change its mind soon */
};

static void plan_probe(struct control *c, mono_t now)
{
        c->probe_at = mono_add_ms(now, PROBE_MS + (int64_t)crypto_random_below(PROBE_MS));
}

/* A key the server may hear must be on disk before, or a crash burns a single-use auth key. */
static void make_candidate(struct control *c)
{
        key_generate(&c->candidate);
        c->candidate_fresh = true;
        c->cb.on_node_key(c->arg, &c->candidate, &c->node);
}

static void forget_auth_key(struct control *c)
{
        crypto_wipe(c->auth_key, sizeof(c->auth_key));
}

/* The login cannot succeed as it was asked for.  A map that is running goes on. */
static void give_up(struct control *c, enum control_error_kind kind, const char *server_text)
{
        c->goal = c->registered ? GOAL_RUN : GOAL_NONE;
        c->candidate = c->node;
        forget_auth_key(c);
        control_report(c, kind, "", server_text, -1);
}

static void retry_later(struct control *c, enum control_error_kind kind, const char *detail,
                        const char *server_text, mono_t now)
{
        control_report(c, kind, detail, server_text, backoff_fail(&c->reg_backoff, now));
}

/* --- the outcomes of a login --- */

static void on_success(struct control *c, const struct register_answer *a, mono_t now)
{
        static const struct key_private NONE;
        bool new_key = !crypto_eq(c->node.b, c->candidate.b, KEY_LEN);
        if (new_key) {
                c->old_node = c->node;
                c->node = c->candidate;
                if (!c->early)
                        map_stop(c); /* the stream was opened for the old key */
        }
        c->early = false;
        c->candidate_fresh = false;
        c->registered = true;
        c->goal = GOAL_RUN;
        c->followup[0] = '\0';
        c->recheck = false;
        forget_auth_key(c);
        backoff_clear(&c->reg_backoff);
        backoff_clear(&c->map_backoff);
        plan_probe(c, now);
        struct control_registered r = {
                .node_key = c->node,
                .old_node_key = new_key ? c->old_node : NONE,
                .user_id = a->user_id,
                .login_name = a->login_name,
                .display_name = a->display_name,
                .profile_pic_url = a->profile_pic_url,
                .machine_authorized = a->machine_authorized,
        };
        c->cb.on_registered(c->arg, &r);
        key_wipe(&r.node_key);
        key_wipe(&r.old_node_key);
}

static void on_key_expired(struct control *c, mono_t now)
{
        if (c->candidate_fresh) {
                retry_later(c, CONTROL_ERROR_REJECTED, "it calls a new node key expired", "", now);
                return;
        }
        if (c->auth_key[0] == '\0')
                c->cb.on_need_login(c->arg, CONTROL_NEED_KEY_EXPIRED);
        make_candidate(c);
}

static void show_url(struct control *c, const char *url)
{
        /* Asked quietly with a key that was good before: the server has forgotten us. */
        if (!c->candidate_fresh && c->auth_key[0] == '\0' && c->followup[0] == '\0' && !c->recheck)
                c->cb.on_need_login(c->arg, CONTROL_NEED_NODE_DELETED);
        if (c->auth_key[0] != '\0' && key_private_is_zero(&c->candidate))
                return; /* that has begun a login with a key, and nobody is to visit this URL */
        (void)str_copy(c->followup, sizeof(c->followup), url);
        c->recheck = false;
        c->cb.on_auth_url(c->arg, url);
}

static void on_visit(struct control *c, const char *url, mono_t now)
{
        if (!server_auth_url_ok(&c->url, url)) {
                retry_later(c, CONTROL_ERROR_PROTOCOL, "its login URL is none", "", now);
                return;
        }
        if (c->purpose == PURPOSE_FOLLOWUP && strcmp(url, c->followup) == 0) {
                (void)backoff_fail(&c->reg_backoff, now); /* nothing has happened: not so fast again */
                c->reg_backoff.next = mono_add_ms(c->reg_backoff.next, FOLLOWUP_PAUSE_MS);
        } else if (c->purpose == PURPOSE_FOLLOWUP) {
                /* Timed out, or the verdict went to another waiter: a plain request tells which. */
                c->followup[0] = '\0';
                c->recheck = true;
                (void)backoff_fail(&c->reg_backoff, now);
        } else {
                show_url(c, url);
        }
}

static void on_rejected(struct control *c, const struct register_answer *a, mono_t now)
{
        enum register_fault f = register_fault_of(a->error);
        bool about_key = f == REGISTER_FAULT_KEY_BAD || f == REGISTER_FAULT_KEY_USED ||
                         f == REGISTER_FAULT_KEY_EXPIRED;
        if (f == REGISTER_FAULT_MIXED) {
                give_up(c, CONTROL_ERROR_REJECTED, a->error);
                c->cb.on_need_login(c->arg, CONTROL_NEED_MIXED_STATE);
        } else if (f == REGISTER_FAULT_TAGS || (about_key && c->auth_key[0] != '\0')) {
                give_up(c, fault_of_register(f), a->error);
        } else {
                retry_later(c, fault_of_register(f), "", a->error, now);
        }
}

static void on_login_answer(struct control *c, const struct register_answer *a, mono_t now)
{
        switch (a->outcome) {
        case REGISTER_OK:
                on_success(c, a, now);
                break;
        case REGISTER_ERROR:
                on_rejected(c, a, now);
                break;
        case REGISTER_SIGNATURE:
                give_up(c, CONTROL_ERROR_REJECTED,
                        "this tailnet wants signed node keys (tailnet lock), which is not supported");
                break;
        case REGISTER_KEY_EXPIRED:
                on_key_expired(c, now);
                break;
        case REGISTER_VISIT:
                on_visit(c, a->auth_url, now);
                break;
        }
}

/* Only a clear word counts; an error text may be about something else. */
static void on_probe_answer(struct control *c, const struct register_answer *a)
{
        if (a->outcome == REGISTER_VISIT && server_auth_url_ok(&c->url, a->auth_url)) {
                log_info("control: the server no longer knows this node");
                c->registered = false;
                c->goal = GOAL_LOGIN;
                map_stop(c);
                show_url(c, a->auth_url);
        } else if (a->outcome == REGISTER_KEY_EXPIRED && !c->self_expired) {
                c->self_expired = true;
                c->cb.on_need_login(c->arg, CONTROL_NEED_KEY_EXPIRED);
        }
}

void register_logout_over(struct control *c, enum control_error_kind kind, const char *detail, bool failed)
{
        char text[FAULT_TEXT_MAX];
        struct control_error e = {
                .kind = kind,
                .message = fault_text(kind, &c->url, detail, "", text),
                .server_text = "",
                .fatal = true,
                .retry_ms = -1,
        };
        request_drop(c, &c->reg);
        map_stop(c);
        c->goal = GOAL_NONE;
        c->registered = false;
        c->followup[0] = '\0';
        if (!failed) {
                key_wipe(&c->node);
                key_wipe(&c->old_node);
                key_wipe(&c->candidate);
                mapsession_clear(c->session);
        }
        c->cb.on_logged_out(c->arg, failed ? &e : NULL);
}

/* --- the request --- */

static void on_bad_status(struct control *c, mono_t now)
{
        char detail[64];
        struct request *rq = &c->reg;
        const char *text = request_error_text(rq);
        (void)snprintf(detail, sizeof(detail), "HTTP status %d", rq->status);
        if (rq->status == 429) {
                int64_t ms = register_retry_ms(rq->retry_after, wall_now_ns(), crypto_random_u32());
                c->reg_backoff.next = mono_add_ms(now, ms);
                control_report(c, CONTROL_ERROR_RATE_LIMITED, detail, text, ms);
        } else if (rq->status == 400 && strstr(text, "unsupported client version") != NULL) {
                (void)backoff_fail(&c->reg_backoff, now);
                c->reg_backoff.next = mono_add_ms(now, VERSION_PAUSE_MS);
                control_report(c, CONTROL_ERROR_VERSION, detail, text, VERSION_PAUSE_MS);
        } else {
                retry_later(c, rq->status >= 500 ? CONTROL_ERROR_SERVER : CONTROL_ERROR_REJECTED, detail,
                            text, now);
        }
}

static void on_answer(struct control *c, mono_t now)
{
        struct register_answer a;
        enum err e = c->reg.status == 200 ? register_parse(c->reg.body.data, c->reg.body.len, &a) : ERR_NONE;
        if (c->purpose == PURPOSE_LOGOUT && c->reg.status == 200)
                register_logout_over(c, CONTROL_ERROR_INTERNAL, "", false);
        else if (c->purpose == PURPOSE_PROBE && (c->reg.status != 200 || e != ERR_NONE))
                log_debug(1, "control: no answer to a probe");
        else if (c->reg.status != 200)
                on_bad_status(c, now);
        else if (e != ERR_NONE)
                retry_later(c, CONTROL_ERROR_PROTOCOL, "its answer to the registration cannot be read", "",
                            now);
        else if (c->purpose == PURPOSE_PROBE)
                on_probe_answer(c, &a);
        else
                on_login_answer(c, &a, now);
}

static void on_status(void *arg, int status, const char *retry_after)
{
        struct control *c = arg;
        request_on_status(&c->reg, status, retry_after);
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
        struct control *c = arg;
        request_on_data(&c->reg, data, len, REGISTER_BODY_MAX);
}

static void on_end(void *arg, bool clean)
{
        struct control *c = arg;
        mono_t now = loop_now(c->loop);
        c->reg.stream = NULL;
        if (clean && c->reg.status != 0)
                on_answer(c, now);
        else if (c->purpose != PURPOSE_PROBE)
                retry_later(c, CONTROL_ERROR_SERVER, "it broke off the registration", "", now);
        if (c->early)
                map_stop(c); /* it did not succeed */
        if (c->reg.stream == NULL)
                buf_done(&c->reg.body);
        control_kick(c);
}

static const struct h2_stream_fns REGISTER_FNS = {on_status, on_data, on_end};

static void send_register(struct control *c, enum register_purpose purpose, mono_t now)
{
        struct register_request rq = {.version = CONTROL_CAP_VERSION};
        bool login = purpose == PURPOSE_LOGIN || purpose == PURPOSE_FOLLOWUP;
        json_t *hostinfo = control_hostinfo(c);
        rq.node_key = key_node_public(login ? &c->candidate : &c->node);
        if (login && !key_private_is_zero(&c->node) && !crypto_eq(c->candidate.b, c->node.b, KEY_LEN))
                rq.old_node_key = key_node_public(&c->node);
        if (login && !c->recheck)
                rq.auth_key = c->auth_key;
        if (login)
                rq.expiry_ns = c->expiry_ns;
        if (purpose == PURPOSE_LOGOUT)
                rq.expiry_ns = REGISTER_LOGOUT_NS;
        if (purpose == PURPOSE_FOLLOWUP)
                rq.followup = c->followup;
        rq.ephemeral = login && c->ephemeral;
        rq.hostinfo = hostinfo;
        c->purpose = purpose;
        c->reg_sent = now;
        if (control_post(c, &c->reg, "/machine/register", register_build(&rq), &REGISTER_FNS, now))
                map_plan_early(c, now);
        json_decref(hostinfo);
}

/* Only Headscale keeps quiet about a deleted node; others must not be asked needlessly. */
static bool wants_probe(const struct control *c)
{
        return c->goal == GOAL_RUN && c->registered && c->online && control_maybe_headscale(c);
}

void register_again(struct control *c)
{
        if (c->goal != GOAL_RUN)
                return;
        c->registered = false;
        c->goal = GOAL_LOGIN;
        c->candidate = c->node;
        c->candidate_fresh = false;
        control_kick(c);
}

static mono_t answer_by(const struct control *c)
{
        return c->purpose == PURPOSE_FOLLOWUP ? MONO_NEVER : mono_add_ms(c->reg_sent, ANSWER_MS);
}

/* The server took the request and says nothing.  The next one is the same, with the same node key: if this one was
 * carried out after all, a single-use auth key is none the worse.  Without a map stream beside it the connection may
 * well be dead. */
static void give_up_waiting(struct control *c, mono_t now)
{
        static const char WHY[] = "it does not answer the registration";
        request_drop(c, &c->reg);
        if (c->early)
                map_stop(c);
        if (c->purpose == PURPOSE_PROBE) {
                log_debug(1, "control: no answer to a probe");
        } else if (c->map.stream != NULL) {
                retry_later(c, CONTROL_ERROR_SERVER, WHY, "", now);
        } else {
                (void)backoff_fail(&c->reg_backoff, now);
                control_net_failed(c, CONTROL_ERROR_SERVER, WHY, now);
        }
}

void register_advance(struct control *c, mono_t now)
{
        if (c->reg.stream != NULL) {
                if (mono_reached(now, answer_by(c)))
                        give_up_waiting(c, now);
                return;
        }
        if (c->goal == GOAL_LOGOUT && key_private_is_zero(&c->node)) {
                register_logout_over(c, CONTROL_ERROR_INTERNAL, "", false);
        } else if (c->goal == GOAL_LOGOUT && mono_reached(now, c->reg_backoff.next)) {
                send_register(c, PURPOSE_LOGOUT, now);
        } else if (c->goal == GOAL_LOGIN && mono_reached(now, c->reg_backoff.next)) {
                if (key_private_is_zero(&c->candidate))
                        make_candidate(c);
                send_register(c, c->followup[0] != '\0' ? PURPOSE_FOLLOWUP : PURPOSE_LOGIN, now);
        } else if (wants_probe(c) && mono_reached(now, c->probe_at)) {
                plan_probe(c, now);
                send_register(c, PURPOSE_PROBE, now);
        }
}

mono_t register_next(const struct control *c)
{
        if (c->reg.stream != NULL)
                return answer_by(c);
        if (c->goal == GOAL_LOGIN || c->goal == GOAL_LOGOUT)
                return c->reg_backoff.next;
        return wants_probe(c) ? c->probe_at : MONO_NEVER;
}
