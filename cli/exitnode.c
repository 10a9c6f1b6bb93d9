/* exit-node list: who offers to be one; exit-node suggest: who is the best one from here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/text.h"

static int by_name(const void *a, const void *b)
{
        const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
        return strcmp(json_str(x, "DNSName", ""), json_str(y, "DNSName", ""));
}

static const char *state_of(const json_t *peer)
{
        bool online = json_bool(peer, "Online", false);
        if (json_bool(peer, "ExitNode", false))
                return online ? "selected" : "selected but offline";
        return online ? "-" : "offline";
}

static void add_row(struct table *t, const json_t *peer)
{
        char name[300], ip[80];
        const json_t *first = json_array_get(json_arr(peer, "TailscaleIPs"), 0), *where = json_obj(peer, "Location");
        (void)str_copy(name, sizeof(name), json_str(peer, "DNSName", ""));
        if (name[0] != '\0' && name[strlen(name) - 1] == '.')
                name[strlen(name) - 1] = '\0';
        snprintf(ip, sizeof(ip), " %s", json_is_string(first) ? json_string_value(first) : "");
        table_add(t, ip);
        table_add(t, name);
        table_add(t, json_str(where, "Country", "-"));
        table_add(t, json_str(where, "City", "-"));
        table_add(t, state_of(peer));
        table_end_row(t);
}

static int list(struct cli *c)
{
        static const char *const head[] = {" IP", "HOSTNAME", "COUNTRY", "CITY", "STATUS"};
        json_t *status = status_get(c, true), *peer;
        const char *key;
        if (status == NULL)
                return 1;
        text_clean_json(status);
        json_t *peers = json_obj(status, "Peer");
        const json_t **rows = calloc(json_object_size(peers) + 1, sizeof(*rows));
        size_t n = 0;
        json_object_foreach(peers, key, peer)
        {
                if (rows != NULL && json_bool(peer, "ExitNodeOption", false))
                        rows[n++] = peer;
        }
        if (n == 0) {
                fputs("no exit nodes found\n", stderr);
        } else {
                struct table t;
                qsort(rows, n, sizeof(*rows), by_name);
                table_init(&t, 5, 5);
                for (size_t i = 0; i < 5; i++)
                        table_add(&t, head[i]);
                table_end_row(&t);
                for (size_t i = 0; i < n; i++)
                        add_row(&t, rows[i]);
                putchar('\n');
                table_print(&t, stdout);
                table_done(&t);
        }
        free(rows);
        json_decref(status);
        return n == 0 ? 1 : 0;
}

static int suggest(struct cli *c)
{
        json_t *j = NULL;
        client_plain_errors(c->client);
        if (!client_json(c->client, "GET", "suggest-exit-node", NULL, 200, &j))
                return 1;
        text_clean_json(j);
        const char *name = json_str(j, "Name", "");
        if (json_str(j, "ID", "")[0] == '\0')
                puts("No exit node suggestion is available.");
        else
                printf("Suggested exit node: %s\n", name);
        /* A line to be typed holds a name that a shell takes as one word, or there is none. */
        if (name[0] != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == strlen(name))
                printf("To accept this suggestion, use `tailscale set --exit-node=%s`.\n", name);
        json_decref(j);
        return 0;
}

int cmd_exit_node(struct cli *c, const struct command *self, int argc, char **argv)
{
        static const struct {
                const char *word;
                int (*run)(struct cli *c);
        } subcommands[] = {{"list", list}, {"suggest", suggest}};
        int rest, code, after;
        if (!command_flags(self, NULL, 0, argc, argv, &rest, &code))
                return code;
        if (rest >= argc) {
                fputs("tailscale exit-node: missing subcommand; there is: list, suggest\n", stderr);
                return 1;
        }
        for (size_t i = 0; i < 2; i++) {
                if (strcmp(argv[rest], subcommands[i].word) != 0)
                        continue;
                if (!command_flags(self, NULL, 0, argc - rest, argv + rest, &after, &code))
                        return code;
                return command_no_words(argc - rest, argv + rest, after) ? subcommands[i].run(c) : 1;
        }
        text_print(stderr, "tailscale exit-node: unknown subcommand: %s; there is: list, suggest\n", argv[rest]);
        return 1;
}
