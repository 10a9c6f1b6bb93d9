/* up and login: says what is wanted, then waits until the node runs. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/duration.h"
#include "base/json.h"
#include "base/mono.h"
#include "cli/command.h"
#include "cli/text.h"
#include "cli/upflags.h"

enum { STATE_NEEDS_MACHINE_AUTH = 3, STATE_STARTING = 5, STATE_RUNNING = 6 };
enum { STALL_MS = 4000 };            /* nothing new for this long: say what is waited for */

struct run {
        struct cli *c;
        struct client *calls;        /* a second connection: the first one reads the bus */
        const struct up *u;
        json_t *status;              /* as it was at the beginning */
        char *start_body;            /* POST start; NULL: PATCH patch_body instead */
        char *patch_body;
        bool interactive;            /* POST login-interactive after start */
        bool asked;                  /* the calls above were made */
        bool printed;                /* something was shown: say Success at the end */
        bool told_admin;
        char url[1024];              /* the last one shown */
        char old_key[128];
        int64_t state;               /* the last one heard of; 0: none */
        char reason[1024];           /* why the last attempt failed, as it was shown */
        char reason_before[1024];
        const char *server;          /* that the node logs in to */
        mono_t give_up;
        mono_t stall;                /* when it is time for such a word */
        int code;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
        (void)sig;
        interrupted = 1;
}

/* ---- waiting ---- */

static void show_url(struct run *r, const char *url)
{
        if (r->u->auth_key[0] != '\0' || strcmp(url, r->url) == 0)
                return;
        (void)str_copy(r->url, sizeof(r->url), url);
        r->printed = true;
        if (r->u->json) {
                json_t *o = json_pack("{s:s, s:s}", "AuthURL", url, "BackendState",
                        json_str(r->status, "BackendState", ""));
                json_print(o, 1, true);
                json_decref(o);
                fflush(stdout);
        } else {
                text_print(stderr, "\nTo authenticate, visit:\n\n\t%s\n\n", url);
        }
}

static void show_reason(struct run *r, const char *text)
{
        /* An unreachable address may be refused and time out in turns: each is said once. */
        if (strcmp(text, r->reason) == 0 || strcmp(text, r->reason_before) == 0)
                return;
        memcpy(r->reason_before, r->reason, sizeof(r->reason));
        (void)str_copy(r->reason, sizeof(r->reason), text);
        text_print(stderr, "%s\n", text);
        if (r->give_up.ns == INT64_MAX)
                fputs("trying again; Ctrl-C ends this\n", stderr);
}

/* What is waited for; false: for a person, who was told so. */
static bool waits_for(const struct run *r, const char *since, char *out, size_t cap)
{
        if (r->state != STATE_STARTING && (r->url[0] != '\0' || r->state == STATE_NEEDS_MACHINE_AUTH))
                return false;
        if (r->state == STATE_STARTING)
                snprintf(out, cap, "logged in, but no relay and no peer answers: see 'tailscale netcheck'");
        else
                snprintf(out, cap, "the login server %s has not answered %s: check that it is running, and the network",
                        r->server, since);
        return true;
}

/* The first words are what scripts look for; then what it was that took so long. */
static void say_timeout(const struct run *r)
{
        char after[DURATION_STR_MAX], since[DURATION_STR_MAX + 8], text[1024];
        duration_str(r->u->timeout_ns, after);
        snprintf(since, sizeof(since), "for %s", after);
        if (r->reason[0] != '\0') {
                text_print(stderr, "gave up after %s; the daemon goes on trying\n", after);
                return;
        }
        fputs("timeout waiting for Tailscale service to enter a Running state; "
              "check health with \"tailscale status\"\n", stderr);
        if (waits_for(r, since, text, sizeof(text)))
                text_print(stderr, "%s\n", text);
        else if (r->state != STATE_NEEDS_MACHINE_AUTH)
                fputs("the login URL above stays valid: the node is in once it was visited\n", stderr);
}

static bool finish(struct run *r, int code)
{
        r->code = code;
        if (code == 0 && r->u->json)
                puts("{\n  \"BackendState\": \"Running\"\n}");
        else if (code == 0 && r->printed)
                fputs("Success.\n", stderr);
        return false;
}

