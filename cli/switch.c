/* switch: which of several logins is the current one. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mono.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/text.h"

static const char *tailnet_of(const json_t *profile)
{
        const json_t *net = json_obj(profile, "NetworkProfile");
        const char *name = json_str(net, "DisplayName", "");
        return name[0] != '\0' ? name : json_str(net, "DomainName", "");
}

const char *switch_find(const json_t *list, const char *word)
{
        enum { KINDS = 4 };
        for (int kind = 0; kind < KINDS; kind++) {
                for (size_t i = 0; i < json_array_size(list); i++) {
                        const json_t *p = json_array_get(list, i), *net = json_obj(p, "NetworkProfile");
                        const char *id = json_str(p, "ID", "");
                        const char *const names[KINDS] = {id, json_str(net, "DomainName", ""), json_str(p, "Name", ""),
                                json_str(net, "DisplayName", "")};
                        if (word[0] != '\0' && strcmp(names[kind], word) == 0)
                                return id;
                }
        }
        return NULL;
}

void switch_print_list(const json_t *list, const char *current, FILE *out)
{
        struct table t;
        table_init(&t, 3, 2);
        t.bare_last = true;
        table_add(&t, "ID");
        table_add(&t, "Tailnet");
        table_add(&t, "Account");
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *p = json_array_get(list, i);
                char name[512];
                snprintf(name, sizeof(name), "%s%s", json_str(p, "Name", ""),
                        strcmp(json_str(p, "ID", ""), current) == 0 ? "*" : "");
                table_add(&t, json_str(p, "ID", ""));
                table_add(&t, tailnet_of(p));
                table_add(&t, name);
        }
        table_print(&t, out);
        table_done(&t);
}

json_t *switch_list_json(const json_t *list, const char *current)
{
        json_t *a = json_array();
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *p = json_array_get(list, i);
                const char *id = json_str(p, "ID", "");
                json_array_append_new(a, json_pack("{s:s, s:s, s:s, s:s, s:b}", "id", id, "nickname",
                        json_str(p, "Name", ""), "tailnet", tailnet_of(p), "account",
                        json_str(json_obj(p, "UserProfile"), "LoginName", ""), "selected", strcmp(id, current) == 0));
        }
        return a;
}

/* Until the node runs, or a person has to act. */
static int wait_for_state(struct cli *c)
{
        enum { PATIENCE_MS = 30000, PAUSE_MS = 100 };
        mono_t start = mono_now();
        for (;;) {
                json_t *status = status_get(c, false);
                if (status == NULL)
                        return 1;
                text_clean_json(status);
                char state[32];
                (void)str_copy(state, sizeof(state), json_str(status, "BackendState", ""));
                bool waiting = strcmp(state, "NoState") == 0 || strcmp(state, "Starting") == 0;
                int code = 0;
                if (strcmp(state, "Running") == 0)
                        puts("Success.");
                else if (strcmp(state, "NeedsLogin") == 0)
                        puts("Logged out.\nTo log in, run: tailscale up");
                else if (!waiting)
                        code = status_is_running(status, stdout) ? 0 : 1;
                json_decref(status);
                if (!waiting)
                        return code;
                if (mono_diff_ms(mono_now(), start) > PATIENCE_MS) {
                        text_print(stderr, "switched, but not connected yet (%s): 'tailscale status --json' shows why\n", state);
                        return 1;
                }
                struct timespec pause = {.tv_nsec = PAUSE_MS * NS_PER_MS};
                nanosleep(&pause, NULL);
        }
}

static int switch_to(struct cli *c, const char *id, const char *word)
{
        char path[64];
        text_print(stdout, "Switching to account \"%s\"\n", word);
        fflush(stdout);
        snprintf(path, sizeof(path), "profiles/%s", id);
        return client_json(c->client, "POST", path, NULL, 204, NULL) ? wait_for_state(c) : 1;
}

static int remove_profile(struct cli *c, const char *id)
{
        char path[64];
        snprintf(path, sizeof(path), "profiles/%s", id);
        return client_json(c->client, "DELETE", path, NULL, 204, NULL) ? 0 : 1;
}

static int act(struct cli *c, const json_t *list, const char *current, const char *word, bool removing)
{
        const char *id = switch_find(list, word);
        if (id == NULL) {
                text_print(stderr, "No profile named \"%s\"\n'tailscale switch --list' shows those there are\n", word);
                return 1;
        }
        if (strcmp(id, current) == 0) {
                text_print(stdout, "Already on account \"%s\"\n", word);
                if (removing)
                        puts("To remove it, switch to another one first, or use 'tailscale logout'.");
                return 0;
        }
        return removing ? remove_profile(c, id) : switch_to(c, id, word);
}

int cmd_switch(struct cli *c, const struct command *self, int argc, char **argv)
{
        bool list = false, json = false;
        struct flag flags[] = {
                FLAG_BOOL("list", &list, "show the accounts; * marks the current one"),
                FLAG_BOOL("json", &json, "the list as JSON"),
        };
        int rest, code;
        if (!command_flags(self, flags, 2, argc, argv, &rest, &code))
                return code;
        bool removing = argc - rest == 2 && strcmp(argv[rest], "remove") == 0;
        if (!list && argc - rest != 1 && !removing) {
                puts("usage: tailscale switch NAME");
                return 1;
        }
        if (list && !command_no_words(argc, argv, rest))
                return 1;
        json_t *current = NULL, *all = NULL;
        code = 1;
        if (client_json(c->client, "GET", "profiles/current", NULL, 200, &current) &&
                client_json(c->client, "GET", "profiles/", NULL, 200, &all)) {
                const char *id = json_str(current, "ID", "");
                code = 0;
                if (list && json) {
                        json_t *a = switch_list_json(all, id);
                        json_print(a, 2, true);
                        json_decref(a);
                } else if (list) {
                        text_clean_json(all);
                        switch_print_list(all, id, stdout);
                } else {
                        code = act(c, all, id, argv[argc - 1], removing);
                }
        }
        json_decref(current);
        json_decref(all);
        return code;
}
