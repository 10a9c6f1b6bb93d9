/* Drives osdns.h from standard input, for the tests in network and mount namespaces.  Not installed.
 *
 * usage: osdns_tool IFNAME        commands, one a line: set server=IP... search=NAME... match=NAME... | recheck
 *        osdns_tool IFNAME cleanup
 *
 * Each state is printed as one line when all that was asked for is done, and when something changes.  At the
 * end of the input the host gets its DNS back.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/log.h"
#include "daemon/host/osdns.h"

struct tool {
        struct loop *loop;
        struct osdns *dns;
        struct watch input;
        char line[16384];
        size_t have;
        bool asked;
};

static void print_names(const char *what, const struct osdns_names *n)
{
        printf(" %s=", what);
        for (const char *s = osdns_names_next(n, NULL); s != NULL; s = osdns_names_next(n, s))
                printf("%s%s", s, osdns_names_next(n, s) != NULL ? "," : "");
}

static void print_state(struct tool *t, const char *what)
{
        const struct osdns_config *base = osdns_base(t->dns);
        char text[IP_STR_MAX];
        printf("%s mode=%s split=%d base=", what, osdns_mode_str(osdns_mode(t->dns)),
               osdns_can_split(t->dns));
        for (size_t i = 0; base != NULL && i < base->server_count; i++)
                printf("%s%s", i > 0 ? "," : "", ip_str(base->servers[i], text));
        if (base == NULL)
                printf("unknown");
        else
                print_names("search", &base->search);
        printf(" trouble=%s\n", osdns_trouble(t->dns));
        fflush(stdout);
}

static void on_change(void *arg)
{
        print_state(arg, "changed");
}

static void on_trouble(void *arg, const char *text)
{
        (void)text;
        print_state(arg, "trouble");
}

static const struct osdns_callbacks callbacks = {.on_change = on_change, .on_trouble = on_trouble};

static enum err add_word(struct osdns_config *c, const char *word)
{
        struct ip ip;
        if (strncmp(word, "server=", 7) == 0)
                return ip_parse(word + 7, &ip) == ERR_NONE ? osdns_add_server(c, ip) : ERR_FORMAT;
        if (strncmp(word, "search=", 7) == 0)
                return osdns_names_add(&c->search, word + 7);
        if (strncmp(word, "match=", 6) == 0)
                return osdns_names_add(&c->match, word + 6);
        return ERR_FORMAT;
}

static void command(struct tool *t, char *line)
{
        char *save = NULL;
        const char *verb = strtok_r(line, " ", &save);
        struct osdns_config c = {0};
        if (verb != NULL && strcmp(verb, "recheck") == 0) {
                osdns_recheck(t->dns);
        } else if (verb != NULL && strcmp(verb, "set") == 0) {
                for (const char *w = strtok_r(NULL, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
                        if (add_word(&c, w) != ERR_NONE)
                                printf("refused %s\n", w);
                osdns_set(t->dns, &c);
        } else {
                printf("unknown command\n");
                return;
        }
        t->asked = true;
}

static void on_input(struct watch *w, unsigned events, mono_t now)
{
        (void)events;
        (void)now;
        struct tool *t = container_of(w, struct tool, input);
        ssize_t n = read(w->fd, t->line + t->have, sizeof(t->line) - 1 - t->have);
        if (n <= 0) {
                loop_stop(t->loop);
                return;
        }
        t->have += (size_t)n;
        char *nl;
        while ((nl = memchr(t->line, '\n', t->have)) != NULL) {
                *nl = '\0';
                command(t, t->line);
                t->have -= (size_t)(nl + 1 - t->line);
                memmove(t->line, nl + 1, t->have);
        }
}

static void on_idle(void *arg, mono_t now)
{
        (void)now;
        struct tool *t = arg;
        if (t->asked && osdns_is_settled(t->dns)) {
                t->asked = false;
                print_state(t, "settled");
        }
}

int main(int argc, char **argv)
{
        static struct tool t;
        if (argc < 2 || crypto_init() != ERR_NONE)
                return 2;
        signal(SIGPIPE, SIG_IGN);
        log_init(1);
        if (argc > 2) {
                osdns_cleanup(argv[1]);
                return 0;
        }
        watch_init(&t.input, on_input);
        if ((t.loop = loop_new()) == NULL || loop_watch(t.loop, &t.input, 0, LOOP_READ) != ERR_NONE ||
            (t.dns = osdns_open(t.loop, argv[1], &callbacks, &t)) == NULL) {
                fprintf(stderr, "osdns_tool: %s\n", strerror(errno));
                return 1;
        }
        t.asked = true;
        loop_on_idle(t.loop, on_idle, &t);
        loop_run(t.loop);
        osdns_free(t.dns);
        loop_unwatch(&t.input);
        loop_free(t.loop);
        return 0;
}
