/* The commands that are one question: down, logout, ip, whois, version. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/text.h"
#include "cli/upflags.h"

int cmd_down(struct cli *c, const struct command *self, int argc, char **argv)
{
        const char *risk = "", *reason = "";
        struct flag flags[] = {
                FLAG_STRING("accept-risk", &risk, NULL),
                FLAG_STRING("reason", &reason, NULL),
        };
        int code;
        char why[UP_WHY_MAX];
        if (!command_flags_alone(self, flags, 2, argc, argv, &code))
                return code;
        if (!up_risks_ok(risk, why)) {
                text_print(stderr, "%s\n", why);
                return 1;
        }
        json_t *status = status_get(c, false);
        if (status == NULL)
                return 1;
        bool stopped = strcmp(json_str(status, "BackendState", ""), "Stopped") == 0;
        json_decref(status);
        if (stopped) {
                fputs("Tailscale was already stopped.\n", stderr);
                return 0;
        }
        return client_json(c->client, "PATCH", "prefs", "{\"WantRunning\":false,\"WantRunningSet\":true}", 200, NULL)
                ? 0 : 1;
}

int cmd_logout(struct cli *c, const struct command *self, int argc, char **argv)
{
        const char *reason = "";
        struct flag flags[] = {FLAG_STRING("reason", &reason, NULL)};
        int code;
        if (!command_flags_alone(self, flags, 1, argc, argv, &code))
                return code;
        return client_json(c->client, "POST", "logout", NULL, 204, NULL) ? 0 : 1;
}

/* ---- ip ---- */

static const json_t *node_with_ip(const json_t *status, const char *ip)
{
        const json_t *self = json_obj(status, "Self");
        json_t *peers = json_obj(status, "Peer"), *peer;
        const char *key;
        const json_t *a = json_arr(self, "TailscaleIPs");
        for (size_t i = 0; i < json_array_size(a); i++)
                if (strcmp(json_string_value(json_array_get(a, i)), ip) == 0)
                        return self;
        json_object_foreach(peers, key, peer)
        {
                a = json_arr(peer, "TailscaleIPs");
                for (size_t i = 0; i < json_array_size(a); i++)
                        if (strcmp(json_string_value(json_array_get(a, i)), ip) == 0)
                                return peer;
        }
        return NULL;
}

int ip_print(const json_t *ips, bool first, bool v4, bool v6, FILE *out)
{
        size_t shown = 0;
        for (size_t i = 0; i < json_array_size(ips) && !(first && shown > 0); i++) {
                const char *ip = json_string_value(json_array_get(ips, i));
                bool is6 = strchr(ip, ':') != NULL;
                if ((v4 && is6) || (v6 && !is6))
                        continue;
                fprintf(out, "%s\n", ip);
                shown++;
        }
        if (shown == 0)
                text_print(stderr, "no Tailscale IP%s found\n", v4 ? "v4 address" : v6 ? "v6 address" : " address");
        return shown > 0 ? 0 : 1;
}

static void complain_assert(const json_t *ips, const char *wanted)
{
        text_print(stderr, "assertion failed: IP \"%s\" not found among [", wanted);
        for (size_t i = 0; i < json_array_size(ips); i++)
                text_print(stderr, "%s%s", i > 0 ? " " : "", json_string_value(json_array_get(ips, i)));
        fputs("]\n", stderr);
}

int cmd_ip(struct cli *c, const struct command *self, int argc, char **argv)
{
        bool first = false, v4 = false, v6 = false;
        const char *assert_ip = "";
        struct flag flags[] = {
                FLAG_BOOL("1", &first, "only one address"),
                FLAG_BOOL("4", &v4, "only IPv4"),
                FLAG_BOOL("6", &v6, "only IPv6"),
                FLAG_STRING("assert", &assert_ip, "succeed silently if one of the addresses is this one"),
        };
        int rest, code;
        if (!command_flags(self, flags, 4, argc, argv, &rest, &code))
                return code;
        if (argc - rest > 1) {
                fputs("usage: tailscale ip [-1] [-4] [-6] [PEER]\n", stderr);
                return 1;
        }
        if (assert_ip[0] != '\0' && (rest < argc || first || v4 || v6)) {
                fputs("tailscale ip: --assert is about this node's addresses, all of them: no PEER, -1, -4 or -6 with it\n", stderr);
                return 1;
        }
        struct ip wanted;
        if (flags_given(flags, 4, "assert") && ip_parse(assert_ip, &wanted) != ERR_NONE) {
                text_print(stderr, "invalid value \"%s\" for flag -assert: want an IP address\n", assert_ip);
                return 2;
        }
        if (first + v4 + v6 > 1) {
                fputs("tailscale ip: -1, -4 and -6 exclude each other\n", stderr);
                return 1;
        }
        json_t *status = status_get(c, rest < argc);
        if (status == NULL)
                return 1;
        text_clean_json(status);
        const json_t *ips = json_arr(status, "TailscaleIPs");
        code = 1;
        if (json_array_size(ips) == 0) {
                text_print(stderr, "no current Tailscale IPs; state: %s\nlog in with 'tailscale up' first\n",
                        json_str(status, "BackendState", ""));
        } else if (rest < argc) {
                char ip[256];
                if (status_resolve(&(struct brief){.status = status}, argv[rest], ip, sizeof(ip))) {
                        const json_t *node = node_with_ip(status, ip);
                        if (node != NULL)
                                code = ip_print(json_arr(node, "TailscaleIPs"), first, v4, v6, stdout);
                        else
                                text_print(stderr, "no peer or service found with IP %s\n'tailscale status' lists them\n", ip);
                }
        } else if (assert_ip[0] != '\0') {
                code = node_with_ip(status, assert_ip) == json_obj(status, "Self") ? 0 : 1;
                if (code != 0)
                        complain_assert(ips, assert_ip);
        } else {
                code = ip_print(ips, first, v4, v6, stdout);
        }
        json_decref(status);
        return code;
}

