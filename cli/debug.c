/* debug: the daemon's network map, preferences, relay map and counters as they are, for people and scripts that look
 * closer; and what else such people ask for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/json.h"
#include "base/via6.h"
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
        enum { JSON, TEXT, NOTHING } shown;
} shows[] = {
        {"netmap", "POST", "debug?action=current-netmap", NULL, JSON},
        {"prefs", "GET", "prefs", NULL, JSON},
        {"derp-map", "GET", "derpmap", "Regions", JSON},
        {"metrics", "GET", "metrics", NULL, TEXT},
        {"restun", "POST", "debug?action=restun", NULL, NOTHING},
        {"rebind", "POST", "debug?action=rebind", NULL, NOTHING},
};
enum { SHOWS = sizeof(shows) / sizeof(shows[0]) };

static int show(struct cli *c, size_t i)
{
        struct answer a;
        client_call(c->client, shows[i].method, shows[i].path, NULL, 0, &a);
        bool answered = a.err == ERR_NONE && a.status == 200, done = answered && shows[i].shown != JSON;
        if (answered && shows[i].shown == TEXT)
                fwrite(a.body.data, 1, a.body.len, stdout);
        json_t *j = answered && !done ? answer_json(&a) : NULL;
        if (json_is_null(j) && shows[i].none != NULL) {
                json_decref(j);
                j = json_pack("{s:n}", shows[i].none);
        }
        if (j != NULL) {
                print_tabs(j);
        } else if (!done) {
                if (a.err == ERR_NONE && a.status == 400)
                        fputs("error ", stderr);
                client_complain(c->client, shows[i].path, &a);
        }
        int code = j != NULL || done ? 0 : 1;
        json_decref(j);
        answer_done(&a);
        return code;
}

/* ---- via ---- */

static int via_error(const char *fmt, const char *word)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        text_print(stderr, fmt, word);
#pragma GCC diagnostic pop
        fputs("usage: tailscale debug via SITE-ID IPV4-CIDR, or tailscale debug via IPV6-CIDR\n", stderr);
        return 1;
}

/* Decimal, or hexadecimal behind 0x. */
static bool parse_site(const char *s, uint32_t *ret)
{
        char *end;
        errno = 0;
        bool digit = s[0] >= '0' && s[0] <= '9';
        unsigned long v = strtoul(s, &end, strncmp(s, "0x", 2) == 0 ? 16 : 10);
        *ret = (uint32_t)v;
        return digit && *end == '\0' && errno == 0 && v <= VIA6_SITE_MAX;
}

static int map_via(const char *site_text, const char *cidr)
{
        uint32_t site;
        struct prefix p;
        char text[PREFIX_STR_MAX];
        if (!parse_site(site_text, &site))
                return via_error("invalid site-id \"%.80s\": want a number from 0 to 65535, decimal or hex with 0x\n", site_text);
        if (prefix_parse(cidr, &p) != ERR_NONE || p.ip.family != IP_V4)
                return via_error("invalid network \"%.80s\": want an IPv4 CIDR such as 10.1.1.0/24\n", cidr);
        puts(prefix_str((struct prefix){.ip = via6_from_v4(site, p.ip), .bits = (uint8_t)(p.bits + VIA6_BITS)}, text));
        return 0;
}

static int unmap_via(const char *cidr)
{
        struct prefix p;
        char text[PREFIX_STR_MAX];
        if (prefix_parse(cidr, &p) != ERR_NONE || !via6_is(p.ip) || p.bits < VIA6_BITS)
                return via_error("invalid network \"%.80s\": want a CIDR of at least /96 below fd7a:115c:a1e0:b1a::/64\n", cidr);
        uint32_t site = via6_site(p.ip);
        struct prefix v4 = {.ip = via6_to_v4(p.ip), .bits = (uint8_t)(p.bits - VIA6_BITS)};
        printf("site %lu (0x%lx), %s\n", (unsigned long)site, (unsigned long)site, prefix_str(v4, text));
        return 0;
}

static int via(int argc, char **argv)
{
        if (argc == 2)
                return map_via(argv[0], argv[1]);
        return argc == 1 ? unmap_via(argv[0]) : via_error("expect a site and an IPv4 network, or an IPv6 network%s\n", "");
}

static int subcommand_error(const char *word)
{
        if (word == NULL)
                fputs("tailscale debug: missing subcommand; there is:", stderr);
        else
                text_print(stderr, "tailscale debug: unknown subcommand: %s; there is:", word);
        for (size_t i = 0; i < SHOWS; i++)
                text_print(stderr, "%s %s", i > 0 ? "," : "", shows[i].word);
        fputs(", paths, portmap, via\n", stderr);
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
        if (rest < argc && strcmp(argv[rest], "paths") == 0)
                return debug_paths(c, argc - rest, argv + rest);
        if (rest < argc && strcmp(argv[rest], "portmap") == 0)
                return debug_portmap(c, argc - rest, argv + rest);
        if (rest < argc && strcmp(argv[rest], "via") == 0) {
                if (!command_flags(self, NULL, 0, argc - rest, argv + rest, &after, &code))
                        return code;
                return via(argc - rest - after, argv + rest + after);
        }
        return subcommand_error(rest < argc ? argv[rest] : NULL);
}
