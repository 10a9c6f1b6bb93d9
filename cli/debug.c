/* debug: the daemon's network map, preferences and relay map as they are, for people and scripts that look closer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/text.h"

/* Scripts look for lines like "\t\"RouteAll\": true": indented with tabs, as elsewhere. */
static void print_tabs(const json_t *j)
{
        char *text = json_dumps(j, JSON_INDENT(1) | JSON_ENCODE_ANY);
        if (text == NULL)
                return;
        bool start = true;
        for (const char *p = text; *p != '\0'; p++) {
                putchar(start && *p == ' ' ? '\t' : *p);
                start = *p == '\n' || (start && *p == ' ');
        }
        putchar('\n');
        free(text);
}

static const struct {
        const char *word, *method, *path, *none;   /* none: the member that is null when there is nothing yet */
} shows[] = {
        {"netmap", "POST", "debug?action=current-netmap", NULL},
        {"prefs", "GET", "prefs", NULL},
        {"derp-map", "GET", "derpmap", "Regions"},
};
enum { SHOWS = sizeof(shows) / sizeof(shows[0]) };

static int show(struct cli *c, size_t i)
{
        struct answer a;
        client_call(c->client, shows[i].method, shows[i].path, NULL, 0, &a);
        json_t *j = a.err == ERR_NONE && a.status == 200 ? answer_json(&a) : NULL;
        if (json_is_null(j) && shows[i].none != NULL) {
                json_decref(j);
                j = json_pack("{s:n}", shows[i].none);
        }
        if (j != NULL) {
                print_tabs(j);
        } else {
                if (a.err == ERR_NONE && a.status == 400)
                        fputs("error ", stderr);
                client_complain(c->client, shows[i].path, &a);
        }
        int code = j != NULL ? 0 : 1;
        json_decref(j);
        answer_done(&a);
        return code;
}

static int subcommand_error(const char *word)
{
        if (word == NULL)
                fputs("tailscale debug: missing subcommand; there is:", stderr);
        else
                text_print(stderr, "tailscale debug: unknown subcommand: %s; there is:", word);
        for (size_t i = 0; i < SHOWS; i++)
                text_print(stderr, "%s %s", i > 0 ? "," : "", shows[i].word);
        fputc('\n', stderr);
        return 1;
}

int cmd_debug(struct cli *c, const struct command *self, int argc, char **argv)
{
        int rest, after, code;
        if (!command_flags(self, NULL, 0, argc, argv, &rest, &code))
                return code;
        for (size_t i = 0; i < SHOWS && rest < argc; i++) {
                if (strcmp(argv[rest], shows[i].word) != 0)
                        continue;
                if (!command_flags(self, NULL, 0, argc - rest, argv + rest, &after, &code))
                        return code;
                return command_no_words(argc - rest, argv + rest, after) ? show(c, i) : 1;
        }
        return subcommand_error(rest < argc ? argv[rest] : NULL);
}