/* ---- whois ---- */

static void print_list(const char *label, const json_t *a, size_t from, FILE *out)
{
        if (json_array_size(a) <= from)
                return;
        fprintf(out, "  %-15s[", label);
        for (size_t i = from; i < json_array_size(a); i++)
                fprintf(out, "%s%s", i > from ? " " : "", json_string_value(json_array_get(a, i)));
        fputs("]\n", out);
}

void whois_print(const json_t *w, FILE *out)
{
        const json_t *node = json_obj(w, "Node"), *user = json_obj(w, "UserProfile"), *caps = json_obj(w, "CapMap");
        char name[300];
        (void)str_copy(name, sizeof(name), json_str(node, "Name", ""));
        if (name[0] != '\0' && name[strlen(name) - 1] == '.')
                name[strlen(name) - 1] = '\0';
        fputs("Machine:\n", out);
        fprintf(out, "  %-15s%s\n", "Name:", name);
        fprintf(out, "  %-15s%s\n", "ID:", json_str(node, "StableID", ""));
        print_list("Addresses:", json_arr(node, "Addresses"), 0, out);
        print_list("AllowedIPs:", json_arr(node, "AllowedIPs"), 2, out);
        if (json_array_size(json_arr(node, "Tags")) > 0) {
                print_list("Tags:", json_arr(node, "Tags"), 0, out);
        } else {
                fputs("User:\n", out);
                fprintf(out, "  %-10s%s\n", "Name:", json_str(user, "LoginName", ""));
                fprintf(out, "  %-10s%lld\n", "ID:", (long long)json_int(user, "ID", 0));
        }
        if (json_object_size(caps) > 0) {
                const char *key;
                json_t *v;
                fputs("Capabilities:\n", out);
                json_object_foreach((json_t *)(uintptr_t)caps, key, v) fprintf(out, "  - %s\n", key);
        }
}

static bool is_address(const char *s)
{
        struct ip ip;
        struct addr with_port;
        return ip_parse(s, &ip) == ERR_NONE || addr_parse(s, &with_port) == ERR_NONE;
}

int cmd_whois(struct cli *c, const struct command *self, int argc, char **argv)
{
        bool json = false;
        const char *proto = "";
        struct flag flags[] = {
                FLAG_BOOL("json", &json, "print JSON"),
                FLAG_STRING("proto", &proto, "tcp or udp, for an address with a port"),
        };
        int rest, code;
        if (!command_flags(self, flags, 2, argc, argv, &rest, &code))
                return code;
        if (proto[0] != '\0' && strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0) {
                text_print(stderr, "invalid value \"%s\" for flag -proto: want tcp or udp\n", proto);
                return 2;
        }
        if (argc - rest != 1) {
                fputs("usage: tailscale whois [--json] IP[:PORT]\n", stderr);
                return 1;
        }
        if (!is_address(argv[rest])) {
                text_print(stderr, "invalid 'addr' parameter \"%s\": want IP, IPv4:PORT or [IPv6]:PORT, no name\n", argv[rest]);
                return 1;
        }
        client_plain_errors(c->client);
        char path[256];
        snprintf(path, sizeof(path), "whois?addr=%s&proto=%s", argv[rest], strcmp(proto, "udp") == 0 ? "udp" : "tcp");
        struct answer a;
        client_call(c->client, "GET", path, NULL, 0, &a);
        json_t *j = a.err == ERR_NONE && a.status == 200 ? answer_json(&a) : NULL;
        if (!json)
                text_clean_json(j);
        if (j != NULL && json)
                json_print(j, 2, true);
        else if (j != NULL)
                whois_print(j, stdout);
        else if (a.err == ERR_NONE && a.status == 404)
                fputs("peer not found: no node here has that address\n'tailscale status' lists them\n", stderr);
        else
                client_complain(c->client, "whois", &a);
        code = j != NULL ? 0 : 1;
        json_decref(j);
        answer_done(&a);
        return code;
}

/* ---- version ---- */

int cmd_version(struct cli *c, const struct command *self, int argc, char **argv)
{
        bool daemon = false, json = false;
        struct flag flags[] = {
                FLAG_BOOL("daemon", &daemon, "also print the daemon's version"),
                FLAG_BOOL("json", &json, "print JSON"),
        };
        int code;
        if (!command_flags_alone(self, flags, 2, argc, argv, &code))
                return code;
        json_t *status = NULL;
        if (daemon && (status = status_get(c, false)) == NULL)
                return 1;
        if (json) {
                json_t *j = json_pack("{s:s, s:s, s:s}", "majorMinorPatch", PRODUCT_VERSION, "short", PRODUCT_VERSION,
                        "long", PRODUCT_VERSION);
                if (daemon)
                        json_object_set_new(j, "daemonLong", json_string(json_str(status, "Version", "")));
                json_print(j, 2, true);
                json_decref(j);
        } else if (daemon) {
                printf("Client: %s\nDaemon: %s\n", PRODUCT_VERSION, json_str(status, "Version", ""));
        } else {
                puts(PRODUCT_VERSION);
        }
        json_decref(status);
        return 0;
}
