/* set: changes the settings mentioned and no others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/text.h"
#include "cli/upflags.h"

static bool given(const struct up *u, const char *name)
{
        return flags_given(u->flags, u->flag_count, name);
}

/* The change as a request; NULL: said why it cannot be. */
static char *request(struct cli *c, struct up *u)
{
        char why[UP_WHY_MAX] = "out of memory", *text = NULL;
        json_t *status = status_get(c, given(u, "exit-node")), *prefs = NULL, *masked = NULL;
        if (status == NULL || !client_json(c->client, "GET", "prefs", NULL, 200, &prefs)) {
                json_decref(status);
                return NULL;
        }
        if (up_resolve(u, status, why) && up_keep_other_routes(u, prefs, why) && (masked = up_masked(u, false)) != NULL) {
                /* Nothing here starts or stops the node. */
                json_object_del(masked, "WantRunning");
                json_object_del(masked, "WantRunningSet");
                text = json_dumps(masked, JSON_COMPACT);
        }
        if (text == NULL)
                text_print(stderr, "%s\n", why);
        json_decref(masked);
        json_decref(prefs);
        json_decref(status);
        return text;
}

int cmd_set(struct cli *c, const struct command *self, int argc, char **argv)
{
        struct up u;
        int rest, code;
        char why[UP_WHY_MAX];
        up_init_set(&u);
        if (!command_flags(self, u.flags, u.flag_count, argc, argv, &rest, &code))
                return code;
        if (!command_no_words(argc, argv, rest))
                return 1;
        if (!flags_any_given(u.flags, u.flag_count)) {
                command_usage(self, u.flags, u.flag_count, stderr);
                return 0;
        }
        if (!up_check(&u, why)) {
                text_print(stderr, "%s\n", why);
                return 1;
        }
        char *body = request(c, &u);
        if (body == NULL)
                return 1;
        client_plain_errors(c->client);
        bool ok = client_json(c->client, "PATCH", "prefs", body, 200, NULL);
        free(body);
        if (ok) {
                if (u.advertise_routes[0] != '\0' || u.advertise_exit_node)
                        warn_of_forwarding(c);
                json_t *status = status_get(c, false);
                warn_of_unsaved(status);
                json_decref(status);
        }
        return ok ? 0 : 1;
}
