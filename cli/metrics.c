/* metrics: the daemon's counters as Prometheus text, printed or into a file for its textfile collector. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/text.h"

/* A reader of the file sees the old text or the new one, never a part. */
static bool write_whole(const char *path, const struct buf *text)
{
        char temp[4096];
        int n = snprintf(temp, sizeof(temp), "%s.tmp%d", path, (int)getpid());
        errno = ENAMETOOLONG;
        return n > 0 && (size_t)n < sizeof(temp) && file_replace(path, temp, text->data, text->len, 0644) == ERR_NONE;
}

/* Where to: NULL is standard output. */
static int fetch_metrics(struct cli *c, const char *file)
{
        struct answer a;
        client_call(c->client, "GET", "usermetrics", NULL, 0, &a);
        bool ok = a.err == ERR_NONE && a.status == 200;
        if (!ok) {
                client_complain(c->client, "usermetrics", &a);
        } else if (file == NULL) {
                fwrite(a.body.data, 1, a.body.len, stdout);
        } else if (!write_whole(file, &a.body)) {
                text_print(stderr, "%s cannot be written: %s\n", file, strerror(errno));
                ok = false;
        }
        answer_done(&a);
        return ok ? 0 : 1;
}

int cmd_metrics(struct cli *c, const struct command *self, int argc, char **argv)
{
        int rest, after, code;
        if (!command_flags(self, NULL, 0, argc, argv, &rest, &code))
                return code;
        if (rest == argc)
                return fetch_metrics(c, NULL);
        const char *word = argv[rest];
        bool print = strcmp(word, "print") == 0;
        if (!print && strcmp(word, "write") != 0) {
                text_print(stderr, "tailscale metrics: unknown subcommand: %s; there is: print, write\n", word);
                return 1;
        }
        argc -= rest;
        argv += rest;
        if (!command_flags(self, NULL, 0, argc, argv, &after, &code))
                return code;
        if (print)
                return command_no_words(argc, argv, after) ? fetch_metrics(c, NULL) : 1;
        if (argc - after != 1) {
                fputs("usage: tailscale metrics write <path>\n", stderr);
                return 1;
        }
        return fetch_metrics(c, argv[after]);
}
