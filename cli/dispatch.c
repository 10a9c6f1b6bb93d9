#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/duration.h"
#include "cli/command.h"
#include "cli/text.h"

const struct command commands[] = {
        {"up", "connect to the tailnet, logging in if needed", "[flags]", cmd_up},
        {"down", "disconnect, staying logged in", "", cmd_down, .names_endpoint = true},
        {"set", "change settings without logging in again", "[flags]", cmd_set, .names_endpoint = true},
        {"login", "log in to an account", "[flags]", cmd_login, .names_endpoint = true},
        {"logout", "disconnect and expire this node's login", "", cmd_logout, .names_endpoint = true},
        {"switch", "change to another of this machine's accounts", "[--list [--json]] | NAME | remove NAME", cmd_switch,
                .names_endpoint = true},
        {"status", "show this node and its peers", "[flags]", cmd_status},
        {"ping", "ping a peer through the tailnet and show its path", "[flags] HOST-OR-IP", cmd_ping},
        {"nc", "connect to a port of a host, with standard input and output", "HOST-OR-IP PORT", cmd_nc},
        {"dns", "show the DNS configuration, or ask the resolver", "status|query [flags]", cmd_dns},
        {"netcheck", "look at this network: UDP, NAT, relays", "[flags]", cmd_netcheck},
        {"metrics", "print the counters for a dashboard, or write them to a file", "[print | write PATH]", cmd_metrics,
                .names_endpoint = true},
        {"ip", "print the tailnet addresses of this node or of a peer", "[-1] [-4] [-6] [PEER]", cmd_ip, .names_endpoint = true},
        {"exit-node", "show who offers to be an exit node, or the best one", "list|suggest", cmd_exit_node},
        {"whois", "show the node and user of a tailnet address", "[--json] IP[:PORT]", cmd_whois, .names_endpoint = true},
        {"debug", "look closer at what the daemon has and does", "netmap|prefs|derp-map|metrics|restun|rebind|paths|portmap|via", cmd_debug},
        {"version", "print the version", "[flags]", cmd_version, .names_endpoint = true},
        {0},
};

static void usage(void)
{
        fputs("usage: tailscale [--socket PATH] COMMAND [flags]\n\n", stderr);
        for (const struct command *k = commands; k->name != NULL; k++)
                text_print(stderr, "  %-10s %s\n", k->name, k->summary);
        fputs("\n'tailscale COMMAND --help' shows the flags of a command.\n", stderr);
}

