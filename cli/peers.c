#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/text.h"

json_t *status_get(struct cli *c, bool peers)
{
        json_t *j = NULL;
        if (!client_json(c->client, "GET", peers ? "status" : "status?peers=false", NULL, 200, &j))
                return NULL;
        return j;
}

bool status_is_running(const json_t *status, FILE *out)
{
        const char *state = json_str(status, "BackendState", "");
        const char *url = json_str(status, "AuthURL", "");
        if (strcmp(state, "Running") == 0 || strcmp(state, "Starting") == 0)
                return true;
        if (strcmp(state, "Stopped") == 0) {
                fputs("Tailscale is stopped.\n", out);
        } else if (strcmp(state, "NeedsLogin") == 0) {
                fputs("Logged out.\n", out);
                if (url[0] != '\0')
                        text_print(out, "Log in at: %s\n", url);
        } else if (strcmp(state, "NeedsMachineAuth") == 0) {
                fputs("This machine waits for the approval of an administrator of the tailnet.\n", out);
        } else {
                if (status_print_health(status, out))
                        fputc('\n', out);
                text_print(out, "unexpected state: %s\n", state);
        }
        return false;
}

bool status_print_health(const json_t *status, FILE *out)
{
        const json_t *health = json_arr(status, "Health");
        if (json_array_size(health) == 0)
                return false;
        fputs("# Health check:\n", out);
        for (size_t i = 0; i < json_array_size(health); i++) {
                const char *text = json_string_value(json_array_get(health, i));
                text_print(out, "#     - %s\n", text != NULL ? text : "");
        }
        return true;
}

static void trim_dot(char *s)
{
        size_t n = strlen(s);
        if (n > 0 && s[n - 1] == '.')
                s[n - 1] = '\0';
}

void status_short_name(const json_t *status, const json_t *peer, char *out, size_t cap)
{
        const char *dns = json_str(peer, "DNSName", "");
        const char *suffix = json_str(status, "MagicDNSSuffix", "");
        if (dns[0] == '\0') {
                snprintf(out, cap, "(\"%s\")", json_str(peer, "HostName", ""));
                return;
        }
        (void)str_copy(out, cap, dns);
        trim_dot(out);
        size_t n = strlen(out), s = strlen(suffix);
        if (s > 0 && n > s + 1 && out[n - s - 1] == '.' && strcasecmp(out + n - s, suffix) == 0)
                out[n - s - 1] = '\0';
}

static bool name_matches(const json_t *status, const json_t *peer, const char *word)
{
        char full[300], shorter[300], want[300];
        (void)str_copy(full, sizeof(full), json_str(peer, "DNSName", ""));
        (void)str_copy(want, sizeof(want), word);
        trim_dot(full);
        trim_dot(want);
        status_short_name(status, peer, shorter, sizeof(shorter));
        return (full[0] != '\0' && strcasecmp(full, want) == 0) || strcasecmp(shorter, want) == 0 ||
                strcasecmp(json_str(peer, "HostName", ""), want) == 0;
}

static bool take_first_ip(const json_t *peer, char *out, size_t cap)
{
        const json_t *first = json_array_get(json_arr(peer, "TailscaleIPs"), 0);
        return json_is_string(first) && str_copy(out, cap, json_string_value(first));
}

bool status_resolve(const json_t *status, const char *word, char *out, size_t cap)
{
        struct ip ip;
        const char *key;
        json_t *peer, *peers = json_obj(status, "Peer");
        if (ip_parse(word, &ip) == ERR_NONE)
                return str_copy(out, cap, word);
        json_object_foreach(peers, key, peer)
        {
                if (name_matches(status, peer, word) && take_first_ip(peer, out, cap))
                        return true;
        }
        const json_t *self = json_obj(status, "Self");
        if (self != NULL && name_matches(status, self, word) && take_first_ip(self, out, cap))
                return true;
        text_print(stderr, "error looking up IP of \"%s\": no peer has that name; 'tailscale status' lists them\n",
                word);
        return false;
}

void json_print(const json_t *j, unsigned indent, bool nl)
{
        char *text = json_dumps(j, (indent ? JSON_INDENT(indent) : JSON_COMPACT) | JSON_ENCODE_ANY);
        if (text == NULL)
                return;
        fputs(text, stdout);
        if (nl)
                putchar('\n');
        free(text);
}
