#include "daemon/backend_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/log.h"
#include "daemon/servers.h"

enum { LOGOUT_PATIENCE_MS = 5000 };

void backend_forget_auth_key(struct backend *b)
{
        if (b->auth_key == NULL)
                return;
        crypto_wipe(b->auth_key, strlen(b->auth_key));
        free(b->auth_key);
        b->auth_key = NULL;
        b->auth_key_sent = false;
}

void backend_push_hostinfo(struct backend *b)
{
        const struct prefs *p = &b->prefs;
        size_t tags = 0;
        while (p->advertise_tags != NULL && p->advertise_tags[tags] != NULL)
                tags++;
        struct hostinfo_service services[3];
        size_t service_count = backend_peerapi_services(b, services);
        struct hostinfo h = {
                .os = b->os,
                .hostname = p->hostname[0] != '\0' ? p->hostname : NULL,
                .ipn_version = b->o.version,
                .backend_log_id = b->o.backend_log_id,
                .routable_ips = p->advertise_routes,
                .routable_count = p->advertise_route_count,
                .request_tags = (const char *const *)p->advertise_tags,
                .tag_count = tags,
                .services = services,
                .service_count = service_count,
                .shields_up = p->shields_up,
                .no_logs = true,
                .userspace = b->o.userspace ? TRI_TRUE : TRI_FALSE,
                .userspace_router = b->o.userspace ? TRI_TRUE : TRI_FALSE,
        };
        control_set_hostinfo(b->control, &h);
}

void backend_push_keys(struct backend *b)
{
        struct disco_public disco = engine_disco_public(b->engine);
        const struct prefs_identity *id = &b->prefs.identity;
        control_set_keys(b->control, profiles_machine_key(b->o.profiles), &id->node_key, &id->old_node_key,
                &disco);
        engine_set_key(b->engine, &id->node_key);
}

/* A node that is known needs no auth key to say that it is back.  Sent all the same, a one-off key would be used up
 * by that, and missing in the login that `up --force-reauth` asks for a moment later. */
static bool is_just_back(const struct backend *b, bool force)
{
        return !force && backend_has_node_key(b) && b->prefs.identity.node_id[0] != '\0';
}

/* With the stored key, or with whatever the pending auth key brings. */
void backend_login(struct backend *b, bool force)
{
        b->auth_key_sent = b->auth_key != NULL && !is_just_back(b, force);
        struct control_login l = {.auth_key = b->auth_key_sent ? b->auth_key : NULL, .force = force};
        b->control_active = true;
        b->login_error[0] = '\0';
        control_login(b->control, &l);
        control_set_poll(b->control, true);
}

void backend_stop_control(struct backend *b)
{
        b->control_active = false;
        b->online = false;
        engine_set_polling(b->engine, false);
        control_stop(b->control);
}

static void on_node_key(void *arg, const struct key_private *candidate, const struct key_private *old)
{
        struct backend *b = arg;
        /* A login that works is not given up for one that may never be finished. */
        if (backend_has_node_key(b) && b->prefs.identity.node_id[0] != '\0')
                return;
        b->prefs.identity.present = true;
        b->prefs.identity.node_key = *candidate;
        b->prefs.identity.old_node_key = *old;
        backend_save_prefs(b);
}

static void on_auth_url(void *arg, const char *url)
{
        struct backend *b = arg;
        if (b->auth_key != NULL && !b->auth_key_sent) {   /* it is not known any more */
                backend_login(b, true);
                return;
        }
        b->login_blocked = true;
        backend_set_str(&b->auth_url, url);
        /* Whoever reads a log must not be able to finish the login. */
        log_info("a login waits for a visit of its URL, which `tailscale status` shows");
        notify_post(b->o.notify, "BrowseToURL", json_string(url));
        backend_update_state(b);
}

static void on_registered(void *arg, const struct control_registered *r)
{
        struct backend *b = arg;
        struct prefs_identity *id = &b->prefs.identity;
        id->present = true;
        id->node_key = r->node_key;
        id->old_node_key = r->old_node_key;
        if (id->user_id != r->user_id)   /* what a stored profile says beyond our fields is about another user */
                (void)json_object_del(id->unknown, "UserProfile");
        id->user_id = r->user_id;
        backend_set_str(&id->login_name, r->login_name);
        backend_set_str(&id->display_name, r->display_name);
        backend_set_str(&id->profile_pic_url, r->profile_pic_url);
        b->prefs.logged_out = false;
        b->prefs.want_running = true;
        if (b->prefs.control_url[0] == '\0')
                backend_set_str(&b->prefs.control_url, PREFS_DEFAULT_CONTROL_URL);
        b->login_blocked = b->need_login = false;
        b->login_error[0] = '\0';
        backend_set_str(&b->auth_url, "");
        if (b->auth_key_sent)
                backend_forget_auth_key(b);
        backend_save_prefs(b);
        engine_set_key(b->engine, &id->node_key);
        notify_post(b->o.notify, "LoginFinished", json_object());
        backend_post_prefs(b);
        backend_update_state(b);
}