static bool on_event(void *arg, const json_t *e)
{
        struct run *r = arg;
        const char *err = json_str(e, "ErrMessage", NULL), *why = json_str(e, "LoginError", NULL);
        const char *url = json_str(e, "BrowseToURL", NULL);
        if (err != NULL || why != NULL || url != NULL || json_int(e, "State", 0) != 0)
                r->stall = mono_add_ms(mono_now(), STALL_MS);
        if (err != NULL) {
                text_print(stderr, "backend error: %s\n", err);
                return finish(r, 1);
        }
        if (why != NULL)
                show_reason(r, why);
        if (url != NULL && url[0] != '\0' && r->asked)
                show_url(r, url);
        const char *key = json_str(json_obj(e, "SelfChange"), "Key", NULL);
        if (r->u->force_reauth && key != NULL && r->asked && strcmp(key, r->old_key) != 0)
                return finish(r, 0);
        int64_t state = json_int(e, "State", 0);
        if (state != 0)
                r->state = state;
        if (state == STATE_NEEDS_MACHINE_AUTH && !r->told_admin) {
                r->told_admin = r->printed = true;
                text_print(stderr, "\nThis machine needs the approval of an administrator:\n\n\t%s/admin\n\n",
                        r->u->login_server);
        }
        if (state == STATE_RUNNING && r->asked && !r->u->force_reauth)
                return finish(r, 0);
        return true;
}

/* The bus is open: nothing that happens from here on is missed. */
static bool ask(struct run *r)
{
        r->asked = true;
        if (r->start_body == NULL)
                return client_json(r->calls, "PATCH", "prefs", r->patch_body, 200, NULL);
        if (!client_json(r->calls, "POST", "start", r->start_body, 204, NULL))
                return false;
        return !r->interactive || client_json(r->calls, "POST", "login-interactive", NULL, 204, NULL);
}

static bool on_tick(void *arg, bool connected)
{
        struct run *r = arg;
        if (interrupted) {
                fputs("interrupted; the daemon goes on, 'tailscale status' shows how far it is\n", stderr);
                return finish(r, 1);
        }
        if (mono_reached(mono_now(), r->give_up)) {
                say_timeout(r);
                return finish(r, 1);
        }
        if (connected && !r->asked && !ask(r))
                return finish(r, 1);
        /* With a timeout this is said at its end. */
        char text[1024];
        if (r->give_up.ns == INT64_MAX && mono_reached(mono_now(), r->stall)) {
                if (waits_for(r, "yet", text, sizeof(text)))
                        show_reason(r, text);
                r->stall = MONO_NEVER;
        }
        return true;
}

static int wait_for_running(struct run *r)
{
        /* 8192: without the maps, which may be megabytes each. */
        struct bus_watch w = {.path = "watch-ipn-bus?mask=8192", .on_event = on_event, .on_tick = on_tick, .arg = r};
        signal(SIGINT, on_signal);
        signal(SIGTERM, on_signal);
        r->give_up = r->u->timeout_ns > 0 ? mono_add_ns(mono_now(), r->u->timeout_ns) : MONO_NEVER;
        r->stall = mono_add_ms(mono_now(), STALL_MS);
        r->state = strcmp(json_str(r->status, "BackendState", ""), "Starting") == 0 ? STATE_STARTING : 0;
        r->code = 1;
        if (client_watch(r->c->client, &w) != ERR_NONE)
                fputs("the daemon went away while logging in; look at its log\n", stderr);
        return r->code;
}

/* ---- deciding ---- */

static bool no_flags(const struct up *u)
{
        return !flags_any_given(u->flags, u->flag_count);
}

/* The preferences with the address of the exit node for its id, where status knows it. */
static json_t *with_exit_address(const json_t *status, const json_t *prefs)
{
        json_t *copy = json_copy((json_t *)(uintptr_t)prefs);
        const json_t *first = json_array_get(json_arr(json_obj(status, "ExitNodeStatus"), "TailscaleIPs"), 0);
        char ip[64];
        if (copy != NULL && json_str(prefs, "AutoExitNode", "")[0] != '\0') {   /* the daemon's choice, not the user's */
                json_object_set_new(copy, "ExitNodeIP", json_string(""));
                json_object_set_new(copy, "ExitNodeID", json_string(""));
                return copy;
        }
        if (copy == NULL || !json_is_string(first) || json_str(prefs, "ExitNodeIP", "")[0] != '\0')
                return copy;
        (void)str_copy(ip, sizeof(ip), json_string_value(first));
        ip[strcspn(ip, "/")] = '\0';
        json_object_set_new(copy, "ExitNodeIP", json_string(ip));
        json_object_set_new(copy, "ExitNodeID", json_string(""));
        return copy;
}