/* Commands that other programs of this name have: whoever types one made no spelling mistake. */
static bool is_elsewhere(const char *name)
{
        static const char *const names[] = {"appc-routes", "bugreport", "cert", "completion", "configure", "drive", "file", "funnel",
                "get", "id-token", "licenses", "lock", "routecheck", "serve", "service", "ssh", "syspolicy", "systray", "update", "wait",
                "web", "whoami"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

static const char *default_of(const struct flag *f, char *out, size_t cap)
{
        char d[DURATION_STR_MAX];
        switch (f->kind) {
        case FLAG_BOOL:
                return *f->to.b ? "true" : "";
        case FLAG_STRING:
                return *f->to.s;
        case FLAG_SECRET:
                return "";
        case FLAG_INT:
                snprintf(out, cap, "%lld", (long long)*f->to.i);
                return out;
        case FLAG_DURATION:
                snprintf(out, cap, "%s", duration_str(*f->to.ns, d));
                return out;
        }
        return "";
}

/* How its value is written: that of a switch behind '=' only, so one that is on shows how to turn it off. */
static const char *value_of(const struct flag *f)
{
        static const char *const words[] = {[FLAG_BOOL] = "", [FLAG_STRING] = " TEXT", [FLAG_SECRET] = " KEY", [FLAG_INT] = " N",
                [FLAG_DURATION] = " TIME"};
        return f->kind == FLAG_BOOL && *f->to.b ? "[=false]" : words[f->kind];
}

void command_usage(const struct command *self, const struct flag *flags, size_t n, FILE *out)
{
        fprintf(out, "usage: tailscale %s%s%s\n\n%s\n", self->name, self->usage[0] ? " " : "", self->usage, self->summary);
        for (size_t i = 0; i < n; i++) {
                char name[64], room[DURATION_STR_MAX];
                const char *d = default_of(&flags[i], room, sizeof(room));
                snprintf(name, sizeof(name), "%s%s", flags[i].name, value_of(&flags[i]));
                if (flags[i].help != NULL)
                        fprintf(out, "  --%-30s %s%s%s%s\n", name, flags[i].help, d[0] ? " (default " : "", d, d[0] ? ")" : "");
        }
}

/* The usage is written down before the line is read: then the variables have their defaults, and no secret. */
bool command_flags(const struct command *self, struct flag *flags, size_t n, int argc, char **argv, int *ret_rest,
        int *ret_code)
{
        char why[FLAGS_WHY_MAX], *usage_text = NULL;
        size_t len;
        FILE *out = open_memstream(&usage_text, &len);
        if (out != NULL) {
                command_usage(self, flags, n, out);
                fclose(out);
        }
        enum err e = flags_parse(flags, n, argc, argv, ret_rest, why);
        if (e != ERR_NONE) {
                text_print(stderr, "%s%s%s", e != ERR_NOT_FOUND ? why : "", e != ERR_NOT_FOUND ? "\n" : "",
                        usage_text != NULL ? usage_text : "");
                *ret_code = e == ERR_NOT_FOUND ? 0 : 2;
        }
        free(usage_text);
        return e == ERR_NONE;
}

bool command_no_words(int argc, char **argv, int rest)
{
        if (rest >= argc)
                return true;
        const char *before = argv[rest - 1];
        bool value, behind_switch = before[0] == '-' && strcmp(before, "--") != 0 && strchr(before, '=') == NULL;
        text_print(stderr, "too many non-flag arguments: [\"%s\"]\n", flags_shown(argv[rest]));
        if (behind_switch && str_bool(argv[rest], &value))
                text_print(stderr, "the value of a switch stands behind '=': %s=%s\n", before, argv[rest]);
        else
                fputs("only flags are allowed here\n", stderr);
        return false;
}

bool command_flags_alone(const struct command *self, struct flag *flags, size_t n, int argc, char **argv, int *ret_code)
{
        int rest;
        if (!command_flags(self, flags, n, argc, argv, &rest, ret_code))
                return false;
        *ret_code = 1;
        return command_no_words(argc, argv, rest);
}

static int run_line(int argc, char **argv)
{
        const char *socket = "/var/run/tailscale/tailscaled.sock";
        bool version = false, version_short = false;
        struct flag flags[] = {
                FLAG_STRING("socket", &socket, "path of the daemon's socket"),
                FLAG_BOOL("version", &version, NULL),
                FLAG_BOOL("V", &version_short, NULL),
        };
        char why[FLAGS_WHY_MAX];
        int rest;
        enum err e = flags_parse(flags, 3, argc, argv, &rest, why);
        if (e == ERR_FORMAT) {
                text_print(stderr, "%s\n", why);
                usage();
                return 2;
        }
        if (e != ERR_NONE || (rest >= argc && !version && !version_short)) {
                usage();
                return 0;
        }
        const char *name = version || version_short ? "version" : argv[rest];
        char help_flag[] = "--help", *help_argv[] = {argv[0], help_flag, NULL};
        bool help = strcmp(name, "help") == 0;
        if (help && rest + 1 >= argc) {
                usage();
                return 0;
        }
        if (help)
                name = argv[rest + 1];
        const struct command *k = commands;
        while (k->name != NULL && strcmp(k->name, name) != 0)
                k++;
        if (k->name == NULL) {
                if (is_elsewhere(name))
                        text_print(stderr, "tailscale %s: not there yet in this program\n'tailscale --help' lists what is\n", name);
                else
                        text_print(stderr, "tailscale: unknown subcommand: %s\n'tailscale --help' lists them\n", flags_shown(name));
                return 1;
        }
        if (socket[0] == '\0' || strlen(socket) > CLIENT_SOCKET_MAX) {
                text_print(stderr, "invalid value \"%.120s\" for flag -socket: want a path of 1 to %d characters\n", socket,
                        CLIENT_SOCKET_MAX);
                return 2;
        }
        if (crypto_init() != ERR_NONE || curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
                return 1;
        struct cli c = {.client = client_new(socket), .socket = socket};
        if (c.client == NULL)
                return 1;
        if (k->names_endpoint)
                client_name_endpoints(c.client);
        int code = help ? k->run(&c, k, 2, help_argv) : version || version_short ? k->run(&c, k, 1, argv) : k->run(&c, k, argc - rest, argv + rest);
        client_free(c.client);
        curl_global_cleanup();
        return code;
}

/* A script that keeps the output must not take half of it for the whole: a disk may be full. */
int cli_main(int argc, char **argv)
{
        int code = run_line(argc, argv);
        errno = 0;
        if (fflush(stdout) == 0 && !ferror(stdout))
                return code;
        fprintf(stderr, "the output cannot be written to its end: %s\n", errno != 0 ? strerror(errno) : "an earlier write failed");
        return code != 0 ? code : 1;
}