static void on_need_login(void *arg, enum control_need_login why)
{
        struct backend *b = arg;
        static const char *const text[] = {
                [CONTROL_NEED_KEY_EXPIRED] = "the node key has expired: log in again with 'tailscale up'",
                [CONTROL_NEED_NODE_DELETED] =
                        "the server no longer knows this node: log in again with 'tailscale up'",
                [CONTROL_NEED_MIXED_STATE] =
                        "node key and machine key belong to different nodes: 'tailscale logout', then log in",
        };
        bool never_in = why == CONTROL_NEED_NODE_DELETED && b->prefs.identity.node_id[0] == '\0';
        (void)str_copy(b->login_error, sizeof(b->login_error),
                never_in ? "an earlier login was not finished: log in with 'tailscale up'" : text[why]);
        log_warn("%s", b->login_error);
        b->need_login = true;
        b->key_expired = why == CONTROL_NEED_KEY_EXPIRED;
        if (b->auth_key != NULL && !b->auth_key_sent)   /* now it is needed */
                backend_login(b, true);
        backend_update_state(b);
}

static void on_online(void *arg, bool online)
{
        struct backend *b = arg;
        b->online = online;
        if (online)
                b->login_error[0] = '\0';
        if (online && b->o.store != NULL)
                servers_save(b->o.store, b->o.dialer, control_server_host(b->control));
        engine_set_polling(b->engine, online);
}

/* What to do stands on a line of its own; in a log and in the list of what is wrong there is but one. */
static void one_line(const char *text, char *out, size_t cap)
{
        int cause = (int)strcspn(text, "\n");
        const char *remedy = text[cause] != '\0' ? text + cause + 1 : "";
        snprintf(out, cap, "%.*s%s%s", cause, text, remedy[0] != '\0' ? "; " : "", remedy);
}

static void on_error(void *arg, const struct control_error *e)
{
        struct backend *b = arg;
        char line[sizeof(b->login_error)];
        one_line(e->message, line, sizeof(line));
        if (strcmp(b->login_error, line) != 0)
                log_warn("control: %s", line);
        (void)str_copy(b->login_error, sizeof(b->login_error), line);
        if (e->fatal) {
                b->login_blocked = true;
                backend_forget_auth_key(b);
        }
        notify_post(b->o.notify, e->fatal ? "ErrMessage" : "LoginError", json_string(e->message));
        backend_update_state(b);
}

void backend_answer_logouts(struct backend *b, const char *error)
{
        for (struct waiter *w; (w = b->logouts) != NULL;) {
                b->logouts = w->next;
                w->fn(w->arg, error);
                free(w);
        }
}

/* The client must not be freed by its own callback, so the end of a logout waits for the loop. */
static void on_logged_out(void *arg, const struct control_error *e)
{
        struct backend *b = arg;
        char line[sizeof(b->login_error)];
        if (e != NULL) {
                one_line(e->message, line, sizeof(line));
                log_warn("the server was not told of the logout: %s", line);
        }
        loop_timer_in(b->o.loop, &b->logout_timer, 0);
}

static void on_browser_url(void *arg, const char *url)
{
        struct backend *b = arg;
        notify_post(b->o.notify, "BrowseToURL", json_string(url));
}

/* The stored URL may have been written by another program. */
const char *backend_push_server(struct backend *b)
{
        if (control_set_server(b->control, prefs_control_url(&b->prefs)) == ERR_NONE)
                return NULL;
        b->login_blocked = true;
        (void)str_copy(b->login_error, sizeof(b->login_error),
                "the login server must be a URL such as https://headscale.example.com: give one with --login-server");
        return b->login_error;
}

static const struct control_callbacks control_cb = {
        .on_node_key = on_node_key,
        .on_auth_url = on_auth_url,
        .on_registered = on_registered,
        .on_need_login = on_need_login,
        .on_netmap = backend_on_netmap,
        .on_online = on_online,
        .on_error = on_error,
        .on_logged_out = on_logged_out,
        .on_browser_url = on_browser_url,
};

/* A client that knows nothing of an earlier login. */
enum err backend_renew_control(struct backend *b)
{
        struct control *c = control_new(b->o.loop, b->o.dialer, &control_cb, b);
        if (c == NULL)
                return ERR_FULL;
        control_free(b->control);
        b->control = c;
        b->control_active = false;
        b->online = false;
        return ERR_NONE;
}

void backend_on_logout_timer(struct timer *t, mono_t now)
{
        (void)now;
        struct backend *b = container_of(t, struct backend, logout_timer);
        backend_drop_profile(b);
        backend_answer_logouts(b, NULL);
}

void backend_logout(struct backend *b, backend_done_fn fn, void *arg)
{
        struct waiter *w = calloc(1, sizeof(*w));
        if (w == NULL) {
                fn(arg, "out of memory");
                return;
        }
        *w = (struct waiter){fn, arg, b->logouts};
        b->logouts = w;
        if (w->next != NULL)
                return;   /* one is under way */
        b->prefs.want_running = false;
        b->prefs.logged_out = true;
        backend_forget_auth_key(b);   /* or an expiry meanwhile would make a login of this */
        if (!backend_has_node_key(b)) {
                on_logged_out(b, NULL);
                return;
        }
        b->control_active = false;
        b->online = false;
        control_logout(b->control, LOGOUT_PATIENCE_MS);
        backend_update_state(b);
}