/* False: settings would silently go back; said so.  Those of an attempt that never got in are no habit to keep. */
static bool revert_check(const struct up *u, const json_t *status, const json_t *prefs)
{
        const json_t *config = json_obj(prefs, "Config");
        const char *login = json_str(json_obj(config, "UserProfile"), "LoginName", "");
        bool was_in = login[0] != '\0' || json_str(config, "NodeID", "")[0] != '\0';
        bool bare = no_flags(u) && login[0] != '\0' && strcmp(json_str(status, "BackendState", ""), "NeedsLogin") != 0;
        if (u->reset || bare || !was_in || json_str(prefs, "ControlURL", "")[0] == '\0')
                return true;
        struct buf line;
        buf_init(&line, 16384);
        json_t *shown = with_exit_address(status, prefs);
        bool ok = up_reverted(u, shown, &line) == 0;
        json_decref(shown);
        if (!ok)
                text_print(stderr, "Error: changing settings via 'tailscale up' requires mentioning all\n"
                        "non-default flags. To proceed, type this line, or add --reset to let the\n"
                        "settings not mentioned go back to their defaults:\n\n\ttailscale up%s\n\n",
                        line.data != NULL ? line.data : "");
        buf_done(&line);
        return ok;
}

static bool same_server(const struct up *u, const json_t *prefs)
{
        const char *now = json_str(prefs, "ControlURL", "");
        return now[0] == '\0' || strcmp(now, u->login_server) == 0;
}

static char *start_body(const struct up *u, const json_t *prefs, const char *key)
{
        json_t *p = up_prefs(u, u->reset ? NULL : prefs), *o = json_object();
        const char *name = u->nickname[0] != '\0' ? u->nickname : json_str(prefs, "ProfileName", "");
        if (name[0] != '\0')   /* also with --reset: it is how the user calls this login */
                json_object_set_new(p, "ProfileName", json_string(name));
        json_object_set_new(o, "UpdatePrefs", p);
        json_object_set_new(o, "AuthKey", json_string(key));
        char *text = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        return text;
}

static char *patch_body(const struct up *u)
{
        json_t *o = up_masked(u, u->reset);
        char *text = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        return text;
}

static int run_up(struct run *r, const json_t *prefs, const char *key)
{
        const struct up *u = r->u;
        const char *state = json_str(r->status, "BackendState", "");
        bool running = strcmp(state, "Running") == 0;
        if (running && !u->force_reauth && !same_server(u, prefs)) {
                text_print(stderr, "can't change --login-server without --force-reauth\n"
                        "this node is logged in to %s: mention it with --login-server, or log out first\n",
                        json_str(prefs, "ControlURL", ""));
                return 1;
        }
        bool tags = flags_given(u->flags, u->flag_count, "advertise-tags");
        if (running && !u->force_reauth && key[0] == '\0' && !tags) {
                r->patch_body = patch_body(u);
                return client_json(r->calls, "PATCH", "prefs", r->patch_body, 200, NULL) ? 0 : 1;
        }
        const char *login = json_str(json_obj(json_obj(prefs, "Config"), "UserProfile"), "LoginName", "");
        bool simple = no_flags(u) && login[0] != '\0' && strcmp(state, "NeedsLogin") != 0;
        r->server = simple ? json_str(prefs, "ControlURL", "") : u->login_server;
        if (simple) {
                r->patch_body = strdup("{\"WantRunning\":true,\"WantRunningSet\":true}");
        } else {
                r->start_body = start_body(u, prefs, key);
                /* With a node key `start` logs in by itself. */
                r->interactive = u->force_reauth || !json_bool(r->status, "HaveNodeKey", false);
        }
        return wait_for_running(r);
}

void warn_of_unsaved(const json_t *status)
{
        const json_t *h = json_arr(status, "Health");
        for (size_t i = 0; i < json_array_size(h); i++) {
                const char *text = json_string_value(json_array_get(h, i));
                if (text != NULL && strncmp(text, "the state file ", 15) == 0)
                        text_print(stderr, "Warning: %s\n", text);
        }
}

/* What is wrong with the host or the settings, as far as the user should know at once. */
static void show_warnings(struct cli *c)
{
        static const char *const wanted[] = {"SSH", "peers are advertising routes", "update available"};
        json_t *status = status_get(c, false);
        text_clean_json(status);
        const json_t *h = json_arr(status, "Health");
        for (size_t i = 0; i < json_array_size(h); i++)
                for (size_t k = 0; k < 3; k++)
                        if (strstr(json_string_value(json_array_get(h, i)), wanted[k]) != NULL)
                                puts(json_string_value(json_array_get(h, i)));
        warn_of_unsaved(status);
        json_decref(status);
}

static bool resolve(struct up *u, const json_t *status)
{
        char why[UP_WHY_MAX];
        if (up_resolve(u, status, why))
                return true;
        text_print(stderr, "%s\n", why);
        return false;
}

void warn_of_forwarding(struct cli *c)
{
        static const char *const checks[] = {"check-ip-forwarding", "check-udp-gro-forwarding"};
        for (size_t i = 0; i < 2; i++) {
                json_t *j = NULL;
                if (client_json(c->client, "GET", checks[i], NULL, 200, &j) && json_str(j, "Warning", "")[0] != '\0')
                        text_print(stdout, "Warning: %s\n", json_str(j, "Warning", ""));
                json_decref(j);
        }
}

static void warn(struct cli *c, const struct up *u)
{
        if (u->advertise_routes[0] != '\0' || u->advertise_exit_node)
                warn_of_forwarding(c);
        if (strcmp(u->netfilter_mode, "off") == 0)
                puts("Warning: --netfilter-mode=off: no firewall rules are made; nothing is masqueraded and the host's own rules decide");
        if (strcmp(u->netfilter_mode, "nodivert") == 0)
                puts("Warning: --netfilter-mode=nodivert: the host's own firewall rules decide what passes");
        if (u->advertise_exit_node && !u->snat_subnet_routes)
                puts("Warning: --advertise-exit-node with --snat-subnet-routes=false: answers from the internet find no way back "
                     "unless another router translates addresses");
}

static int up_with(struct cli *c, struct up *u)
{
        char why[UP_WHY_MAX], *key = NULL;
        if (!up_check(u, why) || !up_auth_key(u, &key, why)) {
                text_print(stderr, "%s\n", why);
                free(key);
                return 1;
        }
        struct run r = {.c = c, .u = u, .code = 1, .calls = client_new(c->socket)};
        json_t *prefs = NULL, *nobody = json_object();
        if (u->login && !resolve(u, nobody))
                ;   /* the new login knows no peers yet: better said before there is one */
        else if (u->login && !client_json(c->client, "PUT", "profiles/", NULL, 201, NULL))
                ;   /* said why */
        else if (r.calls != NULL && (r.status = status_get(c, u->exit_node[0] != '\0')) != NULL && resolve(u, r.status) &&
                client_json(c->client, "GET", "prefs", NULL, 200, &prefs) && revert_check(u, r.status, prefs)) {
                warn(c, u);
                (void)str_copy(r.old_key, sizeof(r.old_key), json_str(json_obj(r.status, "Self"), "PublicKey", ""));
                if (u->force_reauth)
                        (void)str_copy(r.url, sizeof(r.url), json_str(r.status, "AuthURL", ""));
                r.code = run_up(&r, prefs, key);
                if (r.code == 0)
                        show_warnings(c);
        }
        if (key != NULL)
                crypto_wipe(key, strlen(key));
        if (r.start_body != NULL)
                crypto_wipe(r.start_body, strlen(r.start_body));
        free(key);
        free(r.start_body);
        free(r.patch_body);
        json_decref(nobody);
        json_decref(prefs);
        json_decref(r.status);
        client_free(r.calls);
        return r.code;
}

static int run_with_flags(struct cli *c, const struct command *self, int argc, char **argv, bool login)
{
        struct up u;
        int rest, code;
        up_init(&u, login);
        if (!command_flags(self, u.flags, u.flag_count, argc, argv, &rest, &code))
                return code;
        return command_no_words(argc, argv, rest) ? up_with(c, &u) : 1;
}

int cmd_up(struct cli *c, const struct command *self, int argc, char **argv)
{
        return run_with_flags(c, self, argc, argv, false);
}

/* A profile of its own: the current one stays as it is, to be switched back to. */
int cmd_login(struct cli *c, const struct command *self, int argc, char **argv)
{
        return run_with_flags(c, self, argc, argv, true);
}
